//! Orders and reports: one claim counts, whoever else believes to have one.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, minutes, on_both};
use api::work::{Instruction, ReportEvent, Work};
use api::{JobState, StepState};
use control::{Actor, Control};
use model::Policy;
use model::job::{Failure, LAPSES_MAX, Step};
use model::protection::{Keep, Protection};

/// A machine whose backup is due now.
async fn due(scene: &Scene) -> anyhow::Result<catalog::Item> {
    let db = scene.protect(scene.host("server").await?, "db").await?;
    scene.go_to(scene.start(&db, "2026-11-21T02:00:00Z")).await?;
    Ok(db)
}

async fn scene(catalog: catalog::Catalog) -> anyhow::Result<Scene> {
    Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await
}

fn later(scene: &Scene, count: i64) {
    scene.hand.set(scene.hand.now() + minutes(count));
}

async fn open_alerts(control: &Control) -> anyhow::Result<Vec<(String, String)>> {
    let rows = control.catalog().alerts(true, None, 9).await?.rows;
    Ok(rows.into_iter().map(|alert| (alert.category, alert.text)).collect())
}

on_both! {
    an_order_says_all_that_a_mover_needs(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        assert!(FakeMover::new("elsewhere", &mover.vault).claim(&scene.control).await?.is_none(), "not its host");
        let order = mover.claim(&scene.control).await?.expect("it is due");
        let Work::BackUp(work) = &order.work else { panic!("{order:?}") };
        assert_eq!((work.item, &*work.known_as, &*work.host.address), (db.id, "uuid of db", "local"));
        assert_eq!((work.transfer, work.service.job, work.service.version), (true, order.job, 1));
        assert_eq!((&*order.vault.location, &*order.vault.key), ("/vaults/main", "the key"));
        assert!(order.fenced.is_empty() && order.steps_done == 0);
        assert!(mover.claim(&scene.control).await?.is_none(), "it is claimed");
        Ok(())
    }

    who_comes_back_late_changes_nothing(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let (slow, quick) = {
            let vault = FakeVault::default();
            (FakeMover::new("server", &vault), FakeMover::new("server", &vault))
        };
        let first = slow.claim(&scene.control).await?.expect("it is due");
        later(&scene, 2);
        let second = quick.claim(&scene.control).await?.expect("the lease has lapsed");
        assert_eq!((second.job, &*second.fenced), (first.job, &[first.session][..]));
        quick.fence(&second);
        assert!(slow.make(&first, scene.hand.now()).is_none(), "the vault's log refuses it");
        for event in [
            ReportEvent::GoesOn {},
            ReportEvent::StepDone { step: Step::TakeSnapshot, result: None },
            ReportEvent::failed(Failure::Corrupt, "nonsense"),
            ReportEvent::Released {},
            ReportEvent::Cancelled {},
        ] {
            assert_eq!(slow.say(&scene.control, &first, event).await?, Instruction::Lost {});
        }
        assert!(matches!(quick.say(&scene.control, &second, ReportEvent::GoesOn {}).await?, Instruction::GoOn { .. }));
        quick.carry_out(&scene.control, &second).await?;
        assert_eq!(scene.catalog.points(db.id, None, 9).await?.rows.len(), 1);
        assert_eq!(scene.jobs().await?[0].state, JobState::Completed);
        Ok(())
    }

    who_committed_and_died_has_not_made_it_happen_twice(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let vault = FakeVault::default();
        let (dies, next) = (FakeMover::new("server", &vault), FakeMover::new("server", &vault));
        let first = dies.claim(&scene.control).await?.expect("it is due");
        let made = dies.make(&first, scene.hand.now()).expect("nobody fenced it off");
        later(&scene, 2);
        next.work(&scene.control).await?;
        let rows = scene.catalog.points(db.id, None, 9).await?.rows;
        assert_eq!(rows.iter().map(|row| row.point.id).collect::<Vec<_>>(), [made.point]);
        assert_eq!(vault.0.lock().unwrap().points.len(), 1);
        Ok(())
    }

    an_answer_that_was_lost_is_given_again(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let order = mover.claim(&scene.control).await?.expect("it is due");
        let made = mover.make(&order, scene.hand.now()).expect("nobody fenced it off");
        let step = |step, result| ReportEvent::StepDone { step, result };
        for _ in 0..2 {
            let answer = mover.say(&scene.control, &order, step(Step::TakeSnapshot, None)).await?;
            assert!(matches!(answer, Instruction::GoOn { .. }), "{answer:?}");
        }
        let wrong = mover.say(&scene.control, &order, step(Step::WriteDisks, None)).await;
        assert!(wrong.is_err(), "a backup has no such step");
        for _ in 0..2 {
            let result = Some(serde_json::to_value(&made)?);
            assert_eq!(mover.say(&scene.control, &order, step(Step::TransferToVault, result)).await?, Instruction::Over {});
        }
        assert_eq!(scene.catalog.points(db.id, None, 9).await?.rows.len(), 1);
        Ok(())
    }

    a_server_that_died_after_it_stored_a_report_has_lost_nothing(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let order = mover.claim(&scene.control).await?.expect("it is due");
        let made = mover.make(&order, scene.hand.now()).expect("nobody fenced it off");
        // As `report` stores it, and nothing of what follows.
        let claim = model::job::Claim { claimant: mover.claimant, generation: order.generation };
        for (step, result) in [(Step::TakeSnapshot, None), (Step::TransferToVault, Some(serde_json::to_value(&made)?))] {
            let told = catalog::Told { result, ..catalog::Told::default() };
            let event = model::job::Event::StepDone(claim, step);
            scene.catalog.change_job(order.job, event, told, scene.hand.now()).await??;
        }
        assert!(scene.catalog.points(db.id, None, 9).await?.rows.is_empty());
        scene.control.tick_follow().await?;
        scene.control.tick_follow().await?;
        assert_eq!(scene.catalog.points(db.id, None, 9).await?.rows.len(), 1);
        assert_eq!(scene.catalog.item(db.id).await?.protection, Protection::Protected { policy: scene.policy.id });
        Ok(())
    }

    a_failed_backup_is_tried_again_then_told_once_and_resolved_by_the_next(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let order = mover.claim(&scene.control).await?.expect("it is due");
        mover.fail(&scene.control, &order, Failure::Busy).await?;
        assert!(mover.claim(&scene.control).await?.is_none(), "not at once");
        assert!(open_alerts(&scene.control).await?.is_empty());
        later(&scene, 2);
        let order = mover.claim(&scene.control).await?.expect("a minute later");
        mover.fail(&scene.control, &order, Failure::Denied).await?;
        let job = &scene.jobs().await?[0];
        assert_eq!((job.state, job.attempts, job.steps[0].state), (JobState::Failed, 2, StepState::Failed));
        assert_eq!(job.error.as_ref().map(|error| &*error.text), Some("as the script says"));
        let text = "the backup of db failed: as the script says".to_owned();
        assert_eq!(open_alerts(&scene.control).await?, [("backup_failed".to_owned(), text)]);
        let again = scene.control.retry_job(&Actor("ann".into()), order.job).await?;
        assert!(scene.control.retry_job(&Actor("ann".into()), again).await.is_err(), "it has not failed");
        mover.work(&scene.control).await?;
        assert!(open_alerts(&scene.control).await?.is_empty());
        assert_eq!(scene.catalog.item(db.id).await?.protection, Protection::Protected { policy: scene.policy.id });
        let audit = scene.catalog.audit(0, 9).await?;
        assert_eq!(audit.iter().map(|entry| &*entry.action).collect::<Vec<_>>(), ["job.retry"]);
        Ok(())
    }

    what_kills_its_movers_fails_in_the_end_and_is_told(catalog) {
        let scene = scene(catalog).await?;
        due(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        for _ in 0..=LAPSES_MAX {
            assert!(mover.claim(&scene.control).await?.is_some());
            later(&scene, 2);
        }
        assert!(mover.claim(&scene.control).await?.is_none());
        assert_eq!(scene.jobs().await?[0].state, JobState::Failed);
        let told = open_alerts(&scene.control).await?;
        assert!(told[0].1.contains("went away again and again"), "{told:?}");
        Ok(())
    }

    what_is_cancelled_ends_when_its_mover_says_so(catalog) {
        let scene = scene(catalog).await?;
        due(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let order = mover.claim(&scene.control).await?.expect("it is due");
        let job = scene.control.cancel_job(&Actor("ann".into()), order.job).await?;
        assert_eq!(job.state, JobState::Cancelling);
        assert_eq!(mover.say(&scene.control, &order, ReportEvent::GoesOn {}).await?, Instruction::Cancel {});
        assert_eq!(mover.say(&scene.control, &order, ReportEvent::Cancelled {}).await?, Instruction::Over {});
        assert_eq!(scene.jobs().await?[0].state, JobState::Cancelled);
        assert!(open_alerts(&scene.control).await?.is_empty(), "somebody wanted it so");
        assert!(scene.control.cancel_job(&Actor("ann".into()), order.job).await.is_err());
        Ok(())
    }

    a_backup_of_what_was_stopped_meanwhile_is_not_made(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let mut item = scene.catalog.item(db.id).await?;
        item.protection = Protection::Stopped { keep: Keep::Forever {} };
        scene.catalog.update_item(&item).await?;
        assert!(FakeMover::new("server", &FakeVault::default()).claim(&scene.control).await?.is_none());
        let job = &scene.jobs().await?[0];
        assert_eq!(job.state, JobState::Cancelled);
        assert!(job.error.as_ref().is_some_and(|error| error.text.contains("has ended")), "{job:?}");
        Ok(())
    }

    a_clock_that_is_wrong_makes_no_point_newer(catalog) {
        let scene = scene(catalog).await?;
        let db = due(&scene).await?;
        let mover = FakeMover::new("server", &FakeVault::default());
        let order = mover.claim(&scene.control).await?.expect("it is due");
        let made = mover.make(&order, at("2036-01-01T00:00:00Z")).expect("nobody fenced it off");
        mover.tell_made(&scene.control, &order, &made).await?;
        let taken = scene.catalog.points(db.id, None, 9).await?.rows[0].point.taken;
        assert_eq!(taken, scene.hand.now());
        Ok(())
    }
}
