//! Measures whose the bytes of a vault's stores are, once a collection has given back what it could.

use super::order::Run;
use super::server::in_words;
use super::vaults::Tiers;
use api::work::{ReportedUsage, UsageReport};
use model::cost::{Redundancy, StorageTier};
use std::sync::Arc;
use vault::{MachineUse, Metered, Vault};

/// Measures all stores. One that cannot be measured is told, and hides no other: what was freed is freed.
pub(super) async fn stores(run: &Run, tiers: &Tiers) {
    for store in tiers.nearest_first() {
        let tier = match Arc::ptr_eq(store, &tiers.vault) {
            true => StorageTier::Vault,
            false => StorageTier::Snapshot,
        };
        one(run, store, (tier, Redundancy::Local)).await;
    }
}

/// Measures one store.
pub(super) async fn one(run: &Run, store: &Vault, class: (StorageTier, Redundancy)) {
    let told = match Box::pin(store.meter()).await {
        Ok(metered) => tell(run, class, metered).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = told {
        let place = store.store().shown();
        run.lease.warn(format!("Whose the bytes in {place} are could not be measured: {why}"));
    }
}

async fn tell(
    run: &Run,
    (tier, redundancy): (StorageTier, Redundancy),
    metered: Metered,
) -> Result<(), String> {
    let own = [
        ("#unreferenced", metered.unreferenced_bytes),
        ("#index", metered.index_bytes),
        ("#other", metered.other_bytes),
    ];
    let own = own.map(|(subject, bytes)| ReportedUsage {
        subject: subject.to_owned(),
        share_bytes: bytes,
        alone_bytes: bytes,
        used_bytes: None,
        points: 0,
    });
    // How large a machine is follows from its newest point, which only the tiers beside it are sure to have.
    let is_near = redundancy == Redundancy::Local && tier != StorageTier::Archive;
    let sized = |one: ReportedUsage| {
        let ReportedUsage { used_bytes, .. } = one;
        ReportedUsage { used_bytes: used_bytes.filter(|_| is_near), ..one }
    };
    let usages: Vec<_> = own.into_iter().chain(metered.machines.iter().map(usage).map(sized)).collect();
    for some in usages.chunks(UsageReport::USAGES_MAX) {
        let (claimant, generation) = (run.claimant(), run.order.generation);
        let report = UsageReport { claimant, generation, tier, redundancy, usages: some.to_vec() };
        run.server().usage(run.order.job, &report).await.map_err(|error| in_words(&error))?;
    }
    Ok(())
}

fn usage(one: &MachineUse) -> ReportedUsage {
    ReportedUsage {
        subject: one.machine.to_string(),
        share_bytes: one.share_bytes,
        alone_bytes: one.alone_bytes,
        // Whose data is deleted is not under protection any more, though what can be had back is stored.
        used_bytes: (one.points > 0).then_some(one.used_bytes),
        points: one.points,
    }
}
