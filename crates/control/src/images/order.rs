//! What movers are told to do with images, settled at the moment of the claim; and which mover.

use super::{ImageRequest, called};
use crate::machines::OWN_MOVER;
use crate::order::{Ordered, Prepared};
use crate::request::{When, settings};
use crate::{Control, Error, Result};
use api::images::{ImageWork, KeptImage};
use api::work::{AssignedHost, ServicePromise, Work};
use catalog::{Host, ImageRow, JobRow, NewJob, VaultRow};
use model::{JobId, PointId};
use uuid::Uuid;

/// The address of a host whose machines are found as those of its mover's.
pub(super) const LOCAL: &str = "local";

impl Control {
    /// A job on images, with the mover that is to do it.
    pub(crate) async fn image_job(
        &self,
        vault: &VaultRow,
        subject: Uuid,
        (asked, request): (&ImageRequest, serde_json::Value),
        when: When,
    ) -> Result<NewJob> {
        let (name, host) = self.of_image_job(asked).await?;
        let other = match asked {
            ImageRequest::Copy { to, .. } => Some(self.catalog.vault(*to).await?),
            _ => None,
        };
        // A directory is reached by the mover within the server.
        let is_directory = |vault: &VaultRow| !vault.location.contains("://");
        let of_vaults = || [Some(vault), other.as_ref()].into_iter().flatten().any(is_directory);
        let mover = match asked {
            ImageRequest::Capture { .. } | ImageRequest::Create { .. } => {
                host.as_ref().map(|host| host.mover.clone())
            }
            _ => of_vaults().then(|| OWN_MOVER.to_owned()),
        };
        Ok(NewJob {
            id: JobId(self.draw()),
            kind: asked.kind(),
            vault: Some(vault.id),
            subject: subject.to_string(),
            name,
            mover,
            host: host.map(|host| host.id),
            request,
            ready: when.ready,
            slot: when.slot,
            asked_by: None,
        })
    }

    /// What people call what a job works on, and the host that is concerned.
    async fn of_image_job(&self, asked: &ImageRequest) -> Result<(String, Option<Host>)> {
        match asked {
            ImageRequest::Capture { wish } => {
                let (machine, host) = self.machine_and_host(wish.machine).await?;
                Ok((format!("{} ({})", wish.name, machine.name), Some(host)))
            }
            ImageRequest::Create { point, wish, .. } => {
                let (row, host) = (self.catalog.image(*point).await?, self.host_row(wish.host).await?);
                Ok((called(&row), Some(host)))
            }
            ImageRequest::Copy { point, .. }
            | ImageRequest::Delete { point, .. }
            | ImageRequest::Undelete { point, .. } => Ok((called(&self.catalog.image(*point).await?), None)),
        }
    }

    /// What a claimed job comes to.
    pub(crate) async fn image_work(
        &self,
        row: &JobRow,
        asked: ImageRequest,
        ordered: Ordered,
    ) -> Result<Prepared> {
        let vault = self.vault_of(row).await?;
        let work = match asked {
            ImageRequest::Capture { wish } => {
                let (machine, host) = self.machine_and_host(wish.machine).await?;
                ImageWork::Capture {
                    wish,
                    host: AssignedHost { id: host.id, address: host.address },
                    known_as: machine.known_as,
                    machine_name: machine.name,
                    kept: kept(row, None, &vault)?,
                }
            }
            ImageRequest::Create { point, wish, same_as } => {
                let image = self.catalog.image(point).await?;
                if image.purge_at.is_some() {
                    return Ok(Prepared::Unwanted(format!("{} was deleted meanwhile", called(&image))));
                }
                let host = self.host_row(wish.host).await?;
                let libvirt = Some(host.address).filter(|address| address != LOCAL);
                ImageWork::Create { point, image: called(&image), wish, libvirt, same_as }
            }
            ImageRequest::Copy { point, to } => {
                let image: ImageRow = self.catalog.image(point).await?;
                let other = self.catalog.vault(to).await?;
                let kept = kept(row, Some(point), &other)?;
                ImageWork::Copy { point, image: called(&image), to: self.access_to(other).await?, kept }
            }
            ImageRequest::Delete { point, .. } => return self.delete_image_work(point, true, ordered).await,
            ImageRequest::Undelete { point, .. } => {
                return self.delete_image_work(point, false, ordered).await;
            }
        };
        Ok(Prepared::Work(Box::new(Work::Image(Box::new(work))), ordered))
    }

    /// Deletes a version, or brings it back, if that is still wanted.
    async fn delete_image_work(&self, point: PointId, delete: bool, ordered: Ordered) -> Result<Prepared> {
        let row = self.catalog.image(point).await.map_err(|error| Error::missing(error, "image"))?;
        if row.purge_at.is_some() != delete {
            return Ok(Prepared::Done);
        }
        let (item, points) = (row.id.0, vec![point]);
        let work = match delete {
            true => Work::DeletePoints { item, points, snapshots: Vec::new(), archive: None },
            false => Work::UndeletePoints { item, points, snapshots: Vec::new(), archive: None },
        };
        Ok(Prepared::Work(Box::new(work), Ordered { points: vec![point], ..ordered }))
    }
}

fn kept(row: &JobRow, copy_of: Option<PointId>, vault: &VaultRow) -> Result<KeptImage> {
    let settings = settings(vault)?;
    let promised =
        ServicePromise { soft_delete_days: settings.soft_delete_days, immutable: settings.immutable };
    Ok(KeptImage { version: 1, job: Some(row.id), copy_of, promised: Some(promised) })
}
