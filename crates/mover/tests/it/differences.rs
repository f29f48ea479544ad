//! Restore into what is there: only what differs, and a real NBD server.

use crate::scene::{Scene, blocking, run};
use anyhow::{Context, Result, ensure};
use hypervisor::Level;
use hypervisor::offline::{Format, Image, OfflineMachine};
use mover::{ImageFormat, Progress, Target};
use nbd::Address;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use tokio::sync::oneshot;
use vault::Point;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 64 << 10;
const SIZE: u64 = 40 * MIB + 4096;

fn noise(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// A raw image with 20 MiB of data, holes, and an end that is no whole block.
fn original(path: &Path) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(SIZE)?;
    file.write_all_at(&noise(1, 20 * MIB), 0)?;
    file.write_all_at(&noise(2, 4096), SIZE - 4096)?;
    Ok(())
}

pub(crate) async fn back_up(scene: &Scene, name: &str, images: &[(&str, &Path, Format)]) -> Result<Point> {
    let image = |(name, path, format): &(&str, &Path, Format)| Image {
        name: (*name).to_owned(),
        path: path.to_path_buf(),
        format: *format,
        key_file: None,
        may_reach_outside: false,
    };
    let machine = OfflineMachine::new(name, None, images.iter().map(image).collect())?;
    scene.backup(&machine, Level::Crash).await
}

fn convert(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(from).arg(to))
}

fn same(raw: &Path, image: &Path, format: &str) -> Result<()> {
    run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", format]).arg(raw).arg(image))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_blocks_that_differ_are_written() -> Result<()> {
    let scene = Scene::new().await?;
    let truth = scene.path("truth.raw");
    original(&truth)?;
    let point = back_up(&scene, "m", &[("d", &truth, Format::Raw)]).await?;
    for (name, format) in [("target.raw", ImageFormat::Raw), ("target.qcow2", ImageFormat::Qcow2)] {
        // A later state: three blocks are other, two that were holes hold something, two hold nothing any more.
        let later = scene.path("later.raw");
        std::fs::copy(&truth, &later)?;
        let file = File::options().write(true).open(&later)?;
        for (block, length) in [(3, 1), (17, 9), (200, BLOCK)] {
            file.write_all_at(&noise(9, length), block * BLOCK + 5)?; // the last reaches into the next block
        }
        file.write_all_at(&noise(9, 2 * BLOCK), 30 * MIB)?;
        file.write_all_at(&vec![0; 2 * BLOCK as usize], 8 * MIB)?;
        let path = scene.path(name);
        match format {
            ImageFormat::Raw => drop(std::fs::copy(&later, &path)?),
            ImageFormat::Qcow2 => convert(&later, &path)?,
        }
        let target = Target::Image { path: path.clone(), format };
        let copied = mover::restore_into(&scene.vault, (&point, "d"), &target, &|_| ()).await?;
        ensure!((copied.data, copied.zero) == (6 * BLOCK, 2 * BLOCK), "{name}: {copied:?}");
        ensure!(copied.data + copied.zero + copied.unchanged == SIZE, "{copied:?}");
        same(&truth, &path, format.name())?;
        ensure!(!scene.path(&format!("{name}.restoring")).exists());
        // Once more: nothing.
        let copied = mover::restore_into(&scene.vault, (&point, "d"), &target, &|_| ()).await?;
        ensure!(copied.unchanged == SIZE, "{copied:?}");
    }
    // A disk of another size is refused, and so is one that is in use.
    let wrong = scene.path("wrong.raw");
    File::create(&wrong)?.set_len(SIZE + 512)?;
    let target = Target::Image { path: wrong, format: ImageFormat::Raw };
    let error =
        mover::restore_into(&scene.vault, (&point, "d"), &target, &|_| ()).await.expect_err("too large");
    ensure!(format!("{:?}", anyhow::Error::new(error)).contains("the disk in the point"));
    let held = serve(&scene.path("target.qcow2"), &scene.path("held.sock"))?;
    let target = Target::Image { path: scene.path("target.qcow2"), format: ImageFormat::Qcow2 };
    let error = mover::restore_into(&scene.vault, (&point, "d"), &target, &|_| ()).await.expect_err("in use");
    ensure!(format!("{:?}", anyhow::Error::new(error)).contains("lock"));
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_cut_off_is_finished_by_doing_it_again() -> Result<()> {
    let scene = Scene::new().await?;
    let truth = scene.path("truth.raw");
    original(&truth)?;
    let point = back_up(&scene, "m", &[("d", &truth, Format::Raw)]).await?;
    for (name, format) in [("other.raw", ImageFormat::Raw), ("other.qcow2", ImageFormat::Qcow2)] {
        let (other, path) = (scene.path("source.raw"), scene.path(name));
        std::fs::write(&other, noise(5, SIZE))?;
        match format {
            ImageFormat::Raw => drop(std::fs::copy(&other, &path)?),
            ImageFormat::Qcow2 => convert(&other, &path)?,
        }
        let target = Target::Image { path: path.clone(), format };
        // Cut off once something was written; qemu-nbd is killed with it.
        let (written, first) = oneshot::channel();
        let written = Mutex::new(Some(written));
        let show = |progress| {
            if let Progress::Advance(_) = progress {
                let taken = written.lock().expect("no holder panics").take();
                if let Some(sender) = taken {
                    let _ = sender.send(()); // nobody may wait any more
                }
            }
        };
        tokio::select! {
            biased;
            _ = first => {}
            done = mover::restore_into(&scene.vault, (&point, "d"), &target, &show) => {
                anyhow::bail!("it was over before it could be cut off: {done:?}");
            }
        }
        ensure!(scene.path(&format!("{name}.restoring")).exists(), "it is told that {name} is a mixture");
        let copied = again(&scene, &point, &target).await?;
        ensure!(copied.data > 0, "something was left to do: {copied:?}");
        same(&truth, &path, format.name())?;
        ensure!(!scene.path(&format!("{name}.restoring")).exists());
    }
    Ok(())
}

/// The killed qemu-nbd's lock goes with its process, a moment later.
async fn again(scene: &Scene, point: &Point, target: &Target) -> Result<block::Copied> {
    let mut last = None;
    for _ in 0..1000 {
        match mover::restore_into(&scene.vault, (point, "d"), target, &|_| ()).await {
            Ok(copied) => return Ok(copied),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("tried")?.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nbd_server_takes_a_disk_thin() -> Result<()> {
    let scene = Scene::new().await?;
    let truth = scene.path("truth.raw");
    original(&truth)?;
    let point = back_up(&scene, "m", &[("d", &truth, Format::Raw)]).await?;
    let (image, socket) = (scene.path("there.qcow2"), scene.path("s"));
    let create = |size: u64| {
        let mut create = Command::new("qemu-img");
        run(create.args(["create", "-q", "-f", "qcow2"]).arg(&image).arg(size.to_string()))
    };
    create(SIZE)?;
    // What it held must go.
    let mut write = Command::new("qemu-io");
    run(write.args(["-f", "qcow2", "-c", "write -P 0x55 0 35M"]).arg(&image))?;
    let server = serve(&image, &socket)?;
    let target =
        |differences| Target::Nbd { address: Address::Unix(socket.clone()), export: "x".into(), differences };
    let copied = mover::restore_into(&scene.vault, (&point, "d"), &target(false), &|_| ()).await?;
    ensure!((20 * MIB..21 * MIB).contains(&copied.data), "{copied:?}");
    let copied = mover::restore_into(&scene.vault, (&point, "d"), &target(true), &|_| ()).await?;
    ensure!(copied.unchanged == SIZE, "{copied:?}");
    drop(server);
    same(&truth, &image, "qcow2")?;
    let taken = std::fs::metadata(&image)?.blocks() * 512;
    ensure!(taken < 24 * MIB, "{taken} bytes: zeros take no room");

    std::fs::remove_file(&image)?;
    create(SIZE - 4096)?;
    let server = serve(&image, &socket)?;
    let error = mover::restore_into(&scene.vault, (&point, "d"), &target(false), &|_| ()).await;
    let error = format!("{:?}", anyhow::Error::new(error.expect_err("too small")));
    ensure!(error.contains("the target has"), "{error}");
    drop(server);
    Ok(())
}

/// A qemu-nbd, until dropped.
pub(crate) struct Served(Child, PathBuf);

pub(crate) fn serve(image: &Path, socket: &Path) -> Result<Served> {
    let mut server = Command::new("qemu-nbd");
    server.args(["--format=qcow2", "--discard=unmap", "--persistent", "--shared=8", "--export-name=x"]);
    let child = server.arg("--socket").arg(socket).arg(image).stdin(Stdio::null()).spawn()?;
    let served = Served(child, socket.to_owned());
    blocking(|| {
        let mut list = Command::new("qemu-img");
        list.args(["info", "--image-opts"]);
        list.arg(format!("driver=nbd,server.type=unix,server.path={},export=x", socket.display()));
        for _ in 0..1000 {
            if list.output()?.status.success() {
                return Ok(());
            }
        }
        anyhow::bail!("qemu-nbd does not listen")
    })?;
    Ok(served)
}

impl Drop for Served {
    fn drop(&mut self) {
        // In order, so that it closes its image.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(&self.1);
    }
}
