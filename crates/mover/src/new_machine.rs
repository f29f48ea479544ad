//! A new machine from a point: planned, its disks restored, then defined in libvirt or started by QEMU.

use crate::error::{Doing, Error, Result};
use crate::image::ImageFormat;
use crate::progress::Progress;
use crate::restore::{RestoreRequest, Restored, chosen, is_firmware, paths, restore};
use hypervisor::MachineDescription;
use hypervisor::recreate::{
    self, LeftOut, LibvirtDefinition, QemuPlan, Recreation, RestoredFile, StartedQemu, TpmPlan,
};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{Point, Vault};

/// Who is to have the machine.
#[derive(Clone, Debug)]
pub enum Place {
    /// A QEMU of this host's, started by us or, with the file `start.sh`, by anybody.
    Qemu,
    /// The libvirt at this address. It must be this host's: the disks are here.
    Libvirt(String),
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct NewMachine {
    /// All disks of the point go into its folder.
    pub restore: RestoreRequest,
    /// What is to become of them; its `disks` are filled in here.
    pub recreation: Recreation,
    /// Where.
    pub place: Place,
    /// Whether it is to run.
    pub start: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Recreated {
    /// The disks, whole and durable, whatever became of the machine.
    pub restored: Restored,
    /// The definition, to be changed and used by hand: `domain.xml` or `start.sh`.
    pub definition: PathBuf,
    /// What the machine has not, or differently.
    pub left_out: Vec<LeftOut>,
    /// The machine, or why there is none.
    pub made: Result<Made>,
}

/// A new machine.
#[derive(Clone, Debug)]
pub enum Made {
    /// libvirt has it, by this uuid; it runs if that was wished.
    Defined {
        /// Its uuid.
        uuid: String,
    },
    /// Its QEMU runs.
    Started(StartedQemu),
    /// Its QEMU was not to be started.
    Ready,
}

/// The definition of a machine of libvirt's.
pub(crate) const DOMAIN: &str = "domain.xml";
/// What starts a machine of QEMU's own.
pub(crate) const SCRIPT: &str = "start.sh";

/// How the machine is going to be made.
pub(crate) enum Plan {
    Qemu(QemuPlan),
    Libvirt(LibvirtDefinition, String),
}

/// Makes a new machine of a point.
///
/// What cannot be is refused before anything is written. From then on the disks stay, whatever else fails. CRASH: as
/// [`restore`](crate::restore()); after it whole disks without a machine, and `machine.json` tells what they are.
pub async fn new_machine(
    vault: &Arc<Vault>,
    wanted: &NewMachine,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Recreated> {
    let planned = plan(wanted)?;
    let restored = restore(vault, &wanted.restore, progress).await?;
    let Defined { definition, left_out, made } = finish(wanted, &planned, progress).await?;
    Ok(Recreated { restored, definition, left_out, made })
}

/// What came of a machine whose disks are there.
#[derive(Debug)]
pub struct Defined {
    /// See [`Recreated`].
    pub definition: PathBuf,
    /// What the machine has not, or differently.
    pub left_out: Vec<LeftOut>,
    /// The machine, or why there is none.
    pub made: Result<Made>,
}

/// Defines the machine, its disks being in their folder. Done again it comes to the same, if the machine has a uuid of
/// its own.
pub(crate) async fn finish(
    wanted: &NewMachine,
    plan: &Plan,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Defined> {
    let Definition { name, text, mode } = definition(plan);
    let definition = wanted.restore.folder.join(name);
    write_new(&definition, &text, mode)?;
    let made = make(wanted, plan, &definition, progress).await;
    let left_out = match plan {
        Plan::Qemu(plan) => plan.left_out.clone(),
        Plan::Libvirt(domain, _) => domain.left_out.clone(),
    };
    Ok(Defined { definition, left_out, made })
}

/// The file that a machine is made of by hand.
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) mode: u32,
}

pub(crate) fn definition(plan: &Plan) -> Definition {
    match plan {
        Plan::Qemu(plan) => Definition { name: SCRIPT, text: script(plan), mode: 0o700 },
        Plan::Libvirt(domain, _) => Definition { name: DOMAIN, text: domain.text.clone(), mode: 0o600 },
    }
}

/// Refuses what cannot be; nothing is done yet.
pub(crate) fn plan(wanted: &NewMachine) -> Result<Plan> {
    let doing = || "plan the new machine".to_owned();
    let description = described(&wanted.restore.point)?;
    let request = &wanted.restore;
    let disks = chosen(request)?;
    let file = |(record, path): (&&vault::DiskRecord, PathBuf)| {
        let is_plain = is_firmware(&request.point, &record.name);
        let format = if is_plain { ImageFormat::Raw } else { request.format };
        RestoredFile { disk: record.name.clone(), path, format: format.name().to_owned() }
    };
    let files = disks.iter().zip(paths(request, &disks)).map(file).collect();
    let recreation = Recreation { disks: files, ..wanted.recreation.clone() };
    match &wanted.place {
        Place::Qemu => recreate::command_line(&description, &recreation).map(Plan::Qemu).doing(doing),
        Place::Libvirt(uri) => recreate::libvirt_definition(&description, &recreation)
            .map(|domain| Plan::Libvirt(domain, uri.clone()))
            .doing(doing),
    }
}

/// What the point's machine was.
pub(crate) fn described(point: &Point) -> Result<MachineDescription> {
    serde_json::from_value(point.description.clone())
        .map_err(|e| hypervisor::Error::caused(hypervisor::ErrorKind::Unsupported, "read what it was", e))
        .doing(|| format!("understand the machine of the point {}", point.id))
}

async fn make(
    wanted: &NewMachine,
    plan: &Plan,
    definition: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Made> {
    match plan {
        Plan::Libvirt(domain, uri) => {
            progress(Progress::Step("Define machine".into()));
            // libvirt's user goes through it to what the machine writes there.
            make_folder(&wanted.recreation.folder)?;
            let doing = || format!("define the machine {} in {uri}", domain.name);
            let uuid = recreate::define(uri, domain, definition).await.doing(doing)?;
            if wanted.start {
                progress(Progress::Step("Start machine".into()));
                let doing = || format!("start the machine {}, which is defined", domain.name);
                recreate::start_defined(uri, &domain.name).await.doing(doing)?;
            }
            Ok(Made::Defined { uuid })
        }
        Plan::Qemu(plan) if wanted.start => {
            progress(Progress::Step("Start machine".into()));
            let doing = || format!("start the machine; {} does the same by hand", definition.display());
            recreate::start(plan).await.map(Made::Started).doing(doing)
        }
        Plan::Qemu(_) => Ok(Made::Ready),
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(io("make the machine's folder", folder, error))
        }
        _ => Ok(()),
    }
}

/// What starts the machine by hand.
fn script(plan: &QemuPlan) -> String {
    let mut text = "#!/bin/sh -e\n# Starts the machine that was restored here.\n".to_owned();
    text += &format!("mkdir -p -m 0700 {}\n", quoted(&plan.folder.display().to_string()));
    if let Some(TpmPlan { state, socket, version_2 }) = &plan.tpm {
        text += &format!(
            "swtpm socket --daemon --terminate --flags startup-clear {}--tpmstate {} --ctrl {}\n",
            if *version_2 { "--tpm2 " } else { "" },
            quoted(&format!("dir={}", state.display())),
            quoted(&format!("type=unixio,path={}", socket.display())),
        );
    }
    let words: Vec<String> = plan.arguments.iter().map(|word| quoted(word)).collect();
    text + &format!("exec {} {}\n", quoted(&plan.program), words.join(" "))
}

/// A word that a shell takes as it is.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// One that is there already and says the same is an earlier attempt's.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let written =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|e| io("write", path, e))
}

fn io(verb: &str, path: &Path, error: std::io::Error) -> Error {
    crate::restore_into::io(verb, path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for word in ["", "plain", "a b", "it's", "$(id)", "*", "{\"a\":1}", "-x", "a\\b\"c"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
