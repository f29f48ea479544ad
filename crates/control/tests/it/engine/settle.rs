//! Deletions and undeletions that do not end well: the catalog and the vault come to say the same.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, minutes, on_both, tick};
use api::work::{Order, ReportEvent, Work};
use api::{Pin, Stop, StopHow};
use control::{Actor, PointPlace};
use model::job::{Failure, JobKind, Step};
use model::policy::Daily;
use model::protection::Protection;
use model::{JobId, Point, Policy};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A machine with a point of each of a few nights, and the mover that made them.
struct Nights {
    scene: Scene,
    item: catalog::Item,
    mover: FakeMover,
    me: Actor,
}

impl Nights {
    async fn new(catalog: catalog::Catalog) -> anyhow::Result<Self> {
        let from = at("2026-11-01T12:00:00Z");
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), from).await?;
        let item = scene.protect(scene.host("server").await?, "db").await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        for night in 0..5 {
            scene.go_to(from + hours(24 * night + 16)).await?;
            mover.work(&scene.control).await?;
        }
        Ok(Self { scene, item, mover, me: Actor("alice".to_owned()) })
    }

    /// The points, the oldest first.
    async fn points(&self) -> anyhow::Result<Vec<Point>> {
        let kept = self.scene.catalog.points_to_plan(self.item.id).await?;
        Ok(kept.into_iter().map(|one| one.point).collect())
    }

    async fn oldest(&self) -> anyhow::Result<PointPlace> {
        let point = self.points().await?[0].id;
        Ok(PointPlace { vault: self.scene.vault, item: self.item.id, point })
    }

    /// What is deleted: by the catalog, and by the vault.
    async fn deleted(&self) -> anyhow::Result<[BTreeSet<Uuid>; 2]> {
        let gone = self.points().await?.into_iter().filter(Point::is_deleted).map(|point| point.id.0);
        Ok([gone.collect(), self.mover.vault.0.lock().unwrap().deleted.clone()])
    }

    async fn agree(&self, deleted: usize) -> anyhow::Result<()> {
        let [here, there] = self.deleted().await?;
        assert_eq!(here, there);
        assert_eq!(here.len(), deleted);
        Ok(())
    }

    /// Claims a job, does what it says, and fails nevertheless.
    async fn do_and_fail(&self) -> anyhow::Result<JobId> {
        let order = self.mover.claim(&self.scene.control).await?.expect("an order");
        self.mover.carry_out_silently(&order);
        self.mover.fail(&self.scene.control, &order, Failure::Invalid).await?;
        Ok(order.job)
    }

    /// Works until there is something to delete, and claims that.
    async fn deletion(&self) -> anyhow::Result<Order> {
        loop {
            tick(&self.scene.control).await?;
            let order = self.mover.claim(&self.scene.control).await?.expect("an order");
            if matches!(order.work, Work::DeletePoints { .. }) {
                return Ok(order);
            }
            self.mover.carry_out(&self.scene.control, &order).await?;
        }
    }

    async fn pass(&self, time: jiff::SignedDuration) -> anyhow::Result<()> {
        self.scene.go_to(self.scene.hand.now() + time).await
    }

    async fn alerts(&self) -> anyhow::Result<Vec<String>> {
        let rows = self.scene.catalog.alerts(true, None, 9).await?.rows;
        Ok(rows.into_iter().filter(|one| one.category == "deletion_failed").map(|one| one.text).collect())
    }

    /// Keeps so many days from now on.
    async fn keep_days(&self, days: u16) -> anyhow::Result<()> {
        let mut row = self.scene.catalog.policy(self.scene.policy.id).await?;
        row.document.vault.daily = Some(Daily { keep_days: days });
        self.scene.catalog.update_policy(&row).await?;
        tick(&self.scene.control).await
    }
}

on_both! {
    an_undeletion_that_fails_leaves_the_point_deleted_as_it_was(catalog) {
        let nights = Nights::new(catalog).await?;
        let (place, control) = (nights.oldest().await?, &nights.scene.control);
        control.delete_point(&nights.me, place).await?;
        nights.mover.work(control).await?;
        nights.agree(1).await?;
        nights.pass(hours(24 * 13)).await?;
        nights.mover.work(control).await?;
        let before = nights.points().await?[0].purge_at;
        control.undelete_point(&nights.me, place).await?;
        assert_eq!(nights.points().await?[0].purge_at, None);
        nights.do_and_fail().await?;
        let after = nights.points().await?[0].purge_at;
        assert!(after > before, "whoever asked has time to ask again: {after:?} {before:?}");
        assert!(nights.alerts().await?[0].contains("bringing back points of db failed"));
        // The vault has it, because the mover failed after it was back: some time later they agree.
        nights.pass(minutes(59)).await?;
        assert!(nights.mover.work(control).await?.is_empty());
        nights.pass(minutes(2)).await?;
        nights.mover.work(control).await?;
        nights.agree(1).await?;
        assert_eq!(nights.points().await?[0].purge_at, after);
        assert!(nights.alerts().await?.is_empty());
        // Asked again meanwhile, it stays.
        control.undelete_point(&nights.me, place).await?;
        nights.mover.work(control).await?;
        nights.pass(hours(2)).await?;
        nights.mover.work(control).await?;
        nights.agree(0).await
    }

    who_asks_again_before_the_failure_is_settled_is_not_undone(catalog) {
        let nights = Nights::new(catalog).await?;
        let (place, control) = (nights.oldest().await?, &nights.scene.control);
        control.delete_point(&nights.me, place).await?;
        nights.mover.work(control).await?;
        control.undelete_point(&nights.me, place).await?;
        nights.do_and_fail().await?;
        control.undelete_point(&nights.me, place).await?;
        nights.mover.work(control).await?;
        nights.agree(0).await?;
        nights.pass(hours(3)).await?;
        nights.mover.work(control).await?;
        nights.agree(0).await
    }

    an_undeletion_that_is_cancelled_says_so_and_leaves_all_deleted(catalog) {
        let nights = Nights::new(catalog).await?;
        let (id, control) = (nights.item.id, &nights.scene.control);
        let delete = Stop { data: StopHow::Delete, keep: None, reason: None };
        control.stop(&nights.me, nights.scene.vault, id, &delete).await?;
        nights.mover.work(control).await?;
        nights.agree(5).await?;
        control.undelete(&nights.me, nights.scene.vault, id).await?;
        assert!(matches!(nights.scene.catalog.item(id).await?.protection, Protection::Stopped { .. }));
        let job = nights.scene.jobs().await?.pop().expect("the undeletion");
        assert_eq!(job.kind, JobKind::Undelete);
        control.cancel_job(&nights.me, job.id).await?;
        tick(control).await?;
        nights.agree(5).await?;
        assert!(matches!(nights.scene.catalog.item(id).await?.protection, Protection::Deleted { .. }));
        assert!(nights.alerts().await?[0].contains("was cancelled: they are deleted as before"));
        // And once more, to its end.
        control.undelete(&nights.me, nights.scene.vault, id).await?;
        nights.mover.work(control).await?;
        nights.agree(0).await
    }

    what_no_store_has_any_more_is_forgotten_and_the_rest_is_back(catalog) {
        let nights = Nights::new(catalog).await?;
        let (id, control) = (nights.item.id, &nights.scene.control);
        let delete = Stop { data: StopHow::Delete, keep: None, reason: None };
        control.stop(&nights.me, nights.scene.vault, id, &delete).await?;
        nights.mover.work(control).await?;
        control.undelete(&nights.me, nights.scene.vault, id).await?;
        let order = nights.mover.claim(control).await?.expect("the undeletion");
        let Work::UndeletePoints { points, .. } = &order.work else { panic!("{order:?}") };
        nights.mover.carry_out_silently(&order);
        let result = Some(serde_json::json!({ "points": points, "gone": [points[0]] }));
        let done = ReportEvent::StepDone { step: Step::BringPointsBack, result };
        nights.mover.say(control, &order, done).await?;
        nights.agree(0).await?;
        let left: Vec<_> = nights.points().await?.iter().map(|point| point.id).collect();
        assert_eq!(left, points[1..]);
        Ok(())
    }

    what_expired_and_was_half_deleted_comes_back_if_it_is_to_be_kept(catalog) {
        let nights = Nights::new(catalog).await?;
        let control = &nights.scene.control;
        nights.keep_days(7).await?;
        nights.pass(hours(24 * 6)).await?;
        let order = nights.deletion().await?;
        nights.mover.carry_out_silently(&order);
        assert!(!nights.deleted().await?[1].is_empty());
        // The claim lapses, and the next one finds nothing left to do.
        nights.keep_days(30).await?;
        nights.scene.hand.set(nights.scene.hand.now() + minutes(2));
        nights.mover.work(control).await?;
        nights.agree(0).await?;
        // The same with one that fails.
        nights.keep_days(7).await?;
        let order = nights.deletion().await?;
        nights.mover.carry_out_silently(&order);
        nights.keep_days(30).await?;
        nights.mover.fail(control, &order, Failure::Invalid).await?;
        nights.mover.work(control).await?;
        nights.agree(0).await
    }

    a_point_that_is_pinned_while_a_mover_deletes_it_comes_back(catalog) {
        let nights = Nights::new(catalog).await?;
        let control = &nights.scene.control;
        nights.pass(hours(24 * 6)).await?;
        nights.mover.work(control).await?;
        nights.agree(0).await?;
        nights.keep_days(7).await?;
        let order = nights.deletion().await?;
        let Work::DeletePoints { points, .. } = &order.work else { panic!("{order:?}") };
        let place = PointPlace { point: points[0], ..nights.oldest().await? };
        control.pin(&nights.me, place, Pin { pinned: true }).await?;
        nights.mover.carry_out(control, &order).await?;
        nights.mover.work(control).await?;
        nights.agree(points.len() - 1).await?;
        assert!(nights.points().await?.iter().any(|point| point.id == place.point && point.pinned));
        Ok(())
    }

    a_deletion_that_never_reached_the_vault_is_asked_for_again(catalog) {
        let nights = Nights::new(catalog).await?;
        let (place, control) = (nights.oldest().await?, &nights.scene.control);
        control.delete_point(&nights.me, place).await?;
        for _ in 0..2 {
            let order = nights.mover.claim(control).await?.expect("the deletion");
            nights.mover.fail(control, &order, Failure::Invalid).await?;
            assert_eq!(nights.deleted().await?.map(|all| all.len()), [1, 0]);
            assert_eq!(nights.alerts().await?.len(), 1);
            nights.pass(minutes(30)).await?;
            assert!(nights.mover.claim(control).await?.is_none());
            nights.pass(minutes(31)).await?;
        }
        nights.mover.work(control).await?;
        nights.agree(1).await?;
        assert!(nights.alerts().await?.is_empty());
        Ok(())
    }

    a_deletion_that_is_cancelled_deletes_nothing(catalog) {
        let nights = Nights::new(catalog).await?;
        let (place, control) = (nights.oldest().await?, &nights.scene.control);
        // Before a mover has it.
        let job = control.delete_point(&nights.me, place).await?;
        control.cancel_job(&nights.me, job).await?;
        tick(control).await?;
        assert!(nights.mover.work(control).await?.is_empty());
        nights.agree(0).await?;
        assert!(control.retry_job(&nights.me, job).await.is_err(), "whoever wants it still asks for it anew");
        // And after it has deleted all of a machine.
        let delete = Stop { data: StopHow::Delete, keep: None, reason: None };
        control.stop(&nights.me, nights.scene.vault, nights.item.id, &delete).await?;
        let order = nights.mover.claim(control).await?.expect("the deletion");
        nights.mover.carry_out_silently(&order);
        control.cancel_job(&nights.me, order.job).await?;
        nights.mover.say(control, &order, ReportEvent::Cancelled {}).await?;
        assert_eq!(order.kind.steps(), [Step::DeletePoints]);
        nights.mover.work(control).await?;
        nights.agree(0).await?;
        let protection = nights.scene.catalog.item(nights.item.id).await?.protection;
        assert!(matches!(protection, Protection::Stopped { .. }), "{protection:?}");
        Ok(())
    }
}
