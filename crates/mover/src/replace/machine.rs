//! The machine that is replaced: whether it is off, stopped, started again.

use super::disks;
use super::journal::Swap;
use crate::error::{Doing, Result};
use hypervisor::recreate::{self, Stop};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Who runs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Owner {
    /// libvirt, by its uuid.
    Libvirt { uri: String, uuid: String },
    /// A QEMU with this command line; empty if it was off when it was planned.
    Qemu { argv: Vec<String>, folder: Option<String>, qmp: Option<PathBuf> },
}

impl Owner {
    /// Whether nothing has its disks open.
    pub(super) async fn is_off(&self, disks: &[Swap]) -> Result<bool> {
        if let Self::Libvirt { uri, uuid } = self
            && !recreate::libvirt_is_off(uri, uuid).await.doing(|| "see whether the machine is off".into())?
        {
            return Ok(false);
        }
        for swap in disks {
            if swap.original.is_file() && disks::is_in_use(&swap.original, &swap.format).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) async fn stop(&self, how: Stop) -> Result<()> {
        let doing = || "stop the machine".to_owned();
        match self {
            Self::Libvirt { uri, uuid } => recreate::stop_libvirt(uri, uuid, how).await.doing(doing),
            Self::Qemu { qmp: Some(qmp), .. } => recreate::stop_qemu(qmp, how).await.doing(doing),
            Self::Qemu { .. } => Err(hypervisor::Error::new(
                hypervisor::ErrorKind::Busy,
                "something has its disks open that nobody told us how to stop; shut it down first",
            ))
            .doing(doing),
        }
    }

    pub(super) async fn start(&self) -> Result<()> {
        let doing = || "start the machine, whose disks are in place".to_owned();
        match self {
            Self::Libvirt { uri, uuid } => recreate::start_defined(uri, uuid).await.doing(doing),
            Self::Qemu { argv, folder, .. } => {
                recreate::start_again(argv, folder.as_deref()).await.doing(doing)
            }
        }
    }
}
