//! What was said of machines beside their points stands in the vault, and comes back with it.

use crate::acts::scene::{Scene, inventory, on_both};
use crate::adopt::{Made, backed_up, made};
use anyhow::{Context, Result, ensure};
use api::{ItemState, NewHost, NewVault, Pin, Stop, StopHow, Tags};
use catalog::{Catalog, DrillRow};
use control::PointPlace;
use model::JobId;
use model::drill::{CheckRecord, DrillRecord, Verdict};
use model::protection::{KeepWish, Protection};
use std::path::Path;
use uuid::Uuid;

const PINNED: Pin = Pin { pinned: true };

on_both! {
    what_was_said_of_machines_comes_back_with_their_vault(lost) {
        let made = made(&lost).await?;
        let (_, machines) = lost.machines("host", &["db", "web", "plain"]).await?;
        let mut items = Vec::new();
        for machine in machines {
            items.push(lost.protect(made.id, made.policy.id, machine).await?);
        }
        let mut points = Vec::new();
        for item in &items {
            for days in [3, 2, 1] {
                points.push(backed_up(&lost, &made, item, Some(days)).await?);
            }
        }
        let (pinned, tried) = (points[0], points[4]);
        lost.control.pin(&lost.me, pinned, PINNED).await?;
        let tags = Tags { tags: [("team".to_owned(), "shop".to_owned())].into() };
        lost.control.tag_machine(&lost.me, items[0].machine, tags, |_| true).await?;
        lost.control.catalog().put_drill(&drill(tried, lost.ago(2))).await?;
        let keep = Stop { data: StopHow::Keep, keep: Some(KeepWish::ByPolicy), reason: None };
        lost.control.stop(&lost.me, made.id, items[1].id, &keep).await?;
        lost.control.tick_notes(lost.now()).await?;
        ensure!(made.vault.notes().await?.notes.len() == 2, "of the third there is nothing to be said");

        // Twice: what was taken in is noted by whoever has taken it in.
        for life in ["second", "third"] {
            let folder = tempfile::tempdir()?;
            let new = Scene::over(Catalog::open_file(&folder.path().join("new.db")).await?)?;
            let adopted = new.control.make_vault(&new.me, adoption(&lost, &new, &made)).await?;
            ensure!(adopted.lost.len() == 1 && !adopted.lost[0].contains("pins"), "{:?}", adopted.lost);
            ensure!(adopted.advice.iter().any(|text| text.contains("strongroom resume web")), "{:?}", adopted.advice);
            for place in &points {
                ensure!(new.control.point(*place).await?.pinned == (*place == pinned), "{life}: {place:?}");
            }
            let proved = new.control.point(tried).await?.drill.context("the drill")?;
            ensure!(proved.record.verdict == Verdict::Proved && proved.record.checks[0].output.is_empty());
            let stopped = new.control.catalog().item(items[1].id).await?;
            ensure!(stopped.protection == Protection::Stopped {
                keep: model::protection::Keep::ByPolicy { policy: made.policy.id },
            });
            ensure!(new.control.item(made.id, items[0].id).await?.state == ItemState::Protected);
            let host = NewHost { name: "host".into(), address: "local".into(), mover: None };
            let host = new.control.add_host(&new.me, host).await?.id;
            new.control.take_inventory("server", inventory(host, &["db", "web"])).await?;
            let tags = new.control.machine(items[0].machine, |_| true).await?.tags;
            ensure!(tags["team"] == "shop" && tags.len() == 1, "{tags:?}");
            let before = said(&made).await?;
            new.control.tick_notes(new.now()).await?;
            ensure!(said(&made).await? == before, "{life}: the vault is told the same");
        }
        Ok(())
    }

    notes_follow_what_changes_and_nothing_else(scene) {
        let made = made(&scene).await?;
        let (_, machines) = scene.machines("host", &["db"]).await?;
        let item = scene.protect(made.id, made.policy.id, machines[0]).await?;
        let [first, _] = [backed_up(&scene, &made, &item, Some(2)).await?, backed_up(&scene, &made, &item, Some(1)).await?];
        tick(&scene).await?;
        ensure!(objects(&scene).is_empty(), "there is nothing to be said of it");
        scene.control.pin(&scene.me, first, PINNED).await?;
        // The store is not there: it is told once it is.
        let (there, away) = (scene.folder.path().join("main"), scene.folder.path().join("away"));
        std::fs::rename(&there, &away)?;
        tick(&scene).await?;
        std::fs::rename(&away, &there)?;
        tick(&scene).await?;
        let noted = said(&made).await?;
        ensure!(noted.len() == 1 && noted[0]["pinned"][0] == first.point.to_string(), "{noted:?}");
        let names = objects(&scene);
        // A backup changes the item, and nothing that a note says.
        let row = scene.control.catalog().item(item.id).await?;
        scene.control.catalog().update_item(&row).await?;
        tick(&scene).await?;
        ensure!(objects(&scene) == names);
        scene.control.pin(&scene.me, first, Pin { pinned: false }).await?;
        tick(&scene).await?;
        ensure!(said(&made).await? == [serde_json::Value::Null], "nothing is to be said any more");
        scene.control.pin(&scene.me, first, PINNED).await?;
        tick(&scene).await?;
        ensure!(objects(&scene).len() == 2);
        // The item goes, and its notes with it.
        for place in scene.control.catalog().points(item.id, None, 10).await?.rows {
            scene.control.catalog().remove_point(place.point.id).await?;
        }
        scene.control.catalog().remove_item(item.id).await?;
        tick(&scene).await?;
        ensure!(objects(&scene).is_empty());
        ensure!(scene.control.catalog().notes_due(made.id, 10).await?.is_empty());
        Ok(())
    }

    a_note_is_not_replaced_by_who_knows_less(scene) {
        let made = made(&scene).await?;
        let (_, machines) = scene.machines("host", &["db"]).await?;
        let item = scene.protect(made.id, made.policy.id, machines[0]).await?;
        let place = backed_up(&scene, &made, &item, Some(1)).await?;
        let catalog = scene.control.catalog();
        // Something has happened to it, of which nothing is to be said.
        catalog.update_item(&catalog.item(item.id).await?).await?;
        // A server that stands still after it has looked, and one that comes after it.
        let slow = catalog.draft_note(item.id).await?.context("a draft")?;
        scene.control.pin(&scene.me, place, PINNED).await?;
        tick(&scene).await?;
        ensure!(said(&made).await?[0]["pinned"][0] == place.point.to_string());
        let machine = vault::MachineKey::new(item.id.to_string())?;
        let note = vault::Note { machine, number: slow.number, at: scene.now(), note: serde_json::Value::Null };
        let refused = made.vault.put_note(&note).await.unwrap_err();
        ensure!(refused.kind() == vault::ErrorKind::AlreadyExists);
        catalog.mark_note(item.id, &slow, "").await?;
        tick(&scene).await?;
        ensure!(said(&made).await?[0]["pinned"][0] == place.point.to_string());
        // One that has drawn, and may or may not write: nobody takes the vault's word for known.
        catalog.draft_note(item.id).await?.context("a draft")?;
        scene.control.pin(&scene.me, place, Pin { pinned: false }).await?;
        scene.control.pin(&scene.me, place, PINNED).await?;
        let before = objects(&scene);
        tick(&scene).await?;
        ensure!(objects(&scene) != before, "it is written once more");
        // While a vault is taken in, its item knows less than the note.
        catalog.hold_note(item.id, made.id, None).await?;
        scene.control.pin(&scene.me, place, Pin { pinned: false }).await?;
        tick(&scene).await?;
        ensure!(said(&made).await?[0]["pinned"][0] == place.point.to_string());
        catalog.release_note(item.id).await?;
        tick(&scene).await?;
        ensure!(said(&made).await? == [serde_json::Value::Null]);
        // A number that the vault has already, from a catalog before this one.
        let last = made.vault.last_note(&note.machine).await?.context("a note")?;
        made.vault.put_note(&vault::Note { number: last + 50, ..note.clone() }).await?;
        scene.control.pin(&scene.me, place, PINNED).await?;
        tick(&scene).await?;
        tick(&scene).await?;
        ensure!(said(&made).await?[0]["pinned"][0] == place.point.to_string());
        Ok(())
    }
}

async fn tick(scene: &Scene) -> Result<()> {
    Ok(scene.control.tick_notes(scene.now()).await?)
}

/// What the vault's notes say.
async fn said(made: &Made) -> Result<Vec<serde_json::Value>> {
    let found = made.vault.notes().await?;
    ensure!(found.damage.is_empty(), "{:?}", found.damage);
    Ok(found.notes.into_iter().map(|note| note.note).collect())
}

/// The names of all notes in the vault `main`.
fn objects(scene: &Scene) -> Vec<String> {
    let files = |folder: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let folders = files(&scene.folder.path().join("main/notes"));
    let mut names: Vec<_> =
        folders.iter().flat_map(|folder| files(folder)).map(|path| path.display().to_string()).collect();
    names.sort_unstable();
    names
}

fn adoption(lost: &Scene, new: &Scene, made: &Made) -> NewVault {
    let location = lost.new_vault("main").location;
    NewVault { location, adopt: true, key: Some(made.key.clone()), ..new.new_vault("main") }
}

fn drill(place: PointPlace, instant: jiff::Timestamp) -> DrillRow {
    let record = DrillRecord {
        verdict: Verdict::Proved,
        restore_ms: Some(900),
        boot_ms: Some(7000),
        read_bytes: 40 << 20,
        guest: Some("Debian".to_owned()),
        checks: vec![CheckRecord { name: "db".into(), failure: None, output: "t".into(), took_ms: 30 }],
        console: "login:".to_owned(),
        left_out: Vec::new(),
    };
    let job = JobId(Uuid::now_v7());
    DrillRow {
        job,
        point: place.point,
        item: place.item,
        instant,
        ended: instant,
        record,
        has_picture: false,
    }
}
