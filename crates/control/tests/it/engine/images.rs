//! Images: made of machines, made into machines, never expired, copied, deleted and purged as asked, and not deleted while
//! machines are made of them.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, on_both};
use api::images::{
    CopyImage, CreateMachines, Image, ImageFacts, ImageFinding, ImageWork, KeptImage, MadeImage, MadeMachine,
    NewImage,
};
use api::work::{MadePoint, Order, ReportEvent, Work};
use api::{Code, NewNetwork, PointDisk, StopMachine};
use catalog::{Machine, VaultRow};
use control::{Actor, Asker, ImagePlace, Paging};
use model::access::{Grant, Role, Scope};
use model::job::{Failure, JobKind, Step};
use model::{HostId, MachineId, PointId, Policy, VaultId};
use serde_json::{Value, json};
use uuid::Uuid;

/// A machine, and the mover that reaches it.
struct Rack {
    scene: Scene,
    host: HostId,
    machine: MachineId,
    mover: FakeMover,
    me: Actor,
}

impl Rack {
    async fn new(catalog: catalog::Catalog) -> anyhow::Result<Self> {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-01T12:00:00Z")).await?;
        let host = scene.host("server").await?;
        let machine = Machine {
            id: MachineId(Uuid::now_v7()),
            host,
            known_as: "uuid of golden".to_owned(),
            name: "golden".to_owned(),
            tags: Default::default(),
            description: json!({ "state": "running", "disks": [], "obstacle": null, "description": {} }),
            seen: scene.hand.now(),
        };
        scene.catalog.see_machine(&machine).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        Ok(Self { scene, host, machine: machine.id, mover, me: Actor("alice".to_owned()) })
    }

    fn wish(&self, name: &str) -> NewImage {
        NewImage {
            name: name.to_owned(),
            machine: self.machine,
            stop: Some(StopMachine::ShutDown),
            generalize: true,
            specialized: false,
            exclude_from_latest: false,
        }
    }

    fn machines(&self, name: &str, count: u32) -> CreateMachines {
        CreateMachines {
            name: name.to_owned(),
            count,
            first: 1,
            host: self.host,
            folder: "/srv/web".to_owned(),
            full: false,
            start: true,
            at_once: false,
            network: NewNetwork::Keep {},
            cpus: None,
            memory_mib: None,
            user_data: None,
        }
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

    fn work(order: &Order) -> &ImageWork {
        match &order.work {
            Work::Image(work) => work,
            other => panic!("{other:?}"),
        }
    }

    /// What a mover tells of a version that it made, or copied.
    fn made(&self, (name, version): (&str, u32), kept: &KeptImage) -> Value {
        let made = MadePoint {
            point: PointId(Uuid::now_v7()),
            taken: self.scene.hand.now(),
            consistency: "crash".to_owned(),
            evidence: json!({}),
            disks: vec![PointDisk { name: "vda".to_owned(), bytes: 1 << 30, read_bytes: 7 }],
            stored_bytes: 1000,
            in_snapshot_tier: false,
            in_vault_tier: true,
        };
        let finding = ImageFinding { place: "vda:/etc/machine-id".to_owned(), what: "an id".to_owned() };
        let record = ImageFacts {
            name: name.to_owned(),
            version,
            excluded: false,
            from: "golden".to_owned(),
            findings: if version == 3 { vec![finding] } else { Vec::new() },
            systems: vec!["vda (Linux)".to_owned()],
        };
        json!({ "image": MadeImage { made, record, kept: kept.clone() } })
    }

    /// Makes the next version of `web`.
    async fn image(&self, version: u32) -> anyhow::Result<Image> {
        self.scene.control.capture_image(&self.me, self.scene.vault, self.wish("web")).await?;
        let order = self.claim().await?;
        let ImageWork::Capture { kept, .. } = Self::work(&order) else { panic!("{order:?}") };
        self.done(&order, &self.made(("web", version), kept)).await?;
        let all = self.list(self.scene.vault).await?;
        Ok(all.into_iter().find(|one| one.version == version).expect("it is there"))
    }

    async fn list(&self, vault: VaultId) -> anyhow::Result<Vec<Image>> {
        Ok(self.scene.control.images(vault, None, &Paging::default()).await?.items)
    }

    fn place(&self, image: &Image) -> ImagePlace {
        ImagePlace { vault: self.scene.vault, image: image.id }
    }

    /// Has the vault's space freed. Gives what was to be purged.
    async fn collect(&self) -> anyhow::Result<Vec<PointId>> {
        self.scene.go_to(self.scene.hand.now() + hours(24)).await?;
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
    versions_are_made_of_a_machine_and_never_expire(catalog) {
        let rack = Rack::new(catalog).await?;
        let control = &rack.scene.control;
        control.capture_image(&rack.me, rack.scene.vault, rack.wish("web")).await?;
        let again = control.capture_image(&rack.me, rack.scene.vault, rack.wish("web")).await.unwrap_err();
        assert_eq!(again.code(), Code::Conflict, "it is being made one");
        let order = rack.claim().await?;
        assert_eq!(order.kind, JobKind::CaptureImage);
        let ImageWork::Capture { wish, known_as, machine_name, kept, .. } = Rack::work(&order) else {
            panic!("{order:?}")
        };
        assert_eq!((wish.name.as_str(), known_as.as_str(), machine_name.as_str()), ("web", "uuid of golden", "golden"));
        assert!(wish.generalize && wish.stop == Some(StopMachine::ShutDown) && kept.job == Some(order.job));
        assert!(kept.promised.is_some(), "a vault alone tells what was promised");
        rack.done(&order, &rack.made(("web", 1), kept)).await?;
        let (second, third) = (rack.image(2).await?, rack.image(3).await?);
        let all = rack.list(rack.scene.vault).await?;
        let told: Vec<_> = all.iter().map(|one| (one.version, one.latest, one.generalised)).collect();
        assert_eq!(told, [(1, false, true), (2, false, true), (3, true, false)]);
        assert_eq!((third.provisioned_bytes, third.stored_bytes, third.findings.len()), (1 << 30, 1000, 1));
        assert_eq!((&*second.from, second.machines), ("golden", 0));
        for _ in 0..3 {
            rack.scene.go_to(rack.scene.hand.now() + hours(24 * 365)).await?;
            assert_eq!(rack.collect().await?, []);
        }
        assert_eq!(rack.list(rack.scene.vault).await?, all);
        Ok(())
    }

    what_cannot_be_is_refused(catalog) {
        let rack = Rack::new(catalog).await?;
        let (control, vault) = (&rack.scene.control, rack.scene.vault);
        let refused = [
            rack.wish("../web"),
            rack.wish(""),
            NewImage { specialized: true, ..rack.wish("web") },
        ];
        for wish in refused {
            let error = control.capture_image(&rack.me, vault, wish).await.unwrap_err();
            assert_eq!(error.code(), Code::Invalid, "{error}");
        }
        let image = rack.image(1).await?;
        let wish = || rack.machines("web-{}", 3);
        let refused = [
            CreateMachines { name: "web".to_owned(), ..wish() },
            CreateMachines { count: 1001, ..wish() },
            CreateMachines { name: "web_{}".to_owned(), ..wish() },
            CreateMachines { folder: "srv".to_owned(), ..wish() },
            CreateMachines { cpus: Some(0), ..wish() },
            CreateMachines { at_once: true, start: false, ..wish() },
            CreateMachines { at_once: true, full: true, ..wish() },
            CreateMachines { user_data: Some("x".repeat((64 << 10) + 1)), ..wish() },
        ];
        for wish in refused {
            let error = control.create_machines(&rack.me, rack.place(&image), wish).await.unwrap_err();
            assert_eq!(error.code(), Code::Invalid, "{error}");
        }
        let libvirts = rack.scene.host_at("server", "qemu:///system").await?;
        let of_libvirt = CreateMachines { host: libvirts, at_once: true, ..wish() };
        let error = control.create_machines(&rack.me, rack.place(&image), of_libvirt).await.unwrap_err();
        assert!(error.code() == Code::Invalid && error.to_string().contains("its are libvirt's"), "{error}");
        let nowhere = CreateMachines { host: HostId(Uuid::now_v7()), ..wish() };
        let error = control.create_machines(&rack.me, rack.place(&image), nowhere).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(rack.mover.claim(control).await?.is_none(), "nothing was queued");
        Ok(())
    }

    an_image_is_not_deleted_while_machines_are_made_of_it(catalog) {
        let rack = Rack::new(catalog).await?;
        let control = &rack.scene.control;
        let image = rack.image(1).await?;
        let place = rack.place(&image);
        control.create_machines(&rack.me, place, rack.machines("web-{}", 2)).await?;
        let refused = control.delete_image(&rack.me, place).await.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict, "{refused}");
        assert_eq!(control.image(place).await?.purge_at, None, "it is as it was");
        let order = rack.claim().await?;
        let ImageWork::Create { point, image: shown, wish, libvirt, .. } = Rack::work(&order) else {
            panic!("{order:?}")
        };
        assert_eq!((*point, shown.as_str(), wish.count, libvirt), (image.id, "web:1", 2, &None));
        let machine = |n: u32| MadeMachine {
            name: format!("web-{n}"),
            uuid: Uuid::new_v4(),
            folder: format!("/srv/web/web-{n}"),
            shares: true,
            error: None,
        };
        rack.done(&order, &json!({ "machines": [machine(1), machine(2)] })).await?;
        assert_eq!(control.image(place).await?.machines, 2);
        let told = control.image_machines(place, &Paging::default()).await?.items;
        let told: Vec<_> = told.iter().map(|one| (one.name.as_str(), one.mover.as_str(), one.job)).collect();
        assert_eq!(told, [("web-1", "server", order.job), ("web-2", "server", order.job)]);

        control.delete_image(&rack.me, place).await?;
        let refused = control.create_machines(&rack.me, place, rack.machines("web-{}", 2)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Conflict, "{refused}");
        rack.mover.work(control).await?;
        assert_eq!(control.image_machines(place, &Paging::default()).await?.items.len(), 2, "they are still known");
        Ok(())
    }

    machines_that_run_at_once_hold_their_image_and_are_had_back_by_trying_again(catalog) {
        let rack = Rack::new(catalog).await?;
        let control = &rack.scene.control;
        let image = rack.image(1).await?;
        let place = rack.place(&image);
        let wish = CreateMachines { at_once: true, ..rack.machines("web-{}", 1) };
        let first = control.create_machines(&rack.me, place, wish).await?;
        let order = rack.claim().await?;
        assert_eq!((order.job, order.kind), (first, JobKind::CreateMachinesAtOnce));
        let made = MadeMachine {
            name: "web-1".to_owned(),
            uuid: Uuid::new_v4(),
            folder: "/srv/web/web-1".to_owned(),
            shares: true,
            error: None,
        };
        let result = json!({ "machines": [made] });
        let event = ReportEvent::StepDone { step: Step::MakeMachines, result: Some(result.clone()) };
        rack.mover.say(control, &order, event).await?;
        assert_eq!(control.image(place).await?.machines, 1, "they are known while the image follows");
        assert_eq!(control.delete_image(&rack.me, place).await.unwrap_err().code(), Code::Conflict);
        // More are made meanwhile; a mover that gives the job back gets it back as it was.
        control.create_machines(&rack.me, place, rack.machines("more-{}", 1)).await?;
        let more = rack.claim().await?;
        rack.done(&more, &json!({ "machines": [] })).await?;
        rack.mover.say(control, &order, ReportEvent::Released {}).await?;
        let order = rack.claim().await?;
        assert_eq!((order.job, order.steps_done, order.result.as_ref()), (first, 1, Some(&result)));
        control.cancel_job(&rack.me, first).await?;
        rack.mover.say(control, &order, ReportEvent::Cancelled {}).await?;

        let second = control.retry_job(&rack.me, first).await?;
        let order = rack.claim().await?;
        let ImageWork::Create { same_as, .. } = Rack::work(&order) else { panic!("{order:?}") };
        assert_eq!((order.job, *same_as), (second, Some(first)), "its machines are meant");
        rack.mover.fail(control, &order, Failure::Invalid).await?;
        let third = control.retry_job(&rack.me, second).await?;
        let order = rack.claim().await?;
        let ImageWork::Create { same_as, .. } = Rack::work(&order) else { panic!("{order:?}") };
        assert_eq!((order.job, *same_as), (third, Some(first)), "still those");
        rack.done(&order, &result).await?;
        control.delete_image(&rack.me, place).await?;
        Ok(())
    }

    what_is_deleted_can_be_had_back_until_it_is_purged(catalog) {
        let rack = Rack::new(catalog).await?;
        let control = &rack.scene.control;
        let (first, second) = (rack.image(1).await?, rack.image(2).await?);
        let place = rack.place(&second);
        control.delete_image(&rack.me, place).await?;
        let order = rack.claim().await?;
        assert!(matches!(&order.work, Work::DeletePoints { points, .. } if points[..] == [second.id]));
        rack.mover.carry_out(control, &order).await?;
        let all = rack.list(rack.scene.vault).await?;
        let told: Vec<_> = all.iter().map(|one| (one.version, one.latest, one.purge_at.is_some())).collect();
        assert_eq!(told, [(1, true, false), (2, false, true)], "the one before is meant now");
        assert_eq!(control.delete_image(&rack.me, place).await.unwrap_err().code(), Code::Conflict);
        control.undelete_image(&rack.me, place).await?;
        let order = rack.claim().await?;
        assert!(matches!(&order.work, Work::UndeletePoints { points, .. } if points[..] == [second.id]));
        rack.mover.carry_out(control, &order).await?;
        assert_eq!(control.image(place).await?.purge_at, None);

        control.delete_image(&rack.me, place).await?;
        let order = rack.claim().await?;
        rack.mover.fail(control, &order, Failure::Invalid).await?;
        assert!(control.image(place).await?.purge_at.is_some(), "it is still wanted");
        rack.scene.go_to(rack.scene.hand.now() + hours(2)).await?;
        rack.mover.work(control).await?;
        assert_eq!(rack.collect().await?, [], "its days are not over");
        rack.scene.go_to(rack.scene.hand.now() + hours(24 * 15)).await?;
        assert_eq!(rack.collect().await?, [second.id]);
        assert_eq!(control.image(place).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(control.image(rack.place(&first)).await?.purge_at, None, "the other stays");
        let refused = control.remove_vault(&rack.me, rack.scene.vault).await.unwrap_err();
        assert!(refused.to_string().contains("has 1 images"), "{refused}");
        Ok(())
    }

    a_copy_stands_in_the_other_vault_and_needs_a_role_there(catalog) {
        let rack = Rack::new(catalog).await?;
        let image = rack.image(1).await?;
        let place = rack.place(&image);
        let mut other: VaultRow = rack.scene.catalog.vault(rack.scene.vault).await?;
        (other.id, other.name, other.location) =
            (VaultId(Uuid::now_v7()), "other".to_owned(), "s3://other".to_owned());
        rack.scene.catalog.add_vault(&other).await?;
        std::fs::write(rack.scene.keys().join(format!("{}.key", other.id)), "the other key")?;
        let asker = |grants| Asker { actor: rack.me.clone(), user: Uuid::nil(), is_session: true, grants };
        let of = |vault| Grant { role: Role::BackupOperator, scope: Scope::Vault { vault } };
        let (control, wish) = (&rack.scene.control, CopyImage { to: other.id });
        let refused = control.copy_image(&asker(vec![of(rack.scene.vault)]), place, wish).await.unwrap_err();
        assert_eq!(refused.code(), Code::Forbidden);
        let both = asker(vec![of(rack.scene.vault), of(other.id)]);
        control.copy_image(&both, place, wish).await?;
        let order = rack.claim().await?;
        let ImageWork::Copy { to, kept, image: shown, .. } = Rack::work(&order) else { panic!("{order:?}") };
        assert_eq!((to.id, kept.copy_of, shown.as_str()), (other.id, Some(image.id), "web:1"));
        rack.done(&order, &rack.made(("web", 1), kept)).await?;
        let there = rack.list(other.id).await?;
        assert_eq!((there.len(), there[0].version, there[0].copy_of), (1, 1, Some(image.id)));
        let again = control.copy_image(&both, place, wish).await.unwrap_err();
        assert_eq!(again.code(), Code::Conflict, "it has web:1 already");
        assert_eq!(rack.list(rack.scene.vault).await?.len(), 1, "this vault has what it had");
        Ok(())
    }
}
