//! Machines that are to stand alone: each overlay gets the data that it reads from beneath.

use super::copy::Dependent;
use super::serving::{open, unless_in_use};
use crate::error::{Doing, Result};
use crate::instant::connect;
use hypervisor::Pulling;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::sleep;
use vault::Vault;

/// How often a machine that runs is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Has machines stand alone, running or not: those of these names, or all. Each is told when it does.
///
/// CRASH: leaves overlays as good as before; what was copied need not be copied again.
pub async fn flatten(
    vault: &Arc<Vault>,
    folder: &Path,
    names: &[String],
    told: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let copy = open(vault, folder).await?;
    // For those whose overlays name it; what is not here yet comes through it.
    copy.serve().await?;
    let is_meant = |machine: &Dependent| names.is_empty() || names.contains(&machine.name);
    while let Some(machine) = copy.journal().machines.iter().find(|machine| is_meant(machine)).cloned() {
        for (_, overlay) in machine.overlays.iter().filter(|(_, path)| path.exists()) {
            flatten_overlay(&machine, overlay).await?;
        }
        copy.change(|journal| journal.machines.retain(|known| known.name != machine.name))?;
        told(&machine.name);
    }
    copy.close().await;
    Ok(())
}

async fn flatten_overlay(machine: &Dependent, overlay: &Path) -> Result<()> {
    let doing = || format!("have {} stand alone", overlay.display());
    let mut rebase = Command::new("qemu-img");
    rebase.args(["rebase", "-q", "-f", "qcow2", "-b", ""]).arg(overlay);
    if unless_in_use(rebase).await.doing(doing)? {
        return Ok(());
    }
    let puller = connect(&machine.door).await.doing(doing)?;
    loop {
        match puller.look(overlay).await.doing(doing)? {
            Pulling::Alone => return Ok(()),
            Pulling::Under { .. } => sleep(LOOK_EVERY).await,
            Pulling::Idle | Pulling::Held => puller.pull(overlay, 0).await.doing(doing)?,
        }
    }
}
