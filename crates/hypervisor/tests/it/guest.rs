//! A running guest with two disks, and what the tests ask of it.

use anyhow::{Context, Result, ensure};
use block::{BlockSource, ExtentKind};
use hypervisor::qemu::QemuMachine;
use hypervisor::{FreezeRequest, FrozenDisk, FrozenMachine, Level};
use nbd::{Address, NbdDisk, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testkit::{Format, GuestImage, GuestMachine, MachineOptions};

pub(crate) const VAULT: &str = "5f0c2a4e-0000-4000-8000-00000000000a";
const BOOT: Duration = Duration::from_secs(180);

pub(crate) struct Guest {
    pub(crate) machine: GuestMachine,
    pub(crate) folder: tempfile::TempDir,
}

impl Guest {
    pub(crate) fn start(name: &str, more: impl FnOnce(&Path, &mut MachineOptions)) -> Result<Self> {
        let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
        let folder = tempfile::tempdir()?;
        let disks = image.fresh_disks(folder.path(), Format::Qcow2)?;
        let mut options = MachineOptions::new(name, folder.path(), disks).without_postgres();
        more(folder.path(), &mut options);
        let machine = GuestMachine::start(&image, options)?;
        machine.wait_agent(BOOT)?;
        std::fs::create_dir(folder.path().join("scratch"))?;
        Ok(Self { machine, folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn connect(&self) -> hypervisor::Result<QemuMachine> {
        QemuMachine::connect(&self.machine.qmp_socket(), Some(&self.machine.agent_socket())).await
    }

    pub(crate) fn request(&self, point: &str, parent: Option<&FrozenMachine>) -> FreezeRequest {
        self.request_after(point, parent.map(|frozen| (frozen.point().to_owned(), sizes(frozen))))
    }

    /// A request whose parent may be long released.
    pub(crate) fn request_after(
        &self,
        point: &str,
        parent: Option<(String, BTreeMap<String, u64>)>,
    ) -> FreezeRequest {
        let (parent, parent_disks) = parent.unzip();
        FreezeRequest {
            parent,
            parent_disks: parent_disks.unwrap_or_default(),
            wish: Level::FileSystem,
            freeze_timeout: Duration::from_secs(30), // an emulated guest on a busy host
            ..FreezeRequest::new(point, VAULT, self.path("scratch"))
        }
    }

    pub(crate) fn sh(&self, command: &str) -> Result<String> {
        let (code, output) = tokio::task::block_in_place(|| self.machine.sh(command))?;
        ensure!(code == 0, "{command}: {code}: {output}");
        Ok(output)
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

    pub(crate) fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        tokio::task::block_in_place(|| self.machine.qmp(command, arguments))
    }

    /// The disks as they are, while the machine is paused.
    pub(crate) fn copy_paused(&self) -> Result<Vec<PathBuf>> {
        (0..2).map(|disk| copy_in_use(self.folder.path(), disk)).collect()
    }

    /// That nothing of ours is left, the guest runs and is not frozen.
    pub(crate) fn assert_untouched(&self) -> Result<()> {
        let nodes = self.qmp("query-named-block-nodes", json!({ "flat": true }))?;
        let left: Vec<&str> =
            strings(&nodes, "node-name").filter(|name| name.starts_with("strongroom")).collect();
        ensure!(left.is_empty(), "nodes are left: {left:?}");
        let exports = self.qmp("query-block-exports", Value::Null)?;
        ensure!(
            strings(&exports, "id").all(|id| !id.starts_with("strongroom")),
            "exports are left: {exports}"
        );
        let status = self.qmp("query-status", Value::Null)?;
        ensure!(status["running"] == true, "the machine is {status}");
        let frozen =
            tokio::task::block_in_place(|| self.machine.agent().call("guest-fsfreeze-status", Value::Null))?;
        ensure!(frozen == "thawed", "the guest is {frozen}");
        let drives = self.qmp("query-block", Value::Null)?;
        ensure!(!drives.to_string().contains("strongroom-"), "drives are left: {drives}");
        let folders = std::fs::read_dir(self.path("scratch"))?.count();
        ensure!(folders == 0, "{folders} scratch folders are left");
        self.sh("echo alive > /data0/alive; echo alive > /data1/alive; sync")?;
        Ok(())
    }

    /// The named bitmaps of a node and whether each records.
    pub(crate) fn bitmaps(&self, node: &str) -> Result<BTreeMap<String, bool>> {
        let nodes = self.qmp("query-named-block-nodes", json!({ "flat": true }))?;
        let node = nodes.as_array().into_iter().flatten().find(|found| found["node-name"] == node);
        let bitmaps = node.context("no such node")?["dirty-bitmaps"].as_array().cloned().unwrap_or_default();
        let named = |bitmap: &Value| Some((bitmap["name"].as_str()?.to_owned(), bitmap["recording"] == true));
        Ok(bitmaps.iter().filter_map(named).collect())
    }
}

/// A copy of a disk of the folder whose machine is paused.
pub(crate) fn copy_in_use(folder: &Path, disk: usize) -> Result<PathBuf> {
    let target = folder.join(format!("paused{disk}.raw"));
    let source = folder.join(format!("data{disk}.qcow2"));
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-U", "-f", "qcow2", "-O", "raw"]).arg(source).arg(&target);
    run(&mut convert)?;
    Ok(target)
}

pub(crate) fn sizes(frozen: &FrozenMachine) -> BTreeMap<String, u64> {
    frozen.disks().iter().map(|disk| (disk.id.clone(), disk.size)).collect()
}

/// What makes a frozen machine the parent of the next request.
pub(crate) fn as_parent(frozen: &FrozenMachine) -> (String, BTreeMap<String, u64>) {
    (frozen.point().to_owned(), sizes(frozen))
}

/// Brings a copy of the parent to this point. Returns the bytes it took.
pub(crate) async fn apply_changes(disk: &FrozenDisk, copy: &Path) -> Result<u64> {
    let options = Options {
        export: disk.export.clone(),
        dirty_bitmap: disk.bitmap.clone(),
        allocation: disk.allocation,
        connections: 2,
    };
    let source = NbdDisk::connect(&disk.address, &options).await?;
    let target = std::fs::OpenOptions::new().write(true).open(copy)?;
    let mut read = 0;
    for extent in source.extents(0, source.size()).await? {
        if extent.kind == ExtentKind::Data {
            let bytes = source.read(extent.offset, vec![0; usize::try_from(extent.length)?]).await?;
            target.write_all_at(&bytes, extent.offset)?;
            read += extent.length;
        }
    }
    source.close().await;
    Ok(read)
}

/// Copies a whole frozen disk with another NBD client.
pub(crate) fn pull(disk: &FrozenDisk, target: &Path) -> Result<()> {
    let uri = match &disk.address {
        Address::Unix(socket) => format!("nbd+unix:///{}?socket={}", disk.export, socket.display()),
        Address::Tcp(host) => format!("nbd://{host}/{}", disk.export),
    };
    // One question at a time: QEMU before 9.2 dies of several for allocation.
    run(Command::new("nbdcopy").args(["--connections=1", "--requests=1"]).arg(uri).arg(target))
}

pub(crate) fn compare(one: &Path, other: &Path) -> Result<()> {
    run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw"]).arg(one).arg(other))
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = tokio::task::block_in_place(|| command.output())?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.join(" "));
    Ok(())
}

fn strings<'a>(list: &'a Value, key: &'a str) -> impl Iterator<Item = &'a str> {
    list.as_array().into_iter().flatten().filter_map(move |item| item[key].as_str())
}
