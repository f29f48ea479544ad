//! A target that is slow costs the backup, never the guest: it writes on, however long the store takes. With room for
//! what it overwrites meanwhile the backup waits for the store; without, the snapshot breaks and the backup fails.

use crate::held_store::HeldStore;
use crate::scene::{Scene, assert_at_work, blocking, run, sh};
use anyhow::{Context, Result, ensure};
use hypervisor::qemu::QemuMachine;
use hypervisor::{ErrorKind, Level};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use testkit::GuestMachine;
use vault::Point;

/// More than packs that are open, waiting and being uploaded hold together: then the backup does not read on.
const NOISE_BYTES: u64 = 250_000_000;
/// Data packs that are uploaded at once: when both wait nothing moves.
const UPLOADS: usize = 2;

/// A small file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, size: &str) -> Result<Self> {
        std::fs::create_dir(path)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_target_costs_the_backup_and_never_the_guest() -> Result<()> {
    let (store, held) = HeldStore::new();
    let scene = Scene::with_store(tempfile::tempdir()?, store).await?;
    let guest = blocking(|| scene.boot("slow", false))?;
    let machine = Arc::new(QemuMachine::connect(&guest.qmp_socket(), Some(&guest.agent_socket())).await?);
    sh(guest.agent(), &format!("guest-probe fill /data1/noise {NOISE_BYTES} 1 && sync"))?;
    let alone = sh(guest.agent(), &latency())?;
    let tiny = Mounted::new(&scene.path("tiny"), "1m")?;

    let taken = back_up_slowly(&scene, (&guest, &machine), &held, &tiny.0).await;
    let error = taken.err().context("a point was made of a snapshot that broke")?;
    let broken = error.downcast_ref::<mover::Error>().is_some_and(
        |error| matches!(error, mover::Error::Machine(_, cause) if cause.kind() == ErrorKind::Broken),
    );
    ensure!(broken, "{error:#}");
    ensure!(scene.vault.points().await?.is_empty(), "no point");
    ensure!(std::fs::read_dir(&tiny.0)?.count() == 0, "nothing is left in the scratch folder");
    assert_at_work(&guest)?;

    let (point, expected) = back_up_slowly(&scene, (&guest, &machine), &held, &scene.path("scratch")).await?;
    let restored = scene.restore(&point, "restored").await?;
    for (one, other) in restored.iter().zip(&expected) {
        run(Command::new("cmp").arg(one).arg(other))?;
    }
    assert_at_work(&guest)?;
    println!("the guest's writes without a backup: {}", alone.trim());
    drop(machine);
    blocking(|| guest.quit())
}

fn latency() -> String {
    format!("guest-probe lat /data1/noise {NOISE_BYTES} 3 4096")
}

/// Backs the machine up while the store takes nothing and the guest overwrites much. Gives the point and the disks
/// as they were at its instant.
async fn back_up_slowly(
    scene: &Scene,
    (guest, machine): (&GuestMachine, &Arc<QemuMachine>),
    held: &HeldStore,
    scratch: &Path,
) -> Result<(Point, [PathBuf; 2])> {
    held.hold();
    blocking(|| guest.pause())?;
    let (machine, vault) = (Arc::clone(machine), Arc::clone(&scene.vault));
    let request = scene.request(Level::Crash, scratch);
    let backup = tokio::spawn(async move { mover::backup(&*machine, &vault, &request, &|_| ()).await });
    held.wait_for(UPLOADS).await;
    // Still paused: what the disks hold is what they held at the instant.
    let expected = [0, 1].map(|disk| scene.path(&format!("expected{disk}.raw")));
    for (disk, target) in expected.iter().enumerate() {
        let source = scene.path(&format!("slow/data{disk}.qcow2"));
        let mut convert = Command::new("qemu-img");
        run(convert.args(["convert", "-U", "-f", "qcow2", "-O", "raw"]).arg(source).arg(target))?;
    }
    blocking(|| guest.resume())?;
    // All of this is done while no byte goes into the store.
    sh(guest.agent(), &format!("guest-probe rndw /data1/noise {NOISE_BYTES} 2000 4096 7; sync"))?;
    println!("the guest's writes during a backup that stands: {}", sh(guest.agent(), &latency())?.trim());
    ensure!(!backup.is_finished(), "the backup did not wait for its store");
    held.open();
    Ok((backup.await??, expected))
}
