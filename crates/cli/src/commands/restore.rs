//! `strongroom rescue restore`.

use crate::args::{ImageFormat, RestoreArgs};
use crate::output::Output;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::Result;
use mover::{RestoreRequest, Restored};

pub(crate) async fn run(output: &Output, args: RestoreArgs) -> Result<()> {
    let vault = open::vault(&args.vault).await?;
    let point = open::point(&vault, &args.point).await?;
    let disks = open::disks(&point, &args.disks)?.into_iter().map(|disk| disk.name).collect();
    eprintln!("Restoring point {} of {} to {}", point.id, point.machine_name, args.to.display());
    let image = match args.format {
        ImageFormat::Raw => mover::ImageFormat::Raw,
        ImageFormat::Qcow2 => mover::ImageFormat::Qcow2,
    };
    let request = RestoreRequest { point, disks, folder: args.to, format: image };
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(mover::restore(&vault, &request, &show).await?) };
    let restored = super::unless_interrupted("the restore", work).await?;
    open::warn_index(&vault);
    output::print(output, &value(&restored), || table(&restored))
}

fn value(restored: &Restored) -> serde_json::Value {
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

fn table(restored: &Restored) -> String {
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
