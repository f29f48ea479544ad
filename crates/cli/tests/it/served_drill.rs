//! A server tries points out, has what came of it stand with them in the vault, and tells what all of it costs.

use crate::guest::{BOOT, Guest, until};
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare, text};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;

const FAILED: i32 = 1;
/// An emulated guest on a busy host panics when it tries its timer and is not given the time.
const TIMER: &str = "no_timer_check";

#[test]
fn a_server_proves_a_point_notes_it_in_the_vault_and_tells_what_it_costs() -> Result<()> {
    let scene = Scene::without_vault()?;
    let mut options = Guest::options(&scene, "tried")?;
    options.append = TIMER.to_owned();
    let guest = Guest::boot(options)?;
    let name = guest.name().to_owned();
    let server = Server::start(&scene)?;
    prepare(&scene, &guest)?;
    guest.sh("echo e6b1 >/data0/token && sync")?;
    scene.ask_program(&["protect", &name, "--policy", "nightly", "--now"])?;
    let jobs = scene.ask_program(&["job", "list", "--machine", &name])?;
    scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    let never = scene.ask_program(&["report", "proof"])?;
    ensure!(only(&never)?["is_overdue"] == true && only(&never)?["proved"].is_null(), "{never}");

    drilled(&scene, &name)?;
    cost(&scene, &name)?;
    let points = scene.ask_program(&["point", "list", &name])?;
    scene.ask_program(&["point", "pin", &name, id(only(&points)?)?])?;
    adopted(&scene, &name)?;
    server.stop()?;
    guest.machine.quit()
}

/// One that proves the point, and one whose check fails.
fn drilled(scene: &Scene, name: &str) -> Result<()> {
    let limit = BOOT.as_secs().to_string();
    let asked = ["drill", name, "--timeout", &limit, "--check"];
    let good =
        scene.ask_program(&[&asked[..], &["token=cat /data0/token", "--expect", "token=^e6b1"]].concat())?;
    ensure!(good["state"] == "completed" && good["kind"] == "drill", "{good}");
    ensure!(good["result"]["verdict"] == serde_json::json!({ "verdict": "proved" }), "{good}");
    let proofs = scene.ask_program(&["report", "proof"])?;
    ensure!(only(&proofs)?["is_overdue"] == false && only(&proofs)?["verdict"] == "proved", "{proofs}");
    let bad = scene.run_program(&[&asked[..], &["token=grep other /data0/token"]].concat())?;
    // The record is printed all the same.
    ensure!(bad.code == Some(FAILED) && bad.stdout.contains("failed to pass its checks"), "{bad:?}");
    bad.said(&["failed to pass its checks", "an older point may be good"])?;
    let alerts = scene.ask_program(&["alert", "list"])?;
    let told = |alert: &Value| alert["text"].as_str().is_some_and(|text| text.contains("failed to pass"));
    ensure!(alerts.as_array().is_some_and(|alerts| alerts.iter().any(told)), "{alerts}");
    // Nothing of either is left.
    let scratch = fs::read_dir(scene.path("scratch"))?.flatten();
    let left: Vec<_> =
        scratch.filter(|entry| entry.file_name().to_string_lossy().starts_with("drill-")).collect();
    ensure!(left.is_empty(), "{left:?}");
    let again = scene.ask_program(&[&asked[..], &["token=true"]].concat())?;
    ensure!(again["result"]["verdict"]["verdict"] == "proved", "{again}");
    Ok(())
}

/// What the vault's folder holds is what the server tells, to the byte.
fn cost(scene: &Scene, name: &str) -> Result<()> {
    let measured = scene.ask_program(&["cost", "measure"])?;
    ensure!(measured["state"] == "completed", "{measured}");
    let found = scene.ask_program(&["cost", "usage"])?;
    let store = &only(&found)?["store"];
    let parts = store["parts"].as_array().context("parts")?;
    let bytes = |part: &Value, what: &str| part[what].as_u64().unwrap_or(0);
    let sum: u64 = parts.iter().map(|part| bytes(part, "share_bytes")).sum();
    ensure!(Some(sum) == store["stored_bytes"].as_u64(), "{store}");
    let part = parts.iter().find(|part| part["name"] == name).context("the machine's part")?;
    let (share, alone, used) =
        (bytes(part, "share_bytes"), bytes(part, "alone_bytes"), bytes(part, "used_bytes"));
    // The only machine of the vault shares with nobody, and has nearly all of it.
    ensure!(share == alone && share * 10 > sum * 9 && used > share, "{part}");
    let prices = scene.path("prices.yaml");
    fs::write(&prices, "currency: EUR\nmachine:\n  up_to_50_gib: 300\nstorage:\n")?;
    let wrong = scene.run_program(&["cost", "prices", "--file", text(&prices)?])?;
    wrong.failed(2, &["holds no prices"])?;
    fs::write(&prices, "currency: EUR\nmachine:\n  up_to_50_gib: 300\n")?;
    scene.ask_program(&["cost", "prices", "--file", text(&prices)?])?;
    let report = scene.ask_program(&["cost", "--by", "machine"])?;
    let line = report["lines"].as_array().context("lines")?.iter().find(|line| line["name"] == name);
    let line = line.context("the machine's line")?;
    // One day of 28 to 31 of a month.
    let cost = line["cost"].as_f64().context("a number")?;
    ensure!((9.6..10.8).contains(&cost) && report["total"] == line["cost"], "{report}");
    ensure!(line["protected"][0]["days"] == 1, "{line}");
    Ok(())
}

/// Another server that takes the vault in knows of the pin and the proof.
fn adopted(scene: &Scene, name: &str) -> Result<()> {
    let vault = scene.path("vault");
    let keys = fs::read_dir(scene.path("data/keys"))?.flatten().map(|entry| entry.path());
    let is_vaults = |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name != "ring.key");
    let key =
        keys.into_iter().find(|path| is_vaults(path) && path.extension().is_some_and(|end| end == "key"));
    let key = key.context("the vault's key")?;
    // Noted within a minute of the pin: each look is by a server that knows of nothing.
    until("the pin to be noted", || {
        let second = Scene::without_vault()?;
        let server = Server::start(&second)?;
        second.ask_program(&["vault", "adopt", "main", text(&vault)?, "--key-file", text(&key)?])?;
        let points = second.ask_program(&["point", "list", name])?;
        let point = only(&points)?.clone();
        server.stop()?;
        let is_noted = point["pinned"] == true;
        ensure!(!is_noted || point["drill"]["record"]["verdict"]["verdict"] == "proved", "{point}");
        Ok(is_noted)
    })
}
