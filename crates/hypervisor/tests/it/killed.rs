//! QEMU dies at any moment of a freeze: the caller hears of it, the images are whole, and the next run reads
//! everything because nobody can know what changed.

use crate::guest::{VAULT, as_parent};
use crate::recover::after_answers;
use anyhow::{Context, Result, bail, ensure};
use hypervisor::qemu::QemuMachine;
use hypervisor::{FreezeRequest, Level, Machine, Outcome, Tracking};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testkit::{Format, GuestImage, GuestMachine, MachineOptions};
use tokio::net::UnixListener;
use tokio::time::timeout;

/// A freeze that does not end says that somebody waits for a QEMU that is gone.
const HANGS: Duration = Duration::from_secs(120);

/// Answers between one death and the next: every one is cut elsewhere, by a process of ours that dies.
const STEP: usize = 3;

struct Scene {
    image: GuestImage,
    folder: tempfile::TempDir,
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether its guest is up does not matter: it writes, or it does not.
    fn start(&self) -> Result<GuestMachine> {
        let disks = (0..2).map(|disk| {
            let path = self.path(&format!("data{disk}.qcow2"));
            testkit::GuestDisk::file(&format!("disk{disk}"), &path, Format::Qcow2)
        });
        let options = MachineOptions::new("killed", self.folder.path(), disks.collect()).without_postgres();
        tokio::task::block_in_place(|| GuestMachine::start(&self.image, options))
    }

    fn request(&self, point: &str) -> FreezeRequest {
        FreezeRequest { wish: Level::Crash, ..FreezeRequest::new(point, VAULT, self.path("scratch")) }
    }

    /// Leaked clusters are what a killed QEMU may leave; errors are not.
    fn check_images(&self) -> Result<()> {
        for disk in 0..2 {
            let image = self.path(&format!("data{disk}.qcow2"));
            let mut check = Command::new("qemu-img");
            let checked = tokio::task::block_in_place(|| check.args(["check", "-q"]).arg(&image).output())?;
            let said = String::from_utf8_lossy(&checked.stderr).into_owned();
            ensure!(matches!(checked.status.code(), Some(0 | 3)), "{}: {said}", image.display());
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_may_die_after_any_command() -> Result<()> {
    let image =
        tokio::task::block_in_place(|| GuestImage::build(&testkit::default_cache(), &testkit::to_stderr))?;
    let folder = tempfile::tempdir()?;
    tokio::task::block_in_place(|| image.fresh_disks(folder.path(), Format::Qcow2))?;
    let scene = Scene { image, folder };
    std::fs::create_dir(scene.path("scratch"))?;
    for answers in (1..).step_by(STEP) {
        let whole = one_death(&scene, answers).await.with_context(|| format!("after {answers} answers"))?;
        if whole {
            ensure!(answers > 20, "a freeze of two disks takes more than {answers} commands");
            return Ok(());
        }
    }
    bail!("a freeze takes commands without end")
}

/// Whether the freeze needed fewer answers than that: then QEMU dies while its disks are read.
async fn one_death(scene: &Scene, answers: usize) -> Result<bool> {
    let machine = scene.start()?;
    let connected = QemuMachine::connect(&machine.qmp_socket(), None).await?;
    let parent = connected.freeze(scene.request(&format!("p{answers}"))).await?;
    let (point, disks) = as_parent(&parent);
    parent.release(Outcome::Committed).await?;
    drop(connected);
    let next = FreezeRequest { parent: Some(point), parent_disks: disks, ..scene.request("next") };
    let whole = freeze_and_kill(scene, &machine, next.clone(), answers).await?;
    drop(machine);
    scene.check_images()?;

    let machine = scene.start()?;
    let connected = QemuMachine::connect(&machine.qmp_socket(), None).await?;
    let frozen = connected.freeze(next).await?;
    for disk in frozen.disks() {
        ensure!(matches!(&disk.tracking, Tracking::Full { reason } if !reason.is_empty()), "{disk:?}");
    }
    frozen.check().await?;
    frozen.release(Outcome::Committed).await?;
    drop(connected);
    ensure!(std::fs::read_dir(scene.path("scratch"))?.count() == 0, "a scratch folder is left");
    tokio::task::block_in_place(|| machine.quit())?;
    scene.check_images()?;
    Ok(whole)
}

async fn freeze_and_kill(
    scene: &Scene,
    machine: &GuestMachine,
    request: FreezeRequest,
    answers: usize,
) -> Result<bool> {
    let path = scene.path(&format!("kill{answers}.sock"));
    let listener = UnixListener::bind(&path)?;
    let pid = i32::try_from(machine.process_id()).ok().and_then(Pid::from_raw).context("a process")?;
    let kill = move || {
        let _ = kill_process(pid, Signal::KILL); // it may have died by itself: then the test fails elsewhere
        false
    };
    let proxy = tokio::spawn(after_answers(listener, machine.qmp_socket(), answers, kill));
    let freeze = async {
        let connected = QemuMachine::connect(&path, None).await?;
        let frozen = connected.freeze(request).await;
        let whole = frozen.is_ok();
        if let Ok(frozen) = frozen {
            kill();
            ensure!(frozen.check().await.is_err(), "a dead QEMU holds no instant");
            ensure!(frozen.release(Outcome::Abandoned).await.is_err(), "what is gone cannot be taken back");
        }
        connected.settled().await;
        anyhow::Ok(whole)
    };
    // Whoever connects may be the one that is cut.
    let whole = timeout(HANGS, freeze).await.context("the freeze hangs")?.or_else(|error| {
        if error.downcast_ref::<hypervisor::Error>().is_some() { Ok(false) } else { Err(error) }
    });
    proxy.abort();
    let scratch: Vec<_> = std::fs::read_dir(scene.path("scratch"))?.flatten().map(|e| e.path()).collect();
    ensure!(scratch.iter().all(|left: &PathBuf| is_ours(left)), "{scratch:?}");
    whole
}

fn is_ours(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().contains("strongroom-"))
}
