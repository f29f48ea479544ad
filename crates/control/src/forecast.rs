//! What will run, and when it will end, if runs take as long as they last did.

use crate::order::item_of;
use crate::schedule::{BATCH, Policies};
use crate::{Control, Error, Result};
use api::{Forecast, ForecastRun};
use jiff::{SignedDuration, Timestamp};
use model::schedule::{Expected, Run, expected_duration, forecast};
use model::{HostId, MachineId, StoreId, VaultId};
use std::collections::HashMap;
use uuid::Uuid;

/// Further ahead a night is like the one before it.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Without a wish: tonight.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// Past runs are looked at for so long back: a week, and the day that is not over.
const BACK: SignedDuration = SignedDuration::from_hours(8 * 24);
/// A machine that never ran is taken for an ordinary one.
const FIRST_RUN: SignedDuration = SignedDuration::from_mins(15);

/// Who runs: what a forecast tells of the item behind a run.
struct Named {
    item: Uuid,
    name: String,
    vault: VaultId,
}

impl Control {
    /// The runs until then: 24 hours if not said. Of the vaults that somebody may see; all take part in it.
    ///
    /// # Errors
    /// `Invalid` for a time that is over, or too far ahead.
    pub async fn forecast(&self, until: Option<Timestamp>, seen: Option<&[VaultId]>) -> Result<Forecast> {
        let now = self.now();
        let until = until.unwrap_or(now + AHEAD);
        if until <= now || until > now + AHEAD_MAX {
            return Err(Error::invalid("until", format!("must be after {now}, and 7 days later at most")));
        }
        let mut past: HashMap<Uuid, Vec<SignedDuration>> = HashMap::new();
        for (item, took) in self.catalog.backups_took(now - BACK).await? {
            past.entry(item).or_default().push(took);
        }
        let takes =
            |item: &Uuid| past.get(item).and_then(|past| expected_duration(past)).unwrap_or(FIRST_RUN);
        let hosts: HashMap<MachineId, HostId> = self.catalog.hosts_of_machines().await?.into_iter().collect();
        let mut names = HashMap::new();
        let mut expected = Expected::default();
        let (mut policies, mut after) = (Policies::default(), None);
        loop {
            let items = self.catalog.items_that_run(after, BATCH).await?;
            for one in &items {
                let Some(policy) = one.item.protection.backup_policy() else { continue };
                let policy = self.policy_of(policy, &mut policies).await?;
                let (item, machine, vault) = (one.item.id, one.item.machine, one.item.vault);
                names.insert(machine, Named { item, name: one.item.name.clone(), vault });
                let (host, store) = (host_or_none(&hosts, machine), StoreId(vault.0));
                let run = |due| Run { due, machine, host, store, takes: takes(&item) };
                let settled = one.settled.unwrap_or(now);
                let starts = policy.starts(machine, now, until).filter(|(slot, _)| slot.at > settled);
                expected.coming.extend(starts.map(|(_, start)| run(start)));
            }
            after = items.last().map(|one| one.item.id);
            if items.len() < BATCH as usize {
                break;
            }
        }
        self.add_begun(&mut expected, &names, &takes, now).await?;
        let found = forecast(expected, self.settings.limits);
        let is_seen = |vault: &VaultId| seen.is_none_or(|seen| seen.contains(vault));
        let told = found.runs.iter().filter_map(|planned| {
            let named = names.get(&planned.run.machine).filter(|named| is_seen(&named.vault))?;
            let (item, name) = (named.item, named.name.clone());
            Some(ForecastRun { item, name, due: planned.run.due, start: planned.start, end: planned.end })
        });
        Ok(Forecast { runs: told.collect(), ends: found.ends, peak: found.peak as u64 })
    }

    /// Jobs that wait, and those that run already.
    async fn add_begun(
        &self,
        expected: &mut Expected,
        names: &HashMap<MachineId, Named>,
        takes: &impl Fn(&Uuid) -> SignedDuration,
        now: Timestamp,
    ) -> Result<()> {
        let machines: HashMap<Uuid, MachineId> =
            names.iter().map(|(machine, named)| (named.item, *machine)).collect();
        for row in self.catalog.backups_under_way().await? {
            let item = item_of(&row)?;
            let (Some(machine), Some(vault)) = (machines.get(&item), row.vault) else { continue };
            let (machine, store, takes) = (*machine, StoreId(vault.0), takes(&item));
            let host = row.host.unwrap_or(NOWHERE);
            let run = |due| Run { due, machine, host, store, takes };
            match (row.job.lease(), row.claimed) {
                (Some(_), Some(claimed)) => {
                    expected.running.push((run(claimed), (claimed + takes).max(now)));
                }
                _ => expected.coming.push(run(now)),
            }
        }
        Ok(())
    }
}

/// For machines whose host is gone.
const NOWHERE: HostId = HostId(Uuid::nil());

fn host_or_none(hosts: &HashMap<MachineId, HostId>, machine: MachineId) -> HostId {
    hosts.get(&machine).copied().unwrap_or(NOWHERE)
}
