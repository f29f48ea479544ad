//! Snapshots: taken of machines that nobody protects, never expired, deleted and purged as asked, and no more of a disk
//! than may be.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, on_both, tick};
use api::snapshots::{
    CopySnapshot, KeptSnapshot, MadeSnapshot, MeasuredSnapshot, NewSnapshots, Snapshot, SnapshotOf,
    SnapshotWork,
};
use api::work::{MadePoint, Order, ReportEvent, Work};
use api::{Code, PointDisk};
use catalog::{Machine, SnapshotRow, VaultRow};
use control::{Actor, Asker, Paging, SnapshotPlace, WhichSnapshots};
use model::access::{Grant, Role, Scope};
use model::job::{Failure, Step};
use model::policy::ConsistencyWish;
use model::{HostId, MachineId, PointId, Policy, SNAPSHOTS_OF_A_DISK_MAX, VaultId};
use serde_json::{Value, json};
use uuid::Uuid;

/// Machines that nobody protects, and the mover that reaches them.
struct Rack {
    scene: Scene,
    host: HostId,
    mover: FakeMover,
    me: Actor,
}

impl Rack {
    async fn new(catalog: catalog::Catalog) -> anyhow::Result<Self> {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-01T12:00:00Z")).await?;
        let host = scene.host("server").await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        Ok(Self { scene, host, mover, me: Actor("alice".to_owned()) })
    }

    async fn machine(&self, name: &str) -> anyhow::Result<MachineId> {
        let disk = |disk: &str| json!({ "name": disk, "bytes": 1 << 30, "is_os": false });
        let machine = Machine {
            id: MachineId(Uuid::now_v7()),
            host: self.host,
            known_as: format!("uuid of {name}"),
            name: name.to_owned(),
            tags: Default::default(),
            description: json!({
                "state": "running", "disks": [disk("vda"), disk("vdb")], "obstacle": null, "description": {},
            }),
            seen: self.scene.hand.now(),
        };
        self.scene.catalog.see_machine(&machine).await?;
        Ok(machine.id)
    }

    fn wish(disks: &[(MachineId, Option<&str>)]) -> NewSnapshots {
        let of = |(machine, disk): &(MachineId, Option<&str>)| SnapshotOf {
            machine: *machine,
            disk: disk.map(str::to_owned),
        };
        let consistency = ConsistencyWish::Crash;
        NewSnapshots { disks: disks.iter().map(of).collect(), name: Some("kept".to_owned()), consistency }
    }

    /// What a mover tells of what it made for an order.
    fn made(&self, order: &Order) -> Value {
        let made = |kept: &KeptSnapshot, name: &str, disks: &[String]| {
            let disk = |name: &String| PointDisk { name: name.clone(), bytes: 1 << 30, read_bytes: 7 };
            let made = MadePoint {
                point: PointId(Uuid::now_v7()),
                taken: self.scene.hand.now(),
                consistency: "crash".to_owned(),
                evidence: json!({}),
                disks: disks.iter().map(disk).collect(),
                stored_bytes: 1000,
                in_snapshot_tier: false,
                in_vault_tier: true,
            };
            MadeSnapshot { made, kept: kept.clone(), machine_name: name.to_owned() }
        };
        let Work::Snapshot(work) = &order.work else { panic!("{order:?}") };
        let all: Vec<MadeSnapshot> = match &**work {
            SnapshotWork::Take { members, .. } => {
                members.iter().map(|one| made(&one.kept, &one.name, &one.disks)).collect()
            }
            SnapshotWork::Copy { kept, .. } => vec![made(kept, "web", &["vda".to_owned()])],
            other => panic!("{other:?}"),
        };
        json!({ "snapshots": all })
    }

    async fn claim(&self) -> anyhow::Result<Order> {
        Ok(self.mover.claim(&self.scene.control).await?.expect("an order"))
    }

    async fn done(&self, order: &Order, result: &Value) -> anyhow::Result<()> {
        for step in &order.kind.steps()[order.steps_done..] {
            let event = ReportEvent::StepDone { step: *step, result: Some(result.clone()) };
            self.mover.say(&self.scene.control, order, event).await?;
        }
        Ok(())
    }

    /// Takes a snapshot of each.
    async fn take(&self, disks: &[(MachineId, Option<&str>)]) -> anyhow::Result<Vec<Snapshot>> {
        let before = self.list(self.scene.vault).await?.len();
        self.scene.control.take_snapshots(&self.me, self.scene.vault, Self::wish(disks)).await?;
        let order = self.claim().await?;
        self.done(&order, &self.made(&order)).await?;
        let mut all = self.list(self.scene.vault).await?;
        all.truncate(all.len() - before);
        Ok(all)
    }

    async fn list(&self, vault: VaultId) -> anyhow::Result<Vec<Snapshot>> {
        let paging = Paging { after: None, limit: Some(1000) };
        Ok(self.scene.control.snapshots(vault, &WhichSnapshots::default(), &paging).await?.items)
    }

    fn place(&self, snapshot: PointId) -> SnapshotPlace {
        SnapshotPlace { vault: self.scene.vault, snapshot }
    }

    async fn pass(&self, hours_: i64) -> anyhow::Result<()> {
        self.scene.go_to(self.scene.hand.now() + hours(hours_)).await
    }

    /// Has the vault's space freed. Gives what was to be purged.
    async fn collect(&self) -> anyhow::Result<Vec<PointId>> {
        self.pass(24).await?;
        let mut purged = Vec::new();
        while let Some(order) = self.mover.claim(&self.scene.control).await? {
            if let Work::Collect { purge, .. } = &order.work {
                purged.extend(purge.clone());
            }
            self.mover.carry_out(&self.scene.control, &order).await?;
        }
        Ok(purged)
    }
}

on_both! {
    a_set_is_taken_of_machines_that_nobody_protects_and_never_expires(catalog) {
        let rack = Rack::new(catalog).await?;
        let (web, db) = (rack.machine("web").await?, rack.machine("db").await?);
        let wish = Rack::wish(&[(web, Some("vda")), (db, None), (web, Some("vdb"))]);
        rack.scene.control.take_snapshots(&rack.me, rack.scene.vault, wish).await?;
        let order = rack.claim().await?;
        let Work::Snapshot(work) = &order.work else { panic!("{order:?}") };
        let SnapshotWork::Take { members, consistency } = &**work else { panic!("{work:?}") };
        assert_eq!(*consistency, ConsistencyWish::Crash);
        let told: Vec<_> = members.iter().map(|one| (one.machine, one.disks.join(" "))).collect();
        assert_eq!(told, [(web, "vda vdb".to_owned()), (db, String::new())], "a machine each");
        assert!(members[0].kept.set.is_some() && members[0].kept.set == members[1].kept.set, "one set");
        rack.done(&order, &rack.made(&order)).await?;
        let all = rack.list(rack.scene.vault).await?;
        let of_web = all.iter().find(|one| one.machine == web).expect("it is there");
        assert_eq!((all.len(), &*of_web.name, &*of_web.machine_name), (2, "kept", "web"));
        assert_eq!((of_web.provisioned_bytes, of_web.stored_bytes, of_web.used), (2 << 30, 1000, None));
        // Ten years of daily collections and plans.
        for _ in 0..10 {
            rack.pass(24 * 365).await?;
            assert_eq!(rack.collect().await?, []);
        }
        assert_eq!(rack.list(rack.scene.vault).await?, all);
        Ok(())
    }

    a_disk_has_as_many_as_may_be_and_no_more(catalog) {
        let rack = Rack::new(catalog).await?;
        let web = rack.machine("web").await?;
        for _ in 0..SNAPSHOTS_OF_A_DISK_MAX {
            let row = SnapshotRow {
                id: PointId(Uuid::now_v7()),
                vault: rack.scene.vault,
                machine: web,
                name: String::new(),
                taken: rack.scene.hand.now(),
                purge_at: None,
                measured: None,
                document: json!({}),
                revision: 1,
            };
            rack.scene.catalog.add_snapshot(&row, &["vda".to_owned()]).await?;
        }
        for disks in [&[(web, Some("vda"))][..], &[(web, None)]] {
            let wish = Rack::wish(disks);
            let refused = rack.scene.control.take_snapshots(&rack.me, rack.scene.vault, wish).await.unwrap_err();
            assert_eq!(refused.code(), Code::Conflict);
            assert!(refused.to_string().contains("web/vda has 500 snapshots"), "{refused}");
        }
        assert_eq!(rack.take(&[(web, Some("vdb"))]).await?.len(), 1, "another disk has room");
        let wish = Rack::wish(&[(web, Some("vdz"))]);
        let refused = rack.scene.control.take_snapshots(&rack.me, rack.scene.vault, wish).await.unwrap_err();
        assert!(refused.to_string().contains("web has no disk vdz; it has vda, vdb"), "{refused}");
        Ok(())
    }

    what_is_deleted_can_be_had_back_until_it_is_purged(catalog) {
        let rack = Rack::new(catalog).await?;
        let web = rack.machine("web").await?;
        let (first, second) = (rack.take(&[(web, None)]).await?, rack.take(&[(web, None)]).await?);
        let (first, second) = (rack.place(first[0].id), rack.place(second[0].id));
        let control = &rack.scene.control;
        control.delete_snapshot(&rack.me, first).await?;
        let order = rack.claim().await?;
        let Work::DeletePoints { points, snapshots, .. } = &order.work else { panic!("{order:?}") };
        assert_eq!((&points[..], &snapshots[..]), (&[first.snapshot][..], &[][..]));
        rack.mover.carry_out(control, &order).await?;
        assert!(control.snapshot(first).await?.purge_at.is_some());
        assert_eq!(control.delete_snapshot(&rack.me, first).await.unwrap_err().code(), Code::Conflict);
        control.undelete_snapshot(&rack.me, first).await?;
        let order = rack.claim().await?;
        assert!(matches!(&order.work, Work::UndeletePoints { points, .. } if points[..] == [first.snapshot]));
        rack.mover.carry_out(control, &order).await?;
        assert_eq!(control.snapshot(first).await?.purge_at, None);

        control.delete_snapshot(&rack.me, first).await?;
        rack.mover.work(control).await?;
        assert_eq!(rack.collect().await?, [], "its days are not over");
        rack.pass(24 * 15).await?;
        assert_eq!(rack.collect().await?, [first.snapshot]);
        assert_eq!(control.snapshot(first).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(control.snapshot(second).await?.purge_at, None, "the other stays");
        Ok(())
    }

    a_deletion_that_fails_is_asked_for_again_and_one_that_is_cancelled_undone(catalog) {
        let rack = Rack::new(catalog).await?;
        let web = rack.machine("web").await?;
        let place = rack.place(rack.take(&[(web, None)]).await?[0].id);
        let control = &rack.scene.control;
        control.delete_snapshot(&rack.me, place).await?;
        let order = rack.claim().await?;
        rack.mover.fail(control, &order, Failure::Invalid).await?;
        assert!(control.snapshot(place).await?.purge_at.is_some(), "it is still wanted");
        rack.pass(2).await?;
        let order = rack.claim().await?;
        assert!(matches!(&order.work, Work::DeletePoints { points, .. } if points[..] == [place.snapshot]));
        control.cancel_job(&rack.me, order.job).await?;
        rack.mover.carry_out_silently(&order);
        rack.mover.say(control, &order, ReportEvent::Cancelled {}).await?;
        assert_eq!(control.snapshot(place).await?.purge_at, None);
        let order = rack.claim().await?;
        assert!(matches!(&order.work, Work::UndeletePoints { points, .. } if points[..] == [place.snapshot]));
        rack.mover.carry_out(control, &order).await?;
        assert!(rack.mover.vault.0.lock().unwrap().deleted.is_empty(), "the vault says the same");
        Ok(())
    }

    a_copy_stands_in_the_other_vault_and_needs_a_role_there(catalog) {
        let rack = Rack::new(catalog).await?;
        let web = rack.machine("web").await?;
        let place = rack.place(rack.take(&[(web, Some("vda"))]).await?[0].id);
        let mut other: VaultRow = rack.scene.catalog.vault(rack.scene.vault).await?;
        (other.id, other.name, other.location) =
            (VaultId(Uuid::now_v7()), "other".to_owned(), "s3://other".to_owned());
        rack.scene.catalog.add_vault(&other).await?;
        let asker = |grants| Asker { actor: rack.me.clone(), user: Uuid::nil(), is_session: true, grants };
        let of = |vault| Grant { role: Role::BackupOperator, scope: Scope::Vault { vault } };
        let wish = CopySnapshot { to: other.id };
        let control = &rack.scene.control;
        let refused = control.copy_snapshot(&asker(vec![of(rack.scene.vault)]), place, wish).await.unwrap_err();
        assert_eq!(refused.code(), Code::Forbidden);
        let both = asker(vec![of(rack.scene.vault), of(other.id)]);
        let itself = CopySnapshot { to: rack.scene.vault };
        assert_eq!(control.copy_snapshot(&both, place, itself).await.unwrap_err().code(), Code::Invalid);
        // Its key lies beside the others'.
        let keys = rack.scene.keys();
        std::fs::write(keys.join(format!("{}.key", other.id)), "the other key")?;
        control.copy_snapshot(&both, place, wish).await?;
        let order = rack.claim().await?;
        let Work::Snapshot(work) = &order.work else { panic!("{order:?}") };
        let SnapshotWork::Copy { to, kept, .. } = &**work else { panic!("{work:?}") };
        assert_eq!((to.id, &*to.key, kept.copy_of), (other.id, "the other key", Some(place.snapshot)));
        rack.done(&order, &rack.made(&order)).await?;
        let there = rack.list(other.id).await?;
        assert_eq!((there.len(), there[0].copy_of, there[0].machine), (1, Some(place.snapshot), web));
        assert_eq!(rack.list(rack.scene.vault).await?.len(), 1, "this vault has what it had");
        Ok(())
    }

    what_snapshots_take_up_is_measured_every_day(catalog) {
        let rack = Rack::new(catalog).await?;
        let web = rack.machine("web").await?;
        let control = &rack.scene.control;
        rack.collect().await?;
        control.tick_snapshots(rack.scene.hand.now()).await?;
        assert!(rack.mover.claim(control).await?.is_none(), "there is nothing to measure");
        let place = rack.place(rack.take(&[(web, None)]).await?[0].id);
        control.tick_snapshots(rack.scene.hand.now()).await?;
        control.tick_snapshots(rack.scene.hand.now()).await?;
        let order = rack.claim().await?;
        let Work::Snapshot(work) = &order.work else { panic!("{order:?}") };
        assert_eq!(**work, SnapshotWork::Measure { points: vec![place.snapshot] });
        let told = MeasuredSnapshot { point: place.snapshot, unique_bytes: 5, shared_bytes: 9 };
        let gone = MeasuredSnapshot { point: PointId(Uuid::now_v7()), ..told };
        rack.done(&order, &json!({ "measured": [told, gone] })).await?;
        let used = control.snapshot(place).await?.used.expect("it was measured");
        assert_eq!((used.unique_bytes, used.shared_bytes), (5, 9));
        assert!(rack.mover.claim(control).await?.is_none(), "once a day");
        Ok(())
    }

    a_snapshot_that_a_dead_attempt_left_is_taken_in(catalog) {
        let rack = Rack::new(catalog).await?;
        let (web, db) = (rack.machine("web").await?, rack.machine("db").await?);
        let wish = Rack::wish(&[(web, None), (db, None)]);
        rack.scene.control.take_snapshots(&rack.me, rack.scene.vault, wish).await?;
        let order = rack.claim().await?;
        let mut half = rack.made(&order);
        half["snapshots"].as_array_mut().expect("a list").truncate(1);
        let event = ReportEvent::StepDone { step: Step::TakeSnapshot, result: Some(half) };
        rack.mover.say(&rack.scene.control, &order, event).await?;
        rack.mover.fail(&rack.scene.control, &order, Failure::Invalid).await?;
        tick(&rack.scene.control).await?;
        assert_eq!(rack.list(rack.scene.vault).await?.len(), 1, "nothing lies in the vault that nobody knows of");
        Ok(())
    }
}
