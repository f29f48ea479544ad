//! What is done with points that are there: deleted, brought back, collected. In every store of the vault.
//!
//! Each does what is not done yet: an order that died half way is carried out again.

use super::backup::makes_no_sense;
use super::failure::{Failed, Result};
use super::order::Run;
use super::vaults::Tiers;
use api::work::InArchive;
use jiff::{SignedDuration, Timestamp};
use model::PointId;
use model::cost::{Redundancy, StorageTier};
use model::job::{Failure, Step};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use vault::{CollectOptions, ErrorKind, Standing, Vault};

/// What to do when a collection would free most of a vault.
const ALLOW_LARGE: &str = "If that is what you want, `strongroom rescue vault collect --allow-large` does it";

/// Deletes points, softly: `snapshots` in the snapshot tier, then `points` in the vault, then those of them in the archive
/// that may be there.
pub(super) async fn delete(
    run: &Run,
    points: &[PointId],
    snapshots: &[PointId],
    archive: Option<&InArchive>,
) -> Result<()> {
    let Tiers { vault, snapshots: near } = run.vaults().tiers(&run.order.vault).await?;
    run.lease.begin(&Step::DeletePoints.to_string(), 0);
    // One that is not there has nothing to delete, and if it comes back, a collection does it; one that does not answer
    // has the order tried again.
    let far = match archive {
        Some(archive) => run.vaults().second(&run.order.vault, &archive.store).await?,
        None => None,
    };
    let mut copies: Vec<(&Vault, PointId)> = Vec::new();
    copies.extend(near.iter().flat_map(|store| snapshots.iter().map(|point| (&**store, *point))));
    copies.extend(points.iter().map(|point| (&*vault, *point)));
    let in_archive = archive.iter().flat_map(|archive| &archive.points);
    copies.extend(far.iter().flat_map(|store| in_archive.clone().map(|point| (&**store, *point))));
    for (store, point) in copies {
        // Nobody brings back what an order deletes that is no longer ours.
        run.lease.renewed_lately().await;
        if let (here, Standing::Listed) = store.standing_of(vault::PointId(point.0)).await? {
            store.delete_point(here, run.now()).await?;
        }
    }
    run.lease.step_done(Step::DeletePoints, Some(json!({ "deleted": points, "snapshots": snapshots })));
    Ok(())
}

/// Brings deleted points back: in the vault if that has them, and in the snapshot tier if the server counts on a copy
/// there, or the vault has none. (The snapshot of another may have expired by itself before, and nobody would let it
/// expire again.) What is in the archive comes back there alone: the vault tier's copy was dropped for good. Points that no
/// store has any more are told, and snapshots that are gone; it fails if that is all points.
pub(super) async fn undelete(
    run: &Run,
    points: &[PointId],
    snapshots: &[PointId],
    archive: Option<&InArchive>,
) -> Result<()> {
    let tiers = run.vaults().tiers(&run.order.vault).await?;
    let far = match archive {
        Some(archive) => run.vaults().second(&run.order.vault, &archive.store).await?,
        None => None,
    };
    let is_archived = |point: &PointId| archive.is_some_and(|archive| archive.points.contains(point));
    run.lease.begin(&Step::BringPointsBack.to_string(), 0);
    let mut gone = Vec::new();
    for point in points {
        run.lease.renewed_lately().await;
        let mut is_back = false;
        let stores: Vec<&Arc<Vault>> = match is_archived(point) {
            true => far.iter().collect(),
            false => std::iter::once(&tiers.vault).chain(&tiers.snapshots).collect(),
        };
        for store in stores {
            let (here, standing) = store.standing_of(vault::PointId(point.0)).await?;
            if standing == Standing::Deleted {
                store.undelete_point(here, run.now()).await?;
            }
            is_back = matches!(standing, Standing::Deleted | Standing::Listed);
            if is_back {
                break;
            }
        }
        gone.extend((!is_back).then_some(*point));
    }
    let mut gone_near = Vec::new();
    for point in snapshots {
        run.lease.renewed_lately().await;
        let Some(near) = &tiers.snapshots else { break };
        match near.standing_of(vault::PointId(point.0)).await? {
            (here, Standing::Deleted) => near.undelete_point(here, run.now()).await?,
            (_, Standing::Listed) => {}
            _ => gone_near.push(*point),
        }
    }
    if !gone.is_empty() {
        let names = gone.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text = format!("these points are gone for good: {names}");
        if gone.len() == points.len() {
            return Err(makes_no_sense(text));
        }
        run.lease.warn(text);
    }
    let result = json!({ "points": points, "gone": gone, "gone_near": gone_near });
    run.lease.step_done(Step::BringPointsBack, Some(result));
    Ok(())
}

/// Purges these points in the vault, and whatever was deleted in the snapshot tier, if it was long enough ago by the
/// server's clock; and gives space back. Where that would
/// be most of a store, nothing is done unasked, for purging cannot be taken back: somebody is told.
pub(super) async fn collect(
    run: &Run,
    (soft_delete, now): (SignedDuration, Timestamp),
    purge: &[PointId],
    archive: Option<&InArchive>,
) -> Result<()> {
    let tiers = run.vaults().tiers(&run.order.vault).await?;
    run.lease.begin(&Step::FreeSpace.to_string(), 0);
    let purge: Vec<vault::PointId> = purge.iter().map(|point| vault::PointId(point.0)).collect();
    let (mut gone, mut freed_bytes) = (vec![true; purge.len()], 0);
    for store in tiers.nearest_first() {
        run.vaults().attach(store).await?;
        // Copies in the snapshot tier go before the catalog is through with their points: there the days alone count.
        let only = match Arc::ptr_eq(store, &tiers.vault) {
            true => Some(store.standings(&purge).await?.into_iter().map(|(here, _)| here).collect()),
            false => None,
        };
        let options = CollectOptions { soft_delete, only, ..CollectOptions::new(now) };
        match Box::pin(store.collect(&options)).await {
            Ok(done) => freed_bytes += done.freed_bytes,
            Err(error) if error.kind() == ErrorKind::TooMuch => {
                let place = store.store().shown();
                run.lease.warn(format!("Nothing in {place} is purged: {error}. {ALLOW_LARGE}"));
            }
            Err(error) => return Err(error.into()),
        }
        for (gone, (_, standing)) in gone.iter_mut().zip(store.standings(&purge).await?) {
            *gone &= matches!(standing, Standing::Purged | Standing::NotInLog);
        }
        if let Some(error) = store.index_trouble() {
            run.lease.warn(format!("The index of {} is not as it should be: {error}", store.store().shown()));
        }
    }
    if let Some(archive) = archive {
        let (left, freed) = collect_archive(run, (soft_delete, now), archive).await;
        freed_bytes += freed;
        for (gone, point) in gone.iter_mut().zip(&purge) {
            *gone &= !left.contains(&PointId(point.0));
        }
    }
    let gone: Vec<_> = purge.iter().zip(gone).filter(|(_, gone)| *gone).map(|(point, _)| point.0).collect();
    super::meter::stores(run, &tiers).await;
    run.lease.step_done(Step::FreeSpace, Some(json!({ "gone": gone, "freed_bytes": freed_bytes })));
    Ok(())
}

/// Purges these points in the archive store, and gives space back there. Gives those that are there yet, and the bytes that
/// came free. What was freed elsewhere is freed: an archive that does not answer is told, and looked at another day.
async fn collect_archive(
    run: &Run,
    (soft_delete, now): (SignedDuration, Timestamp),
    archive: &InArchive,
) -> (Vec<PointId>, u64) {
    let collected = async {
        let Some(store) = run.vaults().second(&run.order.vault, &archive.store).await? else {
            let text = "it is not there";
            return Err(Failed::new(Failure::Unreachable, text, "check where the vault's archive store is"));
        };
        run.vaults().attach(&store).await?;
        let points: Vec<_> = archive.points.iter().map(|point| vault::PointId(point.0)).collect();
        let mut only = BTreeSet::new();
        for (here, standing) in store.standings(&points).await? {
            // It was away when they were deleted. Their days are over by the server's word; here they begin.
            if standing == Standing::Listed {
                store.delete_point(here, now).await?;
            }
            only.insert(here);
        }
        let options = CollectOptions { soft_delete, only: Some(only), ..CollectOptions::new(now) };
        let freed = Box::pin(store.collect(&options)).await?.freed_bytes;
        super::meter::one(run, &store, (StorageTier::Archive, Redundancy::Local)).await;
        let standings = store.standings(&points).await?;
        let is_there = |standing| !matches!(standing, Standing::Purged | Standing::NotInLog);
        let left = archive.points.iter().zip(standings).filter(|(_, (_, standing))| is_there(*standing));
        Result::Ok((left.map(|(point, _)| *point).collect(), freed))
    };
    match collected.await {
        Ok(done) => done,
        Err(Failed(error)) => {
            let place = &archive.store.location;
            run.lease.warn(format!("Nothing in the archive in {place} is purged: {}", error.text));
            (archive.points.clone(), 0)
        }
    }
}
