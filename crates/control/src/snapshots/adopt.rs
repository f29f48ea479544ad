//! Snapshots of a vault that is taken in: all that is known of them stands with their points.

use crate::adopt::{Adopted, consistency};
use crate::survey::Found;
use crate::{Control, Result};
use api::PointDisk;
use api::snapshots::{KeptSnapshot, MadeSnapshot};
use api::work::MadePoint;
use model::{MachineId, Owner, PointId, VaultId};

impl Control {
    /// Takes in what no policy owns. What is known stays as it is.
    pub(crate) async fn adopt_snapshots(
        &self,
        vault: VaultId,
        found: &[Found],
        adopted: &mut Adopted,
    ) -> Result<()> {
        let is_snapshot = |one: &&Found| Owner::of_key(one.point.machine.as_str()) == Owner::Snapshot;
        for Found { point, purge_at, .. } in found.iter().filter(is_snapshot) {
            let kept = KeptSnapshot::of(&point.service).unwrap_or_else(KeptSnapshot::unknown);
            let key = point.machine.as_str();
            // Its own uuid, or the name of a machine that has none.
            let machine = kept.machine.or_else(|| Some(MachineId(key.rsplit("--").next()?.parse().ok()?)));
            let machine = machine.unwrap_or_else(|| MachineId(self.draw()));
            let disk = |disk: &vault::DiskRecord| PointDisk {
                name: disk.name.clone(),
                bytes: disk.map.size,
                read_bytes: disk.read_bytes,
            };
            let made = MadePoint {
                point: PointId(point.id.0),
                taken: point.instant,
                consistency: consistency(point).to_owned(),
                evidence: point.consistency.clone(),
                disks: point.disks.iter().map(disk).collect(),
                stored_bytes: point.stats.stored_bytes,
                in_snapshot_tier: false,
                in_vault_tier: true,
            };
            let one = MadeSnapshot { made, kept, machine_name: point.machine_name.clone() };
            self.add_snapshot(vault, (machine, point.instant), &one, *purge_at).await?;
            adopted.snapshots += 1;
        }
        Ok(())
    }
}
