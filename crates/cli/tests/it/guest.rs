//! A machine of a scene, and what the tests ask of it from outside.

use crate::scene::{Scene, id, names_in};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use testkit::{Format, GuestDisk, GuestImage, GuestMachine, MachineOptions};

/// Emulated, on a busy machine.
pub(crate) const BOOT: Duration = Duration::from_secs(180);

/// Built by the first test that asks.
pub(crate) fn image() -> &'static GuestImage {
    static IMAGE: OnceLock<GuestImage> = OnceLock::new();
    let build = || GuestImage::build(&testkit::default_cache(), &testkit::to_stderr);
    IMAGE.get_or_init(|| build().expect("the guest can be built"))
}

pub(crate) struct Guest {
    pub(crate) machine: GuestMachine,
    disks: Vec<PathBuf>,
}

impl Guest {
    /// Options for a machine on fresh disks, without the database. Its name is the only one of the host.
    pub(crate) fn options(scene: &Scene, name: &str) -> Result<MachineOptions> {
        let folder = scene.path(name);
        let disks = image().fresh_disks(&folder, Format::Qcow2)?;
        let name = format!("e2e-{name}-{}", std::process::id());
        Ok(MachineOptions::new(&name, &folder, disks).without_postgres())
    }

    /// Starts a machine and waits for its agent.
    pub(crate) fn boot(options: MachineOptions) -> Result<Self> {
        let guest = Self::start(options)?;
        guest.machine.wait_agent(BOOT)?;
        Ok(guest)
    }

    /// A machine whose processors never run: there in a moment, and its disks stay as they are.
    pub(crate) fn still(scene: &Scene, name: &str) -> Result<Self> {
        let mut options = Self::options(scene, name)?;
        options.arguments.push("-S".into());
        Self::start(options)
    }

    /// Starts a machine and waits for nothing.
    pub(crate) fn start(options: MachineOptions) -> Result<Self> {
        let disks = options.disks.iter().filter_map(|disk| disk.path.clone()).collect();
        let machine = GuestMachine::start(image(), options)?;
        Ok(Self { machine, disks })
    }

    /// What the product knows it by.
    pub(crate) fn name(&self) -> &str {
        &self.machine.options().name
    }

    /// Runs a command in the guest that must succeed.
    pub(crate) fn sh(&self, command: &str) -> Result<String> {
        let (code, output) = self.machine.sh(command)?;
        ensure!(code == 0, "{command}: {code}: {output}");
        Ok(output)
    }

    /// That nothing of ours is left in QEMU but the records of changes since `parent`, that the processors run
    /// or not as they should, and that the scratch folder is empty. Asks QEMU only.
    pub(crate) fn assert_left_alone(
        &self,
        scene: &Scene,
        running: bool,
        parent: Option<&Value>,
    ) -> Result<()> {
        let nodes = self.machine.qmp("query-named-block-nodes", json!({ "flat": true }))?;
        let left: Vec<&str> = strings(&nodes, "node-name").filter(|name| is_ours(name)).collect();
        ensure!(left.is_empty(), "nodes are left: {left:?}");
        let exports = self.machine.qmp("query-block-exports", Value::Null)?;
        ensure!(!exports.to_string().contains("strongroom"), "exports are left: {exports}");
        let devices = self.machine.qmp("query-block", Value::Null)?;
        let inserted =
            devices.as_array().into_iter().flatten().map(|device| &device["inserted"]["node-name"]);
        let inserted: Vec<&str> = inserted.filter_map(Value::as_str).collect();
        ensure!(inserted == ["disk0", "disk1"], "devices are on {inserted:?}");
        for disk in ["disk0", "disk1"] {
            let bitmaps = bitmaps(&nodes, disk)?;
            let right = match (&bitmaps[..], parent) {
                ([], None) => true,
                ([(name, recording)], Some(point)) => {
                    *recording && name.ends_with(&format!("{}:d-{disk}", id(point)?))
                }
                _ => false,
            };
            ensure!(right, "records of changes of {disk}: {bitmaps:?}");
        }
        let status = self.machine.qmp("query-status", Value::Null)?;
        ensure!(status["running"] == running, "the machine is {status}");
        let scratch = names_in(&scene.path("scratch"))?;
        ensure!(scratch.is_empty(), "the scratch folder holds {scratch:?}");
        Ok(())
    }

    /// As [`Self::assert_left_alone`] for a guest that runs; asks the guest too: it is thawed and can write.
    pub(crate) fn assert_at_work(&self, scene: &Scene, parent: Option<&Value>) -> Result<()> {
        self.assert_left_alone(scene, true, parent)?;
        let frozen = self.machine.agent().call("guest-fsfreeze-status", Value::Null)?;
        ensure!(frozen == "thawed", "the guest is {frozen}");
        self.sh("echo alive >/data0/alive && echo alive >/data1/alive && sync").map(drop)
    }

    /// Copies both disks as they are, while the processors stand still, past the product.
    pub(crate) fn copy_disks(&self, scene: &Scene, name: &str) -> Result<[PathBuf; 2]> {
        let status = self.machine.qmp("query-status", Value::Null)?;
        ensure!(status["running"] == false, "a copy of a running machine's disks is nothing to compare with");
        let targets = [0, 1].map(|disk| scene.path(&format!("{name}{disk}.raw")));
        for (source, target) in self.disks.iter().zip(&targets) {
            let mut convert = Command::new("qemu-img");
            run(convert.args(["convert", "-U", "-f", "qcow2", "-O", "raw"]).arg(source).arg(target))?;
        }
        Ok(targets)
    }

    /// Ends QEMU and lets `qemu-img check` look at what the product and QEMU made of the images.
    pub(crate) fn quit_and_check(self) -> Result<()> {
        let Self { machine, disks } = self;
        machine.quit()?;
        let qcow2 = disks.iter().filter(|disk| disk.extension().is_some_and(|end| end == "qcow2"));
        qcow2.into_iter().try_for_each(|disk| check_image(disk))
    }
}

/// The restored images as a machine's disks.
pub(crate) fn as_disks(images: &[PathBuf; 2], format: Format) -> Vec<GuestDisk> {
    let disk = |(index, path): (usize, &PathBuf)| GuestDisk::file(&format!("disk{index}"), path, format);
    images.iter().enumerate().map(disk).collect()
}

/// Lets `qemu-img check` find an image sound: no error and no leaked cluster.
pub(crate) fn check_image(image: &Path) -> Result<()> {
    run(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(image)).map(drop)
}

/// Compares every byte of both disks.
pub(crate) fn assert_equal(ones: &[PathBuf; 2], others: &[PathBuf; 2]) -> Result<()> {
    let pairs = ones.iter().zip(others);
    pairs.into_iter().try_for_each(|(one, other)| run(Command::new("cmp").arg(one).arg(other)).map(drop))
}

/// Asks again and again what cannot call us. Each question should cost something.
pub(crate) fn until(what: &str, ask: impl Fn() -> Result<bool>) -> Result<()> {
    let started = std::time::Instant::now();
    while !ask()? {
        ensure!(started.elapsed() < BOOT, "waited in vain for {what}");
        std::thread::yield_now();
    }
    Ok(())
}

/// Runs a program of the host that must succeed; gives what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let [said, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{command:?}: {}: {said} {errors}", output.status);
    Ok(said)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("strongroom")
}

/// The named bitmaps of a node that are ours, and whether each records.
fn bitmaps(nodes: &Value, node: &str) -> Result<Vec<(String, bool)>> {
    let found = nodes.as_array().into_iter().flatten().find(|found| found["node-name"] == node);
    let bitmaps = found.with_context(|| format!("no node {node}"))?["dirty-bitmaps"].as_array();
    let named = |bitmap: &Value| Some((bitmap["name"].as_str()?.to_owned(), bitmap["recording"] == true));
    Ok(bitmaps.into_iter().flatten().filter_map(named).filter(|(name, _)| is_ours(name)).collect())
}

pub(crate) fn strings<'a>(list: &'a Value, key: &'a str) -> impl Iterator<Item = &'a str> {
    list.as_array().into_iter().flatten().filter_map(move |item| item[key].as_str())
}
