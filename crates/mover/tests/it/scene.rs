//! A folder with a vault and guests in it, and what the tests ask of them.

use anyhow::{Result, ensure};
use hypervisor::{DiskSelection, FreezeRequest, Level, Machine};
use mover::{AUDIT_BLOCKS, BackupRequest, ImageFormat, RestoreRequest};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use testkit::{Agent, Format, GuestImage, GuestMachine, LibvirtDaemon, LibvirtGuest, MachineOptions};
use uuid::Uuid;
use vault::{KeyFile, Point, PointId, SessionId, Store, Vault, VaultId};

/// Emulated, on a busy machine.
pub(crate) const BOOT: Duration = Duration::from_secs(180);

/// Built by the first test that asks.
pub(crate) fn image() -> &'static GuestImage {
    static IMAGE: OnceLock<GuestImage> = OnceLock::new();
    let build = || GuestImage::build(&testkit::default_cache(), &testkit::to_stderr);
    IMAGE.get_or_init(|| build().expect("the guest can be built"))
}

/// The time at which all of these tests take place: points follow one another by their ids.
pub(crate) fn now() -> jiff::Timestamp {
    "2026-11-21T03:00:00Z".parse().expect("a time")
}

pub(crate) struct Scene {
    folder: tempfile::TempDir,
    pub(crate) vault: Arc<Vault>,
}

impl Scene {
    /// With a new vault in a folder.
    pub(crate) async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let vault = folder.path().join("vault");
        std::fs::create_dir(&vault)?;
        Self::with_store(folder, Store::local(&vault)?).await
    }

    /// With a new vault in that store.
    pub(crate) async fn with_store(folder: tempfile::TempDir, store: Store) -> Result<Self> {
        std::fs::create_dir(folder.path().join("scratch"))?;
        let vault = Vault::create(store, VaultId(Uuid::new_v4()), now(), &KeyFile::generate()).await?;
        Ok(Self { folder, vault: Arc::new(vault) })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a machine on fresh disks and waits for its agent.
    pub(crate) fn boot(&self, name: &str, postgres: bool) -> Result<GuestMachine> {
        let folder = self.path(name);
        let options = MachineOptions::new(name, &folder, image().fresh_disks(&folder, Format::Qcow2)?);
        let machine =
            GuestMachine::start(image(), if postgres { options } else { options.without_postgres() })?;
        machine.wait_agent(BOOT)?;
        if postgres {
            machine.wait_postgres(BOOT)?;
        }
        Ok(machine)
    }

    /// Starts a machine of libvirt's on fresh disks and waits for its database.
    pub(crate) fn boot_in(&self, daemon: &LibvirtDaemon, name: &str) -> Result<LibvirtGuest> {
        let folder = self.path(name);
        let options = MachineOptions::new(name, &folder, image().fresh_disks(&folder, Format::Qcow2)?);
        let machine = LibvirtGuest::start(image(), daemon, options)?;
        machine.agent().wait(BOOT)?;
        machine.agent().wait_postgres(BOOT)?;
        Ok(machine)
    }

    /// As consistent as is wished, or not at all.
    pub(crate) fn request(&self, wish: Level, scratch: &Path) -> BackupRequest {
        BackupRequest {
            point: PointId(Uuid::now_v7()),
            session: SessionId(Uuid::now_v7()),
            kept_as: None,
            service: Value::Null,
            gate: None,
            wish,
            may_fall: false,
            full: false,
            disks: DiskSelection::All,
            audit_blocks: AUDIT_BLOCKS,
            throttles: Vec::new(),
            back_off: true,
            scratch: scratch.to_owned(),
            freeze_timeout: FreezeRequest::FREEZE_TIMEOUT * 3, // an emulated guest on a busy host
            watchdog: None,
            clock: now,
        }
    }

    pub(crate) async fn backup(&self, machine: &dyn Machine, wish: Level) -> Result<Point> {
        let request = self.request(wish, &self.path("scratch"));
        Ok(mover::backup(machine, &self.vault, &request, &|_| ()).await?)
    }

    /// Restores both disks of a point into the folder `name`, as raw images.
    pub(crate) async fn restore(&self, point: &Point, name: &str) -> Result<[PathBuf; 2]> {
        let request = RestoreRequest {
            point: point.clone(),
            disks: Vec::new(),
            folder: self.path(name),
            format: ImageFormat::Raw,
        };
        let restored = mover::restore(&self.vault, &request, &|_| ()).await?;
        let paths: Vec<PathBuf> = restored.disks.into_iter().map(|disk| disk.path).collect();
        paths.try_into().map_err(|other| anyhow::anyhow!("two disks, not {other:?}"))
    }
}

/// What the harness does blocks: other tasks must go on meanwhile.
pub(crate) fn blocking<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    tokio::task::block_in_place(work)
}

/// A command in a guest that must succeed.
pub(crate) fn sh(agent: &Agent, command: &str) -> Result<String> {
    let (code, output) = blocking(|| agent.sh(command))?;
    ensure!(code == 0, "{command}: {code}: {output}");
    Ok(output)
}

/// That nothing of ours is left in a machine, and that its guest is thawed and writes.
pub(crate) fn assert_at_work(machine: &GuestMachine) -> Result<()> {
    let nodes = blocking(|| machine.qmp("query-named-block-nodes", serde_json::json!({ "flat": true })))?;
    ensure!(!nodes.to_string().contains("strongroom-"), "nodes are left: {nodes}");
    let status = blocking(|| machine.qmp("query-status", Value::Null))?;
    ensure!(status["running"] == true, "the machine is {status}");
    let frozen = blocking(|| machine.agent().call("guest-fsfreeze-status", Value::Null))?;
    ensure!(frozen == "thawed", "the guest is {frozen}");
    sh(machine.agent(), "echo alive >/data0/alive && echo alive >/data1/alive && sync")?;
    let complaints = sh(machine.agent(), "dmesg | grep -ciE 'i/o error|remount' || true")?;
    ensure!(complaints.trim() == "0", "the guest complains of its disks");
    Ok(())
}

/// Runs a program of the host that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = blocking(|| Ok(command.output()?))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.join(" "));
    Ok(())
}
