//! What follows from jobs on images: versions and machines are taken in, versions deleted, brought back; and a vault's
//! versions when it is taken in.
//!
//! Deletions end as those of snapshots do (`snapshots/follow.rs`): one that failed is asked for again, one that was
//! cancelled is undone.

use super::{ImageDetail, ImageRequest, MachineDetail};
use crate::adopt::Adopted;
use crate::alerts::Trouble;
use crate::follow::FollowLater;
use crate::machines::OWN_MOVER;
use crate::request::{Request, When};
use crate::survey::Found;
use crate::{Control, Error, Result};
use api::Code;
use api::images::{ImageDisk, ImageFacts, KeptImage, MadeImage, MadeMachine};
use catalog::{ImageMachineRow, ImageRow, JobRow};
use jiff::{SignedDuration, Timestamp};
use model::job::JobState;
use model::{Owner, PointId, VaultId};

/// What failed for good is asked for again after this: whatever was wrong takes a person, who needs about so long.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Something else is under way for the image: soon over.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

impl Control {
    /// Does what follows from a job on images as it is stored.
    pub(crate) async fn follow_image(&self, row: &JobRow, asked: &ImageRequest) -> Result<FollowLater> {
        let vault = row.vault.ok_or_else(|| Error::not_found("vault of the job"))?;
        match asked {
            ImageRequest::Capture { .. } => {
                self.take_image_in(row, vault).await?;
                self.tell_end(row, Trouble::ImageFailed, "making the image").await?;
            }
            ImageRequest::Copy { to, .. } => {
                self.take_image_in(row, *to).await?;
                self.tell_end(row, Trouble::ImageFailed, "copying the image").await?;
            }
            ImageRequest::Create { point, .. } => {
                self.take_machines_in(row, *point).await?;
                self.tell_end(row, Trouble::ImageFailed, "making machines of").await?;
            }
            ImageRequest::Delete { point, purge_at } => {
                return self.follow_image_deletion(row, *point, *purge_at).await;
            }
            ImageRequest::Undelete { point, was } => {
                return self.follow_image_undeletion(row, *point, *was).await;
            }
        }
        Ok(None)
    }

    /// What a newer mover says that cannot be read is left out.
    async fn take_image_in(&self, row: &JobRow, vault: VaultId) -> Result<()> {
        let told = row.result.as_ref().and_then(|result| result.get("image")).cloned();
        let Some(MadeImage { made, record, kept }) = told.and_then(|told| serde_json::from_value(told).ok())
        else {
            return Ok(());
        };
        let disks = made.disks.iter().map(|disk| ImageDisk { name: disk.name.clone(), bytes: disk.bytes });
        let detail = detail(&record, &kept, (disks.collect(), made.stored_bytes));
        // A host whose clock is wrong must not make a new version look newer than now.
        let taken = made.taken.min(self.now());
        Ok(self.catalog.add_image(&new_row((made.point, vault), &record, (taken, None), &detail)).await?)
    }

    async fn take_machines_in(&self, row: &JobRow, image: PointId) -> Result<()> {
        let told = row.result.as_ref().and_then(|result| result["machines"].as_array());
        let told = told.into_iter().flatten().filter_map(|one| serde_json::from_value(one.clone()).ok());
        let mover = row.mover.clone().unwrap_or_else(|| OWN_MOVER.to_owned());
        let made = row.ended.unwrap_or(self.now());
        let machine = |MadeMachine { name, uuid, folder, shares, .. }| {
            let detail = MachineDetail { folder, mover: mover.clone(), shares, job: row.id };
            let document = serde_json::to_value(detail).expect("plain data");
            ImageMachineRow { image, uuid, name, made, document }
        };
        let machines: Vec<ImageMachineRow> = told.map(machine).collect();
        Ok(self.catalog.add_image_machines(&machines).await?)
    }

    async fn follow_image_deletion(
        &self,
        row: &JobRow,
        point: PointId,
        purge_at: Timestamp,
    ) -> Result<FollowLater> {
        if row.follow_at.is_none() {
            self.tell_end(row, Trouble::DeletionFailed, "deleting the image").await?;
        }
        match row.job.state {
            JobState::Failed => {
                let at = row.ended.unwrap_or(self.now()) + ASK_AGAIN;
                if self.now() < at {
                    return Ok(Some(at));
                }
                self.ask_for_image(row, point, ImageRequest::Delete { point, purge_at }).await
            }
            JobState::Cancelled => {
                self.mark_image_anew(point, None).await?;
                self.ask_for_image(row, point, ImageRequest::Undelete { point, was: purge_at }).await
            }
            _ => Ok(None),
        }
    }

    async fn follow_image_undeletion(
        &self,
        row: &JobRow,
        point: PointId,
        was: Timestamp,
    ) -> Result<FollowLater> {
        if row.follow_at.is_none() {
            self.tell_end(row, Trouble::DeletionFailed, "bringing back the image").await?;
        }
        match row.job.state {
            JobState::Failed | JobState::Cancelled => {
                self.mark_image_anew(point, Some(was)).await?;
                self.ask_for_image(row, point, ImageRequest::Delete { point, purge_at: was }).await
            }
            _ => Ok(None),
        }
    }

    /// Says what is wanted of a version. Whoever has changed it meanwhile has asked for another job, which says more.
    async fn mark_image_anew(&self, point: PointId, purge_at: Option<Timestamp>) -> Result<()> {
        let row = self.catalog.image(point).await?;
        match self.catalog.mark_image(&row, purge_at).await {
            Err(error) if error.kind() == catalog::ErrorKind::Changed => Ok(()),
            marked => Ok(marked.map(drop)?),
        }
    }

    async fn ask_for_image(&self, row: &JobRow, point: PointId, asked: ImageRequest) -> Result<FollowLater> {
        let (now, vault) = (self.now(), self.vault_of(row).await?.id);
        let when = When { ready: now, slot: None };
        match self.queue(vault, point.0, &Request::Image(asked), when).await {
            Err(error) if error.code() == Code::Conflict => Ok(Some(now + LOOK_AGAIN)),
            queued => queued.map(|_| None),
        }
    }

    /// Takes in the versions of a vault that is taken in. What is known stays as it is.
    pub(crate) async fn adopt_images(
        &self,
        vault: VaultId,
        found: &[Found],
        adopted: &mut Adopted,
    ) -> Result<()> {
        let is_image = |one: &&Found| Owner::of_key(one.point.machine.as_str()) == Owner::Image;
        for Found { point, purge_at, .. } in found.iter().filter(is_image) {
            let Some(record) = ImageFacts::of(&point.description) else {
                adopted.lost.push(format!("the point {} is an image's, and says of none", point.id));
                continue;
            };
            let kept = KeptImage::of(&point.service).unwrap_or_else(KeptImage::unknown);
            let disks = point.disks.iter();
            let disks = disks.map(|disk| ImageDisk { name: disk.name.clone(), bytes: disk.map.size });
            let detail = detail(&record, &kept, (disks.collect(), point.stats.stored_bytes));
            let id = (PointId(point.id.0), vault);
            self.catalog.add_image(&new_row(id, &record, (point.instant, *purge_at), &detail)).await?;
            adopted.images += 1;
        }
        Ok(())
    }
}

fn detail(
    record: &ImageFacts,
    kept: &KeptImage,
    (disks, stored_bytes): (Vec<ImageDisk>, u64),
) -> ImageDetail {
    ImageDetail {
        from: record.from.clone(),
        findings: record.findings.clone(),
        systems: record.systems.clone(),
        disks,
        stored_bytes,
        copy_of: kept.copy_of,
    }
}

fn new_row(
    (id, vault): (PointId, VaultId),
    record: &ImageFacts,
    (taken, purge_at): (Timestamp, Option<Timestamp>),
    detail: &ImageDetail,
) -> ImageRow {
    ImageRow {
        id,
        vault,
        name: record.name.clone(),
        version: record.version,
        excluded: record.excluded,
        taken,
        purge_at,
        document: detail.to_value(),
        revision: 1,
    }
}
