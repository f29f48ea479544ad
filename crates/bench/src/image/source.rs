//! The demo guest becomes an image: it is booted, forgets who it is, is shut down, and its disks are stored.

use crate::op;
use crate::timed::{sh, timed};
use anyhow::{Context, Result, ensure};
use block::{BlockSource, ExtentKind};
use hypervisor::offline::OfflineMachine;
use hypervisor::qemu::QemuMachine;
use hypervisor::recreate::{Network, Stop, stop_qemu};
use hypervisor::{DiskSelection, Level, Machine};
use mover::capture::{CaptureRequest, Captured, capture, generalise};
use mover::deploy::{DeployRequest, DeployedDisks, NewIdentity};
use mover::{BackupRequest, Place};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::{Format, GuestImage, GuestMachine, MachineOptions};
use uuid::Uuid;
use vault::{Point, PointDisk, PointId, SessionId, Vault};

/// Emulated, and many at once on few processors.
pub(super) const BOOT: Duration = Duration::from_secs(1800);
/// The guest keeps who it is; and an emulated one on a busy host panics when it tries its timer in vain.
const APPEND: &str = "os=/data0 no_timer_check";
/// Said by every machine of the image.
pub(super) const MARK: &str = "golden";

/// An image in a vault.
pub(super) struct Source {
    pub(super) folder: PathBuf,
    pub(super) point: Point,
    /// Bytes of its blocks that are not zeros.
    pub(super) data_bytes: u64,
}

impl Source {
    pub(super) async fn make(folder: &Path) -> Result<Self> {
        let vault_folder = folder.join("vault");
        sh(&format!("rm -rf {0}/vault {0}/vault.* {0}/golden {0}/scratch", folder.display()))?;
        op::create(&vault_folder).await?;
        std::fs::create_dir(folder.join("scratch"))?;
        let (machine, told) = tokio::task::block_in_place(|| golden(folder))?;
        let request = request(folder)?;
        let vault = op::open(&vault_folder).await?;
        let began = Instant::now();
        let captured = Box::pin(capture(&vault, (&machine, &told), &request, &|_| ())).await?;
        let Captured::Made { point, .. } = captured else {
            anyhow::bail!("the guest is somebody's: {captured:?}")
        };
        let data_bytes = data_bytes(&vault, &point).await?;
        println!(
            "image: captured in {:.1} s, {} MiB of data on {} disks of {} MiB",
            began.elapsed().as_secs_f64(),
            data_bytes >> 20,
            point.disks.len(),
            point.disks.iter().map(|disk| disk.map.size).sum::<u64>() >> 20
        );
        Ok(Self { folder: folder.to_owned(), point: *point, data_bytes })
    }

    /// The vault, knowing nothing beforehand.
    pub(super) async fn open(&self) -> Result<Arc<Vault>> {
        sh(&format!("rm -rf {}", self.folder.join("vault.cache").display()))?;
        op::open(&self.folder.join("vault")).await
    }

    /// An empty place for machines.
    pub(super) fn place(&self, name: &str) -> Result<PathBuf> {
        let place = self.folder.join(name);
        sh(&format!("rm -rf {}", place.display()))?;
        Ok(place)
    }

    /// Machines of these names in a folder.
    pub(super) fn request(
        &self,
        folder: &Path,
        names: impl Iterator<Item = String>,
        disks: DeployedDisks,
        start_with: Option<u64>,
    ) -> DeployRequest {
        DeployRequest {
            point: self.point.clone(),
            image: "web:1".into(),
            folder: folder.to_owned(),
            machines: NewIdentity::draw(names.collect(), &mut Uuid::new_v4),
            disks,
            place: Place::Qemu,
            network: Network::Isolated,
            cpus: None,
            memory_bytes: start_with.map(|mib| mib << 20),
            start: start_with.is_some(),
            user_data: None,
            goes_on: false,
        }
    }

    /// Nothing of it is kept.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("remove {}", self.folder.display()))
    }
}

fn golden(folder: &Path) -> Result<(OfflineMachine, hypervisor::MachineDescription)> {
    let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
    let place = folder.join("golden");
    let disks = image.fresh_disks(&place, Format::Qcow2)?;
    let mut options = MachineOptions::new("golden", &place, disks).without_postgres();
    options.append = APPEND.into();
    let card = ["-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,id=card"];
    options.arguments.extend(card.map(str::to_owned));
    let guest = GuestMachine::start(&image, options)?;
    guest.wait_agent(BOOT)?;
    let (code, said) = guest.sh(&format!("echo {MARK} >/data0/mark && sync"))?;
    ensure!(code == 0, "{said}");
    let told = tokio::runtime::Handle::current().block_on(async {
        let machine = QemuMachine::connect(&guest.qmp_socket(), Some(&guest.agent_socket())).await?;
        let told = machine.describe().await?;
        generalise(&machine).await?;
        drop(machine);
        stop_qemu(&guest.qmp_socket(), Stop::PowerOff).await?;
        anyhow::Ok(told)
    })?;
    drop(guest);
    Ok(OfflineMachine::described(&told, false)?)
}

fn request(folder: &Path) -> Result<CaptureRequest> {
    let backup = BackupRequest {
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        kept_as: None,
        service: serde_json::Value::Null,
        gate: None,
        wish: Level::Crash,
        may_fall: true,
        full: true,
        disks: DiskSelection::All,
        audit_blocks: 0,
        throttles: Vec::new(),
        back_off: false,
        scratch: folder.join("scratch"),
        freeze_timeout: Duration::from_secs(10),
        watchdog: None,
        clock: op::now,
    };
    let program =
        files::Program { path: std::env::current_exe()?, arguments: vec!["files-worker".to_owned()] };
    Ok(CaptureRequest { name: "web".parse()?, backup, specialized: false, excluded: false, program })
}

async fn data_bytes(vault: &Arc<Vault>, point: &Point) -> Result<u64> {
    let mut bytes = 0;
    for record in &point.disks {
        let disk = PointDisk::new(Arc::clone(vault), record.map.clone());
        let extents = disk.extents(0, record.map.size).await?;
        bytes += extents.iter().filter(|one| one.kind != ExtentKind::Zero).map(|one| one.length).sum::<u64>();
    }
    Ok(bytes)
}

/// Bytes that a folder takes up.
pub(super) fn allocated_bytes(folder: &Path) -> Result<u64> {
    let (_, said) = timed(Command::new("du").args(["-s", "-B1", "--"]).arg(folder))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    said.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).context("read what du says")
}
