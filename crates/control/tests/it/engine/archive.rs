//! The archive: what moves month after month, that nothing is lost at whatever moment somebody dies, and how it comes
//! back and expires.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, on_both, tick};
use api::work::{Order, Work};
use api::{ArchiveStore, Pin, Rehydrate, Restore, RestoreFormat, VaultChange, VaultSettings};
use control::{Actor, Paging, PointPlace};
use model::job::{Failure, JobKind};
use model::policy::{ArchiveAfter, DaysOfMonth, Monthly, Schedule, WeekOfMonth, Weekday, Weekly};
use model::{ArchiveCopy, Near, Point, PointId, Policy};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A machine that is backed up on Sundays, in a vault with an archive, and a mover.
struct Months {
    scene: Scene,
    item: catalog::Item,
    mover: FakeMover,
    me: Actor,
}

fn archived() -> VaultSettings {
    VaultSettings { archive: Some(ArchiveStore::at("/vaults/archive")), ..VaultSettings::default() }
}

fn ids(of: &[PointId]) -> BTreeSet<Uuid> {
    of.iter().map(|point| point.0).collect()
}

impl Months {
    async fn new(catalog: catalog::Catalog) -> anyhow::Result<Self> {
        let mut document = Policy::standard("UTC", "02:00");
        let weekdays = vec![Weekday::Sunday];
        document.schedule = Schedule::Weekly { weekdays: weekdays.clone(), time: "02:00".to_owned() };
        document.snapshot_days = 5;
        document.vault.daily = None;
        document.vault.weekly = Some(Weekly { weekdays: weekdays.clone(), keep_weeks: 4 });
        let on = DaysOfMonth::Weekly { weekdays, weeks: vec![WeekOfMonth::First] };
        document.vault.monthly = Some(Monthly { on, keep_months: 12 });
        document.vault.archive = Some(ArchiveAfter { after_months: 3 });
        // A Saturday.
        let scene = Scene::with(catalog, document, at("2026-01-03T12:00:00Z"), archived()).await?;
        let item = scene.protect(scene.host("server").await?, "db").await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        Ok(Self { scene, item, mover, me: Actor("alice".to_owned()) })
    }

    /// Lets weeks go by, each with its backup and whatever follows.
    async fn weeks(&self, count: u32) -> anyhow::Result<()> {
        for _ in 0..count {
            self.days(1).await?;
            self.days(6).await?;
        }
        Ok(())
    }

    /// So many days later, all is done that there is to do.
    async fn days(&self, count: i64) -> anyhow::Result<()> {
        self.scene.go_to(self.scene.hand.now() + hours(24 * count)).await?;
        self.work().await
    }

    async fn work(&self) -> anyhow::Result<()> {
        for _ in 0..3 {
            self.mover.work(&self.scene.control).await?;
            tick(&self.scene.control).await?;
        }
        Ok(())
    }

    /// Weeks go by up to the day on which the first points move: then its order is claimed.
    async fn first_move(&self) -> anyhow::Result<Order> {
        self.weeks(12).await?;
        for _ in 0..14 {
            self.scene.go_to(self.scene.hand.now() + hours(24)).await?;
            if let Some(order) = self.claim().await? {
                return Ok(order);
            }
        }
        panic!("nothing moves")
    }

    /// Works until there is something to archive, and claims that; none: there is nothing.
    async fn claim(&self) -> anyhow::Result<Option<Order>> {
        while let Some(order) = self.mover.claim(&self.scene.control).await? {
            if matches!(order.work, Work::Archive(_)) {
                return Ok(Some(order));
            }
            self.mover.carry_out(&self.scene.control, &order).await?;
        }
        Ok(None)
    }

    async fn points(&self) -> anyhow::Result<Vec<Point>> {
        let kept = self.scene.catalog.points_to_plan(self.item.id).await?;
        Ok(kept.into_iter().map(|one| one.point).collect())
    }

    async fn point(&self, id: PointId) -> anyhow::Result<Point> {
        Ok(self.scene.catalog.point(id).await?.point)
    }

    async fn in_archive(&self) -> anyhow::Result<BTreeSet<Uuid>> {
        Ok(self.points().await?.iter().filter(|one| one.archive.is_there()).map(|one| one.id.0).collect())
    }

    fn place(&self, point: PointId) -> PointPlace {
        PointPlace { vault: self.scene.vault, item: self.item.id, point }
    }

    async fn restore(&self, point: PointId) -> control::Result<model::JobId> {
        let wish = Restore {
            folder: "/r".to_owned(),
            disks: Vec::new(),
            format: RestoreFormat::Raw,
            mover: None,
            machine: None,
            from_copy: false,
        };
        self.scene.control.restore(&self.me, self.place(point), wish).await
    }

    async fn alerts(&self, category: &str) -> anyhow::Result<usize> {
        let alerts = self.scene.catalog.alerts(true, None, 9).await?.rows;
        Ok(alerts.iter().filter(|alert| alert.category == category).count())
    }

    /// Every point that the catalog calls live can be had from the fake vault tier or its archive.
    async fn nothing_is_lost(&self) -> anyhow::Result<()> {
        let points = self.points().await?;
        let contents = self.mover.vault.0.lock().unwrap();
        for point in points.iter().filter(|point| !point.is_deleted()) {
            let id = point.id.0;
            let near = contents.points.contains_key(&id) && !contents.deleted.contains(&id);
            let far = contents.archived.contains(&id) && !contents.archived_deleted.contains(&id);
            assert!(near || far, "{point:?} is nowhere");
            assert!(near || !point.is_near(self.scene.hand.now()), "{point:?} is not where it is said to be");
        }
        Ok(())
    }

    async fn change_policy(&self, after_months: Option<u16>) -> anyhow::Result<()> {
        let mut row = self.scene.catalog.policy(self.scene.policy.id).await?;
        row.document.vault.archive = after_months.map(|after_months| ArchiveAfter { after_months });
        self.scene.catalog.update_policy(&row).await?;
        tick(&self.scene.control).await
    }

    /// Does all of an archiving order.
    async fn finish(&self, order: &Order) -> anyhow::Result<()> {
        self.mover.carry_out(&self.scene.control, order).await?;
        self.work().await
    }
}

fn moves(order: &Order) -> (Vec<PointId>, Vec<PointId>) {
    let Work::Archive(work) = &order.work else { panic!("{order:?}") };
    (work.moves.clone(), work.drops.clone())
}

on_both! {
    an_archive_that_nobody_found_when_the_vault_was_taken_in_is_not_made_anew(catalog) {
        let months = Months::new(catalog).await?;
        months.scene.catalog.note_missing_archive(months.scene.vault, true).await?;
        let order = months.first_move().await?;
        let Work::Archive(work) = &order.work else { panic!("{order:?}") };
        assert!(!work.make, "it is away, and what is in it is not known");
        Ok(())
    }

    months_points_move_come_back_for_some_days_and_expire_in_the_archive(catalog) {
        let months = Months::new(catalog).await?;
        let control = &months.scene.control;
        let order = months.first_move().await?;
        let (first, drops) = moves(&order);
        assert_eq!((first.len(), drops.len()), (1, 0), "the first Sunday of January");
        assert_eq!(order.kind, JobKind::Archive);
        let Work::Archive(work) = &order.work else { panic!("{order:?}") };
        assert_eq!((work.to.location.as_str(), work.make), ("/vaults/archive", true));
        assert_eq!(work.to.credentials.as_deref(), Some("ARCHIVE_"));
        months.finish(&order).await?;
        let january = first[0];
        months.nothing_is_lost().await?;
        let shown = control.point(months.place(january)).await?;
        assert_eq!((shown.in_vault_tier, shown.in_archive_tier, shown.held_until), (false, true, None));
        let expires = shown.expires;
        let error = months.restore(january).await.expect_err("it is in the archive alone");
        assert!(error.to_string().contains("in the archive"), "{error}");
        assert!(control.verify(&months.me, months.place(january)).await.is_err());
        let state = control.vault(months.scene.vault).await?.archived.expect("it has an archive");
        assert_eq!((state.points, state.stored_bytes), (1, 10));

        // Long enough after it was dropped, the vault tier purges it: it is asked for that alone.
        months.weeks(4).await?;
        assert!(matches!(months.point(january).await?.archive.near(), Some(Near::Gone {})));
        assert_eq!(months.in_archive().await?.len(), 2, "February's has moved");
        control.rehydrate(&months.me, months.place(january), Rehydrate { days: 3 }).await?;
        months.work().await?;
        months.nothing_is_lost().await?;
        let shown = control.point(months.place(january)).await?;
        assert!(shown.in_vault_tier && shown.in_archive_tier && shown.held_until.is_some(), "{shown:?}");
        assert_eq!(shown.expires, expires, "wherever it is");
        months.restore(january).await?;
        months.work().await?;
        months.days(2).await?;
        assert!(months.point(january).await?.is_near(months.scene.hand.now()));
        months.days(2).await?;
        assert!(matches!(months.point(january).await?.archive.near(), Some(Near::Dropped { .. })));
        months.nothing_is_lost().await?;
        months.days(3).await?;

        // A year after it was made it expires, in the archive too, and is forgotten once nobody was promised more.
        months.weeks(36).await?;
        let contents = |months: &Months| {
            let contents = months.mover.vault.0.lock().unwrap();
            (contents.archived.clone(), contents.archived_deleted.clone())
        };
        months.nothing_is_lost().await?;
        let (archived, gone) = contents(&months);
        assert!(archived.len() >= 6 && gone.contains(&january.0), "{archived:?} {gone:?}");
        months.weeks(4).await?;
        assert!(months.scene.catalog.point(january).await.is_err(), "the catalog has forgotten it");
        Ok(())
    }

    a_mover_that_dies_between_copy_and_drop_leaves_the_point_in_both_and_the_next_one_finishes(catalog) {
        let months = Months::new(catalog).await?;
        let order = months.first_move().await?;
        let (first, _) = moves(&order);
        // Nobody knows yet what of it is in the archive: the vault tier counts, and whoever deletes it asks both.
        assert_eq!(months.point(first[0]).await?.archive, ArchiveCopy::Expected);
        months.nothing_is_lost().await?;
        let Work::Archive(work) = &order.work else { panic!("{order:?}") };
        let outcome = months.mover.vault.archive(work);
        months.mover.tell_archived(&months.scene.control, &order, &outcome).await?;
        let point = months.point(first[0]).await?;
        assert!(matches!(point.archive.near(), Some(Near::Held { .. })) && !point.is_near(months.scene.hand.now()));
        months.nothing_is_lost().await?;
        // It is gone. Its lease ends, and another mover of the name goes on after the first step.
        months.scene.go_to(months.scene.hand.now() + hours(1)).await?;
        let again = months.claim().await?.expect("the same job");
        assert_eq!((again.job, again.steps_done, moves(&again)), (order.job, 1, (Vec::new(), first.clone())));
        // This one drops, and dies before it says so.
        months.mover.vault.drop_near(match &again.work { Work::Archive(work) => work, _ => panic!() }, &mut outcome.clone());
        months.nothing_is_lost().await?;
        months.scene.go_to(months.scene.hand.now() + hours(1)).await?;
        let third = months.claim().await?.expect("the same job");
        assert_eq!((third.job, moves(&third).1), (order.job, first.clone()));
        months.finish(&third).await?;
        months.nothing_is_lost().await?;
        assert!(matches!(months.point(first[0]).await?.archive.near(), Some(Near::Dropped { .. })));
        // Dropped softly: it comes back at once, until it is purged.
        months.scene.control.rehydrate(&months.me, months.place(first[0]), Rehydrate { days: 10 }).await?;
        months.work().await?;
        months.nothing_is_lost().await?;
        assert!(months.point(first[0]).await?.is_near(months.scene.hand.now()));
        Ok(())
    }

    an_archive_that_is_away_costs_nothing_and_is_told(catalog) {
        let months = Months::new(catalog).await?;
        let order = months.first_move().await?;
        let (first, _) = moves(&order);
        months.mover.fail(&months.scene.control, &order, Failure::Denied).await?;
        months.work().await?;
        assert_eq!(months.alerts("archive_failed").await?, 1);
        let point = months.point(first[0]).await?;
        assert_eq!((point.archive, point.is_near(months.scene.hand.now())), (ArchiveCopy::Expected, true));
        assert!(months.restore(first[0]).await.is_ok(), "as before");
        months.work().await?;
        // The next day's plan holds it again; and that it has come right is told.
        months.days(1).await?;
        months.days(1).await?;
        assert_eq!(months.in_archive().await?, ids(&first));
        assert_eq!(months.alerts("archive_failed").await?, 0);
        // Away when somebody wants a point back: it stays where it is, and that is told.
        months.scene.control.rehydrate(&months.me, months.place(first[0]), Rehydrate { days: 10 }).await?;
        let order = months.mover.claim(&months.scene.control).await?.expect("it comes back");
        assert!(matches!(&order.work, Work::Rehydrate(work) if work.point == first[0]));
        months.mover.fail(&months.scene.control, &order, Failure::Denied).await?;
        months.work().await?;
        assert_eq!(months.alerts("rehydrate_failed").await?, 1);
        assert!(!months.point(first[0]).await?.is_near(months.scene.hand.now()));
        months.nothing_is_lost().await
    }

    a_pin_keeps_a_point_at_hand_and_in_the_archive_from_going(catalog) {
        let months = Months::new(catalog).await?;
        months.weeks(10).await?;
        let january = months.points().await?[0].id;
        months.scene.control.pin(&months.me, months.place(january), Pin { pinned: true }).await?;
        months.weeks(8).await?;
        let february = months.in_archive().await?;
        assert!(!february.contains(&january.0) && february.len() == 1, "{february:?}");
        months.scene.control.pin(&months.me, months.place(january), Pin { pinned: false }).await?;
        months.weeks(1).await?;
        assert!(months.in_archive().await?.contains(&january.0), "it moves now");
        // Pinned in the archive it outlives its expiry there.
        months.scene.control.pin(&months.me, months.place(january), Pin { pinned: true }).await?;
        months.weeks(42).await?;
        assert!(!months.mover.vault.0.lock().unwrap().archived_deleted.contains(&january.0));
        assert!(!months.point(january).await?.is_deleted());
        months.nothing_is_lost().await?;
        months.scene.control.pin(&months.me, months.place(january), Pin { pinned: false }).await?;
        months.weeks(1).await?;
        assert!(months.mover.vault.0.lock().unwrap().archived_deleted.contains(&january.0));
        Ok(())
    }

    a_point_that_is_pinned_while_it_moves_is_dropped_by_no_later_claim_that_has_not_copied_it(catalog) {
        let months = Months::new(catalog).await?;
        let order = months.first_move().await?;
        let (first, _) = moves(&order);
        // The mover is gone before it has told of anything; somebody pins the point.
        months.scene.control.pin(&months.me, months.place(first[0]), Pin { pinned: true }).await?;
        months.scene.go_to(months.scene.hand.now() + hours(1)).await?;
        assert!(months.claim().await?.is_none(), "the plan is made again, and there is nothing to do");
        let job = months.scene.jobs().await?.into_iter().find(|job| job.id == order.job).expect("the job");
        assert_eq!(job.state, api::JobState::Completed);
        assert_eq!(months.point(first[0]).await?.archive, ArchiveCopy::Expected);
        assert!(months.restore(first[0]).await.is_ok());
        months.nothing_is_lost().await
    }

    a_policy_that_is_changed_midway_moves_no_more_and_what_was_begun_is_finished(catalog) {
        let months = Months::new(catalog).await?;
        let order = months.first_move().await?;
        let (first, _) = moves(&order);
        months.change_policy(None).await?;
        months.finish(&order).await?;
        assert_eq!(months.in_archive().await?, ids(&first));
        months.scene.control.rehydrate(&months.me, months.place(first[0]), Rehydrate { days: 2 }).await?;
        months.work().await?;
        months.weeks(9).await?;
        assert_eq!(months.in_archive().await?, ids(&first), "nothing else moves");
        let near = months.point(first[0]).await?.archive.near();
        assert!(matches!(near, Some(Near::Dropped { .. } | Near::Gone {})), "its days are over: {near:?}");
        let plan = months.scene.control.archive_plan(months.scene.vault).await?;
        assert_eq!((plan.moves, plan.drops), (0, 0));
        assert!(plan.stays.iter().any(|one| one.why.contains("moves nothing") && one.points > 3), "{plan:?}");
        months.change_policy(Some(3)).await?;
        let plan = months.scene.control.archive_plan(months.scene.vault).await?;
        assert!(plan.moves >= 1 && plan.items[0].name == "db", "{plan:?}");
        let begun = months.scene.control.archive_now(&months.me, months.scene.vault).await?;
        assert_eq!((begun.jobs.len(), begun.busy), (1, 0));
        months.work().await?;
        assert!(months.in_archive().await?.len() as u64 > plan.moves);
        months.nothing_is_lost().await
    }

    an_archived_point_that_somebody_deletes_is_deleted_there_and_comes_back_there(catalog) {
        let months = Months::new(catalog).await?;
        let order = months.first_move().await?;
        let (first, _) = moves(&order);
        months.finish(&order).await?;
        let place = months.place(first[0]);
        months.scene.control.rehydrate(&months.me, place, Rehydrate { days: 20 }).await?;
        months.work().await?;
        months.scene.control.delete_point(&months.me, place).await?;
        let deletion = months.mover.claim(&months.scene.control).await?.expect("the deletion");
        let Work::DeletePoints { points, archive: Some(archive), .. } = &deletion.work else { panic!("{deletion:?}") };
        assert_eq!((points, &archive.points, archive.store.location.as_str()), (&first, &first, "/vaults/archive"));
        months.mover.carry_out(&months.scene.control, &deletion).await?;
        months.work().await?;
        assert!(months.mover.vault.0.lock().unwrap().archived_deleted.contains(&first[0].0));
        assert!(months.scene.control.rehydrate(&months.me, place, Rehydrate { days: 1 }).await.is_err());
        months.scene.control.undelete_point(&months.me, place).await?;
        months.work().await?;
        let point = months.point(first[0]).await?;
        assert!(!point.is_deleted() && !point.is_near(months.scene.hand.now()), "the archive has it: {point:?}");
        months.nothing_is_lost().await
    }

    an_archive_that_holds_points_stays_where_it_is(catalog) {
        let months = Months::new(catalog).await?;
        let change = |to: Option<&str>| VaultChange {
            settings: Some(VaultSettings { archive: to.map(ArchiveStore::at), ..VaultSettings::default() }),
            ..VaultChange::default()
        };
        let vault = months.scene.vault;
        let wrong = months.scene.control.change_vault(&months.me, vault, change(Some("/vaults/main/"))).await;
        assert!(wrong.expect_err("the vault is there").to_string().contains("/settings/archive/location"));
        months.scene.control.change_vault(&months.me, vault, change(Some("/vaults/elsewhere"))).await?;
        months.scene.control.change_vault(&months.me, vault, change(Some("/vaults/archive"))).await?;
        let order = months.first_move().await?;
        months.finish(&order).await?;
        for to in [None, Some("/vaults/elsewhere")] {
            let refused = months.scene.control.change_vault(&months.me, vault, change(to)).await;
            assert!(refused.expect_err("a point is there").to_string().contains("archive"), "{to:?}");
        }
        let paging = Paging { after: None, limit: None };
        let points = months.scene.control.points(vault, months.item.id, &paging).await?.items;
        assert_eq!(points.iter().filter(|point| point.in_archive_tier).count(), 1);
        Ok(())
    }
}
