//! New versions, and machines of them.

use super::order::LOCAL;
use super::{ImagePlace, ImageRequest, called};
use crate::faults::Faults;
use crate::points::PATH_MAX;
use crate::request::Request;
use crate::{Actor, Control, Error, Result};
use api::Code;
use api::images::{CreateMachines, NewImage};
use catalog::Host;
use model::image::{ImageName, machine_names};
use model::{HostId, JobId, VaultId};
use serde_json::json;

/// As the API says.
const USER_DATA_MAX: usize = 64 << 10;
const CPUS_MAX: u32 = 4096;
const MEMORY_MIB_MAX: u64 = 1 << 30;

impl Control {
    /// Makes a machine's disks the next version of an image.
    ///
    /// # Errors
    /// `Invalid` for a name that cannot be; `Conflict` while the machine is being made one.
    pub async fn capture_image(&self, actor: &Actor, vault: VaultId, wish: NewImage) -> Result<JobId> {
        self.vault_row(vault).await?;
        let mut faults = Faults::default();
        if let Err(refused) = wish.name.parse::<ImageName>() {
            faults.add("/name", refused.to_string());
        }
        if wish.generalize && wish.specialized {
            faults.add("/specialized", "must not be wished together with `generalize`");
        }
        faults.none()?;
        self.machine_and_host(wish.machine).await?;
        let detail = json!({
            "vault": vault, "image": wish.name, "stop": wish.stop, "generalize": wish.generalize,
            "specialized": wish.specialized,
        });
        self.audit(actor, "image.create", &wish.machine.to_string(), &detail).await?;
        let subject = wish.machine.0;
        self.queue_for(actor, vault, subject, &Request::Image(ImageRequest::Capture { wish })).await
    }

    /// Makes machines of a version.
    ///
    /// # Errors
    /// `Invalid` for names that cannot be; `Conflict` for a version that is deleted, or being deleted.
    pub async fn create_machines(
        &self,
        actor: &Actor,
        place: ImagePlace,
        wish: CreateMachines,
    ) -> Result<JobId> {
        let mut faults = Faults::default();
        if let Err(refused) = machine_names(&wish.name, wish.first, wish.count) {
            faults.add("/name", refused.to_string());
        }
        faults.text("/folder", &wish.folder, PATH_MAX);
        if !wish.folder.starts_with('/') {
            faults.add("/folder", "must be an absolute path on the host");
        }
        if wish.cpus.is_some_and(|cpus| !(1..=CPUS_MAX).contains(&cpus)) {
            faults.add("/cpus", format!("must be 1 to {CPUS_MAX}"));
        }
        if wish.memory_mib.is_some_and(|mib| !(1..=MEMORY_MIB_MAX).contains(&mib)) {
            faults.add("/memory_mib", format!("must be 1 to {MEMORY_MIB_MAX}"));
        }
        if wish.user_data.as_ref().is_some_and(|text| text.len() > USER_DATA_MAX) {
            faults.add("/user_data", format!("must be {USER_DATA_MAX} bytes at most"));
        }
        if wish.at_once && !wish.start {
            faults.add("/start", "must be true for machines that are to run at once");
        }
        if wish.at_once && wish.full {
            faults.add("/full", "must not be wished together with `at_once`");
        }
        faults.none()?;
        let row = self.image_there(place).await?;
        let host = self.host_row(wish.host).await?;
        if wish.at_once && host.address != LOCAL {
            let why = format!(
                "must be false for the host {}: only machines of QEMU's own run at once, and its are libvirt's; without \
                 it they are made as soon as the image's copy is whole",
                host.name
            );
            return Err(Error::invalid("/at_once", why));
        }
        let detail = json!({
            "vault": place.vault, "image": called(&row), "name": wish.name, "first": wish.first,
            "count": wish.count, "host": host.name, "folder": wish.folder, "start": wish.start,
            "full": wish.full, "at_once": wish.at_once,
        });
        self.audit(actor, "image.create_machines", &place.image.to_string(), &detail).await?;
        let asked = ImageRequest::Create { point: place.image, wish, same_as: None };
        self.queue_for(actor, place.vault, place.image.0, &Request::Image(asked)).await
    }

    /// A host that must be there.
    pub(super) async fn host_row(&self, id: HostId) -> Result<Host> {
        let host = self.catalog.hosts().await?.into_iter().find(|host| host.id == id);
        host.ok_or_else(|| Error::new(Code::NotFound, format!("there is no host {id}")))
    }
}
