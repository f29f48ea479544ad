//! Machines of libvirt.

use super::{Harness, Provider};
use anyhow::{Result, ensure};
use async_trait::async_trait;
use hypervisor::Machine;
use hypervisor::libvirt::LibvirtMachine;
use std::path::Path;
use std::time::Duration;
use testkit::{Agent, Format, GuestImage, LibvirtDaemon, LibvirtGuest, MachineOptions};

const BOOT: Duration = Duration::from_secs(180);

/// The machine goes before its libvirt, and that before the folder of both.
pub(crate) struct LibvirtHarness {
    pub(crate) machine: LibvirtGuest,
    pub(crate) daemon: LibvirtDaemon,
    folder: tempfile::TempDir,
}

impl LibvirtHarness {
    pub(crate) fn start(name: &str) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, name)
    }

    /// libvirt sees only what is mounted by now.
    pub(crate) fn start_in(folder: tempfile::TempDir, name: &str) -> Result<Self> {
        let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
        let daemon = LibvirtDaemon::start(&folder.path().join("libvirt"))?;
        let disks = image.fresh_disks(folder.path(), Format::Qcow2)?;
        let options = MachineOptions::new(name, folder.path(), disks).without_postgres();
        let machine = LibvirtGuest::start(&image, &daemon, options)?;
        machine.agent().wait(BOOT)?;
        std::fs::create_dir(folder.path().join("scratch"))?;
        Ok(Self { machine, daemon, folder })
    }

    pub(crate) async fn connected(&self) -> Result<LibvirtMachine> {
        Ok(LibvirtMachine::connect(&self.daemon.uri(), &self.machine.options().name).await?)
    }
}

#[async_trait]
impl Provider for LibvirtHarness {
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn connect(&self) -> Result<Box<dyn Machine>> {
        Ok(Box::new(self.connected().await?))
    }

    /// libvirt keeps one for all disks.
    fn records(&self) -> Result<[usize; 2]> {
        let listed = self.machine.virsh("checkpoint-list", &["--name"])?;
        Ok([listed.lines().filter(|name| name.starts_with("strongroom.")).count(); 2])
    }

    fn assert_untouched(&self) -> Result<()> {
        self.assert_guest_untouched()
    }
}

#[async_trait]
impl Harness for LibvirtHarness {
    fn agent(&self) -> &Agent {
        self.machine.agent()
    }

    fn pause(&self) -> Result<()> {
        self.machine.virsh("suspend", &[]).map(drop)
    }

    fn resume(&self) -> Result<()> {
        self.machine.virsh("resume", &[]).map(drop)
    }

    fn kill_and_start(&mut self) -> Result<()> {
        self.machine.kill()?;
        self.machine.start_again()?;
        self.machine.agent().wait(BOOT)
    }

    fn assert_released(&self) -> Result<()> {
        ensure!(self.machine.virsh("backup-dumpxml", &[]).is_err(), "a backup job is left");
        let xml = self.machine.virsh("dumpxml", &[])?;
        ensure!(!xml.contains("urn:strongroom"), "the mark of a frozen guest is left: {xml}");
        let state = self.machine.virsh("domstate", &[])?;
        ensure!(state.trim() == "running", "the machine is {state}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laws_hold_for_machines_of_libvirt() -> Result<()> {
    let mut harness = tokio::task::block_in_place(|| LibvirtHarness::start("laws"))?;
    super::laws::all(&mut harness).await
}
