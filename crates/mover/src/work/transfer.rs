//! From the snapshot tier to the vault: the second part of a backup, which no guest feels.
//!
//! It goes on where it stopped, whoever stopped it: what an earlier claim has uploaded is inherited, so that only the
//! packs that were open when it died are sealed again. It has a limit of its own, the vault's, shared by all transfers
//! of a mover; and where the machine's snapshot was taken just now, the guest that runs beside it sets one, too.

use super::backup::{Tier, fence, makes_no_sense, told};
use super::failure::Result;
use super::order::Run;
use crate::{Limits, Progress, Throttle, beside};
use api::work::BackUpWork;
use futures_util::future::BoxFuture;
use model::job::Step;
use std::sync::Arc;
use uuid::Uuid;
use vault::{Copied, CopyCourse, CopyRun, Ended, Point, PointId, SessionId, Standing, Vault, copy_point_at};

/// The session that an order's copy is written under.
///
/// INVARIANT: not the one of its snapshot. Keys are made of the vault and the session, which both stores share, and
/// nonces are places within a pack: two packs of one name in two stores would be sealed with the same of both.
/// It follows from the order's, so that whoever fences that knows this. The bit lies where ids are random.
pub(super) fn session_of_transfer(session: Uuid) -> SessionId {
    SessionId(Uuid::from_u128(session.as_u128() ^ (1 << 60)))
}

/// Copies a point from the snapshot store to the vault, or finds that an earlier claim has.
pub(super) async fn to_vault(
    run: &Run,
    work: &BackUpWork,
    snapshots: &Arc<Vault>,
    point: &Point,
) -> Result<()> {
    let vault = run.vaults().vault(&run.order.vault).await?;
    run.vaults().attach(&vault).await?;
    fence(run, &vault).await?;
    // Keys are changed in the vault, and snapshots do not ask it: it may be away when they are taken.
    snapshots.follow_keys(&vault).await?;
    run.lease.begin(&Step::TransferToVault.to_string(), 0);
    run.will_write();
    let copy = CopyRun { session: session_of_transfer(run.order.session), now: run.now() };
    let advance = |bytes| run.lease.progress(Progress::Advance(bytes));
    // Before, because a copy commits by itself; what was aborted meanwhile commits nothing.
    run.lease.renewed().await;
    let throttle = run.vaults().transfers(&run.order.vault);
    let kind = Throttle::new(Limits::default());
    let (shared, own) = (&*throttle, &kind);
    let pace = |bytes: u64| -> BoxFuture<'_, ()> {
        Box::pin(async move {
            shared.admit(bytes).await;
            own.admit(bytes).await;
        })
    };
    let course = CopyCourse { progress: &advance, pace: &pace };
    let moving = Box::pin(copy_point_at(snapshots, &vault, point, copy, course));
    let moved = match run.opened() {
        Some(machine) => beside(&*machine, &kind, moving).await,
        None => moving.await,
    };
    let stored_bytes = match moved? {
        Copied::Made(made) => made.stats.stored_bytes,
        Copied::There(there) => stored_by(&vault, point, there).await?,
        Copied::Deleted(_) => {
            let text = format!("the point {} of {} was deleted in the vault", point.id, work.name);
            return Err(makes_no_sense(text));
        }
    };
    done(run, point, stored_bytes);
    Ok(())
}

/// Ends the copy that was begun. Gives whether the vault has the point.
pub(super) async fn settle(run: &Run, point: &Point) -> Result<bool> {
    let vault = run.vaults().vault(&run.order.vault).await?;
    let session = session_of_transfer(run.order.session);
    // Whoever goes on finds what is uploaded.
    if vault.inherit_session(session, run.now()).await? == Ended::Aborted {
        return Ok(false);
    }
    match vault.standing_of(point.id).await? {
        (there, Standing::Listed) => {
            done(run, point, stored_by(&vault, point, there).await?);
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn done(run: &Run, point: &Point, stored_bytes: u64) {
    let mut point = point.clone();
    point.stats.stored_bytes = stored_bytes;
    run.lease.step_done(Step::TransferToVault, Some(told(&point, point.id, Tier::Both)));
}

/// What a copy that is there added to the vault.
async fn stored_by(vault: &Vault, point: &Point, there: PointId) -> Result<u64> {
    Ok(vault.point(&point.machine, there).await?.stats.stored_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_has_a_session_of_its_own_of_the_same_time() {
        let session = Uuid::now_v7();
        let SessionId(other) = session_of_transfer(session);
        assert_ne!(session, other);
        assert_eq!(session_of_transfer(other), SessionId(session));
        assert_eq!((other.get_version_num(), other.get_timestamp()), (7, session.get_timestamp()));
        assert_eq!(other.get_variant(), uuid::Variant::RFC4122);
    }
}
