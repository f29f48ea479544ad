//! A guest whose agent is gone: less consistent and said so, or refused, but never hurt.

use crate::guest::{Guest, until};
use crate::program::Running;
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

const NO_AGENT: &str = "no guest agent is connected in the guest";

#[test]
fn without_an_agent_a_point_is_crash_consistent_and_strict_refuses() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::boot(Guest::options(&scene, "agentless")?)?;
    // The guest shows that it is alive by writing on: nobody can ask it any more.
    guest.machine.agent().start("guest-probe seq /data0/seq /data1/seq >/dev/null 2>&1")?;
    kill_agent(&guest)?;

    let refused = scene.try_backup(guest.name(), &["--strict"])?;
    refused.failed(5, &["Application consistency cannot be had", NO_AGENT, "try:", "leave out --strict"])?;
    ensure!(scene.points()?.is_empty(), "no point");
    assert_writes_on(&scene, &guest, None)?;

    let ran = scene.try_backup(guest.name(), &[])?;
    ran.said(&["crash-consistent", NO_AGENT])?;
    let point = ran.json()?;
    ensure!(point["consistency"]["level"] == "crash", "{point}");
    ensure!(point["consistency"]["fell_because"].to_string().contains(NO_AGENT), "{point}");
    assert_writes_on(&scene, &guest, Some(&point))?;

    // Refused in the middle of a chain, the chain holds.
    scene.try_backup(guest.name(), &["--strict", "--consistency", "file-system"])?.failed(5, &[NO_AGENT])?;
    assert_writes_on(&scene, &guest, Some(&point))?;
    // Asked for no more than that, it is what was asked for.
    let point = scene.try_backup(guest.name(), &["--strict", "--consistency", "crash"])?.json()?;
    ensure!(point["consistency"]["fell_because"] == Value::Array(vec![]), "{point}");
    by_socket_alone(&scene, &guest)?;
    ensure!(scene.points()?.len() == 3, "{:?}", scene.points());
    guest.quit_and_check()
}

/// A machine reached by its QMP socket, which is the one that is named; its agent's socket nobody named.
fn by_socket_alone(scene: &Scene, guest: &Guest) -> Result<()> {
    let mut command = scene.command(["backup", "--output", "json", "--scratch"]);
    let uuid = guest.machine.options().uuid.to_string().to_uppercase();
    command.arg(scene.path("scratch")).arg(uuid).arg("--qmp").arg(guest.machine.qmp_socket());
    let ran = Running::start(&mut command)?.finish()?;
    ran.said(&["crash-consistent", "the machine has no guest agent socket"])?;
    let point = ran.json()?;
    ensure!(point["machine"]["name"] == guest.name(), "{point}");
    assert_writes_on(scene, guest, Some(&point))
}

/// From inside, in the background: the agent cannot answer for its own end.
fn kill_agent(guest: &Guest) -> Result<()> {
    let _ = guest.machine.agent().start("kill -9 $(pidof qemu-ga)");
    until("the agent's port to close", || {
        let devices = guest.machine.qmp("query-chardev", Value::Null)?;
        let mut devices = devices.as_array().into_iter().flatten();
        Ok(devices.any(|device| device["label"] == "qga0" && device["frontend-open"] == false))
    })
}

/// That nothing of ours is left, and that both disks are written to after that.
fn assert_writes_on(scene: &Scene, guest: &Guest, parent: Option<&Value>) -> Result<()> {
    guest.assert_left_alone(scene, true, parent)?;
    let before = writes(guest)?;
    until("the guest to write on", || {
        Ok(writes(guest)?.iter().zip(&before).all(|(now, before)| now > before))
    })
}

/// Writes that QEMU has done for each disk.
fn writes(guest: &Guest) -> Result<Vec<u64>> {
    let devices = guest.machine.qmp("query-blockstats", Value::Null)?;
    let devices = devices.as_array().into_iter().flatten();
    let writes =
        devices.map(|device| device["stats"]["wr_operations"].as_u64().context("a number of writes"));
    let writes = writes.collect::<Result<Vec<_>>>()?;
    ensure!(writes.len() == 2, "two disks: {writes:?}");
    Ok(writes)
}
