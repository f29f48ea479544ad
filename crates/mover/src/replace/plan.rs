//! Whether a machine may go back to a point in its own place, and how.

use super::disks;
use super::journal::{Journal, Stage, Swap};
use super::machine::Owner;
use super::steps::Replacement;
use crate::error::{Doing, Error, Result};
use crate::image::ImageFormat;
use crate::new_machine::described;
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::qemu::{MachineAddress, QemuMachine};
use hypervisor::recreate::{Stop, buses};
use hypervisor::{ErrorKind, Machine, MachineDescription};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vault::{Point, PointId};

/// The machine that is to be replaced.
#[derive(Clone, Debug)]
pub enum Existing {
    /// A machine of libvirt's, running or not, by its name or uuid.
    Libvirt {
        /// libvirt's address.
        uri: String,
        /// The machine's name or uuid.
        name: String,
    },
    /// A QEMU that runs on this host.
    Running(MachineAddress),
    /// A machine that is off and that only its files tell of, where the point found them.
    Off,
}

/// What a replacement would do. Nothing is touched, and nothing written down.
#[derive(Clone, Debug)]
pub struct ReplacementPlan(Journal);

impl ReplacementPlan {
    /// What would be written down.
    pub fn journal(&self) -> &Journal {
        &self.0
    }

    /// Where.
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// Writes it down: from here on it can be finished, or undone.
    ///
    /// # Errors
    /// `Machine`, busy, when the machine runs and nobody said how it is to be stopped; `Taken` when a name is taken that
    /// a file is to get.
    pub fn begin(self) -> Result<Replacement> {
        let journal = self.0;
        if journal.was_running && journal.stop.is_none() {
            let text = "the machine runs: shut it down, or have it stopped with --stop or --power-off";
            return Err(refused(ErrorKind::Busy, text.into()));
        }
        let taken = journal
            .disks
            .iter()
            .flat_map(|swap| [journal.fresh(swap), journal.kept(swap), journal.undone(swap)]);
        if let Some(taken) = taken.chain([journal.path()]).find(|path| path.exists()) {
            return Err(Error::Taken("plan the restore".into(), taken));
        }
        journal.write(&journal.path())?;
        Ok(Replacement::of(journal))
    }
}

/// Plans a replacement. `id` is fresh, and so is `safety`, the id of the point that the present state is to be.
///
/// # Errors
/// `Machine` with every way in which the machine is not what it was in the point: a disk more or less, another size,
/// another bus, an image that is not written here.
pub async fn plan_replacement(
    point: &Point,
    vault: Uuid,
    existing: &Existing,
    (id, safety, stop): (Uuid, Option<PointId>, Option<Stop>),
) -> Result<ReplacementPlan> {
    let was = described(point)?;
    let (owner, is) = look(existing, &was).await?;
    let (disks, faults) = shape(point, &was, &is).await?;
    if !faults.is_empty() {
        let text = format!("the machine is not what it was in the point: {}", faults.join("; "));
        return Err(refused(ErrorKind::Unsupported, text));
    }
    let mut journal = Journal {
        format: Journal::format(),
        id,
        point: point.id,
        vault,
        machine_name: point.machine_name.clone(),
        safety,
        stage: Stage::Planned,
        disks,
        owner,
        stop,
        was_running: false,
    };
    journal.was_running = !journal.owner.is_off(&journal.disks).await?;
    Ok(ReplacementPlan(journal))
}

fn refused(kind: ErrorKind, text: String) -> Error {
    Error::Machine("restore in place".into(), hypervisor::Error::new(kind, text))
}

/// Who has the machine, and what it is now.
async fn look(existing: &Existing, was: &MachineDescription) -> Result<(Owner, MachineDescription)> {
    let doing = || "ask the machine what it is".to_owned();
    match existing {
        Existing::Libvirt { uri, name } => {
            let machine = LibvirtMachine::connect(uri, name).await.doing(doing)?;
            let is = machine.describe().await.doing(doing)?;
            let uuid = is.uuid.clone().unwrap_or_else(|| name.clone());
            Ok((Owner::Libvirt { uri: uri.clone(), uuid }, is))
        }
        Existing::Running(address) => {
            let qmp = address.qmp.first().ok_or_else(|| {
                refused(ErrorKind::Unsupported, "it runs without a QMP socket: shut it down first".into())
            })?;
            let machine = QemuMachine::connect(qmp, None).await.doing(doing)?;
            let is = machine.describe().await.doing(doing)?;
            let (argv, folder) = (is.argv.clone(), is.folder.clone());
            Ok((Owner::Qemu { argv, folder, qmp: Some(qmp.clone()) }, is))
        }
        Existing::Off => {
            let (argv, folder) = (was.argv.clone(), was.folder.clone());
            Ok((Owner::Qemu { argv, folder, qmp: None }, was.clone()))
        }
    }
}

/// The files to be swapped, and every way in which the machine differs.
async fn shape(
    point: &Point,
    was: &MachineDescription,
    is: &MachineDescription,
) -> Result<(Vec<Swap>, Vec<String>)> {
    let (mut swaps, mut faults) = (Vec::new(), Vec::new());
    let (old_buses, new_buses) = (buses(was), buses(is));
    for disk in &is.disks {
        if point.disk(&disk.id).is_err() {
            faults.push(format!("it has a disk {}, which is not in the point", disk.id));
        }
    }
    for record in &point.disks {
        let name = &record.name;
        let firmware = was.firmware.iter().find(|file| file.name == *name);
        let now = is.disks.iter().find(|disk| disk.id == *name);
        let (file, format) = match (now, firmware) {
            (Some(disk), _) => (&disk.file, disk.format.clone()),
            (None, Some(file)) => (&file.file, ImageFormat::Raw.name().to_owned()),
            (None, None) => {
                faults.push(format!("its disk {name} is gone"));
                continue;
            }
        };
        let original = Path::new(is.folder.as_deref().unwrap_or("/")).join(file);
        match (old_buses.get(name), new_buses.get(name)) {
            (Some(old), Some(new)) if old != new => {
                faults.push(format!("its disk {name} was on {old} and is on {new}"));
            }
            _ => {}
        }
        if let Err(fault) = fits(&original, &format, now.map(|_| record.map.size), name).await {
            faults.push(fault);
        }
        swaps.push(Swap { disk: name.clone(), original, format });
    }
    Ok((swaps, faults))
}

/// Whether an image can be replaced by one of that size.
async fn fits(
    original: &PathBuf,
    format: &str,
    size: Option<u64>,
    name: &str,
) -> std::result::Result<(), String> {
    let is_file = std::fs::symlink_metadata(original).is_ok_and(|found| found.is_file());
    if !is_file {
        return Err(format!("its disk {name} is no file at {}", original.display()));
    }
    if ImageFormat::of(format).is_none() {
        return Err(format!("its disk {name} is {format}, which is not written here"));
    }
    let Some(size) = size else { return Ok(()) };
    match disks::size(original, format).await {
        Ok(now) if now == size => Ok(()),
        Ok(now) => Err(format!("its disk {name} had {size} bytes and has {now}")),
        Err(error) => Err(format!("its disk {name} cannot be looked at: {error}")),
    }
}
