//! What follows from what a mover reported: points taken in, protection set, alerts raised and resolved.
//!
//! A report is stored with its job first, then this is done from what is stored, then the job is marked. Each part
//! finds what it did before, so a server that dies in between leaves it to the next look.

use crate::alerts::Trouble;
use crate::order::{Ordered, item_of, ordered_of, request_of};
use crate::request::{Request, settings};
use crate::schedule::Policies;
use crate::settle::Deletion;
use crate::{Control, Error, Result};
use api::work::MadePoint;
use api::{Code, JobError};
use catalog::{ErrorKind, JobRow, PointRow};
use jiff::Timestamp;
use model::job::JobState;
use model::protection::{Act, Circumstances, apply};
use model::{Origin, Point, PointId, VaultCopy};
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;

/// Jobs that are followed in one look: those of a server that died.
const JOBS: u32 = 100;
/// Whoever changes an item at the same moment is a person or another server: each round one of them succeeds.
const TRIES: u32 = 16;

/// What comes after a job: nothing, or another look at it.
pub(crate) type FollowLater = Option<Timestamp>;

impl Control {
    /// Does what follows from reports that a server stored before it died.
    ///
    /// # Errors
    /// The catalog's. What fails for one job is told to the log, and tried again.
    pub async fn tick_follow(&self) -> Result<()> {
        for row in self.catalog.jobs_to_follow(self.now(), JOBS).await? {
            if let Err(error) = self.follow(&row).await {
                tracing::error!(job = %row.id, %error, "what follows from a job could not be done yet");
            }
        }
        Ok(())
    }

    /// Does what follows from a job as it is stored, and marks it.
    pub(crate) async fn follow(&self, row: &JobRow) -> Result<()> {
        let done = match request_of(row)? {
            Request::BackUp { origin, .. } => self.follow_backup(row, origin).await.map(|()| None),
            Request::DeletePoints { points, expired, purge_at } => {
                self.follow_deletion(row, &Deletion { points, expired, purge_at }).await
            }
            Request::UndeletePoints { was, .. } => self.follow_undeletion(row, &was).await,
            Request::Collect {} => self.follow_collect(row).await.map(|()| None),
            Request::Copy {} => self.follow_copy(row).await.map(|()| None),
            Request::Archive {} => self.follow_archive(row).await.map(|()| None),
            Request::Rehydrate { point, days } => {
                self.follow_rehydrate(row, (point, days)).await.map(|()| None)
            }
            Request::Heal {} => self.tell_end(row, Trouble::HealFailed, "healing").await.map(|()| None),
            Request::RestoreInto { plan: true, .. } => Ok(None),
            Request::Restore { .. } | Request::RestoreInto { .. } => {
                self.tell_end(row, Trouble::RestoreFailed, "the restore of").await.map(|()| None)
            }
            Request::Drill { point, from_copy: true, .. } => {
                self.follow_copy_drill(row, point).await.map(|()| None)
            }
            Request::Drill { point, .. } => self.follow_drill(row, point).await.map(|()| None),
            Request::Replace(asked) if asked.plan => Ok(None),
            Request::Replace(asked) => self.follow_replace(row, &asked).await,
            Request::UndoReplace { replacement, .. } => self.follow_undo(row, replacement).await,
            Request::RemoveKept { replacement, .. } => self.follow_remove(row, replacement).await,
            Request::Snapshot(asked) => self.follow_snapshot(row, &asked).await,
            Request::Image(asked) => self.follow_image(row, &asked).await,
            Request::Verify { .. } => {
                self.tell_end(row, Trouble::VerifyFailed, "reading back").await.map(|()| None)
            }
        };
        let later = match done {
            // The item or the vault is gone: nothing follows any more.
            Err(error) if error.code() == Code::NotFound => None,
            done => done?,
        };
        match later {
            Some(at) => Ok(self.catalog.follow_later(row, at).await?),
            None => Ok(self.catalog.job_followed(row).await?),
        }
    }

    async fn follow_backup(&self, row: &JobRow, origin: Origin) -> Result<()> {
        let item = item_of(row)?;
        if let Some(made) = made(row) {
            self.take_point_in(row, &made, origin).await?;
        }
        match row.job.state {
            JobState::Completed | JobState::CompletedWithWarnings => {
                self.act(item, Act::BackedUp).await?;
                self.resolve(Trouble::BackupSkipped, item).await?;
                self.compare_consistency(item, &row.name).await?;
            }
            JobState::Failed => self.act(item, Act::BackupFailed).await?,
            _ => {}
        }
        self.tell_end(row, Trouble::BackupFailed, "the backup of").await?;
        self.expire(item, &mut Policies::default(), self.now()).await
    }

    /// Takes a point in as the vault has it. Nothing of what it is kept for comes from the mover.
    pub(crate) async fn take_point_in(&self, row: &JobRow, made: &MadePoint, origin: Origin) -> Result<()> {
        let item = item_of(row)?;
        let vault = match (made.in_vault_tier, ordered_of(row).transfer && !row.job.is_over()) {
            (true, _) => VaultCopy::There,
            (false, true) => VaultCopy::Expected,
            (false, false) => VaultCopy::Never,
        };
        match self.catalog.point(made.point).await {
            Ok(known) if known.item != item => {
                let detail = format!("the mover reports the point {} of another item", made.point);
                return Err(Error::new(Code::Internal, detail));
            }
            Ok(_) => {
                let in_snapshot_tier = made.in_snapshot_tier;
                return self
                    .change_points(item, |point| {
                        let is_it = point.id == made.point;
                        is_it.then(|| Point { in_snapshot_tier, vault, ..point.clone() })
                    })
                    .await;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let point = Point {
            id: made.point,
            // A host whose clock is wrong must not make points look older or newer than the job that made them.
            taken: made.taken.clamp(row.created, self.now().max(row.created)),
            origin,
            in_snapshot_tier: made.in_snapshot_tier,
            vault,
            pinned: false,
            locked_until: None,
            purge_at: None,
            archive: model::ArchiveCopy::Never,
        };
        let new = PointRow {
            point,
            item,
            consistency: made.consistency.clone(),
            expires: None,
            stored_bytes: made.stored_bytes,
            detail: json!({ "evidence": made.evidence, "disks": made.disks, "job": row.id }),
        };
        Ok(self.catalog.put_point(&new).await?)
    }

    async fn compare_consistency(&self, item: Uuid, name: &str) -> Result<()> {
        let rank = |row: &PointRow| {
            ["crash", "file_system", "application"].iter().position(|one| *one == row.consistency)
        };
        let newest = self.catalog.points(item, None, 2).await?.rows;
        let [new, old] = &newest[..] else { return Ok(()) };
        if rank(new) < rank(old) {
            let text = format!(
                "the newest point of {name} is {}-consistent, the one before it was {}-consistent: look at its evidence",
                new.consistency, old.consistency
            );
            return self.raise(Trouble::ConsistencyFell, &item.to_string(), text).await;
        }
        if rank(new) > rank(old) || new.consistency == "application" {
            self.resolve(Trouble::ConsistencyFell, item).await?;
        }
        Ok(())
    }

    /// Points whose days were over when the vault was asked to purge are there no more.
    async fn follow_collect(&self, row: &JobRow) -> Result<()> {
        self.tell_end(row, Trouble::CollectFailed, "freeing space in").await?;
        let (Some(vault), Ordered { at: Some(at), .. }) = (row.vault, ordered_of(row)) else { return Ok(()) };
        if !matches!(row.job.state, JobState::Completed | JobState::CompletedWithWarnings) {
            return Ok(());
        }
        // What the vault still has stays known: somebody may have to see to it.
        let gone = row.result.as_ref().and_then(|result| result.get("gone")).cloned().unwrap_or_default();
        let gone: HashSet<PointId> = serde_json::from_value(gone).unwrap_or_default();
        for point in self.catalog.points_to_purge(vault, at).await? {
            if gone.contains(&point) {
                self.forget_point(point).await?;
            }
        }
        let snapshots = self.catalog.snapshots_to_purge(vault, at).await?;
        self.forget_snapshots(snapshots.into_iter().filter(|point| gone.contains(point))).await?;
        self.note_dropped_gone(vault, at, |point| gone.contains(point)).await?;
        let images = self.catalog.images_to_purge(vault, at).await?;
        for image in images.into_iter().filter(|point| gone.contains(point)) {
            self.catalog.remove_image(image).await?;
        }
        self.tick_purge(self.now()).await
    }

    pub(crate) async fn forget_point(&self, point: PointId) -> Result<()> {
        match self.catalog.remove_point(point).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => Ok(done?),
        }
    }

    /// Items whose deleted data is gone are unprotected again.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_purge(&self, now: Timestamp) -> Result<()> {
        for item in self.catalog.items_to_purge(now, crate::schedule::BATCH).await? {
            self.act(item.id, Act::Purge).await?;
        }
        Ok(())
    }

    /// Has something happen to an item's protection, if its rules let it.
    pub(crate) async fn act(&self, item: Uuid, act: Act) -> Result<()> {
        for tried in 1.. {
            let mut row = self.catalog.item(item).await?;
            let vault = settings(&self.catalog.vault(row.vault).await?)?;
            let world = Circumstances {
                soft_delete_days: vault.soft_delete_days,
                is_immutable: vault.immutable,
                shortens: false,
                is_elsewhere: false,
                has_pinned: false,
                now: self.now(),
            };
            // What somebody did to the item meanwhile counts for more.
            let Ok(next) = apply(row.protection, act, &world) else { return Ok(()) };
            if next == row.protection {
                return Ok(());
            }
            row.protection = next;
            match self.catalog.update_item(&row).await {
                Err(error) if error.kind() == ErrorKind::Changed && tried < TRIES => {}
                done => return Ok(done.map(drop)?),
            }
        }
        Ok(())
    }

    /// Raises an alert if the job has failed, and resolves it if it went well. What a person cancelled is no trouble.
    pub(crate) async fn tell_end(&self, row: &JobRow, trouble: Trouble, doing: &str) -> Result<()> {
        let subject: Uuid = item_of(row)?;
        match row.job.state {
            JobState::Completed | JobState::CompletedWithWarnings => self.resolve(trouble, subject).await,
            JobState::Failed => {
                let error: Option<JobError> =
                    row.error.clone().and_then(|error| serde_json::from_value(error).ok());
                let (why, hint) = match (&row.job.failure, error) {
                    (Some(model::job::Failure::Lost), _) => {
                        ("the movers that worked on it went away again and again".to_owned(), None)
                    }
                    (_, Some(error)) => (error.text, error.hint),
                    (_, None) => ("nobody said why".to_owned(), None),
                };
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                let text = format!("{doing} {} failed: {why}{hint}", row.name);
                self.raise(trouble, &subject.to_string(), text).await
            }
            _ => Ok(()),
        }
    }
}

/// The point that a backup's step has reported.
fn made(row: &JobRow) -> Option<MadePoint> {
    let made: MadePoint = serde_json::from_value(row.result.clone()?).ok()?;
    (made.in_snapshot_tier || made.in_vault_tier).then_some(made)
}
