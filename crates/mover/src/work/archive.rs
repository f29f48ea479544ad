//! The vault's archive store: points moved to it, and brought back from it.
//!
//! INVARIANT: a point is dropped in the vault tier only after this very order has found it listed in the archive store's
//! log, and read its record there; what was copied just now was read back as well, every block of it. Dropping is a soft
//! deletion: the vault tier has the point for its soft-delete days yet, whatever was wrong.
//!
//! CRASH: each part finds what it did before. The server is told of what was copied, and has answered, before anything
//! is dropped: so it never counts on a copy in the vault tier that is gone.

use super::backup::key_of;
use super::copies::{Way, Went};
use super::failure::{Failed, Result};
use super::order::Run;
use super::verify::read_back;
use crate::{Limits, Throttle};
use api::work::{ArchiveOutcome, ArchiveWork, ArchivedPoint, PointOfItem, RehydrateWork, StoreAccess};
use model::PointId;
use model::job::{Failure, Step};
use serde_json::json;
use std::num::NonZeroU64;
use std::sync::Arc;
use uuid::Uuid;
use vault::{ErrorKind, Standing, Vault};

/// Copies points to the archive store, and drops them in the vault tier.
pub(super) async fn archive(run: &Run, work: &ArchiveWork) -> Result<()> {
    let access = &run.order.vault;
    let vault = run.vaults().vault(access).await?;
    let there = match run.vaults().second(access, &work.to).await? {
        Some(there) => there,
        // An archive that is away is not made anew: then it would be empty, and what is to be dropped not there.
        None if !work.make => return Err(nothing_at(&work.to)),
        None => run.vaults().make_second(access, &work.to, &vault).await?,
    };
    let mut outcome = match &run.order.result {
        Some(told) => serde_json::from_value(told.clone()).unwrap_or_default(),
        None => ArchiveOutcome::default(),
    };
    if run.order.steps_done == 0 {
        outcome = copy(run, work, (&vault, &there)).await?;
        let result = serde_json::to_value(&outcome).expect("plain data");
        run.lease.step_done(Step::CopyToArchive, Some(result));
        // Reports go out in their order: an answer to a later wish is one to this step.
        run.lease.renewed().await;
    }
    run.lease.begin(&Step::DropFromVault.to_string(), 0);
    let mut drops: Vec<PointId> = outcome.archived.iter().map(|one| one.point).collect();
    drops.extend(work.drops.iter().filter(|point| !drops.contains(point)).copied().collect::<Vec<_>>());
    for point in drops {
        run.lease.renewed_lately().await;
        if !has(&there, work.item, point).await? {
            run.lease
                .warn(format!("The archive does not have the point {point}: it stays in the vault tier"));
            outcome.kept.push(point);
            continue;
        }
        if let (here, Standing::Listed) = vault.standing_of(vault::PointId(point.0)).await? {
            vault.delete_point(here, work.now).await?;
        }
        outcome.dropped.push(point);
    }
    let result = serde_json::to_value(outcome).expect("plain data");
    run.lease.step_done(Step::DropFromVault, Some(result));
    Ok(())
}

/// Copies what moves, and reads each point back where it is now.
async fn copy(
    run: &Run,
    work: &ArchiveWork,
    (vault, there): (&Arc<Vault>, &Arc<Vault>),
) -> Result<ArchiveOutcome> {
    run.lease.begin(&Step::CopyToArchive.to_string(), 0);
    run.vaults().attach(there).await?;
    let limits = Limits { bytes: work.bytes_per_second.and_then(NonZeroU64::new), reads: None };
    let (from, to) = (Arc::clone(vault), Arc::clone(there));
    let way = Way { run, from, to, throttle: Throttle::new(limits), returns: true };
    let of_item = |point: &PointId| PointOfItem { item: work.item, point: *point };
    let moves: Vec<_> = work.moves.iter().map(of_item).collect();
    way.inherit(&moves).await?;
    let mut outcome = ArchiveOutcome::default();
    for one in moves {
        match way.take(one).await? {
            Went::There(point, stored_bytes) => {
                read_back(run, there, &point).await?;
                outcome.stored_bytes += stored_bytes;
                outcome.archived.push(ArchivedPoint { point: one.point, stored_bytes });
            }
            Went::Missing => outcome.missing.push(one.point),
        }
    }
    if !outcome.missing.is_empty() {
        run.lease
            .warn(format!("{} points are not in the vault tier: they were not moved", outcome.missing.len()));
    }
    Ok(outcome)
}

/// Whether a store lists a point, and its record can be read.
async fn has(store: &Vault, item: Uuid, point: PointId) -> Result<bool> {
    match store.find_point(&key_of(item)?, vault::PointId(point.0)).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(false),
        found => Ok(found.map(|_| true)?),
    }
}

/// Copies a point back. One that the vault tier has not purged yet is there at once.
pub(super) async fn rehydrate(run: &Run, work: &RehydrateWork) -> Result<()> {
    let access = &run.order.vault;
    let Some(from) = run.vaults().second(access, &work.from).await? else {
        return Err(nothing_at(&work.from));
    };
    run.lease.begin(&Step::Rehydrate.to_string(), 0);
    let to = run.vaults().vault(access).await?;
    run.vaults().attach(&to).await?;
    let limits = Limits { bytes: work.bytes_per_second.and_then(NonZeroU64::new), reads: None };
    let way = Way { run, from, to, throttle: Throttle::new(limits), returns: true };
    let one = PointOfItem { item: work.item, point: work.point };
    way.inherit(&[one]).await?;
    let stored_bytes = match way.take(one).await? {
        Went::There(_, stored_bytes) => stored_bytes,
        Went::Missing => {
            let text = format!("the archive does not have the point {}", work.point);
            return Err(Failed::new(Failure::Invalid, text, "read the archive store: `strongroom rescue`"));
        }
    };
    let result = json!({ "point": work.point, "stored_bytes": stored_bytes });
    run.lease.step_done(Step::Rehydrate, Some(result));
    Ok(())
}

fn nothing_at(place: &StoreAccess) -> Failed {
    let text = format!("there is no archive of the vault in {}", place.location);
    Failed::new(
        Failure::Invalid,
        text,
        "check where the vault's archive store is, and that it can be reached",
    )
}
