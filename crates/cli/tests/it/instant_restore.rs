//! A machine that runs at once on a point: its mover dies, its vault goes away, its host dies, and nothing is lost.

use crate::guest::{BOOT, check_image, image, run, until};
use crate::program::Running;
use crate::scene::{Scene, id};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Format, GuestDisk, GuestMachine, MachineOptions};

/// Noise on the second disk, twice so much, so that its data takes a while to follow.
const NOISE: &str = "40000000";
/// The tables of the database before, and what they hold.
const KNOWN: &str = "select count(*), sum(n), md5(string_agg(t, '' order by n)) from known";
/// Commits one row after the other for ever, and notes each as soon as it is committed.
const INSERTS: &str = "(i=0; while :; do i=$((i+1)); echo \"insert into written values ($i) returning n;\"; done) \
                       | su -s /bin/sh postgres -c 'psql -X -q -A -t -v ON_ERROR_STOP=1' >>/run/committed";
/// QEMU's reads wait no longer than this for a server, so that the tests need not either.
const PATIENCE: &str = "2";

/// A vault with one point of a machine with a database, which is gone.
struct Restored {
    scene: Scene,
    point: Value,
    known: String,
    noise: String,
}

impl Restored {
    fn new() -> Result<Self> {
        let scene = Scene::new()?;
        let folder = scene.path("source");
        let name = format!("e2e-instant-{}", std::process::id());
        let options = MachineOptions::new(&name, &folder, image().fresh_disks(&folder, Format::Qcow2)?);
        let machine = GuestMachine::start(image(), options)?;
        machine.wait_postgres(BOOT)?;
        machine.psql("create table known as select n, md5(n::text) t from generate_series(1, 2000) n")?;
        machine.psql("create table written (n int)")?;
        let known = machine.psql(KNOWN)?;
        sh(
            &machine,
            &format!("guest-probe fill /data1/noise {NOISE} 1 && guest-probe fill /data1/more {NOISE} 2"),
        )?;
        let noise = sh(&machine, "sync; sha256sum /data1/noise /data1/more")?;
        let point = scene.backup(&name)?;
        machine.quit()?;
        Ok(Self { scene, point, known, noise })
    }

    fn folder(&self) -> PathBuf {
        self.scene.path("r")
    }

    /// Serves a new restore.
    fn start(&self, options: &[&str]) -> Result<Running> {
        let mut command =
            self.scene.command(["instant", "start", id(&self.point)?, "--patience", PATIENCE, "--to"]);
        let mut running = Running::start(command.arg(self.folder()).args(options))?;
        running.wait_for("start the machine")?;
        Ok(running)
    }

    fn resume(&self, options: &[&str]) -> Result<Running> {
        let mut command = self.scene.command(["instant", "resume"]);
        Running::start(command.arg(self.folder()).args(options))
    }

    fn status(&self) -> Result<Value> {
        let folder = self.folder();
        self.scene.ask(&["instant", "status", &folder.display().to_string()])
    }

    /// Starts a machine with what it was said to be given, and nothing else.
    fn boot(&self, name: &str) -> Result<GuestMachine> {
        let status = self.status()?;
        let words = status["qemu"].as_array().context("words for QEMU")?;
        let mut options = MachineOptions::new(name, &self.scene.path(name), Vec::new());
        options.arguments = words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
        let machine = GuestMachine::start(image(), options)?;
        machine.wait_postgres(BOOT)?;
        ensure!(machine.psql(KNOWN)? == self.known, "the database is the one of the point");
        Ok(machine)
    }

    fn images(&self) -> [PathBuf; 2] {
        ["d-disk0", "d-disk1"].map(|disk| self.folder().join(format!("{disk}.qcow2")))
    }

    /// That the images need nobody, and are sound.
    fn assert_alone(&self) -> Result<()> {
        ensure!(!self.folder().join("nbd.sock").exists(), "nobody serves any more");
        ensure!(self.status()?["state"] == "whole", "{}", self.status()?);
        for image in self.images() {
            let info = run(Command::new("qemu-img").args(["info", "--output=json"]).arg(&image))?;
            ensure!(!info.contains("backing"), "{info}");
            check_image(&image)?;
        }
        Ok(())
    }
}

fn sh(machine: &GuestMachine, command: &str) -> Result<String> {
    let (code, output) = machine.sh(command)?;
    ensure!(code == 0, "{command}: {code}: {output}");
    Ok(output)
}

/// Rows that were committed, as the client was told.
fn committed(machine: &GuestMachine) -> Result<u64> {
    let text = sh(machine, "tail -n 1 /run/committed 2>/dev/null || true")?;
    Ok(text.trim().parse().unwrap_or(0))
}

/// That every row the client was told of is there.
fn assert_committed(machine: &GuestMachine, rows: u64) -> Result<()> {
    let found = machine.psql(&format!("select count(distinct n) from written where n <= {rows}"))?;
    ensure!(found == rows.to_string(), "{found} of {rows} rows are there");
    Ok(())
}

fn status(machine: &GuestMachine) -> Result<Value> {
    Ok(machine.qmp("query-status", Value::Null)?["status"].take())
}

/// The hash of every object of a vault.
fn objects(vault: &Path) -> Result<String> {
    let mut command = Command::new("sh");
    run(command.args(["-c", "cd \"$1\" && find . -type f | sort | xargs sha256sum", "sh"]).arg(vault))
}

#[test]
fn a_database_works_on_while_its_mover_is_killed_and_its_vault_goes_away() -> Result<()> {
    let restored = Restored::new()?;
    let scene = &restored.scene;
    let before = objects(scene.vault())?;
    let mut first = restored.start(&["--limit", "256KiB/s"])?;
    let machine = restored.boot("restored")?;
    machine.agent().start(INSERTS)?;
    until("rows", || Ok(committed(&machine)? > 5))?;

    // The mover is killed; the guest reads what it has not got, and is stopped rather than told of an error.
    first.signal("KILL")?;
    first.wait_gone()?;
    ensure!(restored.status()?["served"] == false, "{}", restored.status()?);
    machine.agent().start("cat /data1/noise >/dev/null")?;
    until("the guest to stand", || Ok(status(&machine)? == "io-error"))?;
    let mut second = restored.resume(&["--limit", "256KiB/s"])?;
    second.wait_for("runs on")?;
    let rows = committed(&machine)?;
    until("more rows", || Ok(committed(&machine)? > rows))?;

    // The vault goes away and comes back, under a mover that lives.
    let away = scene.path("away");
    std::fs::rename(scene.vault(), &away)?;
    machine.agent().start("cat /data1/more >/dev/null")?;
    second.wait_for("the vault cannot be read")?;
    until("the guest to stand", || Ok(status(&machine)? == "io-error"))?;
    std::fs::rename(&away, scene.vault())?;
    second.wait_for("runs on")?;
    ensure!(
        sh(&machine, "sha256sum /data1/noise /data1/more")? == restored.noise,
        "what is read is what was saved"
    );
    second.signal("INT")?;
    second.finish()?.failed(130, &["resume"])?;

    // At last, as fast as it can: all of it is there and our server is gone while the database works on.
    let third = restored.resume(&[])?;
    third.finish()?.succeeded()?;
    let nodes = machine.qmp("query-named-block-nodes", Value::Null)?.to_string();
    ensure!(!nodes.contains("nbd"), "QEMU still has a node of ours: {nodes}");
    let rows = committed(&machine)?;
    until("more rows", || Ok(committed(&machine)? > rows + 5))?;
    assert_committed(&machine, committed(&machine)?)?;
    ensure!(machine.psql(KNOWN)? == restored.known, "the database is whole");
    sh(&machine, "dmesg | grep -ci 'i/o error' || true").and_then(|count| {
        ensure!(count.trim() == "0", "the guest was told of errors");
        Ok(())
    })?;
    machine.quit()?;
    restored.assert_alone()?;
    ensure!(objects(scene.vault())? == before, "the backup is what it was");
    Ok(())
}

#[test]
fn a_guest_that_wrote_much_survives_its_host_and_is_completed_at_rest() -> Result<()> {
    let restored = Restored::new()?;
    let mut first = restored.start(&["--limit", "256KiB/s"])?;
    let machine = restored.boot("restored")?;
    machine.agent().start(INSERTS)?;
    sh(
        &machine,
        "guest-probe fill /data0/much 150000000 7 && guest-probe fill /data1/noise 40000000 8 && sync",
    )?;
    let sums = sh(&machine, "sha256sum /data0/much /data1/noise")?;
    until("rows", || Ok(committed(&machine)? > 5))?;
    let rows = committed(&machine)?;
    // The host dies, with all that ran on it.
    first.signal("KILL")?;
    first.wait_gone()?;
    machine.kill()?;

    let mut second = restored.resume(&["--limit", "256KiB/s"])?;
    second.wait_for("Waiting for the machine")?;
    let machine = restored.boot("again")?;
    ensure!(sh(&machine, "sha256sum /data0/much /data1/noise")? == sums, "what was written is there");
    assert_committed(&machine, rows)?;
    let folder = restored.folder();
    // While a machine runs on it, nobody may take its images away.
    let refused = restored.scene.run(["instant".as_ref(), "discard".as_ref(), folder.as_os_str()])?;
    ensure!(refused.code == Some(5), "{refused:?}");
    machine.power_off()?;
    second.signal("TERM")?;
    second.finish()?.failed(130, &["resume"])?;

    restored.scene.run(["instant".as_ref(), "finish".as_ref(), folder.as_os_str()])?.succeeded()?;
    restored.assert_alone()?;
    let disks = restored.images();
    let disk =
        |(index, path): (usize, &PathBuf)| GuestDisk::file(&format!("disk{index}"), path, Format::Qcow2);
    let disks = disks.iter().enumerate().map(disk).collect();
    let options = MachineOptions::new("alone", &restored.scene.path("alone"), disks);
    let machine = GuestMachine::start(image(), options)?;
    machine.wait_postgres(BOOT)?;
    ensure!(sh(&machine, "sha256sum /data0/much /data1/noise")? == sums, "what was written is there");
    ensure!(machine.psql(KNOWN)? == restored.known, "the database is whole");
    assert_committed(&machine, rows)?;
    let refused =
        restored.scene.run(["instant".as_ref(), "discard".as_ref(), folder.as_os_str(), "--yes".as_ref()])?;
    ensure!(refused.code != Some(0) && disks_are_there(&restored), "{refused:?}");
    machine.quit()?;
    let planned = restored.scene.run(["instant".as_ref(), "discard".as_ref(), folder.as_os_str()])?;
    planned.said(&["--yes"])?;
    ensure!(planned.code == Some(1) && disks_are_there(&restored), "{planned:?}");
    restored
        .scene
        .run(["instant".as_ref(), "discard".as_ref(), folder.as_os_str(), "--yes".as_ref()])?
        .succeeded()?;
    ensure!(!folder.exists(), "nothing is left");
    Ok(())
}

fn disks_are_there(restored: &Restored) -> bool {
    restored.images().iter().all(|image| image.is_file())
}
