//! What every provider promises, asked of each of them with a real guest.
//!
//! A provider joins with one [`Harness`] and one test that calls [`laws::all`]; one of machines that do not run with
//! a [`Provider`] and [`laws::of_any`], which ask no guest. What is particular to a provider is tested beside this.

pub(crate) mod laws;
mod libvirt;
mod offline;
mod qemu;

pub(crate) use libvirt::LibvirtHarness;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use hypervisor::{FreezeRequest, FrozenMachine, Level, Machine};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::Agent;

/// A machine, and what its provider alone knows how to do. Its disks are `data0.qcow2` and `data1.qcow2` in its
/// folder.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// The machine's folder, with an empty `scratch` in it.
    fn folder(&self) -> &Path;

    /// As a new process of the product would find it.
    async fn connect(&self) -> Result<Box<dyn Machine>>;

    /// How many records of changes of ours each disk has.
    fn records(&self) -> Result<[usize; 2]>;

    /// That the machine is as if nothing had been.
    fn assert_untouched(&self) -> Result<()>;

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn request(&self, vault: &str, point: &str, parent: Parent) -> FreezeRequest {
        let (parent, parent_disks) = parent.unzip();
        FreezeRequest {
            parent,
            parent_disks: parent_disks.unwrap_or_default(),
            wish: Level::FileSystem,
            freeze_timeout: Duration::from_secs(30), // an emulated guest on a busy host
            ..FreezeRequest::new(point, vault, self.path("scratch"))
        }
    }

    fn assert_scratch_empty(&self) -> Result<()> {
        let folders = std::fs::read_dir(self.path("scratch"))?.count();
        ensure!(folders == 0, "{folders} scratch folders are left");
        Ok(())
    }
}

/// A machine that runs the usual guest.
#[async_trait]
pub(crate) trait Harness: Provider {
    /// The harness's own way to the guest.
    fn agent(&self) -> &Agent;

    /// Stands the machine still.
    fn pause(&self) -> Result<()>;

    /// Lets it run on.
    fn resume(&self) -> Result<()>;

    /// Kills its QEMU, starts it again, and waits for the guest.
    fn kill_and_start(&mut self) -> Result<()>;

    /// That nothing of ours is left with the hypervisor, and the machine runs.
    fn assert_released(&self) -> Result<()>;

    /// [`Provider::assert_untouched`] for all that have a guest.
    fn assert_guest_untouched(&self) -> Result<()> {
        tokio::task::block_in_place(|| self.assert_released())?;
        let frozen = tokio::task::block_in_place(|| self.agent().call("guest-fsfreeze-status", Value::Null))?;
        ensure!(frozen == "thawed", "the guest is {frozen}");
        self.assert_scratch_empty()?;
        self.sh("echo alive > /data0/alive; echo alive > /data1/alive; sync")?;
        let complaints = self.sh("dmesg | grep -ciE 'i/o error|remount' || true")?;
        ensure!(complaints.trim() == "0", "the guest complains of its disks");
        Ok(())
    }

    fn sh(&self, command: &str) -> Result<String> {
        let (code, output) = tokio::task::block_in_place(|| self.agent().sh(command))?;
        ensure!(code == 0, "{command}: {code}: {output}");
        Ok(output)
    }
}

/// A disk's id and size at a point.
pub(crate) type Parent = Option<(String, BTreeMap<String, u64>)>;

impl dyn Harness + '_ {
    fn start(&self, command: &str) -> Result<()> {
        tokio::task::block_in_place(|| self.agent().start(command)).map(drop)
    }

    /// Writes to both disks what depends on `seed`.
    pub(crate) fn write(&self, seed: u32) -> Result<()> {
        for disk in 0..2 {
            let file = format!("/data{disk}/noise");
            self.sh(&format!(
                "[ -f {file} ] || guest-probe fill {file} 40000000 {disk}; \
                 guest-probe rndw {file} 40000000 60 4096 {seed}{disk}; sync"
            ))?;
        }
        Ok(())
    }

    /// The disks as they are, while the machine is paused.
    fn copy_paused(&self) -> Result<Vec<PathBuf>> {
        (0..2).map(|disk| crate::guest::copy_in_use(self.folder(), disk)).collect()
    }

    /// Freezes the paused machine, lets it run on, and returns what is frozen with what it should show.
    async fn freeze_paused(
        &self,
        machine: &dyn Machine,
        request: FreezeRequest,
    ) -> Result<(FrozenMachine, Vec<PathBuf>)> {
        tokio::task::block_in_place(|| self.pause())?;
        let frozen = machine.freeze(request).await?;
        let expected = self.copy_paused()?;
        tokio::task::block_in_place(|| self.resume())?;
        Ok((frozen, expected))
    }
}
