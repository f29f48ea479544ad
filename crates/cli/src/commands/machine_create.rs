//! `strongroom rescue machine create`.

use super::{image, new_machine};
use crate::args::MachineCreateArgs;
use crate::failure::Told;
use crate::open;
use crate::output::{self, Output};
use crate::watch::Watch;
use anyhow::{Context, Result};
use model::image::machine_names;
use mover::deploy::{
    DeployRequest, Deployed, DeployedDisks, DeployedMachine, LocalCopy, NewIdentity, deploy, note_copy,
};
use mover::{Made, Place};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;
use vault::Point;

/// Where machines of libvirt's go unless told otherwise.
const THIS_LIBVIRT: &str = "qemu:///system";

pub(crate) async fn run(output: &Output, args: MachineCreateArgs) -> Result<()> {
    let hint = "as --name 'web-{}' --count 3 makes web-1, web-2 and web-3";
    let names = machine_names(&args.name, args.first, args.count);
    let names = names.map_err(|refused| Told::usage(refused.to_string(), hint))?;
    let vault = open::vault(&args.vault).await?;
    let version = mover::capture::image(&vault, &args.image).await?;
    let shown = version.record.shown();
    if !version.record.is_generalised() {
        eprintln!(
            "warning: {shown} is not generalised: the machines share what `rescue image show` tells of it"
        );
    }
    let request = request(&args, version.point, &shown, names)?;
    // Whoever wants to delete the image is told of it from now on.
    let folder = LocalCopy::folder(&request.folder, &shown);
    note_copy(&open::image_copies(), request.point.id, &folder)?;
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(Box::pin(deploy(&vault, &request, &show)).await?) };
    let Deployed { machines, copy, fetched_bytes, serving } =
        super::unless_interrupted("making the machines", work).await?;
    for one in machines.first().iter().flat_map(|first| &first.left_out) {
        eprintln!("note: {}: {}", one.what, one.reason);
    }
    let value = json!({
        "image": shown, "copy": copy, "fetched_bytes": fetched_bytes,
        "machines": machines.iter().map(|one| machine_value(one, args.start)).collect::<Vec<_>>(),
    });
    output::print(output, &value, || table(&machines, args.start))?;
    if let Some(serving) = serving {
        image::follow(serving, &copy).await?;
    }
    let failed = machines.into_iter().filter_map(|one| Some((one.identity.name, one.made.err()?)));
    let failed: Vec<_> = failed.collect();
    let count = failed.len();
    match failed.into_iter().next() {
        None => Ok(()),
        Some((name, error)) => Err(anyhow::Error::new(error)
            .context(format!("{count} machines have their disks but were not made; {name}"))),
    }
}

fn request(args: &MachineCreateArgs, point: Point, shown: &str, names: Vec<String>) -> Result<DeployRequest> {
    let of_libvirt = point.description["definition"].is_string();
    let place = match (&args.uri, of_libvirt) {
        (Some(uri), _) => Place::Libvirt(uri.clone()),
        (None, true) => Place::Libvirt(THIS_LIBVIRT.to_owned()),
        (None, false) => Place::Qemu,
    };
    let disks = match (args.full, args.at_once) {
        (true, _) => DeployedDisks::Full,
        (_, true) => DeployedDisks::AtOnce(Duration::from_secs(args.patience)),
        _ => DeployedDisks::Overlays,
    };
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    Ok(DeployRequest {
        point,
        image: shown.to_owned(),
        folder: new_machine::absolute(&args.to)?,
        machines: NewIdentity::draw(names, &mut Uuid::new_v4),
        disks,
        place,
        network: args.network.clone(),
        cpus: args.cpus,
        memory_bytes: args.memory.map(|mib| mib << 20),
        start: args.start,
        user_data: args.user_data.as_ref().map(read).transpose()?,
        goes_on: false,
    })
}

fn machine_value(one: &DeployedMachine, start: bool) -> Value {
    json!({
        "name": one.identity.name, "uuid": one.identity.uuid, "folder": one.folder, "definition": one.definition,
        "machine": new_machine::made_value(&one.made, start),
    })
}

fn table(machines: &[DeployedMachine], start: bool) -> String {
    let rows = machines.iter().map(|one| {
        let state = match &one.made {
            Ok(Made::Started(qemu)) => format!("runs, process {}", qemu.pid),
            Ok(Made::Defined { .. }) if start => "defined and started".to_owned(),
            Ok(Made::Defined { .. }) => "defined".to_owned(),
            Ok(Made::Ready) => format!("{} starts it", one.definition.display()),
            Err(error) => format!("not made: {error}"),
        };
        vec![one.identity.name.clone(), one.identity.uuid.to_string(), state]
    });
    output::table(&["MACHINE", "ID", "STATE"], &[], rows)
}
