//! Images: made of machines, listed, made into machines, copied, deleted. A version is a point that no policy owns: it
//! stands in a table of its own, which retention does not read.
//!
//! Machines that jobs make stand on a copy of the image that is whole before anything starts, or alone, or run at once and
//! their job goes on until they need it no more: so a version may be deleted at any time, but not while a job makes
//! machines of it. Those are kinds of jobs on one subject that exclude each other (`model::job`).
//!
//! `create.rs` asks for new ones, and for machines; this file for all else; `order.rs` says what movers do, `follow.rs`
//! what comes of it.

mod create;
mod follow;
mod order;

use crate::request::{Request, settings};
use crate::{Actor, Asker, Control, Error, Paging, Result};
use api::images::{CopyImage, CreateMachines, Image, ImageDisk, ImageFinding, ImageMachine, NewImage};
use api::{Code, Page};
use catalog::{ImageMachineRow, ImageRow};
use jiff::{SignedDuration, Timestamp};
use model::access::Action;
use model::image::{Version, meant};
use model::job::JobKind;
use model::{JobId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePlace {
    /// In this vault.
    pub vault: VaultId,
    /// The version.
    pub image: PointId,
}

/// What a job is asked to do with images; see `Request::Image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asked", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ImageRequest {
    /// Make one more version.
    Capture {
        /// What is wished.
        wish: NewImage,
    },
    /// Make machines.
    Create {
        /// The version.
        point: PointId,
        /// What is wished.
        wish: CreateMachines,
        /// The job that was tried before: its machines are meant, not others of the same names.
        #[serde(default)]
        same_as: Option<JobId>,
    },
    /// Copy a version to another vault.
    Copy {
        /// The version.
        point: PointId,
        /// The other vault.
        to: VaultId,
    },
    /// Delete a version.
    Delete {
        /// The version.
        point: PointId,
        /// Until when it can be brought back.
        purge_at: Timestamp,
    },
    /// Bring it back.
    Undelete {
        /// The version.
        point: PointId,
        /// Until when it could be.
        was: Timestamp,
    },
}

impl ImageRequest {
    /// The kind of job that does it.
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Capture { .. } => JobKind::CaptureImage,
            Self::Create { wish, .. } if wish.at_once => JobKind::CreateMachinesAtOnce,
            Self::Create { .. } => JobKind::CreateMachines,
            Self::Copy { .. } => JobKind::CopyImage,
            Self::Delete { .. } => JobKind::DeleteData,
            Self::Undelete { .. } => JobKind::Undelete,
        }
    }
}

/// The rest of a version, as the catalog keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImageDetail {
    pub(crate) from: String,
    pub(crate) findings: Vec<ImageFinding>,
    pub(crate) systems: Vec<String>,
    pub(crate) disks: Vec<ImageDisk>,
    pub(crate) stored_bytes: u64,
    pub(crate) copy_of: Option<PointId>,
}

impl ImageDetail {
    /// What cannot be read is left out: the vault has it.
    pub(crate) fn of(row: &ImageRow) -> Self {
        serde_json::from_value(row.document.clone()).unwrap_or_default()
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("plain data")
    }
}

/// Where a machine is, and who made it, as the catalog keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MachineDetail {
    folder: String,
    mover: String,
    shares: bool,
    job: JobId,
}

/// A version in words: `web:3`.
pub(crate) fn called(row: &ImageRow) -> String {
    format!("{}:{}", row.name, row.version)
}

impl Control {
    /// The images of a vault by name and version, with those that were deleted and can be brought back.
    pub async fn images(&self, vault: VaultId, name: Option<&str>, paging: &Paging) -> Result<Page<Image>> {
        let (after, limit) = paging.place()?;
        self.vault_row(vault).await?;
        let page = self.catalog.images(vault, name.unwrap_or_default(), after.as_ref(), limit).await?;
        let counts: BTreeMap<_, _> = self.catalog.image_machine_counts(vault).await?.into_iter().collect();
        // A page may end in the midst of an image's versions.
        let names: BTreeSet<&str> = page.rows.iter().map(|row| row.name.as_str()).collect();
        let mut latest = BTreeMap::new();
        for name in names {
            latest.insert(name, latest_of(&self.catalog.image_versions(vault, name).await?));
        }
        let one = |row: &ImageRow| {
            shown(row, latest[row.name.as_str()], counts.get(&row.id).copied().unwrap_or_default())
        };
        let next = page.next.map(|next| next.to_string());
        Ok(Page { items: page.rows.iter().map(one).collect(), next })
    }

    /// One version.
    pub async fn image(&self, place: ImagePlace) -> Result<Image> {
        let row = self.image_row(place).await?;
        let latest = latest_of(&self.catalog.image_versions(row.vault, &row.name).await?);
        let counts = self.catalog.image_machine_counts(row.vault).await?;
        let machines = counts.iter().find(|(id, _)| *id == row.id).map_or(0, |(_, count)| *count);
        Ok(shown(&row, latest, machines))
    }

    /// The machines that jobs have made of a version, by name. They may be gone by now.
    pub async fn image_machines(&self, place: ImagePlace, paging: &Paging) -> Result<Page<ImageMachine>> {
        let (after, limit) = paging.place()?;
        self.image_row(place).await?;
        let page = self.catalog.image_machines(place.image, after.as_ref(), limit).await?;
        let next = page.next.map(|next| next.to_string());
        Ok(Page { items: page.rows.iter().filter_map(machine_shown).collect(), next })
    }

    /// Copies a version to another vault, in which the asker must be allowed to back up.
    pub async fn copy_image(&self, by: &Asker, place: ImagePlace, wish: CopyImage) -> Result<JobId> {
        by.needs(Action::BackUp, Some(wish.to))?;
        let row = self.image_there(place).await?;
        let to = self.vault_row(wish.to).await?;
        if wish.to == place.vault {
            return Err(Error::invalid("/to", "must be another vault than the one that has it"));
        }
        let others = self.catalog.image_versions(wish.to, &row.name).await?;
        if others.iter().any(|other| other.version == row.version) {
            let detail = format!("the vault {} has {} already, deleted or not", to.name, called(&row));
            return Err(Error::new(Code::Conflict, detail));
        }
        let detail = json!({ "vault": place.vault, "image": called(&row), "to": wish.to, "name": to.name });
        self.audit(&by.actor, "image.copy", &place.image.to_string(), &detail).await?;
        let asked = ImageRequest::Copy { point: place.image, to: wish.to };
        self.queue_for(&by.actor, place.vault, place.image.0, &Request::Image(asked)).await
    }

    /// Deletes a version such that it can be brought back. Refused while a job makes machines of it; those that there
    /// are do not need it.
    pub async fn delete_image(&self, actor: &Actor, place: ImagePlace) -> Result<JobId> {
        let row = self.image_there(place).await?;
        let settings = settings(&self.vault_row(place.vault).await?)?;
        if settings.immutable {
            let detail = "the vault is immutable: nothing may be lost sooner than promised";
            return Err(Error::new(Code::Locked, detail));
        }
        let lasts = SignedDuration::from_hours(24 * i64::from(settings.soft_delete_days));
        let purge_at = self.now().saturating_add(lasts).expect("a duration, not a span");
        let asked = ImageRequest::Delete { point: place.image, purge_at };
        self.mark_image_and_queue(actor, &row, ("image.delete", Some(purge_at)), asked).await
    }

    /// Brings a deleted version back.
    pub async fn undelete_image(&self, actor: &Actor, place: ImagePlace) -> Result<JobId> {
        let row = self.image_row(place).await?;
        let was = match row.purge_at {
            None => return Err(Error::new(Code::Conflict, "the image is not deleted")),
            Some(until) if until <= self.now() => {
                let detail = format!("the image could be brought back until {until}");
                return Err(Error::new(Code::Conflict, detail));
            }
            Some(until) => until,
        };
        let asked = ImageRequest::Undelete { point: place.image, was };
        self.mark_image_and_queue(actor, &row, ("image.undelete", None), asked).await
    }

    /// Says what is wanted, and queues what makes it so. CRASH: as with snapshots: what is marked and still in the
    /// vault is not purged, and asking again does the rest.
    async fn mark_image_and_queue(
        &self,
        actor: &Actor,
        row: &ImageRow,
        (verb, purge_at): (&str, Option<Timestamp>),
        asked: ImageRequest,
    ) -> Result<JobId> {
        let detail = json!({ "vault": row.vault, "image": called(row) });
        self.audit(actor, verb, &row.id.to_string(), &detail).await?;
        let revision = self.catalog.mark_image(row, purge_at).await?;
        let queued = self.queue_for(actor, row.vault, row.id.0, &Request::Image(asked)).await;
        if queued.is_err() {
            let marked = ImageRow { revision, ..row.clone() };
            self.catalog.mark_image(&marked, row.purge_at).await?;
        }
        queued
    }

    /// A version in a vault that must be known.
    async fn image_row(&self, place: ImagePlace) -> Result<ImageRow> {
        let missing = || format!("image {} in the vault", place.image);
        let row = self.catalog.image(place.image).await;
        let row = row.map_err(|error| Error::missing(error, missing()))?;
        if row.vault == place.vault { Ok(row) } else { Err(Error::not_found(missing())) }
    }

    /// One that was not deleted.
    async fn image_there(&self, place: ImagePlace) -> Result<ImageRow> {
        let row = self.image_row(place).await?;
        match row.purge_at {
            None => Ok(row),
            Some(until) => {
                let detail = format!("{} is deleted, and can be brought back until {until}", called(&row));
                Err(Error::new(Code::Conflict, detail)
                    .hint("bring it back first: `strongroom image undelete`"))
            }
        }
    }
}

/// Which of an image's versions is meant when none is said.
fn latest_of(rows: &[ImageRow]) -> Option<u32> {
    let live = rows.iter().filter(|row| row.purge_at.is_none());
    let versions: Vec<Version> =
        live.map(|row| Version { number: row.version, excluded: row.excluded }).collect();
    meant(&versions, None)
}

fn shown(row: &ImageRow, latest: Option<u32>, machines: u64) -> Image {
    let ImageDetail { from, findings, systems, disks, stored_bytes, copy_of } = ImageDetail::of(row);
    Image {
        id: row.id,
        vault: row.vault,
        name: row.name.clone(),
        version: row.version,
        latest: row.purge_at.is_none() && latest == Some(row.version),
        excluded: row.excluded,
        from,
        generalised: !systems.is_empty() && findings.is_empty(),
        findings,
        systems,
        taken: row.taken,
        provisioned_bytes: disks.iter().map(|disk| disk.bytes).sum(),
        disks,
        stored_bytes,
        machines,
        copy_of,
        purge_at: row.purge_at,
    }
}

/// One whose document cannot be read is left out.
fn machine_shown(row: &ImageMachineRow) -> Option<ImageMachine> {
    let MachineDetail { folder, mover, shares, job } = serde_json::from_value(row.document.clone()).ok()?;
    Some(ImageMachine { name: row.name.clone(), uuid: row.uuid, folder, mover, shares, job, made: row.made })
}
