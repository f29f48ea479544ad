//! `strongroom rescue restore`: its forms, and the disks by themselves.

use super::{new_machine, replace};
use crate::args::{DisksArgs, ImageFormat, IntoArgs, RestoreCommand};
use crate::failure::Told;
use crate::output::Output;
use crate::targets::To;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::Result;
use hypervisor::offline::Format;
use mover::{RestoreRequest, Restored, Target};
use std::path::PathBuf;
use vault::Point;

pub(crate) async fn run(output: &Output, command: RestoreCommand) -> Result<()> {
    match command {
        RestoreCommand::Disks(args) => disks(output, args).await,
        RestoreCommand::Into(args) => into(output, args).await,
        RestoreCommand::Machine(args) => Box::pin(new_machine::run(output, args)).await,
        RestoreCommand::Replace(args) => Box::pin(replace::run(output, args)).await,
        RestoreCommand::Finish(args) => Box::pin(replace::finish(output, args)).await,
        RestoreCommand::Undo(args) => Box::pin(replace::undo(output, args)).await,
        RestoreCommand::Remove { journal, yes } => replace::remove(output, &journal, yes),
    }
}

pub(super) fn format(format: ImageFormat) -> mover::ImageFormat {
    match format {
        ImageFormat::Raw => mover::ImageFormat::Raw,
        ImageFormat::Qcow2 => mover::ImageFormat::Qcow2,
    }
}

async fn disks(output: &Output, args: DisksArgs) -> Result<()> {
    match args.to.clone() {
        To::Folder(folder) if !args.differences => to_folder(output, args, folder).await,
        To::Folder(_) => Err(Told::usage(
            "a folder's images are made anew",
            "name images that are there with `strongroom rescue restore into`",
        )),
        To::Nbd(address, export) => {
            let vault = open::vault(&args.vault).await?;
            let point = open::point(&vault, &args.point).await?;
            let disks = open::disks(&point, &args.disks)?;
            if export.is_some() && disks.len() != 1 {
                let what = format!("{} disks do not go into one export", disks.len());
                return Err(Told::usage(what, "name one with --disk, or leave the export's name out"));
            }
            let differences = args.differences;
            let target = |disk: &vault::DiskRecord| {
                let export = export.clone().unwrap_or_else(|| disk.name.clone());
                let target = Target::Nbd { address: address.clone(), export: export.clone(), differences };
                (disk.name.clone(), format!("{address} {export}"), target)
            };
            let targets = disks.iter().map(target).collect();
            write_into(output, &vault, &point, targets).await
        }
    }
}

async fn to_folder(output: &Output, args: DisksArgs, folder: PathBuf) -> Result<()> {
    let vault = open::vault(&args.vault).await?;
    let point = open::point(&vault, &args.point).await?;
    let disks = open::disks(&point, &args.disks)?.into_iter().map(|disk| disk.name).collect();
    eprintln!("Restoring point {} of {} to {}", point.id, point.machine_name, folder.display());
    let request = RestoreRequest { point, disks, folder, format: format(args.format) };
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(mover::restore(&vault, &request, &show).await?) };
    let restored = super::unless_interrupted("the restore", work).await?;
    open::warn_index(&vault);
    output::print(output, &value(&restored), || table(&restored))
}

async fn into(output: &Output, args: IntoArgs) -> Result<()> {
    let vault = open::vault(&args.vault).await?;
    let point = open::point(&vault, &args.point).await?;
    let names: Vec<String> = args.images.iter().map(|image| image.name.clone()).collect();
    open::disks(&point, &names)?;
    let mut targets = Vec::new();
    for image in args.images {
        let format = match image.format {
            Format::Raw => mover::ImageFormat::Raw,
            Format::Qcow2 => mover::ImageFormat::Qcow2,
            other => {
                let what = format!("{}: images of the format {} are not written", image.name, other.name());
                return Err(Told::usage(what, "restore to raw or qcow2, and convert it"));
            }
        };
        let shown = image.path.display().to_string();
        targets.push((image.name, shown, Target::Image { path: image.path, format }));
    }
    write_into(output, &vault, &point, targets).await
}

/// Writes disks into what is there: the disk's name, the target in words, the target.
async fn write_into(
    output: &Output,
    vault: &std::sync::Arc<vault::Vault>,
    point: &Point,
    targets: Vec<(String, String, Target)>,
) -> Result<()> {
    eprintln!("Restoring point {} of {}", point.id, point.machine_name);
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async {
        let mut written = Vec::new();
        for (disk, shown, target) in &targets {
            let copied = mover::restore_into(vault, (point, disk), target, &show).await?;
            written.push((disk, shown, copied));
        }
        Ok(written)
    };
    let written = super::unless_interrupted("the restore", work).await?;
    open::warn_index(vault);
    let values: Vec<_> = written
        .iter()
        .map(|(disk, shown, copied)| {
            serde_json::json!({
                "name": disk,
                "target": shown,
                "data_bytes": copied.data,
                "zero_bytes": copied.zero,
                "unchanged_bytes": copied.unchanged,
            })
        })
        .collect();
    output::print(output, &serde_json::json!({ "disks": values }), || {
        let rows = written.iter().map(|(disk, shown, copied)| {
            let sizes = [copied.data, copied.zero, copied.unchanged].map(output::size);
            [vec![(*disk).clone()], sizes.to_vec(), vec![(*shown).clone()]].concat()
        });
        let right = ["DATA", "ZERO", "UNCHANGED"];
        output::table(&["DISK", "DATA", "ZERO", "UNCHANGED", "TARGET"], &right, rows)
    })
}

pub(super) fn value(restored: &Restored) -> serde_json::Value {
    let disks = restored.disks.iter().map(|disk| {
        serde_json::json!({
            "name": disk.name,
            "path": disk.path,
            "format": disk.format.name(),
            "size": disk.size,
            "data_bytes": disk.data_bytes,
        })
    });
    serde_json::json!({ "disks": disks.collect::<Vec<_>>(), "description": restored.description })
}

pub(super) fn table(restored: &Restored) -> String {
    let rows = restored.disks.iter().map(|disk| {
        vec![
            disk.name.clone(),
            output::size(disk.size),
            output::size(disk.data_bytes),
            disk.path.display().to_string(),
        ]
    });
    let disks = output::table(&["DISK", "SIZE", "DATA", "IMAGE"], &["SIZE", "DATA"], rows);
    format!("{disks}\nThe machine's description: {}\n", restored.description.display())
}
