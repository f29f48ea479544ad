//! Points kept, deleted, brought back and restored.

use super::scene::{Scene, code, detail, on_both, pointers};
use api::{Code, KeptFor, Pin, Restore, RestoreFormat, Stop, StopHow};
use catalog::ItemChange;
use control::{Paging, PointPlace};
use model::job::JobKind;
use model::{PointId, VaultCopy, VaultId};
use uuid::Uuid;

const PINNED: Pin = Pin { pinned: true };

fn into(folder: &str, disks: &[&str]) -> Restore {
    let disks = disks.iter().map(|disk| (*disk).to_owned()).collect();
    Restore {
        folder: folder.to_owned(),
        disks,
        format: RestoreFormat::Raw,
        mover: None,
        machine: None,
        from_copy: false,
    }
}

fn twin() -> api::NewMachine {
    serde_json::from_str(r#"{ "name": "twin" }"#).expect("only a name must be said")
}

/// Changes what a point is kept for, as an engine would.
async fn change(scene: &Scene, place: PointPlace, change: impl Fn(&mut model::Point)) -> anyhow::Result<()> {
    let catalog = scene.control.catalog();
    let item = catalog.item(place.item).await?;
    let mut kept = catalog.points_to_plan(item.id).await?;
    kept.retain(|kept| kept.point.id == place.point);
    kept.iter_mut().for_each(|kept| change(&mut kept.point));
    let write = ItemChange { item: &item, points: &kept, job: None };
    assert_eq!(catalog.change_item(&write, scene.now()).await?, catalog::Queued::New);
    Ok(())
}

/// The item's newest job is done.
async fn done(scene: &Scene, place: PointPlace) -> anyhow::Result<()> {
    let catalog = scene.control.catalog();
    let item = scene.control.item(place.vault, place.item).await?;
    let job = scene.jobs(&item).await?.remove(0);
    let apply = async |event| catalog.change_job(job.id, event, catalog::Told::default(), scene.now()).await;
    let claimant = model::ClaimantId(Uuid::now_v7());
    let claimed = apply(model::job::Event::Claim(claimant, scene.ago(-1))).await?.unwrap();
    let claim = claimed.job.claimed().unwrap();
    for step in job.job.kind.steps() {
        apply(model::job::Event::StepDone(claim, *step)).await?.unwrap();
    }
    Ok(())
}

on_both! {
    a_point_says_why_it_is_kept(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let (older, newest) = (scene.point(&item, 10).await?, scene.point(&item, 1).await?);
        let page = scene.control.points(vault, item.id, &Paging::default()).await?;
        let ids: Vec<_> = page.items.iter().map(|point| point.id).collect();
        assert_eq!(ids, [newest.point, older.point], "newest first");
        let point = scene.control.point(older).await?;
        assert_eq!(point, page.items[1]);
        let until = Some(scene.ago(-20));
        assert_eq!(point.kept_for, [KeptFor { why: "daily".into(), until }]);
        assert_eq!((point.expires, point.origin.as_str(), point.in_vault_tier), (until, "scheduled", true));
        assert_eq!((point.disks.len(), point.evidence["frozen"].as_bool()), (2, Some(true)));
        let whys: Vec<_> = page.items[0].kept_for.iter().map(|reason| reason.why.as_str()).collect();
        assert_eq!(whys, ["the newest point", "the newest scheduled point", "daily"]);
        assert_eq!(page.items[0].expires, None, "nothing lets the newest expire");
        let keep = Stop { data: StopHow::Keep, keep: None, reason: None };
        scene.control.stop(&scene.me, vault, item.id, &keep).await?;
        let kept = scene.control.point(older).await?;
        assert_eq!((kept.expires, kept.kept_for[0].why.contains("stopped")), (None, true));
        Ok(())
    }

    points_of_other_items_and_vaults_are_not_found(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let place = scene.point(&item, 1).await?;
        let (_, machines) = scene.machines("hv2", &["web"]).await?;
        let web = scene.protect(vault, policy, machines[0]).await?;
        for wrong in [
            PointPlace { item: web.id, ..place },
            PointPlace { vault: VaultId(Uuid::nil()), ..place },
            PointPlace { point: PointId(Uuid::nil()), ..place },
        ] {
            let control = &scene.control;
            assert_eq!(code(control.point(wrong).await), Code::NotFound);
            assert_eq!(code(control.pin(&scene.me, wrong, PINNED).await), Code::NotFound);
            assert_eq!(code(control.delete_point(&scene.me, wrong).await), Code::NotFound);
            assert_eq!(code(control.undelete_point(&scene.me, wrong).await), Code::NotFound);
            assert_eq!(code(control.restore(&scene.me, wrong, into("/r", &[])).await), Code::NotFound);
            assert_eq!(code(control.verify(&scene.me, wrong).await), Code::NotFound);
        }
        let paging = Paging { after: Some(format!("{}~x", place.point)), limit: None };
        assert_eq!(pointers(scene.control.points(vault, item.id, &paging).await), ["after"]);
        Ok(())
    }

    a_point_is_deleted_and_brought_back(scene) {
        let (_, _, item) = scene.protected("db").await?;
        let (place, newest) = (scene.point(&item, 10).await?, scene.point(&item, 1).await?);
        let job = scene.control.delete_point(&scene.me, place).await?;
        let row = scene.control.catalog().job(job).await?;
        assert_eq!((row.job.kind, row.request["points"][0].as_str()), (JobKind::DeleteData, Some(place.point.to_string().as_str())));
        assert_eq!(scene.control.point(place).await?.purge_at, Some(scene.ago(-14)));
        assert_eq!(code(scene.control.pin(&scene.me, place, PINNED).await), Code::Conflict);
        assert_eq!(code(scene.control.restore(&scene.me, place, into("/r", &[])).await), Code::Conflict);
        assert_eq!(code(scene.control.verify(&scene.me, place).await), Code::Conflict);
        assert_eq!(code(scene.control.delete_point(&scene.me, place).await), Code::Conflict);
        // Another may not be deleted while this is being done.
        assert!(detail(scene.control.undelete_point(&scene.me, place).await).contains("is under way"));
        done(&scene, place).await?;
        scene.control.undelete_point(&scene.me, place).await?;
        let back = scene.control.point(place).await?;
        assert_eq!((back.purge_at, back.pinned), (None, false));
        assert_eq!(code(scene.control.undelete_point(&scene.me, newest).await), Code::Conflict);
        Ok(())
    }

    a_point_that_comes_back_late_is_pinned_or_not_there(scene) {
        let (_, _, item) = scene.protected("db").await?;
        let place = scene.point(&item, 25).await?;
        scene.point(&item, 1).await?;
        scene.control.delete_point(&scene.me, place).await?;
        done(&scene, place).await?;
        scene.pass(6); // By the policy its days are over.
        scene.control.undelete_point(&scene.me, place).await?;
        assert!(scene.control.point(place).await?.pinned);
        done(&scene, place).await?;
        scene.control.pin(&scene.me, place, Pin { pinned: false }).await?;
        scene.control.delete_point(&scene.me, place).await?;
        done(&scene, place).await?;
        scene.pass(14);
        assert!(detail(scene.control.undelete_point(&scene.me, place).await).contains("could be brought back"));
        Ok(())
    }

    points_that_somebody_relies_on_stay(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let (place, newest) = (scene.point(&item, 10).await?, scene.point(&item, 1).await?);
        assert!(detail(scene.control.delete_point(&scene.me, newest).await).contains("the newest"));
        let pinned = scene.control.pin(&scene.me, place, PINNED).await?;
        assert!(pinned.pinned && pinned.kept_for.iter().any(|reason| reason.why == "pinned"));
        assert_eq!(pinned.expires, None);
        assert_eq!(code(scene.control.delete_point(&scene.me, place).await), Code::Locked);
        scene.control.pin(&scene.me, place, Pin { pinned: false }).await?;
        let until = scene.ago(-5);
        change(&scene, place, |point| point.locked_until = Some(until)).await?;
        assert!(detail(scene.control.delete_point(&scene.me, place).await).contains("locked until"));
        change(&scene, place, |point| point.locked_until = None).await?;
        scene.immutable(vault).await?;
        assert!(detail(scene.control.delete_point(&scene.me, place).await).contains("immutable"));
        assert!(scene.jobs(&item).await?.is_empty());
        Ok(())
    }

    points_of_deleted_items_come_back_with_them(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let place = scene.point(&item, 10).await?;
        scene.point(&item, 1).await?;
        let delete = Stop { data: StopHow::Delete, keep: None, reason: None };
        scene.control.stop(&scene.me, vault, item.id, &delete).await?;
        assert!(detail(scene.control.undelete_point(&scene.me, place).await).contains("all points of db are deleted"));
        assert!(detail(scene.control.delete_point(&scene.me, place).await).contains("all points of db are deleted"));
        let point = scene.control.point(place).await?;
        assert_eq!(point.kept_for[0].until, Some(scene.ago(-14)));
        Ok(())
    }

    a_restore_names_what_is_there(scene) {
        let (_, _, item) = scene.protected("db").await?;
        let place = scene.point(&item, 1).await?;
        let restore = async |wish: Restore| scene.control.restore(&scene.me, place, wish).await;
        assert_eq!(pointers(restore(into("here", &[])).await), ["/folder"]);
        assert_eq!(pointers(restore(into("/a/../b", &[])).await), ["/folder"]);
        assert_eq!(pointers(restore(into("/r", &["vda", "vdx", "vda"])).await), ["/disks/1", "/disks/2"]);
        let nobody = Restore { mover: Some("nobody".into()), ..into("/r", &[]) };
        assert_eq!(pointers(restore(nobody).await), ["/mover"]);
        let wrong = api::NewMachine { name: "a/b".into(), cpus: Some(0), at_once: true, ..twin() };
        let machine = Restore { machine: Some(wrong), ..into("/r", &["vda"]) };
        assert_eq!(pointers(restore(machine).await), ["/disks", "/machine/name", "/machine/cpus", "/machine/start"]);
        change(&scene, place, |point| point.vault = VaultCopy::Expected).await?;
        assert!(detail(restore(into("/r", &[])).await).contains("no tier has a copy"));
        change(&scene, place, |point| point.vault = VaultCopy::There).await?;
        let job = restore(Restore { mover: Some("server".into()), ..into("/r", &["vdb"]) }).await?;
        let row = scene.control.catalog().job(job).await?;
        assert_eq!((row.job.kind, row.request["disks"][0].as_str()), (JobKind::Restore, Some("vdb")));
        let at_once = api::NewMachine { start: true, at_once: true, ..twin() };
        let job = restore(Restore { machine: Some(at_once), ..into("/r", &[]) }).await?;
        assert_eq!(scene.control.catalog().job(job).await?.job.kind, JobKind::InstantRestore);
        let verify = scene.control.verify(&scene.me, place).await?;
        assert_eq!(scene.control.catalog().job(verify).await?.job.kind, JobKind::Verify);
        assert!(scene.audited().await?.contains(&"alice point.restore".to_owned()));
        Ok(())
    }
}
