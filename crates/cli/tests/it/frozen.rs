//! A guest is never left frozen, whatever becomes of the program that froze it.

use crate::gate::{Gate, Hold};
use crate::guest::{Guest, run, until};
use crate::program::Running;
use crate::scene::{Scene, names_in};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// Says on the console when it is called.
const TELLTALE: &str = "/etc/strongroom/freeze.d/telltale";

fn boot(scene: &Scene, name: &str) -> Result<Guest> {
    let guest = Guest::boot(Guest::options(scene, name)?)?;
    guest.sh(&format!(
        "printf '#!/bin/sh\\necho \"HOOK $1\" >/dev/console\\n' >{TELLTALE}; chmod 755 {TELLTALE}"
    ))?;
    Ok(guest)
}

/// A backup that stops where it would stop the machine, its guest frozen.
fn backup_held(scene: &Scene, guest: &Guest, name: &str, hold: Hold) -> Result<(Running, Gate)> {
    let socket = scene.path(name);
    let gate = Gate::new(&socket, &guest.machine.qmp_socket(), "stop", hold)?;
    let mut command = scene.command(["backup", "--output", "json", "--scratch"]);
    command
        .arg(scene.path("scratch"))
        .arg("--qmp")
        .arg(&socket)
        .arg("--agent")
        .arg(guest.machine.agent_socket());
    let running = Running::start(&mut command)?;
    gate.wait()?;
    ensure!(hooks(guest) == ["freeze"], "the guest is frozen: {:?}", hooks(guest));
    ensure!(records(scene)?.len() == 1, "it is written down");
    Ok((running, gate))
}

/// What the guest's script was called with since it was last asked here.
fn hooks(guest: &Guest) -> Vec<String> {
    let console = guest.machine.console();
    let calls: Vec<String> = console
        .lines()
        .filter_map(|line| line.trim().split_once("HOOK "))
        .map(|(_, phase)| phase.into())
        .collect();
    let last_round = calls.iter().rposition(|phase| phase == "freeze").unwrap_or(0);
    calls[last_round..].to_vec()
}

fn records_folder(scene: &Scene) -> PathBuf {
    scene.path(".local/state/strongroom/frozen")
}

fn records(scene: &Scene) -> Result<Vec<String>> {
    names_in(&records_folder(scene))
}

/// The process number of the scene's watchdog.
fn watchdog(scene: &Scene) -> Result<Option<String>> {
    let named = records_folder(scene).display().to_string();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains("thaw-watchdog") && line.contains(&named) {
            return Ok(Some(process.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn kill(process: &str, signal: &str) -> Result<()> {
    run(Command::new("kill").args(["-s", signal, process])).map(drop)
}

/// That the guest is at work without any new backup, and all that was done is told of.
fn assert_taken_back(scene: &Scene, guest: &Guest) -> Result<()> {
    until("the freeze to be settled", || Ok(records(scene)?.is_empty()))?;
    until("the watchdog to end", || Ok(watchdog(scene)?.is_none()))?;
    ensure!(hooks(guest).contains(&"thaw".to_owned()), "{:?}", hooks(guest));
    let status = guest.machine.qmp("query-status", Value::Null)?;
    ensure!(status["running"] == true, "the machine is {status}");
    let nodes = guest.machine.qmp("query-named-block-nodes", json!({ "flat": true }))?;
    ensure!(!nodes.to_string().contains("strongroom-"), "nodes are left: {nodes}");
    let frozen = guest.machine.agent().call("guest-fsfreeze-status", Value::Null)?;
    ensure!(frozen == "thawed", "the guest is {frozen}");
    guest.sh("echo alive >/data0/alive && echo alive >/data1/alive && sync").map(drop)
}

#[test]
fn a_guest_whose_backup_is_killed_is_thawed_without_a_new_one() -> Result<()> {
    let scene = Scene::new()?;
    let guest = boot(&scene, "killed")?;
    let (running, _gate) = backup_held(&scene, &guest, "q1", Hold::Command)?;
    let dog = watchdog(&scene)?.context("a watchdog is posted")?;
    for signal in ["INT", "TERM", "HUP"] {
        kill(&dog, signal)?;
    }
    let session = std::fs::read_to_string(format!("/proc/{dog}/stat"))?;
    let words: Vec<&str> = session.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    ensure!(words.get(3) == Some(&&*dog), "it has a session of its own: {session}");
    running.signal("KILL")?;
    ensure!(running.finish()?.code.is_none());
    assert_taken_back(&scene, &guest)?;

    // Killed while the machine itself stands still.
    let (running, _gate) = backup_held(&scene, &guest, "q2", Hold::Answer)?;
    let status = guest.machine.qmp("query-status", Value::Null)?;
    ensure!(status["running"] == false, "the machine is {status}");
    running.signal("KILL")?;
    ensure!(running.finish()?.code.is_none());
    assert_taken_back(&scene, &guest)?;

    // Nobody is left to thaw: the next program does.
    let (running, _gate) = backup_held(&scene, &guest, "q3", Hold::Command)?;
    kill(&watchdog(&scene)?.context("a watchdog is posted")?, "KILL")?;
    running.signal("KILL")?;
    ensure!(running.finish()?.code.is_none());
    let frozen = guest.machine.agent().call("guest-fsfreeze-status", Value::Null)?;
    ensure!(frozen == "frozen", "the guest is {frozen}");
    let done = scene.ask_program(&["machine", "reconcile", "--outstanding"])?;
    ensure!(done[0]["done"].to_string().contains("thawed the guest"), "{done}");
    assert_taken_back(&scene, &guest)?;
    ensure!(scene.ask_program(&["machine", "reconcile", "--outstanding"])? == json!([]), "once is enough");

    // And a backup that nothing happens to leaves neither record nor watchdog.
    let point = scene.backup(guest.name())?;
    ensure!(point["consistency"]["level"] == "application", "{point}");
    ensure!(records(&scene)?.is_empty() && watchdog(&scene)?.is_none());
    guest.assert_at_work(&scene, Some(&point))?;
    guest.quit_and_check()
}

#[test]
fn a_guest_whose_backup_hangs_is_thawed_and_the_point_does_not_claim_more() -> Result<()> {
    let scene = Scene::new()?;
    let guest = boot(&scene, "hangs")?;
    let (running, gate) = backup_held(&scene, &guest, "q1", Hold::Command)?;
    running.signal("STOP")?;
    until("the watchdog's patience to end", || Ok(hooks(&guest).contains(&"thaw".to_owned())))?;
    ensure!(watchdog(&scene)?.is_some(), "it stays, as the backup does");
    gate.open();
    running.signal("CONT")?;
    let ran = running.finish()?;
    ran.said(&["crash-consistent", "thawed by something else"])?;
    let point = ran.json()?;
    assert_taken_back(&scene, &guest)?;
    guest.assert_at_work(&scene, Some(&point))?;
    guest.quit_and_check()
}

/// A script that stops the agent, as a kernel that swaps would, and lets it go on after a while.
fn hang_agent(guest: &Guest, when: &str) -> Result<()> {
    let script = format!(
        "#!/bin/sh\necho \"HOOK $1\" >/dev/console\n[ $1 = freeze ] || exit 0\np=$(pidof qemu-ga)\n{when}\n"
    );
    let (code, output) = guest.machine.agent().sh_with_input(&format!("cat >{TELLTALE}"), &script)?;
    ensure!(code == 0, "{output}");
    Ok(())
}

#[test]
fn an_agent_that_hangs_while_it_freezes_or_after_costs_the_level_and_thaws_in_the_end() -> Result<()> {
    let scene = Scene::new()?;
    let guest = boot(&scene, "stopped")?;
    let background = "</dev/null >/dev/null 2>&1 &";
    hang_agent(&guest, &format!("(sleep 14; kill -CONT $p) {background}\nkill -STOP $p"))?;
    let ran = scene.try_backup(guest.name(), &[])?;
    ran.said(&["crash-consistent", "no answer from the guest agent within 10000 ms"])?;
    assert_taken_back(&scene, &guest)?;

    let hang = "sleep 2; kill -STOP $p; echo HUNG >/dev/console; sleep 20; kill -CONT $p";
    hang_agent(&guest, &format!("({hang}) {background}"))?;
    let (running, gate) = backup_held(&scene, &guest, "q1", Hold::Command)?;
    until("the agent to hang", || Ok(guest.machine.console().contains("HUNG")))?;
    gate.open();
    let ran = running.finish()?;
    ran.said(&["crash-consistent", "thaw the guest"])?;
    ensure!(ran.code == Some(0), "the point is good for what it claims: {ran:?}");
    assert_taken_back(&scene, &guest)?;
    guest.quit_and_check()
}
