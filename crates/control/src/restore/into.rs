//! Disks of a point written into what is there.

use super::check_disk;
use crate::faults::Faults;
use crate::points::{DISKS_MAX, PATH_MAX, PointDetail};
use crate::request::Request;
use crate::{Actor, Control, PointPlace, Result};
use api::{RestoreInto, RestoreTarget};
use model::JobId;
use serde_json::json;
use std::collections::HashSet;

/// An export's name, as NBD limits it.
const EXPORT_MAX: usize = 4096;

impl Control {
    /// Writes disks of a point into images or exports that are there, or tells how much that would be.
    ///
    /// # Errors
    /// `Invalid` with every fault of what is asked.
    pub async fn restore_into(&self, actor: &Actor, place: PointPlace, wish: RestoreInto) -> Result<JobId> {
        let (item, detail) = self.readable(place, wish.from_copy).await?;
        check(&wish, &detail)?;
        self.must_be_mover(wish.mover.as_deref()).await?;
        if !wish.plan {
            let detail = json!({
                "vault": place.vault, "item": place.item, "name": item.name, "targets": wish.targets,
                "mover": wish.mover, "from_copy": wish.from_copy,
            });
            self.audit(actor, "point.restore-into", &place.point.to_string(), &detail).await?;
        }
        let RestoreInto { targets, mover, from_copy, plan } = wish;
        let request = Request::RestoreInto { point: place.point, targets, mover, plan, from_copy };
        self.queue_for(actor, place.vault, place.item, &request).await
    }
}

fn check(wish: &RestoreInto, detail: &PointDetail) -> Result<()> {
    let mut faults = Faults::default();
    faults.entries("/targets", (1, DISKS_MAX), wish.targets.len());
    let (mut disks, mut places) = (HashSet::new(), HashSet::new());
    for (at, target) in wish.targets.iter().enumerate().take(DISKS_MAX) {
        let of = |what: &str| format!("/targets/{at}/{what}");
        check_disk(&mut faults, &of("disk"), &target.disk, detail, &mut disks);
        match &target.to {
            RestoreTarget::Image { path, .. } => check_path(&mut faults, &of("to/path"), path),
            RestoreTarget::NbdUnix { socket, export, .. } => {
                check_path(&mut faults, &of("to/socket"), socket);
                check_export(&mut faults, &of("to/export"), export);
            }
            RestoreTarget::NbdTcp { address, export, .. } => {
                faults.text(&of("to/address"), address, PATH_MAX);
                if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                    faults.add(of("to/address"), "must be HOST:PORT");
                }
                check_export(&mut faults, &of("to/export"), export);
            }
        }
        let place = match &target.to {
            RestoreTarget::Image { path, .. } => ("", path, ""),
            RestoreTarget::NbdUnix { socket: server, export, .. }
            | RestoreTarget::NbdTcp { address: server, export, .. } => ("nbd", server, export.as_str()),
        };
        if !places.insert(place) {
            faults.add(of("to"), "is named twice");
        }
    }
    if let Some(mover) = &wish.mover {
        faults.name("/mover", mover);
    }
    faults.none()
}

fn check_path(faults: &mut Faults, pointer: &str, path: &str) {
    faults.text(pointer, path, PATH_MAX);
    if !path.starts_with('/') {
        faults.add(pointer, "must be an absolute path");
    }
    if path.split('/').any(|part| part == "..") {
        faults.add(pointer, "must not go up with `..`");
    }
}

/// The default export has no name.
fn check_export(faults: &mut Faults, pointer: &str, export: &str) {
    if !export.is_empty() {
        faults.text(pointer, export, EXPORT_MAX);
    }
}
