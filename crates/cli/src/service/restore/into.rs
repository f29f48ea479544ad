//! Disks of a point written into images or NBD exports that are there: how much would be is shown, then it is done.

use super::{Meant, RestoreNowArgs};
use crate::failure::Told;
use crate::output::{self, Output};
use crate::service::confirm::{Undo, confirm};
use crate::service::{follow, names};
use crate::targets::To;
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Accepted, DiskTarget, Item, RestoreFormat, RestoreInto, RestoreTarget, WrittenDisk};
use hypervisor::offline::{Format, Image};
use nbd::Address;

/// Shows how much would be written, and writes it.
pub(crate) async fn restore(
    output: &Output,
    client: &Client,
    (item, point): (&Item, &Meant),
    args: RestoreNowArgs,
) -> Result<()> {
    if args.name.is_some() {
        let hint = "restore to a folder, or without --as-machine";
        return Err(Told::usage("a new machine is made of images in a folder", hint));
    }
    let targets = match args.to {
        Some(To::Nbd(address, export)) => {
            exports(point, &args.disks, (&address, export.as_deref()), args.differences)?
        }
        _ => args.into.iter().map(image).collect::<Result<_>>()?,
    };
    let wish = |plan| RestoreInto {
        targets: targets.clone(),
        mover: args.mover.clone(),
        from_copy: args.from_copy,
        plan,
    };
    let path = format!("{}/points/{}/restore-into", names::item_path(item), point.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &wish(true)).await?;
    let job = follow::follow(client, accepted.context("the server named no job")?.job).await?;
    let planned = job.result.as_ref().and_then(|result| result.get("disks"));
    let Some(Ok(disks)) = planned.cloned().map(serde_json::from_value::<Vec<WrittenDisk>>) else {
        return follow::finish(output, &job);
    };
    if args.replace_options.is_plan() {
        return output::print(output, &disks, || table(&disks));
    }
    let text = format!(
        "What these hold is written over with {} as it was at {}:\n{}",
        item.name,
        output::instant(point.taken),
        table(&disks)
    );
    confirm(args.yes, Undo::Impossible, &text)?;
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &wish(false)).await?;
    follow::accepted(output, client, accepted, args.wait).await
}

fn image(image: &Image) -> Result<DiskTarget> {
    let format = match image.format {
        Format::Raw => RestoreFormat::Raw,
        Format::Qcow2 => RestoreFormat::Qcow2,
        other => {
            let what = format!("{}: images of the format {} are not written", image.name, other.name());
            return Err(Told::usage(what, "restore to raw or qcow2, and convert it"));
        }
    };
    // What this program runs in says nothing of the mover's host; but a relative path was meant from here.
    let path = std::path::absolute(&image.path).context("find the image")?;
    let path = path.to_str().context("an image's path must be UTF-8")?.to_owned();
    Ok(DiskTarget { disk: image.name.clone(), to: RestoreTarget::Image { path, format } })
}

fn exports(
    point: &Meant,
    named: &[String],
    (server, export): (&Address, Option<&str>),
    differences: bool,
) -> Result<Vec<DiskTarget>> {
    let all = || point.disks.iter().map(|disk| disk.name.clone()).collect();
    let disks: Vec<String> = if named.is_empty() { all() } else { named.to_vec() };
    if export.is_some() && disks.len() != 1 {
        let what = format!("{} disks do not go into one export", disks.len());
        return Err(Told::usage(what, "name one with --disk, or leave the export's name out"));
    }
    let target = |disk: String| {
        let export = export.map_or_else(|| disk.clone(), str::to_owned);
        let to = match server {
            Address::Unix(socket) => {
                let socket = socket.to_str().context("a socket's path must be UTF-8")?.to_owned();
                RestoreTarget::NbdUnix { socket, export, differences }
            }
            Address::Tcp(address) => RestoreTarget::NbdTcp { address: address.clone(), export, differences },
        };
        Ok(DiskTarget { disk, to })
    };
    disks.into_iter().map(target).collect()
}

fn table(disks: &[WrittenDisk]) -> String {
    let rows = disks.iter().map(|one| {
        let sizes = [one.data_bytes, one.zero_bytes, one.unchanged_bytes].map(output::size);
        let target = match &one.to {
            RestoreTarget::Image { path, .. } => path.clone(),
            RestoreTarget::NbdUnix { socket: server, export, .. }
            | RestoreTarget::NbdTcp { address: server, export, .. } => format!("{server} {export}"),
        };
        [vec![one.disk.clone()], sizes.to_vec(), vec![target]].concat()
    });
    let right = ["DATA", "ZERO", "UNCHANGED"];
    output::table(&["DISK", "DATA", "ZERO", "UNCHANGED", "TARGET"], &right, rows)
}
