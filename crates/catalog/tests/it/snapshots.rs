//! Snapshots: noted once, listed by time, counted by disk, and met by nothing that plans retention.

use crate::scene::{at, on_both, protected};
use catalog::{ErrorKind, SnapshotFilter, SnapshotRow};
use jiff::Timestamp;
use model::{MachineId, PointId, VaultId};
use serde_json::json;
use uuid::Uuid;

fn snapshot(vault: VaultId, machine: MachineId, taken: Timestamp) -> SnapshotRow {
    SnapshotRow {
        id: PointId(Uuid::now_v7()),
        vault,
        machine,
        name: "before the upgrade".to_owned(),
        taken,
        purge_at: None,
        measured: None,
        document: json!({ "stored_bytes": 5 }),
        revision: 1,
    }
}

fn disks(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

on_both! {
    snapshots_are_noted_once_listed_and_counted(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let (vault, machine) = (item.vault, item.machine);
        let rows: Vec<_> = (1..=5).map(|second| snapshot(vault, machine, at(second))).collect();
        for row in &rows {
            catalog.add_snapshot(row, &disks(&["vda", "vdb"])).await?;
            catalog.add_snapshot(row, &disks(&["vda", "vdb"])).await?;
        }
        let other = SnapshotRow { name: "other".to_owned(), ..snapshot(vault, MachineId(Uuid::now_v7()), at(9)) };
        catalog.add_snapshot(&other, &disks(&["vda"])).await?;
        let by_disk = catalog.snapshots_by_disk(vault, machine).await?;
        assert_eq!(by_disk.into_iter().collect::<Vec<_>>(), [("vda".to_owned(), 5), ("vdb".to_owned(), 5)]);
        let mut machines = [machine, other.machine];
        machines.sort_by_key(ToString::to_string);
        assert_eq!(catalog.machines_with_snapshots(vault).await?, machines);
        let of = SnapshotFilter { machine: Some(machine), name: Some("*UPGRADE".to_owned()) };
        let first = catalog.snapshots(vault, &of, None, 3).await?;
        let second = catalog.snapshots(vault, &of, first.next.as_ref(), 3).await?;
        let seen: Vec<_> = first.rows.into_iter().chain(second.rows).collect();
        assert_eq!(seen, rows.into_iter().rev().collect::<Vec<_>>());
        assert_eq!(catalog.snapshots(vault, &SnapshotFilter::default(), None, 10).await?.rows.len(), 6);
        assert_eq!(catalog.snapshots_in(vault).await?, 6);
        assert!(catalog.points(item.id, None, 10).await?.rows.is_empty(), "none is the item's");
        Ok(())
    }

    a_snapshot_is_deleted_brought_back_and_forgotten(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let mut row = snapshot(item.vault, item.machine, at(1));
        catalog.add_snapshot(&row, &disks(&["vda"])).await?;
        row.revision = catalog.mark_snapshot(&row, Some(at(100))).await?;
        let stale = SnapshotRow { revision: 1, ..row.clone() };
        let refused = catalog.mark_snapshot(&stale, None).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Changed);
        assert!(catalog.snapshots_to_purge(item.vault, at(99)).await?.is_empty());
        assert_eq!(catalog.snapshots_to_purge(item.vault, at(100)).await?, [row.id]);
        assert!(catalog.points_to_purge(item.vault, at(100)).await?.is_empty());
        catalog.mark_snapshot(&row, None).await?;
        assert!(catalog.snapshots_to_purge(item.vault, at(100)).await?.is_empty());
        catalog.remove_snapshot(row.id).await?;
        assert_eq!(catalog.snapshot(row.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(catalog.snapshots_by_disk(item.vault, item.machine).await?.is_empty());
        Ok(())
    }

    those_measured_longest_ago_come_first(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let rows: Vec<_> = (1..=3).map(|second| snapshot(item.vault, item.machine, at(second))).collect();
        for row in &rows {
            catalog.add_snapshot(row, &disks(&["vda"])).await?;
        }
        let said = json!({ "used": 7 });
        catalog.measure_snapshots(&[(rows[0].id, said.clone()), (PointId(Uuid::now_v7()), json!({}))], at(50)).await?;
        let found = catalog.snapshot(rows[0].id).await?;
        assert_eq!((found.measured, found.document), (Some(at(50)), said));
        assert_eq!(catalog.snapshots_to_measure(item.vault, 2).await?, [rows[1].id, rows[2].id]);
        Ok(())
    }
}
