//! Machines put under protection and taken out of it.

use super::scene::{Scene, code, detail, inventory, on_both, pointers, seen};
use api::work::{Inventory, SeenMachine};
use api::{
    BackUp, BulkChange, ChangeItem, Code, Item, ItemChanged, ItemState, Protect, Resume, Stop, StopHow,
    VaultChange,
};
use control::{Paging, WhichItems};
use model::job::{JobKind, JobState};
use model::protection::KeepWish;
use model::{MachineId, Origin, PolicyId, VaultId};
use uuid::Uuid;

const KEEP: Stop = Stop { data: StopHow::Keep, keep: None, reason: None };
const DELETE: Stop = Stop { data: StopHow::Delete, keep: None, reason: None };

fn under(policy: PolicyId) -> ChangeItem {
    ChangeItem { policy: Some(policy), ..ChangeItem::default() }
}

async fn back_up(scene: &Scene, item: &Item) -> control::Result<model::JobId> {
    scene.control.back_up(&scene.me, item.vault, item.id, &BackUp::default()).await
}

on_both! {
    each_machine_is_protected_for_itself(scene) {
        let (vault, policy, db) = scene.protected("db").await?;
        let (host, machines) = scene.machines("hv2", &["web"]).await?;
        let stuck = SeenMachine { obstacle: Some("no monitor".into()), ..seen("stuck") };
        scene.control.take_inventory("server", Inventory { host, machines: vec![seen("web"), stuck] }).await?;
        let nobody = MachineId(Uuid::nil());
        let wish = Protect {
            machines: vec![db.machine, machines[0], scene.machine("stuck").await?, nobody],
            policy,
            back_up_now: true,
        };
        let outcomes = scene.control.protect_many(&scene.me, vault, &wish).await?;
        let codes: Vec<_> = outcomes.iter().map(|one| one.problem.as_ref().map(|problem| problem.code)).collect();
        assert_eq!(codes, [Some(Code::Conflict), None, Some(Code::Conflict), Some(Code::NotFound)]);
        assert!(outcomes[2].problem.as_ref().unwrap().detail.contains("no monitor"));
        let web = outcomes[1].item.as_ref().unwrap();
        assert_eq!((web.state, web.policy, web.name.as_str()), (ItemState::AwaitsFirst, Some(policy), "web"));
        // Tomorrow at 02:30, or up to two hours later.
        let next = web.next_backup.unwrap();
        assert!(next.to_string().starts_with("2026-11-22T0"), "{next}");
        let jobs = scene.jobs(web).await?;
        let keep_until = scene.ago(-30);
        let origin = serde_json::to_value(Origin::OnDemand { keep_until })?;
        assert_eq!((jobs.len(), &jobs[0].request["origin"]), (1, &origin));
        assert!(scene.jobs(&db).await?.is_empty(), "it was not protected by this request");
        Ok(())
    }

    what_is_named_must_be_there(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let other = scene.vault("other").await?.id;
        let wish = |machines, policy| Protect { machines, policy, back_up_now: false };
        let none = scene.control.protect_many(&scene.me, vault, &wish(vec![], policy)).await;
        assert_eq!(pointers(none), ["/machines"]);
        let many = scene.control.protect_many(&scene.me, vault, &wish(vec![item.machine; 1001], policy)).await;
        assert_eq!(pointers(many), ["/machines"]);
        let foreign = scene.control.protect_many(&scene.me, other, &wish(vec![item.machine], policy)).await;
        assert_eq!(pointers(foreign), ["/policy"]);
        assert_eq!(code(scene.control.item(other, item.id).await), Code::NotFound);
        assert_eq!(code(scene.control.stop(&scene.me, other, item.id, &KEEP).await), Code::NotFound);
        assert_eq!(code(scene.control.undelete(&scene.me, other, item.id).await), Code::NotFound);
        let resume = Resume { policy, accept_loss: false };
        assert_eq!(code(scene.control.resume(&scene.me, other, item.id, &resume).await), Code::NotFound);
        let backup = scene.control.back_up(&scene.me, other, item.id, &BackUp::default()).await;
        assert_eq!(code(backup), Code::NotFound);
        let nowhere = VaultId(Uuid::nil());
        let which = WhichItems::default();
        assert_eq!(code(scene.control.items(nowhere, &which, &Paging::default()).await), Code::NotFound);
        Ok(())
    }

    one_vault_protects_a_machine(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let other = scene.vault("other").await?.id;
        let theirs = scene.policy(other, "daily", 30).await?;
        assert!(scene.protect(other, theirs, item.machine).await.is_err());
        scene.control.stop(&scene.me, vault, item.id, &KEEP).await?;
        assert!(scene.protect(other, theirs, item.machine).await.is_err(), "its points are kept here");
        scene.control.resume(&scene.me, vault, item.id, &Resume { policy, accept_loss: false }).await?;
        scene.control.stop(&scene.me, vault, item.id, &DELETE).await?;
        scene.protect(other, theirs, item.machine).await?;
        scene.control.undelete(&scene.me, vault, item.id).await?;
        let resume = Resume { policy, accept_loss: false };
        let twice = scene.control.resume(&scene.me, vault, item.id, &resume).await;
        assert!(detail(twice).contains("another vault protects the machine"));
        Ok(())
    }

    items_are_found_by_state_policy_and_name(scene) {
        let (vault, policy, db) = scene.protected("db").await?;
        let (_, machines) = scene.machines("hv2", &["web1", "web2"]).await?;
        let other = scene.policy(vault, "other", 7).await?;
        scene.protect(vault, other, machines[0]).await?;
        scene.protect(vault, policy, machines[1]).await?;
        scene.control.stop(&scene.me, vault, db.id, &KEEP).await?;
        for (which, expected) in [
            (WhichItems { state: Some(ItemState::Stopped), ..WhichItems::default() }, vec!["db"]),
            (WhichItems { policy: Some(other), ..WhichItems::default() }, vec!["web1"]),
            (WhichItems { name: Some("WEB*".into()), ..WhichItems::default() }, vec!["web1", "web2"]),
        ] {
            let page = scene.control.items(vault, &which, &Paging::default()).await?;
            let names: Vec<_> = page.items.iter().map(|item| item.name.as_str()).collect();
            assert_eq!(names, expected, "{which:?}");
        }
        Ok(())
    }

    three_backups_a_day_may_be_asked_for(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let wrong = BackUp { keep_days: Some(36136), full: false };
        assert_eq!(pointers(scene.control.back_up(&scene.me, vault, item.id, &wrong).await), ["/keep_days"]);
        for given in 1..=3 {
            let job = back_up(&scene, &item).await?;
            // After the third there is another reason to refuse, which is told first.
            if given < 3 {
                assert!(detail(back_up(&scene, &item).await).contains(&job.to_string()), "one at a time");
            }
            // It is done.
            let claimant = model::ClaimantId(Uuid::now_v7());
            let until = scene.ago(-1);
            let catalog = scene.control.catalog();
            let change = async |event| catalog.change_job(job, event, catalog::Told::default(), scene.now()).await;
            let claimed = change(model::job::Event::Claim(claimant, until)).await?.unwrap();
            let claim = claimed.job.claimed().unwrap();
            for step in JobKind::Backup.steps() {
                change(model::job::Event::StepDone(claim, *step)).await?.unwrap();
            }
        }
        assert!(detail(back_up(&scene, &item).await).contains("had 3 backups on demand today"));
        scene.pass(1);
        let job = back_up(&scene, &item).await?;
        assert_eq!(scene.jobs(&item).await?[0].id, job);
        Ok(())
    }

    what_is_stopped_keeps_its_points_and_makes_none(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let place = scene.point(&item, 10).await?;
        scene.point(&item, 1).await?;
        let queued = back_up(&scene, &item).await?;
        let reason = Stop { reason: Some("x".repeat(501)), ..KEEP };
        assert_eq!(pointers(scene.control.stop(&scene.me, vault, item.id, &reason).await), ["/reason"]);
        let both = Stop { keep: Some(KeepWish::Forever), ..DELETE };
        assert_eq!(pointers(scene.control.stop(&scene.me, vault, item.id, &both).await), ["/keep"]);
        let stopped = scene.control.stop(&scene.me, vault, item.id, &KEEP).await?;
        assert_eq!((stopped.state, stopped.policy, stopped.next_backup), (ItemState::Stopped, None, None));
        assert_eq!(scene.control.catalog().job(queued).await?.job.state, JobState::Cancelled);
        assert_eq!(scene.kept(place).await?.expires, None, "nothing expires");
        assert_eq!(code(back_up(&scene, &item).await), Code::Conflict);
        assert_eq!(code(scene.control.stop(&scene.me, vault, item.id, &KEEP).await), Code::Conflict);
        assert_eq!(code(scene.control.change_item(&scene.me, vault, item.id, &under(policy)).await), Code::Conflict);
        let again = Protect { machines: vec![item.machine], policy, back_up_now: false };
        let outcome = scene.control.protect_many(&scene.me, vault, &again).await?.remove(0);
        assert!(outcome.problem.unwrap().detail.contains("resume it instead"));
        // Meanwhile the policy has come to keep less.
        let short = scene.policy(vault, "short", 7).await?;
        let resume = |accept_loss| Resume { policy: short, accept_loss };
        let refused = scene.control.resume(&scene.me, vault, item.id, &resume(false)).await;
        assert!(detail(refused).contains("1 copies of points would be gone"));
        let resumed = scene.control.resume(&scene.me, vault, item.id, &resume(true)).await?;
        assert_eq!((resumed.state, resumed.policy), (ItemState::Protected, Some(short)));
        assert_eq!(code(scene.control.resume(&scene.me, vault, item.id, &resume(true)).await), Code::Conflict);
        Ok(())
    }

    points_may_go_on_expiring_after_the_end(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let place = scene.point(&item, 10).await?;
        let by_policy = Stop { keep: Some(KeepWish::ByPolicy), ..KEEP };
        let stopped = scene.control.stop(&scene.me, vault, item.id, &by_policy).await?;
        assert_eq!((stopped.state, stopped.policy), (ItemState::Stopped, Some(policy)));
        assert!(scene.kept(place).await?.expires.is_some());
        assert_eq!(code(scene.control.remove_policy(&scene.me, vault, policy).await), Code::Conflict);
        Ok(())
    }

    deleted_data_can_be_brought_back_for_as_long_as_was_promised(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let places = [scene.point(&item, 10).await?, scene.point(&item, 1).await?];
        let queued = back_up(&scene, &item).await?;
        let deleted = scene.control.stop(&scene.me, vault, item.id, &DELETE).await?;
        let purge_at = Some(scene.ago(-14));
        assert_eq!((deleted.state, deleted.purge_at, deleted.policy), (ItemState::Deleted, purge_at, None));
        assert_eq!(scene.control.catalog().job(queued).await?.job.state, JobState::Cancelled);
        for place in places {
            assert_eq!(scene.kept(place).await?.point.purge_at, purge_at);
        }
        let job = scene.jobs(&item).await?.remove(0);
        assert_eq!((job.job.kind, &job.request["points"]), (JobKind::DeleteData, &serde_json::json!([])));
        for refused in [
            scene.control.stop(&scene.me, vault, item.id, &KEEP).await,
            scene.control.resume(&scene.me, vault, item.id, &Resume { policy, accept_loss: true }).await,
        ] {
            assert!(detail(refused).contains("undelete first"));
        }
        let back = scene.control.undelete(&scene.me, vault, item.id).await?;
        assert_eq!((back.state, back.purge_at), (ItemState::Stopped, None));
        let jobs = scene.jobs(&item).await?;
        assert_eq!(jobs[0].job.kind, JobKind::Undelete);
        assert_eq!(jobs[1].job.state, JobState::Cancelled, "what nobody has begun to delete is not deleted");
        for place in places {
            let row = scene.kept(place).await?;
            assert_eq!((row.point.purge_at, row.expires), (None, None));
        }
        assert_eq!(code(scene.control.undelete(&scene.me, vault, item.id).await), Code::Conflict);
        Ok(())
    }

    what_is_over_is_not_brought_back(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        scene.point(&item, 1).await?;
        scene.control.stop(&scene.me, vault, item.id, &DELETE).await?;
        scene.pass(14);
        assert!(detail(scene.control.undelete(&scene.me, vault, item.id).await).contains("could be brought back until"));
        Ok(())
    }

    data_is_not_deleted_that_somebody_relies_on(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let place = scene.point(&item, 1).await?;
        scene.control.pin(&scene.me, place, api::Pin { pinned: true }).await?;
        assert_eq!(code(scene.control.stop(&scene.me, vault, item.id, &DELETE).await), Code::Locked);
        scene.control.pin(&scene.me, place, api::Pin { pinned: false }).await?;
        scene.control.verify(&scene.me, place).await?;
        assert!(detail(scene.control.stop(&scene.me, vault, item.id, &DELETE).await).contains("is under way"));
        assert_eq!(scene.control.item(vault, item.id).await?.state, ItemState::AwaitsFirst, "all of it or nothing");
        assert_eq!(scene.kept(place).await?.point.purge_at, None);
        scene.immutable(vault).await?;
        assert_eq!(code(scene.control.stop(&scene.me, vault, item.id, &DELETE).await), Code::Locked);
        Ok(())
    }

    another_policy_is_tried_before_it_takes_points_away(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let place = scene.point(&item, 20).await?;
        scene.point(&item, 1).await?;
        let short = scene.policy(vault, "short", 7).await?;
        let nothing = ChangeItem::default();
        assert_eq!(pointers(scene.control.change_item(&scene.me, vault, item.id, &nothing).await), ["/policy"]);
        let nowhere = under(PolicyId(Uuid::nil()));
        assert_eq!(pointers(scene.control.change_item(&scene.me, vault, item.id, &nowhere).await), ["/policy"]);
        let trial = ChangeItem { dry_run: true, ..under(short) };
        let ItemChanged::DryRun(found) = scene.control.change_item(&scene.me, vault, item.id, &trial).await? else {
            panic!("a dry run changes nothing");
        };
        assert_eq!((found.lost, found.shorter, found.items[0].points[0].point), (1, 1, place.point));
        assert_eq!(code(scene.control.change_item(&scene.me, vault, item.id, &under(short)).await), Code::Conflict);
        let meant = ChangeItem { accept_loss: true, ..under(short) };
        let ItemChanged::Item(moved) = scene.control.change_item(&scene.me, vault, item.id, &meant).await? else {
            panic!("it is no dry run");
        };
        assert_eq!(moved.policy, Some(short));
        assert_eq!(scene.control.item(vault, item.id).await?, moved);
        scene.control.tick_plans(scene.now()).await?;
        assert_eq!(scene.jobs(&item).await?[0].job.kind, JobKind::DeleteData);
        let bulk = BulkChange { items: vec![item.id, Uuid::nil()], policy, accept_loss: false };
        let outcomes = scene.control.change_items(&scene.me, vault, &bulk).await?;
        assert_eq!(outcomes[0].item.as_ref().map(|item| item.policy), Some(Some(policy)));
        assert_eq!(outcomes[1].problem.as_ref().map(|problem| problem.code), Some(Code::NotFound));
        scene.immutable(vault).await?;
        let shorter = scene.control.change_item(&scene.me, vault, item.id, &meant).await;
        assert_eq!(code(shorter), Code::Locked);
        Ok(())
    }

    every_act_is_written_down(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let place = scene.point(&item, 2).await?;
        scene.point(&item, 1).await?;
        scene.control.stop(&scene.me, vault, item.id, &Stop { reason: Some("moved".into()), ..KEEP }).await?;
        scene.control.resume(&scene.me, vault, item.id, &Resume { policy, accept_loss: false }).await?;
        scene.control.delete_point(&scene.me, place).await?;
        let change = VaultChange { name: Some("renamed".into()), ..VaultChange::default() };
        scene.control.change_vault(&scene.me, vault, change).await?;
        let host = scene.control.machine(item.machine, |_| true).await?.host;
        scene.control.take_inventory("server", inventory(host, &["db"])).await?;
        let expected = [
            "vault.create", "policy.create", "host.add", "item.protect", "item.stop", "item.resume", "point.delete",
            "vault.change",
        ];
        assert_eq!(scene.audited().await?, expected.map(|act| format!("alice {act}")));
        Ok(())
    }
}
