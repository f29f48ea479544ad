//! The second store of a vault: what is copied when, that nothing is deleted there for being deleted in the vault, and
//! that somebody is told when it lags.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, on_both};
use api::files::OpenFiles;
use api::work::{ReportEvent, Work};
use api::{
    Code, CopyStore, DiskTarget, Drill, NewRestoreSet, Replace, Restore, RestoreFormat, RestoreInto,
    RestoreTarget, SetLimits, SetMachine, Stop, StopHow, VaultChange, VaultSettings,
};
use control::{Actor, Asker, Paging, PointPlace};
use model::access::{Grant, Role, Scope};
use model::drill::{DrillStage, Verdict};
use model::job::{Failure, JobKind};
use model::policy::Daily;
use model::{PointId, Policy};
use std::collections::BTreeSet;
use uuid::Uuid;

fn copied(change: impl FnOnce(&mut CopyStore)) -> VaultSettings {
    let mut copy = CopyStore::at("/vaults/second");
    change(&mut copy);
    VaultSettings { copy: Some(copy), ..VaultSettings::default() }
}

/// A machine in a vault with a second store, and a mover.
async fn scene(
    catalog: catalog::Catalog,
    settings: VaultSettings,
) -> anyhow::Result<(Scene, catalog::Item, FakeMover)> {
    let mut document = Policy::standard("UTC", "02:00");
    document.vault.daily = Some(Daily { keep_days: 7 });
    let scene = Scene::with(catalog, document, at("2026-09-01T12:00:00Z"), settings).await?;
    let db = scene.protect(scene.host("server").await?, "db").await?;
    Ok((scene, db, FakeMover::new("server", &FakeVault::default())))
}

/// Lets nights go by, each with its backup, and whatever follows.
async fn nights(scene: &Scene, mover: &FakeMover, count: i64) -> anyhow::Result<()> {
    for _ in 0..count {
        scene.go_to(scene.hand.now() + hours(24)).await?;
        mover.work(&scene.control).await?;
        scene.go_to(scene.hand.now()).await?;
        mover.work(&scene.control).await?;
    }
    Ok(())
}

fn all(mover: &FakeMover) -> (BTreeSet<Uuid>, BTreeSet<Uuid>, BTreeSet<Uuid>) {
    let contents = mover.vault.0.lock().unwrap();
    let made = contents.points.keys().copied().collect();
    (made, contents.copies.clone(), contents.copies_deleted.clone())
}

async fn copying_jobs(scene: &Scene) -> anyhow::Result<usize> {
    Ok(scene.jobs().await?.iter().filter(|job| job.kind == JobKind::Copy).count())
}

async fn open_alerts(scene: &Scene, category: &str) -> anyhow::Result<Vec<String>> {
    let alerts = scene.catalog.alerts(true, None, 9).await?.rows;
    Ok(alerts.into_iter().filter(|alert| alert.category == category).map(|alert| alert.text).collect())
}

fn asker() -> Asker {
    let grants = vec![Grant { role: Role::BackupOperator, scope: Scope::Everything {} }];
    Asker { actor: actor(), user: Uuid::from_u128(1), is_session: true, grants }
}

fn actor() -> Actor {
    Actor("somebody".to_owned())
}

on_both! {
    every_point_is_copied_and_what_the_vault_loses_stays_for_the_copys_own_days(catalog) {
        let (scene, db, mover) = scene(catalog, copied(|copy| copy.keep_days = 10)).await?;
        nights(&scene, &mover, 5).await?;
        let (made, copies, gone) = all(&mover);
        assert_eq!((made.len(), &copies, gone.len()), (5, &made, 0));
        let vault = scene.control.vault(scene.vault).await?;
        let state = vault.copies.expect("it has a second store");
        assert_eq!((state.copied, state.waiting, state.lag_seconds), (5, 0, 0));

        // The first points expire in the vault, and are purged there; their copies stay ten days longer.
        nights(&scene, &mover, 7).await?;
        let contents = |mover: &FakeMover| mover.vault.0.lock().unwrap().deleted.clone();
        let expired = contents(&mover);
        assert!(expired.len() >= 4, "{expired:?}");
        assert!(all(&mover).2.is_empty(), "nothing is deleted in the copy for it");
        let paging = Paging { after: None, limit: None };
        let listed = scene.control.copies(scene.vault, Some(db.id), &paging).await?.items;
        assert_eq!(listed.len(), 12);
        let left: BTreeSet<Uuid> = listed.iter().filter(|copy| copy.left.is_some()).map(|copy| copy.point.0).collect();
        assert_eq!(left, expired);
        nights(&scene, &mover, 10).await?;
        let gone = all(&mover).2;
        assert!(expired.is_subset(&gone), "their own days are over: {gone:?}");
        let young = contents(&mover).difference(&gone).count();
        assert!(young >= 8, "what left the vault later stays: {young}");
        Ok(())
    }

    data_that_somebody_deletes_stays_in_the_copy_and_can_be_restored_from_it(catalog) {
        let (scene, db, mover) = scene(catalog, copied(|_| ())).await?;
        nights(&scene, &mover, 4).await?;
        let newest = scene.control.points(scene.vault, db.id, &Paging { after: None, limit: None }).await?.items;
        let point: PointId = newest.first().expect("a point").id;
        let stop = Stop { data: StopHow::Delete, keep: None, reason: None };
        scene.control.stop(&actor(), scene.vault, db.id, &stop).await?;
        mover.work(&scene.control).await?;
        // Long after it was purged: the newest copy of a machine never goes.
        nights(&scene, &mover, 60).await?;
        let (made, copies, gone) = all(&mover);
        assert_eq!(copies, made);
        assert_eq!(made.difference(&gone).copied().collect::<Vec<_>>(), [point.0]);

        let place = PointPlace { vault: scene.vault, item: db.id, point };
        let wish = |from_copy| Restore {
            folder: "/r".to_owned(), disks: Vec::new(), format: RestoreFormat::Raw, mover: None, machine: None, from_copy,
        };
        assert!(scene.control.restore(&actor(), place, wish(false)).await.is_err(), "the vault has it no more");
        scene.control.restore(&actor(), place, wish(true)).await?;
        let order = mover.claim(&scene.control).await?.expect("the restore");
        assert!(matches!(&order.work, Work::Restore { point: wanted, .. } if *wanted == point));
        assert_eq!((order.vault.location.as_str(), order.vault.snapshot_store), ("/vaults/second", None));
        assert_eq!(order.vault.credentials.as_deref(), Some("COPY_"));

        // Its files, by a mover that is named, or that of the machine's host.
        let wish = |from_copy| OpenFiles { mover: None, from_copy };
        assert!(scene.control.open_files(&asker(), place, wish(false)).await.is_err(), "the vault has it no more");
        let session = scene.control.open_files(&asker(), place, wish(true)).await?;
        assert!(session.from_copy);
        let order = scene.control.claim_files("server", 0).await?.expect("the session");
        assert_eq!((order.session, order.point, order.item), (session.id, point, db.id));
        assert_eq!((order.vault.location.as_str(), order.vault.snapshot_store), ("/vaults/second", None));
        assert_eq!(order.vault.credentials.as_deref(), Some("COPY_"));
        Ok(())
    }

    a_drill_of_a_copy_proves_the_copy_and_nothing_else(catalog) {
        let (scene, db, mover) = scene(catalog, copied(|copy| copy.keep_days = 30)).await?;
        nights(&scene, &mover, 2).await?;
        let paging = || Paging { after: None, limit: None };
        let newest = scene.control.points(scene.vault, db.id, &paging()).await?.items.remove(0);
        let place = PointPlace { vault: scene.vault, item: db.id, point: newest.id };
        let wish = || Drill { from_copy: true, ..Drill::default() };
        let drilled = async |verdict: Verdict| -> anyhow::Result<()> {
            scene.control.drill(&actor(), place, wish()).await?;
            let order = mover.claim(&scene.control).await?.expect("the drill");
            assert!(matches!(&order.work, Work::Drill { point, .. } if *point == newest.id));
            assert_eq!((order.vault.location.as_str(), order.vault.snapshot_store.as_ref()), ("/vaults/second", None));
            assert_eq!(order.vault.credentials.as_deref(), Some("COPY_"));
            super::drills::drilled(&scene, &mover, &order, &super::drills::record(verdict)).await
        };
        drilled(Verdict::Proved).await?;
        let told = scene.control.point(place).await?;
        assert!(told.drill.is_none(), "nobody has tried what the vault has");
        assert_eq!(told.copy_drill.map(|drill| drill.record.verdict), Some(Verdict::Proved));
        let proof = scene.control.proofs(scene.vault).await?.items.remove(0);
        assert_eq!((proof.proved, proof.copy_proved, proof.is_overdue), (None, Some(newest.taken), true));
        let listed = scene.control.copies(scene.vault, Some(db.id), &paging()).await?.items;
        let tried: Vec<_> = listed.iter().filter(|copy| copy.drill.is_some()).map(|copy| copy.point).collect();
        assert_eq!(tried, [newest.id]);

        // A good drill of the vault's point does not make the copy's bad one good.
        let stage = DrillStage::Boot;
        drilled(Verdict::Failed { stage, reason: "no agent".to_owned() }).await?;
        let told = open_alerts(&scene, "copy_drill_failed").await?;
        assert!(told.len() == 1 && told[0].starts_with("the copy of the point"), "{told:?}");
        scene.control.drill(&actor(), place, Drill::default()).await?;
        let order = mover.claim(&scene.control).await?.expect("the drill");
        assert_eq!(order.vault.location, "/vaults/main");
        super::drills::drilled(&scene, &mover, &order, &super::drills::record(Verdict::Proved)).await?;
        assert_eq!(open_alerts(&scene, "copy_drill_failed").await?.len(), 1);
        assert_eq!(scene.control.proofs(scene.vault).await?.items[0].proved, Some(newest.taken));
        drilled(Verdict::Proved).await?;
        assert!(open_alerts(&scene, "copy_drill_failed").await?.is_empty());

        // The vault loses its point: the copy's proof stays as long as the copy, and can be made anew.
        nights(&scene, &mover, 26).await?;
        assert!(scene.control.point(place).await.is_err());
        drilled(Verdict::BootedOnly).await?;
        let copy = async || -> anyhow::Result<_> {
            let all = scene.control.copies(scene.vault, Some(db.id), &paging()).await?.items;
            Ok(all.into_iter().find(|copy| copy.point == newest.id))
        };
        let verdict = copy().await?.and_then(|copy| copy.drill).map(|drill| drill.record.verdict);
        assert_eq!(verdict, Some(Verdict::BootedOnly));
        nights(&scene, &mover, 20).await?;
        assert!(copy().await?.is_none(), "it was let go");
        assert_eq!(scene.control.proofs(scene.vault).await?.items[0].copy_proved, None);
        assert!(scene.control.drill(&actor(), place, wish()).await.is_err());
        Ok(())
    }

    a_machine_goes_back_out_of_the_copy_and_its_present_state_goes_to_the_vault(catalog) {
        let (scene, db, mover) = scene(catalog, copied(|_| ())).await?;
        nights(&scene, &mover, 12).await?;
        let listed = scene.control.copies(scene.vault, Some(db.id), &Paging { after: None, limit: None }).await?.items;
        // One that the vault has no more.
        let point = listed.last().filter(|copy| copy.left.is_some()).expect("one has expired").point;
        let place = PointPlace { vault: scene.vault, item: db.id, point };
        let wish = |no_safety_point, plan| Replace { from_copy: true, no_safety_point, plan, ..Replace::default() };
        let from_vault = Replace { from_copy: false, ..wish(true, true) };
        assert!(scene.control.replace(&actor(), place, &from_vault).await.is_err(), "the vault has it no more");
        for (alone, plan) in [(false, true), (true, false)] {
            scene.control.replace(&actor(), place, &wish(alone, plan)).await?;
            let order = mover.claim(&scene.control).await?.expect("it");
            let Work::Replace(work) = &order.work else { panic!("{order:?}") };
            let from = work.from.clone().expect("the second store");
            assert_eq!((from.location.as_str(), from.credentials.as_deref()), ("/vaults/second", Some("COPY_")));
            assert_eq!((work.point, work.safety.is_none(), work.plan), (point, alone, plan));
            assert_eq!(order.vault.location, "/vaults/main", "what is written goes to the vault");
            mover.fail(&scene.control, &order, Failure::Invalid).await?;
        }

        // With others, as one.
        let machine = SetMachine { item: db.id, point: None, group: 0, folder: None, name: None, mover: None };
        let set = |point, before, from_copy| NewRestoreSet {
            machines: vec![SetMachine { point, ..machine.clone() }],
            before,
            from_copy,
            folder: "/srv/back".to_owned(),
            format: RestoreFormat::Raw,
            mover: None,
            as_machines: None,
            limits: SetLimits::default(),
            stop_on_failure: false,
        };
        let oldest = listed.iter().map(|copy| copy.taken).min();
        assert!(scene.control.restore_many(&actor(), scene.vault, set(None, oldest, false)).await.is_err());
        for asked in [set(Some(point), None, true), set(None, oldest, true)] {
            let begun = scene.control.restore_many(&actor(), scene.vault, asked).await?;
            assert_eq!((begun.members.len(), begun.members[0].point), (1, point));
            let order = mover.claim(&scene.control).await?.expect("it");
            assert!(matches!(&order.work, Work::Restore { point: wanted, .. } if *wanted == point));
            assert_eq!(order.vault.location, "/vaults/second");
            mover.carry_out(&scene.control, &order).await?;
        }

        // Into what is there.
        let to = RestoreTarget::Image { path: "/m/vda.qcow2".to_owned(), format: RestoreFormat::Qcow2 };
        let into = |from_copy| RestoreInto {
            targets: vec![DiskTarget { disk: "vda".to_owned(), to: to.clone() }], mover: None, from_copy, plan: true,
        };
        let refused = async |from_copy| {
            scene.control.restore_into(&actor(), place, into(from_copy)).await.expect_err("it has no such disk").code()
        };
        assert_eq!((refused(false).await, refused(true).await), (Code::Conflict, Code::Invalid), "one of them has it");
        Ok(())
    }

    what_has_no_copy_yet_is_told_with_how_late_the_copy_is(catalog) {
        let (scene, db, mover) = scene(catalog, copied(|_| ())).await?;
        scene.go_to(scene.hand.now() + hours(24)).await?;
        let backup = mover.claim(&scene.control).await?.expect("the backup");
        mover.carry_out(&scene.control, &backup).await?;
        let points = scene.control.points(scene.vault, db.id, &Paging { after: None, limit: None }).await?.items;
        let place = PointPlace { vault: scene.vault, item: db.id, point: points[0].id };
        scene.go_to(scene.hand.now() + hours(5)).await?;
        let wish = OpenFiles { mover: None, from_copy: true };
        let error = scene.control.open_files(&asker(), place, wish.clone()).await.expect_err("not copied yet");
        let told = error.problem();
        assert_eq!(told.code, Code::NotFound);
        let hint = told.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("hours behind, 1 point waits for a copy"), "{hint}");
        mover.work(&scene.control).await?;
        scene.control.open_files(&asker(), place, wish).await?;
        Ok(())
    }

    whoever_waits_for_a_vault_that_cannot_be_read_is_told_of_its_copy(catalog) {
        let (scene, db, mover) = scene(catalog, copied(|_| ())).await?;
        nights(&scene, &mover, 2).await?;
        scene.go_to(scene.hand.now() + hours(24)).await?;
        let backup = mover.claim(&scene.control).await?.expect("the backup");
        mover.carry_out(&scene.control, &backup).await?;
        let points = scene.control.points(scene.vault, db.id, &Paging { after: None, limit: None }).await?.items;
        let [uncopied, copied] = [points[0].id, points[1].id];
        let table = [
            (Failure::Unreachable, "no answer", copied, false, true),
            (Failure::Corrupt, "other bytes", copied, false, true),
            (Failure::Invalid, "open the vault /vaults/main: it is not there", copied, false, true),
            // It is not the vault.
            (Failure::Invalid, "the folder /r is not empty", copied, false, false),
            (Failure::NoSpace, "/r is full", copied, false, false),
            (Failure::Unreachable, "no answer", copied, true, false),
            (Failure::Unreachable, "no answer", uncopied, false, false),
        ];
        for (failure, text, point, from_copy, is_told) in table {
            let place = PointPlace { vault: scene.vault, item: db.id, point };
            let wish = Restore {
                folder: "/r".to_owned(), disks: Vec::new(), format: RestoreFormat::Raw, mover: None, machine: None,
                from_copy,
            };
            let job = scene.control.restore(&actor(), place, wish).await?;
            let mut order = mover.claim(&scene.control).await?.expect("the restore");
            while order.job != job {
                order = mover.claim(&scene.control).await?.expect("the restore");
            }
            mover.say(&scene.control, &order, ReportEvent::failed(failure, text)).await?;
            let hint = scene.control.job(job).await?.error.and_then(|error| error.hint).unwrap_or_default();
            assert_eq!(hint.contains("--from-copy"), is_told, "{text} {from_copy}: {hint}");
        }
        Ok(())
    }

    somebody_is_told_when_the_copy_lags_and_when_it_does_no_more(catalog) {
        let (scene, _, mover) = scene(catalog, copied(|copy| copy.lag_hours_max = 30)).await?;
        scene.go_to(scene.hand.now() + hours(24)).await?;
        let backup = mover.claim(&scene.control).await?.expect("the backup");
        mover.carry_out(&scene.control, &backup).await?;
        let fail_all = async || -> anyhow::Result<()> {
            while let Some(order) = mover.claim(&scene.control).await? {
                match &order.work {
                    Work::Copy(_) => drop(mover.fail(&scene.control, &order, Failure::Denied).await?),
                    _ => drop(mover.carry_out(&scene.control, &order).await?),
                }
            }
            Ok(())
        };
        for _ in 0..3 {
            scene.go_to(scene.hand.now() + hours(2)).await?;
            fail_all().await?;
        }
        assert_eq!(open_alerts(&scene, "copy_failed").await?.len(), 1);
        assert_eq!(open_alerts(&scene, "copy_lags").await?, Vec::<String>::new());
        let jobs = copying_jobs(&scene).await?;
        assert!((2..=4).contains(&jobs), "a job that failed is not asked for again at once: {jobs}");
        for _ in 0..16 {
            scene.go_to(scene.hand.now() + hours(2)).await?;
            fail_all().await?;
        }
        let told = open_alerts(&scene, "copy_lags").await?;
        assert!(told.len() == 1 && told[0].contains("the limit is 30 hours"), "{told:?}");
        assert!(scene.control.vault(scene.vault).await?.copies.is_some_and(|state| state.lag_seconds > 30 * 3600));
        nights(&scene, &mover, 1).await?;
        assert_eq!(open_alerts(&scene, "copy_lags").await?, Vec::<String>::new());
        assert_eq!(open_alerts(&scene, "copy_failed").await?, Vec::<String>::new());
        Ok(())
    }

    copying_follows_its_rhythm_and_a_second_store_that_moves_begins_anew(catalog) {
        let (scene, _, mover) = scene(catalog, copied(|copy| copy.every_hours = 72)).await?;
        nights(&scene, &mover, 6).await?;
        let jobs = copying_jobs(&scene).await?;
        assert!((2..=3).contains(&jobs), "{jobs} in six days");
        let elsewhere = copied(|copy| copy.location = "/vaults/third".to_owned());
        let change = VaultChange { settings: Some(elsewhere), ..VaultChange::default() };
        scene.control.change_vault(&actor(), scene.vault, change).await?;
        let state = scene.control.vault(scene.vault).await?.copies.expect("a second store");
        assert_eq!((state.copied, state.waiting > 0), (0, true));
        nights(&scene, &mover, 1).await?;
        let state = scene.control.vault(scene.vault).await?.copies.expect("a second store");
        assert_eq!((state.copied > 0, state.waiting), (true, 0));
        Ok(())
    }

    what_makes_no_sense_of_a_second_store_is_told_at_once(catalog) {
        let (scene, _, _) = scene(catalog, copied(|_| ())).await?;
        let wrong = copied(|copy| {
            copy.location = "/vaults/main".to_owned();
            (copy.keep_days, copy.every_hours, copy.lag_hours_max) = (3, 200, 0);
        });
        let change = VaultChange { settings: Some(wrong), ..VaultChange::default() };
        let error = scene.control.change_vault(&actor(), scene.vault, change).await.expect_err("four faults");
        assert_eq!(error.to_string().matches("/settings/copy/").count(), 4, "{error}");
        Ok(())
    }
}
