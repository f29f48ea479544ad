//! The catalog is lost of a vault that has an archive: what is there alone comes back as well, as what it was.

use crate::acts::scene::{Scene, on_both};
use crate::adopt::{Made, backed_up, made};
use anyhow::{Context, Result, ensure};
use api::{ArchiveStore, Code, ItemState, NewVault, Pin, VaultChange, VaultMade, VaultSettings};
use catalog::Catalog;
use control::{Paging, PointPlace};
use jiff::SignedDuration;
use model::{ArchiveCopy, Near, Point};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CollectOptions, CopyCourse, CopyRun, KeyFile, MachineKey, SessionId, Standing, Store, Vault,
    copy_point_again,
};

const PINNED: Pin = Pin { pinned: true };

/// A vault with an archive beside it, written to as movers do.
struct Archived {
    lost: Scene,
    made: Made,
    archive: Arc<Vault>,
    items: Vec<api::Item>,
}

/// Each point of the machine `db` by what has become of it; the one machine `gone` has is in the archive alone.
struct Points {
    in_both: PointPlace,
    dropped: PointPlace,
    purged: PointPlace,
    back: PointPlace,
    deleted: PointPlace,
    deleted_there: PointPlace,
    newest: PointPlace,
    of_gone: PointPlace,
}

impl Archived {
    async fn new(lost: Scene) -> Result<Self> {
        let made = made(&lost).await?;
        let (_, machines) = lost.machines("host", &["db", "gone"]).await?;
        let mut items = Vec::new();
        for machine in machines {
            items.push(lost.protect(made.id, made.policy.id, machine).await?);
        }
        let folder = lost.folder.path().join("archive");
        std::fs::create_dir(&folder)?;
        let key = KeyFile::from_text(&made.key)?;
        let archive = Vault::create_replica(Store::local(&folder)?, &made.vault, lost.now(), &key).await?;
        Ok(Self { lost, made, archive: Arc::new(archive), items })
    }

    fn place(&self) -> PathBuf {
        self.lost.folder.path().join("archive")
    }

    fn store(&self) -> ArchiveStore {
        ArchiveStore::at(self.place().display().to_string())
    }

    /// Gives the vault its archive store, and has that noted in the vault.
    async fn noted(&self, store: ArchiveStore) -> Result<()> {
        let settings = self.lost.control.vault(self.made.id).await?.settings;
        let settings = Some(VaultSettings { archive: Some(store), ..settings });
        let change = VaultChange { settings, ..VaultChange::default() };
        self.lost.control.change_vault(&self.lost.me, self.made.id, change).await?;
        Ok(self.lost.control.tick_notes(self.lost.now()).await?)
    }

    async fn points(&self) -> Result<Points> {
        let point =
            async |item: &api::Item, days: i64| backed_up(&self.lost, &self.made, item, Some(days)).await;
        let db = &self.items[0];
        let points = Points {
            in_both: point(db, 8).await?,
            dropped: point(db, 7).await?,
            purged: point(db, 6).await?,
            back: point(db, 5).await?,
            deleted: point(db, 4).await?,
            deleted_there: point(db, 3).await?,
            newest: point(db, 0).await?,
            of_gone: point(&self.items[1], 9).await?,
        };
        let (vault, archive) = (&self.made.vault, &self.archive);
        let all = [
            &points.in_both,
            &points.dropped,
            &points.purged,
            &points.back,
            &points.deleted,
            &points.deleted_there,
            &points.of_gone,
        ];
        for place in all {
            copied(vault, archive, place).await?;
        }
        // These two are purged in the vault tier, one of them comes back by another name.
        for place in [&points.purged, &points.back, &points.deleted_there, &points.of_gone] {
            self.delete(vault, place).await?;
        }
        self.collect().await?;
        copied(archive, vault, &points.back).await?;
        let (here, standing) = vault.standing_of(vault::PointId(points.back.point.0)).await?;
        ensure!(here.0 != points.back.point.0 && standing == Standing::Listed, "by another name");
        for place in [&points.dropped, &points.deleted] {
            self.delete(vault, place).await?;
        }
        for place in [&points.deleted, &points.deleted_there] {
            self.delete(archive, place).await?;
        }
        Ok(points)
    }

    /// The vault tier purges what is deleted in it.
    async fn collect(&self) -> Result<()> {
        let now = self.lost.now() + SignedDuration::from_hours(30 * 24);
        let (soft_delete, share_max) = (SignedDuration::ZERO, 1.0);
        let options = CollectOptions { soft_delete, share_max, ..CollectOptions::new(now) };
        self.made.vault.collect(&options).await?;
        Ok(())
    }

    async fn delete(&self, store: &Vault, place: &PointPlace) -> Result<()> {
        Ok(store.delete_point(vault::PointId(place.point.0), self.lost.now()).await?)
    }

    async fn adopt(&self, new: &Scene, archive: Option<ArchiveStore>) -> control::Result<VaultMade> {
        let settings = VaultSettings { archive, ..VaultSettings::default() };
        let location = self.lost.new_vault("main").location;
        let key = Some(self.made.key.clone());
        let wish = NewVault { location, adopt: true, key, settings, ..new.new_vault("main") };
        new.control.make_vault(&new.me, wish).await
    }
}

/// Has one store of the vault copy a point of another, as a mover does that archives or brings back.
async fn copied(from: &Arc<Vault>, to: &Arc<Vault>, place: &PointPlace) -> Result<()> {
    let machine = MachineKey::new(place.item.to_string())?;
    let mut point = from.find_point(&machine, vault::PointId(place.point.0)).await?;
    point.id = vault::PointId(place.point.0);
    let pace = |_: u64| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    };
    let course = CopyCourse { progress: &|_| (), pace: &pace };
    let run = CopyRun { session: SessionId(Uuid::now_v7()), now: point.instant };
    copy_point_again(from, to, &point, run, course).await?;
    Ok(())
}

async fn over(folder: &tempfile::TempDir) -> Result<Scene> {
    Scene::over(Catalog::open_file(&folder.path().join("new.db")).await?)
}

async fn kept(scene: &Scene, place: &PointPlace) -> Result<Point> {
    Ok(scene.control.catalog().point(place.point).await?.point)
}

fn near(point: &Point) -> Option<Near> {
    point.archive.near()
}

/// Where each is, as people see it.
async fn is_as_it_was(archived: &Archived, points: &Points, new: &Scene) -> Result<()> {
    let days = |days: i64| new.ago(-days);
    let both = kept(new, &points.in_both).await?;
    ensure!(near(&both) == Some(Near::Held { until: days(30) }) && !both.is_deleted(), "{both:?}");
    let dropped = kept(new, &points.dropped).await?;
    ensure!(near(&dropped) == Some(Near::Dropped { purge_at: days(30) }) && !dropped.is_deleted());
    let purged = kept(new, &points.purged).await?;
    ensure!(near(&purged) == Some(Near::Gone {}) && purged.pinned && !purged.is_deleted(), "{purged:?}");
    let back = kept(new, &points.back).await?;
    ensure!(matches!(near(&back), Some(Near::Held { .. })) && !back.is_deleted(), "{back:?}");
    let deleted = kept(new, &points.deleted).await?;
    ensure!(deleted.purge_at == Some(days(30)) && deleted.archive.is_there(), "{deleted:?}");
    let deleted = kept(new, &points.deleted_there).await?;
    ensure!(deleted.purge_at == Some(days(30)) && near(&deleted) == Some(Near::Gone {}), "{deleted:?}");
    ensure!(kept(new, &points.newest).await?.archive == ArchiveCopy::Never);
    let gone = kept(new, &points.of_gone).await?;
    ensure!(near(&gone) == Some(Near::Gone {}) && !gone.is_deleted(), "{gone:?}");
    let shown = new.control.point(points.purged).await?;
    ensure!(shown.in_archive_tier && !shown.in_vault_tier && shown.pinned, "{shown:?}");
    let vault = new.control.vault(archived.made.id).await?;
    ensure!(vault.items == 2 && vault.settings.archive == Some(archived.store()), "{vault:?}");
    ensure!(vault.archived.context("it has an archive")?.points == 7);
    let all = new.control.points(archived.made.id, archived.items[0].id, &Paging::default()).await?.items;
    ensure!(all.len() == 7, "each once: {all:#?}");
    let gone = new.control.item(archived.made.id, archived.items[1].id).await?;
    ensure!(gone.state == ItemState::Stopped, "{gone:?}");
    Ok(())
}

on_both! {
    a_vaults_archive_is_found_by_the_vault_alone(lost) {
        let archived = Archived::new(lost).await?;
        let points = Box::pin(archived.points()).await?;
        archived.lost.control.pin(&archived.lost.me, points.purged, PINNED).await?;
        archived.noted(archived.store()).await?;
        let notes = archived.made.vault.notes().await?.notes;
        let itself = notes.iter().find(|note| note.machine.as_str() == "vault--itself").context("a note")?;
        ensure!(itself.note["archive"]["location"] == archived.place().display().to_string(), "{itself:?}");

        // Twice: the one that has taken it in notes it as well, and once more changes nothing.
        for _ in 0..2 {
            let folder = tempfile::tempdir()?;
            let new = over(&folder).await?;
            for _ in 0..2 {
                let adopted = archived.adopt(&new, None).await?;
                ensure!(adopted.lost.len() == 1 && adopted.lost[0].contains("the audit log"), "{:?}", adopted.lost);
                is_as_it_was(&archived, &points, &new).await?;
                new.control.tick_notes(new.now()).await?;
            }
            // What was purged there by now is as gone as it was, and what is kept expires as before.
            new.control.plan_again(archived.items[0].id).await?;
            new.control.tick_plans(new.now()).await?;
            new.control.tick_retention(new.now()).await?;
            is_as_it_was(&archived, &points, &new).await?;
            let wish = api::Rehydrate { days: 10 };
            new.control.rehydrate(&new.me, points.purged, wish).await?;
        }
        Ok(())
    }

    an_archive_that_is_away_is_found_later(lost) {
        let archived = Archived::new(lost).await?;
        let points = Box::pin(archived.points()).await?;
        archived.lost.control.pin(&archived.lost.me, points.purged, PINNED).await?;
        let away = archived.lost.folder.path().join("away");
        std::fs::rename(archived.place(), &away)?;
        let folder = tempfile::tempdir()?;
        let new = over(&folder).await?;
        let refused = archived.adopt(&new, Some(archived.store())).await.expect_err("it was told of one");
        ensure!(refused.code() == Code::Invalid, "{refused:?}");
        ensure!(new.control.catalog().vaults().await?.is_empty(), "nothing was begun");
        // Noted only: the rest is wanted all the same.
        let elsewhere = ArchiveStore { mover: Some("cellar".to_owned()), ..archived.store() };
        let settings = VaultSettings { archive: Some(elsewhere), ..VaultSettings::default() };
        set(&archived.lost, &archived.made, settings).await?;
        archived.lost.control.tick_notes(archived.lost.now()).await?;
        let adopted = archived.adopt(&new, None).await?;
        ensure!(adopted.lost.iter().any(|text| text.contains("which cannot be read (there is no directory")), "{:?}", adopted.lost);
        ensure!(adopted.advice.iter().any(|text| text.contains("--archive-mover cellar")), "{:?}", adopted.advice);
        ensure!(adopted.vault.settings.archive == Some(archived.store()), "without the mover that is not here");
        ensure!(kept(&new, &points.dropped).await?.is_deleted(), "as far as anybody knows");
        // Somebody deletes a point that the archive has, too, before it is back.
        archived.delete(&archived.made.vault, &points.in_both).await?;
        let mut row = new.kept(points.in_both).await?;
        row.point.purge_at = Some(new.ago(-14));
        new.pass_seconds(60);
        archived.made.vault.undelete_point(vault::PointId(points.in_both.point.0), new.now()).await?;
        archived.made.vault.delete_point(vault::PointId(points.in_both.point.0), new.now()).await?;
        new.control.catalog().put_point(&row).await?;
        let catalog = new.control.catalog();
        ensure!(catalog.is_archive_missing(archived.made.id).await?, "nobody is to make it anew");
        // It is elsewhere now, which nobody has noted.
        let moved = ArchiveStore::at(away.display().to_string());
        let adopted = archived.adopt(&new, Some(moved.clone())).await?;
        ensure!(adopted.vault.settings.archive == Some(moved), "{adopted:?}");
        let refused = archived.adopt(&new, Some(archived.store())).await.expect_err("another than is known");
        ensure!(refused.code() == Code::Conflict, "{refused:?}");
        ensure!(!catalog.is_archive_missing(archived.made.id).await?);
        ensure!(adopted.lost.len() == 1, "{:?}", adopted.lost);
        ensure!(kept(&new, &points.in_both).await?.is_deleted(), "who deleted it meant it");
        let dropped = kept(&new, &points.dropped).await?;
        ensure!(!dropped.is_deleted() && dropped.archive.is_there(), "{dropped:?}");
        ensure!(kept(&new, &points.deleted).await?.is_deleted());
        ensure!(kept(&new, &points.purged).await?.archive.is_there());
        ensure!(kept(&new, &points.purged).await?.pinned, "pins are found with their points");
        Ok(())
    }

    a_machine_of_which_all_is_archived_is_not_deleted(lost) {
        let archived = Archived::new(lost).await?;
        // Of this machine one point is purged in the vault tier, the other was deleted by somebody.
        let (kept_there, deleted) = (
            backed_up(&archived.lost, &archived.made, &archived.items[0], Some(9)).await?,
            backed_up(&archived.lost, &archived.made, &archived.items[0], Some(8)).await?,
        );
        copied(&archived.made.vault, &archived.archive, &kept_there).await?;
        archived.delete(&archived.made.vault, &kept_there).await?;
        archived.collect().await?;
        archived.delete(&archived.made.vault, &deleted).await?;
        // A machine of which the archive has all, and the vault tier what it dropped.
        let mut all = Vec::new();
        for days in [9, 8] {
            let place = backed_up(&archived.lost, &archived.made, &archived.items[1], Some(days)).await?;
            copied(&archived.made.vault, &archived.archive, &place).await?;
            archived.delete(&archived.made.vault, &place).await?;
            all.push(place);
        }
        let folder = tempfile::tempdir()?;
        let new = over(&folder).await?;
        archived.adopt(&new, None).await?;
        let item = archived.items[1].id;
        let state = async || new.control.item(archived.made.id, item).await.map(|item| item.state);
        ensure!(state().await? == ItemState::Deleted, "nobody told of an archive");
        let adopted = archived.adopt(&new, Some(archived.store())).await?;
        ensure!(adopted.vault.settings.archive == Some(archived.store()));
        ensure!(state().await? == ItemState::Stopped);
        for place in all {
            ensure!(!kept(&new, &place).await?.is_deleted());
        }
        let other = new.control.item(archived.made.id, archived.items[0].id).await?;
        ensure!(other.state == ItemState::Stopped, "of one that is deleted all would go: {other:?}");
        ensure!(!kept(&new, &kept_there).await?.is_deleted() && kept(&new, &deleted).await?.is_deleted());
        Ok(())
    }

    a_note_on_the_vault_follows_its_settings(scene) {
        let archived = Archived::new(scene).await?;
        let told = async || -> Result<Vec<serde_json::Value>> {
            archived.lost.control.tick_notes(archived.lost.now()).await?;
            let notes = archived.made.vault.notes().await?.notes;
            Ok(notes.into_iter().map(|note| note.note["archive"]["location"].clone()).collect())
        };
        ensure!(told().await?.is_empty(), "there is nothing to say");
        archived.noted(archived.store()).await?;
        ensure!(told().await? == [archived.place().display().to_string()]);
        // A number that the vault has already, from a catalog before this one.
        let machine = MachineKey::new("vault--itself")?;
        let (number, at) = (50, archived.lost.now());
        let note = vault::Note { machine, number, at, note: serde_json::Value::Null };
        archived.made.vault.put_note(&note).await?;
        set(&archived.lost, &archived.made, VaultSettings::default()).await?;
        told().await?;
        ensure!(told().await? == [serde_json::Value::Null], "it has none any more");
        archived.noted(archived.store()).await?;
        ensure!(told().await? == [archived.place().display().to_string()]);
        Ok(())
    }
}

/// Gives a vault other settings, past the check of who moves: no such mover is here.
async fn set(scene: &Scene, made: &Made, settings: VaultSettings) -> Result<()> {
    let mut row = scene.control.catalog().vault(made.id).await?;
    row.settings = serde_json::to_value(settings)?;
    scene.control.catalog().update_vault(&row).await?;
    Ok(())
}
