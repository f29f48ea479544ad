//! A test's folder, with a vault and a machine in it.

use crate::scene::BOOT;
use anyhow::{Context, Result, ensure};
use api::work::{AssignedHost, BackUpWork, MadePoint, Order, ReportEvent, Service, VaultAccess, Work};
use jiff::Timestamp;
use model::job::{Generation, JobKind};
use model::policy::{ConsistencyWish, DiskSelection};
use model::{HostId, JobId, MachineId, Origin};
use mover::work::Settings;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use testkit::{Format, GuestImage, GuestMachine, LibvirtDaemon, LibvirtGuest, MachineOptions};
use uuid::Uuid;
use vault::{KeyFile, Point, Store, Vault, VaultId};

#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Built by the first test that asks.
fn image() -> &'static GuestImage {
    static IMAGE: OnceLock<GuestImage> = OnceLock::new();
    let build = || GuestImage::build(&testkit::default_cache(), &testkit::to_stderr);
    IMAGE.get_or_init(|| build().expect("the guest can be built"))
}

pub(crate) struct Scene {
    folder: TempDir,
    id: VaultId,
    key: String,
    /// The item that the machine's points are kept under.
    pub(crate) item: Uuid,
}

impl Scene {
    /// A vault in a folder.
    pub(crate) async fn new() -> Result<Self> {
        // Short, for sockets lie in it.
        let folder = tempfile::Builder::new().prefix("srm").tempdir_in("/tmp")?;
        std::fs::create_dir(folder.path().join("vault"))?;
        let (id, holder) = (VaultId(Uuid::new_v4()), KeyFile::generate());
        let path = folder.path().join("vault.key");
        holder.write(&path, id)?;
        Vault::create(Store::local(&folder.path().join("vault"))?, id, now(), &holder).await?;
        let key = std::fs::read_to_string(path)?;
        Ok(Self { folder, id, key, item: Uuid::now_v7() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A mover's settings, with a data folder of its own.
    pub(crate) fn settings(&self, name: &str) -> Settings {
        Settings::below(self.path(name), now, Uuid::now_v7)
    }

    /// What opens the vault and every replica of it.
    pub(crate) fn key(&self) -> Result<KeyFile> {
        Ok(KeyFile::from_text(&self.key)?)
    }

    pub(crate) fn store(&self, name: &str) -> Result<Store> {
        Ok(Store::local(&self.path(name))?)
    }

    /// The vault, or a replica of it, opened by somebody else.
    pub(crate) async fn open(&self, name: &str) -> Result<Arc<Vault>> {
        Ok(Arc::new(Vault::open(self.store(name)?, &self.key()?).await?))
    }

    /// Another store of a vault, with small packs.
    pub(crate) async fn make_replica(&self, name: &str, of: &Vault) -> Result<Arc<Vault>> {
        let (store, key) = (self.store(name)?, self.key()?);
        Ok(Arc::new(Vault::create_replica(store, of, now(), &key).await?.with_pack_bytes(1 << 20)))
    }

    pub(crate) async fn points(&self, name: &str) -> Result<Vec<Point>> {
        Ok(self.open(name).await?.points().await?)
    }

    pub(crate) fn access(&self, snapshots: Option<&str>) -> VaultAccess {
        let text = |path: PathBuf| path.display().to_string();
        VaultAccess {
            id: model::VaultId(self.id.0),
            location: text(self.path("vault")),
            credentials: None,
            transfer_bytes_per_second: None,
            snapshot_store: snapshots.map(|name| text(self.path(name))),
            key: self.key.clone(),
        }
    }

    /// The first claim of a new job.
    pub(crate) fn order(&self, kind: JobKind, work: Work) -> Order {
        Order {
            job: JobId(Uuid::now_v7()),
            kind,
            generation: Generation(1),
            steps_done: 0,
            result: None,
            vault: self.access(None),
            session: Uuid::now_v7(),
            fenced: Vec::new(),
            work,
        }
    }

    /// A backup of a machine.
    pub(crate) fn back_up(&self, guest: &Guest) -> Order {
        let options = guest.machine.options();
        self.back_up_on("local", &options.name, &options.uuid.to_string())
    }

    /// A backup of a machine of the host at an address.
    pub(crate) fn back_up_on(&self, address: &str, name: &str, known_as: &str) -> Order {
        let (name, known_as) = (name.to_owned(), known_as.to_owned());
        let mut order = self.order(
            JobKind::Backup,
            Work::Collect { soft_delete_seconds: 0, now: now(), purge: Vec::new(), archive: None },
        );
        order.work = Work::BackUp(Box::new(BackUpWork {
            item: self.item,
            host: AssignedHost { id: HostId(Uuid::now_v7()), address: address.to_owned() },
            known_as: known_as.clone(),
            name: name.clone(),
            consistency: ConsistencyWish::Crash,
            disks: DiskSelection::All {},
            full: false,
            transfer: true,
            service: Service {
                version: 1,
                job: order.job,
                item: self.item,
                machine: MachineId(Uuid::now_v7()),
                name,
                known_as,
                origin: Origin::OnDemand { keep_until: now() },
                policy: None,
                promised: None,
            },
        }));
        order
    }
}

/// The next claim of an order's job.
pub(crate) fn claimed_again(order: &Order, steps_done: usize, result: Option<Value>) -> Order {
    let mut next = order.clone();
    next.generation = Generation(order.generation.0 + 1);
    next.fenced.push(order.session);
    next.session = Uuid::now_v7();
    (next.steps_done, next.result) = (steps_done, result);
    next
}

/// The point that a step's report tells of.
pub(crate) fn made(event: &ReportEvent) -> Result<MadePoint> {
    let ReportEvent::StepDone { result, .. } = event else { anyhow::bail!("{event:?} is no step") };
    Ok(serde_json::from_value(result.clone().context("a result")?)?)
}

pub(crate) struct Guest {
    pub(crate) machine: GuestMachine,
}

impl Guest {
    /// A machine whose processors never run: there in a moment, and its disks stay as they are.
    pub(crate) fn still(scene: &Scene) -> Result<Self> {
        tokio::task::block_in_place(|| {
            let folder = scene.path("guest");
            let disks = image().fresh_disks(&folder, Format::Qcow2)?;
            let name = format!("mover-{}", Uuid::new_v4().simple());
            let mut options = MachineOptions::new(&name, &folder, disks).without_postgres();
            options.arguments.push("-S".into());
            // What is booted of it later, emulated on a busy host, is not given the time for its timer's test.
            options.append = "no_timer_check".to_owned();
            Ok(Self { machine: GuestMachine::start(image(), options)? })
        })
    }

    /// A machine that runs, with its database.
    pub(crate) fn running(scene: &Scene) -> Result<Self> {
        tokio::task::block_in_place(|| {
            let folder = scene.path("guest");
            let disks = image().fresh_disks(&folder, Format::Qcow2)?;
            let name = format!("mover-{}", Uuid::new_v4().simple());
            let machine = GuestMachine::start(image(), MachineOptions::new(&name, &folder, disks))?;
            machine.wait_postgres(BOOT)?;
            Ok(Self { machine })
        })
    }

    /// A machine of libvirt's that runs, with its database.
    pub(crate) fn in_libvirt(scene: &Scene, daemon: &LibvirtDaemon, name: &str) -> Result<LibvirtGuest> {
        tokio::task::block_in_place(|| {
            let folder = scene.path("guest");
            let disks = image().fresh_disks(&folder, Format::Qcow2)?;
            let guest = LibvirtGuest::start(image(), daemon, MachineOptions::new(name, &folder, disks))?;
            guest.agent().wait(BOOT)?;
            guest.agent().wait_postgres(BOOT)?;
            Ok(guest)
        })
    }

    /// Copies both disks as they are, past the product.
    pub(crate) fn copy_disks(&self, scene: &Scene) -> Result<Vec<PathBuf>> {
        let disks = self.machine.options().disks.iter().enumerate();
        disks
            .map(|(number, disk)| {
                let target = scene.path(&format!("expected{number}.raw"));
                let source = disk.path.as_ref().context("a file")?;
                run(Command::new("qemu-img")
                    .args(["convert", "-U", "-f", "qcow2", "-O", "raw"])
                    .arg(source)
                    .arg(&target))?;
                Ok(target)
            })
            .collect()
    }

    /// That nothing of ours is left in QEMU but records of changes.
    pub(crate) fn assert_left_alone(&self) -> Result<()> {
        let nodes = self.machine.qmp("query-named-block-nodes", json!({ "flat": true }))?;
        let names = nodes.as_array().into_iter().flatten().filter_map(|node| node["node-name"].as_str());
        let left: Vec<&str> = names.filter(|name| name.starts_with("strongroom")).collect();
        ensure!(left.is_empty(), "nodes are left: {left:?}");
        let exports = self.machine.qmp("query-block-exports", Value::Null)?;
        ensure!(!exports.to_string().contains("strongroom"), "exports are left: {exports}");
        Ok(())
    }
}

/// Compares every byte.
pub(crate) fn assert_equal(one: &Path, other: &Path) -> Result<()> {
    run(Command::new("cmp").arg(one).arg(other))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
