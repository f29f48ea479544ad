//! Disks of a point written into what is there: images that hold another state, exports of an NBD server.
//!
//! Done again it comes to the same: nothing is remembered of an earlier attempt, every block is compared again, or all
//! is written again. CRASH: `*.restoring` beside an image says that it is between two states until an attempt has
//! finished it.

use super::backup::makes_no_sense;
use super::failure::Result;
use super::nearest::find_nearest;
use super::order::Run;
use crate::restore_into::plan_into;
use crate::{ImageFormat, Target, restore_into};
use api::{DiskTarget, RestoreFormat, RestoreTarget, WrittenDisk};
use model::PointId;
use model::job::Step;
use nbd::Address;
use serde_json::json;
use std::path::PathBuf;
use uuid::Uuid;

/// Writes the disks, or tells how much would be written.
pub(super) async fn restore(
    run: &Run,
    (item, point): (Uuid, PointId),
    targets: &[DiskTarget],
    plan: bool,
) -> Result<()> {
    let (store, point) = find_nearest(run, item, point).await?;
    let named = |disk: &str| targets.iter().any(|target| target.disk == disk);
    let bytes = point.disks.iter().filter(|disk| named(&disk.name)).map(|disk| disk.map.size).sum();
    let step = if plan { Step::Plan } else { Step::WriteDisks };
    run.lease.begin(&step.to_string(), bytes);
    let tell = |progress| run.lease.progress(progress);
    let mut disks = Vec::with_capacity(targets.len());
    for DiskTarget { disk, to } in targets {
        let target = target(to)?;
        // Nothing is written under a claim that may be another's by now.
        run.lease.renewed_lately().await;
        let of = (&point, disk.as_str());
        let copied = match plan {
            true => plan_into(&store, of, &target, &tell).await?,
            false => restore_into(&store, of, &target, &tell).await?,
        };
        disks.push(WrittenDisk {
            disk: disk.clone(),
            to: to.clone(),
            data_bytes: copied.data,
            zero_bytes: copied.zero,
            unchanged_bytes: copied.unchanged,
        });
    }
    let result = json!({ "disks": disks });
    for step in run.order.kind.steps().iter().skip(run.order.steps_done) {
        run.lease.step_done(*step, Some(result.clone()));
    }
    Ok(())
}

fn target(to: &RestoreTarget) -> Result<Target> {
    let nbd =
        |address, export: &str, differences| Target::Nbd { address, export: export.to_owned(), differences };
    Ok(match to {
        RestoreTarget::Image { path, format } => {
            let path = PathBuf::from(path);
            if !path.is_absolute() {
                return Err(makes_no_sense(format!("{} is no absolute path", path.display())));
            }
            let format = match format {
                RestoreFormat::Raw => ImageFormat::Raw,
                RestoreFormat::Qcow2 => ImageFormat::Qcow2,
            };
            Target::Image { path, format }
        }
        RestoreTarget::NbdUnix { socket, export, differences } => {
            nbd(Address::Unix(socket.into()), export, *differences)
        }
        RestoreTarget::NbdTcp { address, export, differences } => {
            nbd(Address::Tcp(address.clone()), export, *differences)
        }
    })
}
