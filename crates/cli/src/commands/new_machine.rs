//! `strongroom rescue restore machine`.

use super::restore;
use crate::args::{MachineRestoreArgs, NewMachineArgs};
use crate::output::Output;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::{Context, Result};
use hypervisor::libvirt::THIS_LIBVIRT;
use hypervisor::recreate::{Identity, Macs, Recreation};
use mover::{Made, NewMachine, Place, Recreated, RestoreRequest};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use vault::Point;

pub(crate) async fn run(output: &Output, args: MachineRestoreArgs) -> Result<()> {
    let vault = open::vault(&args.vault).await?;
    let point = open::point(&vault, &args.point).await?;
    eprintln!("Restoring point {} of {} as {}", point.id, point.machine_name, args.name);
    let wanted = wanted(args, point)?;
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(Box::pin(mover::new_machine(&vault, &wanted, &show)).await?) };
    let recreated = super::unless_interrupted("the restore", work).await?;
    open::warn_index(&vault);
    for one in &recreated.left_out {
        eprintln!("note: {}: {}", one.what, one.reason);
    }
    output::print(output, &value(&wanted, &recreated), || table(&wanted, &recreated))?;
    recreated.made.map(drop).context("the disks are restored and stay, but there is no machine")
}

fn wanted(args: MachineRestoreArgs, point: Point) -> Result<NewMachine> {
    let storage = absolute(&args.storage)?;
    let (recreation, place) = machine(args.name, &args.machine, &storage, &point)?;
    let format = restore::format(args.format);
    let restore = RestoreRequest { point, disks: Vec::new(), folder: storage, format };
    Ok(NewMachine { restore, recreation, place, start: args.machine.start })
}

/// What becomes of the machine, and who is to have it.
pub(super) fn machine(
    name: String,
    args: &NewMachineArgs,
    storage: &Path,
    point: &Point,
) -> Result<(Recreation, Place)> {
    let folder = args.run_folder.as_deref().map(absolute).transpose()?;
    let of_libvirt = point.description["definition"].is_string();
    let place = match (&args.uri, of_libvirt) {
        (Some(uri), _) => Place::Libvirt(uri.clone()),
        (None, true) => Place::Libvirt(THIS_LIBVIRT.to_owned()),
        (None, false) => Place::Qemu,
    };
    let recreation = Recreation {
        name,
        uuid: if args.new_uuid { Identity::New(Uuid::new_v4().to_string()) } else { Identity::Keep },
        macs: if args.new_mac { Macs::New(Uuid::new_v4().as_u64_pair().0) } else { Macs::Keep },
        network: args.network.clone(),
        cpus: args.cpus,
        memory_bytes: args.memory.map(|mib| mib << 20),
        disks: Vec::new(),
        folder: folder.unwrap_or_else(|| storage.join("run")),
        over: None,
    };
    Ok((recreation, place))
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("find the folder {}", path.display()))
}

fn value(wanted: &NewMachine, recreated: &Recreated) -> serde_json::Value {
    let mut value = restore::value(&recreated.restored);
    let left_out =
        recreated.left_out.iter().map(|one| serde_json::json!({ "what": one.what, "reason": one.reason }));
    value["name"] = wanted.recreation.name.clone().into();
    value["definition"] = recreated.definition.display().to_string().into();
    value["left_out"] = left_out.collect();
    value["machine"] = made_value(&recreated.made, wanted.start);
    value
}

pub(super) fn made_value(made: &mover::Result<Made>, start: bool) -> serde_json::Value {
    match made {
        Ok(Made::Defined { uuid }) => serde_json::json!({ "uuid": uuid, "started": start }),
        Ok(Made::Started(qemu)) => {
            serde_json::json!({ "pid": qemu.pid, "qmp": qemu.qmp, "agent": qemu.agent, "started": true })
        }
        Ok(Made::Ready) => serde_json::json!({ "started": false }),
        Err(_) => serde_json::Value::Null,
    }
}

fn table(wanted: &NewMachine, recreated: &Recreated) -> String {
    let machine = made_words(&recreated.made, &wanted.recreation.name, wanted.start, &recreated.definition);
    let facts =
        output::facts(&[("Machine", machine), ("Definition", recreated.definition.display().to_string())]);
    format!("{}{facts}", restore::table(&recreated.restored))
}

pub(super) fn made_words(made: &mover::Result<Made>, name: &str, start: bool, definition: &Path) -> String {
    match made {
        Ok(Made::Defined { uuid }) if start => format!("{name} ({uuid}) is defined and started"),
        Ok(Made::Defined { uuid }) => format!("{name} ({uuid}) is defined"),
        Ok(Made::Started(qemu)) => {
            format!("{name} runs: process {}, monitor {}", qemu.pid, qemu.qmp.display())
        }
        Ok(Made::Ready) => format!("{} starts {name}", definition.display()),
        Err(_) => "none".to_owned(),
    }
}
