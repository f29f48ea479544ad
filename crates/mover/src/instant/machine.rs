//! A machine made of its point, which runs at once on the restore's images.

use super::folder::{monitor, server};
use super::journal::Door;
use super::{InstantOptions, InstantRequest, InstantRestore, Journal};
use crate::error::{Doing, Result};
use crate::image::ImageFormat;
use crate::new_machine::{self, Defined, NewMachine, Place};
use crate::progress::Progress;
use crate::restore::RestoreRequest;
use hypervisor::recreate::{OverServer, Recreation};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use vault::Vault;

/// The machine that is to be made.
#[derive(Clone, Debug)]
pub struct InstantMachine {
    /// What is to become of it; `disks` and `over` are filled in here.
    pub recreation: Recreation,
    /// Who is to have it.
    pub place: Place,
    /// Whether it is to run.
    pub start: bool,
}

impl InstantRestore {
    /// As [`start`](Self::start), and then makes the machine, reached as who has it can be.
    ///
    /// What cannot be is refused before anything is made. Asked again by the same job, it goes on with what is there;
    /// the machine must have a uuid of its own for that. If only the machine fails, the restore serves nevertheless,
    /// and the definition that was written can be mended and used by hand.
    pub async fn start_machine(
        vault: &Arc<Vault>,
        request: &InstantRequest,
        machine: &InstantMachine,
        options: &InstantOptions,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Self, Defined)> {
        let wanted = wanted(request, machine)?;
        let plan = new_machine::plan(&wanted)?;
        if is_begun(request) {
            let restore = Self::resume(vault, &request.folder, options).await?;
            let defined = new_machine::finish(&wanted, &plan, progress).await?;
            return Ok((restore, defined));
        }
        let door = match &wanted.place {
            Place::Qemu => None,
            Place::Libvirt(uri) => Some(Door::Libvirt(uri.clone(), wanted.recreation.name.clone())),
        };
        let run_folder = own_run_folder(&wanted.restore.folder, &wanted.recreation.folder);
        let request = InstantRequest { door, run_folder, ..request.clone() };
        let restore = Self::start(vault, &request, options).await?;
        let defined = new_machine::finish(&wanted, &plan, progress).await?;
        Ok((restore, defined))
    }
}

/// The machine's folder, if it lies in the restore's, which was empty: only then is all in it ours, to be deleted when the
/// restore is given up.
fn own_run_folder(restore: &Path, run: &Path) -> Option<PathBuf> {
    let is_plain = run.components().all(|part| part != Component::ParentDir);
    (is_plain && run != restore && run.starts_with(restore)).then(|| run.to_owned())
}

/// Whether the job of the request has begun before.
fn is_begun(request: &InstantRequest) -> bool {
    request.job.is_some() && Journal::read(&request.folder).is_ok_and(|journal| journal.job == request.job)
}

fn wanted(request: &InstantRequest, machine: &InstantMachine) -> Result<NewMachine> {
    let doing = || format!("find the folder {}", request.folder.display());
    let folder =
        std::path::absolute(&request.folder).map_err(|e| block::Error::io("name it", e)).doing(doing)?;
    let over = OverServer {
        socket: server(&folder),
        patience_s: request.patience.as_secs(),
        monitor: monitor(&folder),
    };
    let recreation = Recreation { over: Some(over), ..machine.recreation.clone() };
    let (point, format) = (request.point.clone(), ImageFormat::Qcow2);
    let restore = RestoreRequest { point, disks: Vec::new(), folder, format };
    Ok(NewMachine { restore, recreation, place: machine.place.clone(), start: machine.start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_may_use_is_never_ours_to_delete() {
        let own = |run: &str| own_run_folder(Path::new("/r"), Path::new(run));
        assert_eq!(own("/r/run"), Some(PathBuf::from("/r/run")));
        for others in ["/run/machines", "/r", "/run", "/r/../run", "/rr/run"] {
            assert_eq!(own(others), None, "{others}");
        }
    }
}
