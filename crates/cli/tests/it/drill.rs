//! Points that are tried out: a good one, one whose disk was wrecked before it was saved, and a program that is killed.

use crate::guest::{BOOT, Guest, image, until};
use crate::program::{Ran, Running};
use crate::scene::{Scene, id, names_in};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Format, GuestMachine, MachineOptions};
use uuid::Uuid;

/// What proves that it is this database.
const TOKEN: &str = "create table token (t text); insert into token values ('e6b1')";
const ASK_TOKEN: &str = "db=su -s /bin/sh postgres -c 'psql -X -q -A -t -c \"select t from token\"'";
/// An emulated guest on a busy host panics when it tries its timer and is not given the time.
const TIMER: &str = "no_timer_check";
/// Where a guest without the database's disk never comes.
const NEVER: &str = "GUEST-POSTGRES";

/// The command that tries a point out.
fn drill(scene: &Scene, point: &Value, options: &[&str]) -> Result<Command> {
    let mut command = scene.command(["drill", id(point)?, "--output", "json", "--scratch"]);
    command.arg(scene.path("scratch")).args(options);
    Ok(command)
}

fn drilled(scene: &Scene, point: &Value, options: &[&str]) -> Result<Ran> {
    let ran = Running::start(&mut drill(scene, point, options)?)?.finish()?;
    let left = names_in(&scene.path("scratch"))?;
    ensure!(left.is_empty(), "a drill leaves nothing: {left:?}; {ran:?}");
    Ok(ran)
}

/// What a drill that came to a verdict printed, with the code that it ended with.
fn record(ran: &Ran, code: i32) -> Result<Value> {
    ensure!(ran.code == Some(code), "{ran:?}");
    serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))
}

/// Every file of a folder by its path, with its bytes' hash.
fn hashes(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let list = crate::guest::run(Command::new("find").arg(folder).args(["-type", "f"]))?;
    let hash = |path: &str| Ok((path.into(), crate::guest::run(Command::new("sha256sum").arg(path))?));
    list.lines().map(hash).collect()
}

/// Processes whose command line names the scene's scratch folder.
fn processes(scene: &Scene) -> Result<Vec<String>> {
    let scratch = scene.path("scratch").display().to_string();
    let lines = fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    Ok(lines.filter(|line| line.contains(&scratch) && line.contains("qemu-system")).collect())
}

#[test]
fn a_point_proves_itself_and_leaves_nothing_behind() -> Result<()> {
    let scene = Scene::new()?;
    let folder = scene.path("shop");
    let name = format!("e2e-drill-{}", std::process::id());
    let mut options = MachineOptions::new(&name, &folder, image().fresh_disks(&folder, Format::Qcow2)?);
    options.append = TIMER.to_owned();
    let card = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,id=card"];
    options.arguments.extend(card.into_iter().chain(["-device", "VGA"]).map(str::to_owned));
    let machine = GuestMachine::start(image(), options)?;
    machine.wait_postgres(BOOT)?;
    machine.psql(TOKEN)?;
    let point = scene.backup(&name)?;
    machine.psql("update token set t = 'later'")?;
    let before = hashes(scene.vault())?;

    let picture = scene.path("screen.png");
    let shown = picture.display().to_string();
    // The database is up some time after the agent.
    let waiting = "up=until pg_isready -q -U postgres; do sleep 1; done";
    let asked = ["--check", waiting, "--check", ASK_TOKEN, "--expect", "db=^e6b1$", "--check-timeout", "120"];
    let size = ["--memory", "640", "--cpus", "2", "--screenshot", &shown];
    let ran = drilled(&scene, &point, &[&asked[..], &size[..]].concat())?;
    let found = record(&ran, 0)?;
    ensure!(found["verdict"]["verdict"] == "proved", "{found}");
    ensure!(found["checks"][1]["output"] == "e6b1" && found["checks"][1]["failure"].is_null(), "{found}");
    ensure!(found["boot_ms"].as_u64() > Some(0) && found["restore_ms"].as_u64() > Some(0), "{found}");
    // Only what the boot asked for was read.
    let data: u64 = 1 << 30;
    ensure!(found["read_bytes"].as_u64().is_some_and(|read| read > 1 << 20 && read < data), "{found}");
    ensure!(fs::read(&picture)?.starts_with(b"\x89PNG"), "a picture");
    ran.said(&["Making its disks", "Booting", "Running the checks", "Tearing down"])?;

    // One check fails, one hangs, one is good: all are told.
    let ran = drilled(
        &scene,
        &point,
        &[
            "--check",
            "fails=echo here; exit 3",
            "--check",
            "hangs=sleep 1000",
            "--check",
            "good=exit 7",
            "--exit-code",
            "good=7",
            "--check-timeout",
            "2",
        ],
    )?;
    let found = record(&ran, 1)?;
    let reason = found["verdict"]["reason"].as_str().unwrap_or_default();
    ensure!(found["verdict"]["stage"] == "checks", "{found}");
    ensure!(
        reason.contains("fails: it ended with 3, not with 0") && reason.contains("longer than 2 s"),
        "{found}"
    );
    ensure!(found["checks"][0]["output"] == "here" && found["checks"][2]["failure"].is_null(), "{found}");

    killed(&scene, &point, machine.options().uuid)?;
    // The machine itself ran on, and knows nothing of all this; nor does the vault.
    ensure!(machine.psql("select t from token")? == "later");
    ensure!(hashes(scene.vault())? == before, "the vault is what it was");
    machine.quit()
}

/// A program that is killed takes its machine along; the next drill takes away the rest, and nothing else.
fn killed(scene: &Scene, point: &Value, original_uuid: Uuid) -> Result<()> {
    let scratch = scene.path("scratch");
    let mut running = Running::start(&mut drill(scene, point, &["--console", "never to be seen"])?)?;
    running.wait_for("Booting")?;
    until("its machine", || Ok(!processes(scene)?.is_empty()))?;
    let line = processes(scene)?.join("\n");
    ensure!(line.contains("hubport,") && !line.contains("user,id=n0"), "cards that lead nowhere: {line}");
    // Of the original's it has nothing: no image, no socket, no uuid, no address.
    let original = scene.path("shop").display().to_string();
    let uuid = original_uuid.to_string();
    ensure!(!line.contains(&original) && !line.contains(&uuid) && line.contains("mac=52:54:00:"), "{line}");
    running.signal("KILL")?;
    running.wait_gone()?;
    until("its machine to be gone", || Ok(processes(scene)?.is_empty()))?;
    let left = names_in(&scratch)?;
    ensure!(left.len() == 1 && left[0].starts_with("drill-"), "{left:?}");
    // A folder that only looks like a drill's.
    let precious = scratch.join("drill-of-mine");
    fs::create_dir(&precious)?;
    fs::write(precious.join("notes"), "precious")?;

    // Interrupted, it tears down itself.
    let mut running = Running::start(&mut drill(scene, point, &["--console", "never to be seen"])?)?;
    running.wait_for("Booting")?;
    ensure!(!scratch.join(&left[0]).exists(), "what the killed one left is gone");
    running.signal("INT")?;
    ensure!(running.finish()?.code == Some(130));
    ensure!(processes(scene)?.is_empty() && names_in(&scratch)? == ["drill-of-mine"]);
    ensure!(fs::read_to_string(precious.join("notes"))? == "precious");
    Ok(fs::remove_dir_all(&precious)?)
}

#[test]
fn a_point_of_a_wrecked_disk_fails_and_its_console_says_why() -> Result<()> {
    let scene = Scene::new()?;
    let folder = scene.path("wrecked");
    let disks = image().fresh_disks(&folder, Format::Raw)?;
    let first = disks[0].path.clone().context("a file")?;
    // The superblock, and whatever else stands at its beginning.
    fs::File::options().write(true).open(first)?.write_all_at(&vec![0; 1 << 20], 0)?;
    let name = format!("e2e-wrecked-{}", std::process::id());
    let mut options = MachineOptions::new(&name, &folder, disks);
    options.append = TIMER.to_owned();
    let guest = Guest::boot(options)?;
    let point = scene.try_backup(&name, &["--consistency", "crash"])?.json()?;

    let found = record(&drilled(&scene, &point, &["--console", NEVER, "--timeout", "60"])?, 1)?;
    ensure!(found["verdict"]["stage"] == "boot", "{found}");
    let reason = found["verdict"]["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("not up within 60 s") && found["boot_ms"].is_null(), "{found}");
    let console = found["console"].as_str().unwrap_or_default();
    ensure!(console.contains("GUEST-FAILED mount vda:ext4:/data0"), "{found}");

    // It shows what it can show without that disk.
    let found = record(&drilled(&scene, &point, &["--console", "GUEST-READY"])?, 0)?;
    ensure!(
        found["verdict"]["verdict"] == "booted_only" && found["checks"] == serde_json::json!([]),
        "{found}"
    );
    // Nonsense is told before anything is tried.
    drilled(&scene, &point, &["--console", "("])?.failed(2, &["it is no regular expression"])?;
    guest.machine.quit()
}
