//! Machines that do not run, by their images.

use super::Provider;
use crate::guest::{compare, pull, run};
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use hypervisor::offline::{Format, Image, OfflineMachine};
use hypervisor::{ErrorKind, FreezeRequest, Level, Machine, Outcome, Tracking};
use std::path::Path;
use std::process::Command;

const NAMES: [&str; 2] = ["data0", "data1"];

struct OfflineProvider {
    folder: tempfile::TempDir,
    /// The images as they were: no look of ours may change a byte.
    images: Vec<Vec<u8>>,
}

impl OfflineProvider {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("scratch"))?;
        for name in NAMES {
            let image = folder.path().join(format!("{name}.qcow2"));
            run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("512M"))?;
            let written = ["-c", "write -P 7 1M 3M", "-c", "write -P 9 400M 64k"];
            run(Command::new("qemu-io").args(["-f", "qcow2"]).args(written).arg(&image))?;
        }
        let images = images(folder.path())?;
        Ok(Self { folder, images })
    }
}

fn images(folder: &Path) -> Result<Vec<Vec<u8>>> {
    NAMES.iter().map(|name| Ok(std::fs::read(folder.join(format!("{name}.qcow2")))?)).collect()
}

#[async_trait]
impl Provider for OfflineProvider {
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn connect(&self) -> Result<Box<dyn Machine>> {
        let image = |name: &&str| Image {
            name: (*name).to_owned(),
            path: self.path(&format!("{name}.qcow2")),
            format: Format::Qcow2,
            key_file: None,
            may_reach_outside: false,
        };
        Ok(Box::new(OfflineMachine::new("still", None, NAMES.iter().map(image).collect())?))
    }

    /// Nothing is written into images.
    fn records(&self) -> Result<[usize; 2]> {
        Ok([0, 0])
    }

    fn assert_untouched(&self) -> Result<()> {
        self.assert_scratch_empty()?;
        ensure!(images(self.folder())? == self.images, "an image was written to");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laws_that_ask_no_guest_hold_for_stopped_machines() -> Result<()> {
    let provider = OfflineProvider::new()?;
    super::laws::of_any(&provider).await?;

    // Of the others what can be asked of a machine that stands: its bytes, and that no more is claimed.
    let machine = provider.connect().await?;
    let strict = FreezeRequest { may_fall: false, ..provider.request("v", "strict", None) };
    let error = machine.freeze(strict).await.err().context("frozen as if a guest had been asked")?;
    ensure!(error.kind() == ErrorKind::Guest, "{error}");
    provider.assert_untouched()?;
    let frozen = machine.freeze(provider.request("v", "all", None)).await?;
    ensure!(frozen.consistency().level == Level::Crash && !frozen.consistency().fell_because.is_empty());
    for disk in frozen.disks() {
        ensure!(matches!(disk.tracking, Tracking::Full { .. }), "{disk:?}");
        let [copy, truth] = ["copy", "truth"].map(|name| provider.path(&format!("{}.{name}", disk.id)));
        pull(disk, &copy)?;
        let image = provider.path(&format!("{}.qcow2", disk.id));
        run(Command::new("qemu-img").args(["convert", "-U", "-O", "raw"]).arg(image).arg(&truth))?;
        compare(&copy, &truth)?;
    }
    frozen.check().await?;
    frozen.release(Outcome::Committed).await?;
    provider.assert_untouched()
}
