//! A machine that runs at once on a point: its mover dies, its vault goes away, its host dies, and nothing is lost.

mod machine;
mod process;

use crate::scene::{BOOT, image, now, run};
use anyhow::{Context, Result, ensure};
use hypervisor::qemu::QemuMachine;
use hypervisor::{DiskSelection, FreezeRequest, Level};
use mover::instant::{InstantOptions, InstantRestore, Journal, State, plan_discard, qemu_arguments};
use mover::{AUDIT_BLOCKS, BackupRequest};
use process::{Process, folder, open};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use testkit::{Format, GuestDisk, GuestMachine, MachineOptions};
use uuid::Uuid;
use vault::{KeyFile, PointId, SessionId, Store, Vault, VaultId};

/// Noise on the second disk in two files each: to read one takes a guest a second, in which much can happen.
const NOISE: u64 = 100_000_000;
/// Bytes a second at which hardly anything follows while a test looks.
const SLOWLY: u64 = 256 << 10;
/// What the database held before.
const KNOWN: &str = "select count(*), sum(n), md5(string_agg(t, '' order by n)) from known";
/// Commits one row after the other for ever; the client notes each that it was told of.
const INSERTS: &str = "(i=0; while :; do i=$((i+1)); echo \"insert into written values ($i) returning n;\"; done) \
                       | su -s /bin/sh postgres -c 'psql -X -q -A -t -v ON_ERROR_STOP=1' >>/run/committed";

/// A vault with one point of a machine with a database, which is gone.
struct Saved {
    place: tempfile::TempDir,
    known: String,
    noise: String,
}

impl Saved {
    fn new() -> Result<Self> {
        let place = tempfile::tempdir()?;
        let source = place.path().join("source");
        let options = MachineOptions::new("source", &source, image().fresh_disks(&source, Format::Qcow2)?);
        let machine = GuestMachine::start(image(), options)?;
        machine.wait_postgres(BOOT)?;
        machine.psql("create table known as select n, md5(n::text) t from generate_series(1, 2000) n")?;
        machine.psql("create table written (n int)")?;
        let known = machine.psql(KNOWN)?;
        for (name, seed) in [("noise", 1), ("more", 2)] {
            sh(&machine, &format!("guest-probe fill /data1/{name} {NOISE} {seed}"))?;
        }
        let noise = sh(&machine, "sync; sha256sum /data1/noise /data1/more")?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(back_up(&machine, place.path()))?;
        machine.quit()?;
        Ok(Self { place, known, noise })
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn journal(&self) -> Result<Journal> {
        Ok(Journal::read(&folder(self.path()))?)
    }

    /// Starts a machine with what it is said to be given, and nothing else.
    fn boot(&self, name: &str) -> Result<GuestMachine> {
        let mut options = MachineOptions::new(name, &self.path().join(name), Vec::new());
        options.arguments = qemu_arguments(&folder(self.path()), &self.journal()?);
        let machine = GuestMachine::start(image(), options)?;
        machine.wait_postgres(BOOT)?;
        ensure!(machine.psql(KNOWN)? == self.known, "the database is the one of the point");
        Ok(machine)
    }

    fn images(&self) -> [PathBuf; 2] {
        ["d-disk0", "d-disk1"].map(|disk| folder(self.path()).join(format!("{disk}.qcow2")))
    }

    /// That the images need nobody, and are sound.
    fn assert_alone(&self) -> Result<()> {
        ensure!(!folder(self.path()).join("nbd.sock").exists(), "nobody serves any more");
        ensure!(self.journal()?.state == State::Whole, "{:?}", self.journal()?);
        for image in self.images() {
            let info = Command::new("qemu-img").args(["info", "--output=json"]).arg(&image).output()?;
            let info = String::from_utf8_lossy(&info.stdout).into_owned();
            ensure!(info.contains("qcow2") && !info.contains("backing"), "{info}");
            run(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&image))?;
        }
        Ok(())
    }
}

async fn back_up(machine: &GuestMachine, place: &Path) -> Result<()> {
    for name in ["vault", "scratch"] {
        std::fs::create_dir(place.join(name))?;
    }
    let (holder, id) = (KeyFile::generate(), VaultId(Uuid::new_v4()));
    holder.write(&place.join("vault.key"), id)?;
    Vault::create(Store::local(&place.join("vault"))?, id, now(), &holder).await?;
    let request = BackupRequest {
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        kept_as: None,
        service: Value::Null,
        gate: None,
        wish: Level::Crash,
        may_fall: false,
        full: false,
        disks: DiskSelection::All,
        audit_blocks: AUDIT_BLOCKS,
        throttles: Vec::new(),
        back_off: false,
        scratch: place.join("scratch"),
        freeze_timeout: FreezeRequest::FREEZE_TIMEOUT,
        watchdog: None,
        clock: now,
    };
    let machine = QemuMachine::connect(&machine.qmp_socket(), Some(&machine.agent_socket())).await?;
    mover::backup(&machine, &open(place).await?, &request, &|_| ()).await?;
    Ok(())
}

fn sh(machine: &GuestMachine, command: &str) -> Result<String> {
    let (code, output) = machine.sh(command)?;
    ensure!(code == 0, "{command}: {code}: {output}");
    Ok(output)
}

/// Asks again and again what cannot call us. Each question costs something.
fn until(what: &str, ask: impl Fn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !ask()? {
        ensure!(began.elapsed() < BOOT, "waited in vain for {what}");
        std::thread::yield_now();
    }
    Ok(())
}

/// The last row that the client was told is committed.
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

fn stands(machine: &GuestMachine) -> Result<bool> {
    Ok(machine.qmp("query-status", Value::Null)?["status"] == "io-error")
}

/// The hash of every object of a vault.
fn objects(vault: &Path) -> Result<String> {
    let mut command = Command::new("sh");
    command.args(["-ec", "cd \"$1\"; find . -type f | sort | xargs sha256sum", "sh"]);
    let output = command.arg(vault).output()?;
    ensure!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_database_works_on_while_its_mover_is_killed_and_its_vault_goes_away() -> Result<()> {
    let saved = Saved::new()?;
    let vault = saved.path().join("vault");
    let before = objects(&vault)?;
    let mut first = Process::run("start", saved.path(), SLOWLY)?;
    first.wait_for("served")?;
    let machine = saved.boot("at-once")?;
    machine.agent().start(INSERTS)?;
    until("rows", || Ok(committed(&machine)? > 5))?;

    // The mover is killed while the guest reads; it is stopped rather than told of an error.
    machine.agent().start("cat /data1/noise >/dev/null")?;
    first.kill()?;
    until("the guest to stand", || stands(&machine))?;
    let mut second = Process::run("resume", saved.path(), SLOWLY)?;
    second.wait_for("RanOn")?;
    until("the guest to run", || Ok(!stands(&machine)?))?;
    let rows = committed(&machine)?;
    until("more rows", || Ok(committed(&machine)? > rows))?;

    // The vault goes away and comes back, under a mover that lives.
    let away = saved.path().join("away");
    machine.agent().start("cat /data1/more >/dev/null")?;
    std::fs::rename(&vault, &away)?;
    second.wait_for("Unreadable")?;
    until("the guest to stand", || stands(&machine))?;
    std::fs::rename(&away, &vault)?;
    second.wait_for("RanOn")?;
    let read = sh(&machine, "sha256sum /data1/noise /data1/more")?;
    ensure!(read == saved.noise, "what is read is not what was saved: {read} {}", saved.noise);
    second.kill()?;

    // At last, as fast as it can: all of it is there and our server is gone while the database works on.
    Process::run("resume", saved.path(), 0)?.finish()?;
    let nodes = machine.qmp("query-named-block-nodes", Value::Null)?.to_string();
    ensure!(!nodes.contains("nbd"), "QEMU still has a node of ours: {nodes}");
    let rows = committed(&machine)?;
    until("more rows", || Ok(committed(&machine)? > rows + 5))?;
    assert_committed(&machine, committed(&machine)?)?;
    ensure!(machine.psql(KNOWN)? == saved.known, "the database is whole");
    let complaints = sh(&machine, "dmesg | grep -ci 'i/o error' || true")?;
    ensure!(complaints.trim() == "0", "the guest was told of errors");
    machine.quit()?;
    saved.assert_alone()?;
    ensure!(objects(&vault)? == before, "the backup is what it was");
    Ok(())
}

#[test]
fn a_guest_that_wrote_much_survives_its_host_and_is_completed_at_rest() -> Result<()> {
    let saved = Saved::new()?;
    let mut first = Process::run("start", saved.path(), SLOWLY)?;
    first.wait_for("served")?;
    let machine = saved.boot("at-once")?;
    machine.agent().start(INSERTS)?;
    sh(
        &machine,
        "guest-probe fill /data0/much 150000000 7 && guest-probe fill /data1/noise 40000000 8 && sync",
    )?;
    let sums = sh(&machine, "sha256sum /data0/much /data1/noise")?;
    until("rows", || Ok(committed(&machine)? > 5))?;
    let rows = committed(&machine)?;
    // The host dies, with all that ran on it.
    first.kill()?;
    machine.kill()?;

    let mut second = Process::run("resume", saved.path(), SLOWLY)?;
    second.wait_for("Waiting")?;
    let machine = saved.boot("again")?;
    ensure!(sh(&machine, "sha256sum /data0/much /data1/noise")? == sums, "what was written is there");
    assert_committed(&machine, rows)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let path = folder(saved.path());
    // While one process works on it no other does; while a machine runs on it nobody takes its images away.
    let another = runtime.block_on(async {
        let vault = open(saved.path()).await?;
        anyhow::Ok(InstantRestore::resume(&vault, &path, &InstantOptions::default()).await.err())
    })?;
    another.context("two processes at one restore")?;
    second.kill()?;
    runtime.block_on(plan_discard(&path)).err().context("images that are in use would be deleted")?;
    // To shut down it may read what it has not got.
    let third = Process::run("resume", saved.path(), SLOWLY)?;
    machine.power_off()?;
    third.kill()?;

    Process::run("finish", saved.path(), 0)?.finish()?;
    saved.assert_alone()?;
    let disk =
        |(index, path): (usize, &PathBuf)| GuestDisk::file(&format!("disk{index}"), path, Format::Qcow2);
    let disks = saved.images().iter().enumerate().map(disk).collect();
    let machine =
        GuestMachine::start(image(), MachineOptions::new("alone", &saved.path().join("alone"), disks))?;
    machine.wait_postgres(BOOT)?;
    ensure!(sh(&machine, "sha256sum /data0/much /data1/noise")? == sums, "what was written is there");
    ensure!(machine.psql(KNOWN)? == saved.known, "the database is whole");
    assert_committed(&machine, rows)?;
    machine.quit()?;

    let plan = runtime.block_on(plan_discard(&path))?;
    ensure!(saved.images().iter().all(|image| plan.files.contains(image)), "{plan:?}");
    ensure!(saved.images().iter().all(|image| image.is_file()), "a plan deletes nothing");
    runtime.block_on(plan.apply())?;
    ensure!(!path.exists(), "nothing is left");
    Ok(())
}
