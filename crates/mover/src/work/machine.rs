//! The machine that is to have restored disks: defined in libvirt or started by QEMU, once, however often the order is
//! begun. Its uuid and addresses are made of the job's id, so that each attempt means the same machine.

use super::failure::Result;
use super::nearest::find_nearest;
use super::order::Run;
use super::restore::{Wanted, image_format};
use crate::new_machine::{finish, plan};
use crate::{Defined, Made, NewMachine, Place, RestoreRequest};
use api::NewNetwork;
use hypervisor::libvirt::THIS_LIBVIRT;
use hypervisor::recreate::{Identity, Macs, Network, Recreation};
use serde_json::{Value, json};
use vault::Point;

/// Where its sockets and logs go, in the folder of its disks.
const RUN_FOLDER: &str = "run";

/// Refuses a machine that could not be made, before hours of writing.
pub(super) fn refuse(run: &Run, wanted: &Wanted<'_>, machine: &api::NewMachine, point: &Point) -> Result<()> {
    plan(&request(run, wanted, machine, point))?;
    Ok(())
}

/// Defines the machine, its disks being there, and starts it if that is wished. Tells what came of it.
pub(super) async fn define(run: &Run, wanted: &Wanted<'_>, machine: &api::NewMachine) -> Result<Value> {
    let (_, point) = find_nearest(run, wanted.item, wanted.point).await?;
    let request = request(run, wanted, machine, &point);
    let planned = plan(&request)?;
    let tell = |progress| run.lease.progress(progress);
    let defined = finish(&request, &planned, &tell).await?;
    told(run, defined)
}

/// What came of a machine, for the job's result.
pub(super) fn told(run: &Run, defined: Defined) -> Result<Value> {
    for one in &defined.left_out {
        run.lease.warn(format!("{}: {}", one.what, one.reason));
    }
    Ok(match defined.made? {
        Made::Defined { uuid } => json!({ "uuid": uuid, "definition": defined.definition }),
        Made::Started(qemu) => json!({
            "pid": qemu.pid, "qmp": qemu.qmp, "agent": qemu.agent, "definition": defined.definition,
        }),
        Made::Ready => json!({ "definition": defined.definition }),
    })
}

pub(super) fn request(
    run: &Run,
    wanted: &Wanted<'_>,
    machine: &api::NewMachine,
    point: &Point,
) -> NewMachine {
    let of_libvirt = point.description["definition"].is_string();
    let place = match &machine.libvirt {
        Some(uri) => Place::Libvirt(uri.clone()),
        None if of_libvirt => Place::Libvirt(THIS_LIBVIRT.to_owned()),
        None => Place::Qemu,
    };
    let job = run.order.job.0;
    let recreation = Recreation {
        name: machine.name.clone(),
        uuid: if machine.keep_uuid { Identity::Keep } else { Identity::New(job.to_string()) },
        macs: if machine.keep_macs { Macs::Keep } else { Macs::New(job.as_u64_pair().1) },
        network: network(&machine.network),
        cpus: machine.cpus,
        memory_bytes: machine.memory_mib.map(|mib| mib << 20),
        disks: Vec::new(),
        folder: wanted.folder.join(RUN_FOLDER),
        over: None,
    };
    let restore = RestoreRequest {
        point: point.clone(),
        disks: Vec::new(),
        folder: wanted.folder.to_owned(),
        format: image_format(wanted.format),
    };
    NewMachine { restore, recreation, place, start: machine.start }
}

fn network(wish: &NewNetwork) -> Network {
    match wish {
        NewNetwork::Disconnected {} => Network::Disconnected,
        NewNetwork::Keep {} => Network::Keep,
        NewNetwork::Isolated {} => Network::Isolated,
        NewNetwork::Remap { names } => Network::Remap(names.clone()),
    }
}
