//! New snapshots: asked for at any time, of machines that are protected or not.

use super::SnapshotRequest;
use crate::faults::Faults;
use crate::inventory::Told;
use crate::points::DISK_NAME_MAX;
use crate::request::Request;
use crate::{Actor, Control, Error, Result};
use api::Code;
use api::snapshots::{NewSnapshots, SNAPSHOT_DISKS_MAX};
use catalog::{Host, Machine};
use model::{JobId, MachineId, SNAPSHOTS_OF_A_DISK_MAX, VaultId};
use serde_json::json;

impl Control {
    /// Makes snapshots of disks, all at one instant: one for each machine.
    ///
    /// # Errors
    /// `Invalid` for machines of several movers, or disks that are not there; `Conflict` for a disk that has as many
    /// as it may have, or while one of the first machine is under way.
    pub async fn take_snapshots(&self, actor: &Actor, vault: VaultId, wish: NewSnapshots) -> Result<JobId> {
        self.vault_row(vault).await?;
        let mut faults = Faults::default();
        faults.entries("/disks", (1, SNAPSHOT_DISKS_MAX), wish.disks.len());
        if let Some(name) = &wish.name {
            faults.name("/name", name);
        }
        for (at, one) in wish.disks.iter().enumerate() {
            if let Some(disk) = &one.disk {
                faults.text(&format!("/disks/{at}/disk"), disk, DISK_NAME_MAX);
            }
        }
        faults.none()?;
        let machines = grouped(&wish);
        let mut mover: Option<String> = None;
        for (id, disks) in &machines {
            let (row, host) = self.machine_and_host(*id).await?;
            check_disks(&row, disks)?;
            if mover.as_ref().is_some_and(|mover| *mover != host.mover) {
                let rule =
                    "must be disks of machines that one mover reaches: no others can stand still together";
                return Err(Error::invalid("/disks", rule));
            }
            mover = Some(host.mover);
            if let Some(full) = self.full_disk(vault, &row, disks).await? {
                let hint = "delete some that nobody needs: `strongroom snapshot list`, `strongroom snapshot delete`; \
                            those that were deleted count until they are purged";
                return Err(Error::new(Code::Conflict, full).hint(hint));
            }
        }
        let name = wish.name.unwrap_or_default();
        let detail = json!({ "vault": vault, "name": name, "machines": machines });
        let first = machines.first().expect("one at least").0;
        self.audit(actor, "snapshot.create", &first.to_string(), &detail).await?;
        let asked = SnapshotRequest::Take { machines, name, consistency: wish.consistency };
        self.queue_for(actor, vault, first.0, &Request::Snapshot(asked)).await
    }

    /// A machine that must be there, and where.
    pub(crate) async fn machine_and_host(&self, id: MachineId) -> Result<(Machine, Host)> {
        let row = self.machine_row(id).await?;
        if let Some(obstacle) = Told::of(&row).obstacle {
            let detail = format!("{} cannot be read as it is: {obstacle}", row.name);
            return Err(Error::new(Code::Conflict, detail));
        }
        let host = self.catalog.host_of(id).await?;
        let host = host.ok_or_else(|| Error::not_found(format!("host of the machine {}", row.name)))?;
        Ok((row, host))
    }

    /// Says so if one of the machine's disks has as many snapshots as it may have.
    pub(super) async fn full_disk(
        &self,
        vault: VaultId,
        machine: &Machine,
        disks: &[String],
    ) -> Result<Option<String>> {
        let counts = self.catalog.snapshots_by_disk(vault, machine.id).await?;
        let is_meant = |disk: &String| disks.is_empty() || disks.contains(disk);
        let full = counts.iter().find(|(disk, count)| is_meant(disk) && **count >= SNAPSHOTS_OF_A_DISK_MAX);
        Ok(full.map(|(disk, count)| {
            let name = &machine.name;
            format!(
                "the disk {name}/{disk} has {count} snapshots in the vault; {SNAPSHOTS_OF_A_DISK_MAX} may be"
            )
        }))
    }
}

/// Each machine once, in the order they were named, with its disks; none for all.
fn grouped(wish: &NewSnapshots) -> Vec<(MachineId, Vec<String>)> {
    let mut machines: Vec<(MachineId, Option<Vec<String>>)> = Vec::new();
    for one in &wish.disks {
        let place = machines.iter().position(|(id, _)| *id == one.machine).unwrap_or_else(|| {
            machines.push((one.machine, Some(Vec::new())));
            machines.len() - 1
        });
        match (&mut machines[place].1, &one.disk) {
            (Some(disks), Some(disk)) if !disks.contains(disk) => disks.push(disk.clone()),
            (whole, None) => *whole = None,
            _ => {}
        }
    }
    machines.into_iter().map(|(id, disks)| (id, disks.unwrap_or_default())).collect()
}

/// What its host has not told of may be there all the same; what it has told of is known.
fn check_disks(machine: &Machine, wanted: &[String]) -> Result<()> {
    let told = Told::of(machine).disks;
    let names: Vec<&str> = told.iter().map(|disk| disk.name.as_str()).collect();
    match wanted.iter().find(|disk| !names.is_empty() && !names.contains(&disk.as_str())) {
        None => Ok(()),
        Some(disk) => {
            let (machine, names) = (&machine.name, names.join(", "));
            Err(Error::invalid("/disks", format!("{machine} has no disk {disk}; it has {names}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::snapshots::SnapshotOf;
    use uuid::Uuid;

    #[test]
    fn a_machine_stands_once_and_all_of_it_is_all() {
        let id = |n| MachineId(Uuid::from_u128(n));
        let of =
            |n, disk: &str| SnapshotOf { machine: id(n), disk: (!disk.is_empty()).then(|| disk.to_owned()) };
        let disks = vec![of(2, "b"), of(1, "a"), of(2, "a"), of(2, "b"), of(3, "x"), of(3, ""), of(3, "y")];
        let wish = NewSnapshots { disks, name: None, consistency: Default::default() };
        let both = vec!["b".to_owned(), "a".to_owned()];
        assert_eq!(grouped(&wish), [(id(2), both), (id(1), vec!["a".to_owned()]), (id(3), Vec::new())]);
    }
}
