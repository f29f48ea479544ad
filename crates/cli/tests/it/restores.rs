//! What a server restores beyond a folder: many machines as one, a machine in its own place, only the differences.

use crate::guest::{Guest, assert_equal};
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: i32 = 2;
const STATE: i32 = 13;

#[test]
fn a_server_restores_many_in_place_and_only_what_differs() -> Result<()> {
    let scene = Scene::without_vault()?;
    let guest = Guest::still(&scene, "restored")?;
    let server = Server::start(&scene)?;
    prepare(&scene, &guest)?;
    scene.ask_program(&["protect", guest.name(), "--policy", "nightly", "--now"])?;
    let jobs = scene.ask_program(&["job", "list", "--machine", guest.name()])?;
    scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    let truth = guest.copy_disks(&scene, "truth")?;

    many(&scene, guest.name(), &truth)?;
    only_what_differs(&scene, guest.name(), &truth[0])?;
    in_its_place(&scene, guest.name())?;
    // It runs as no child of ours by now.
    let machines = scene.ask_program(&["rescue", "machine", "list"])?;
    let running = machines.as_array().context("a list")?.iter().find(|one| one["name"] == guest.name());
    let pid = running.context("it runs again")?["pid"].to_string();
    ensure!(Command::new("kill").arg(&pid).status()?.success(), "end QEMU {pid}");
    server.stop()
}

fn many(scene: &Scene, name: &str, truth: &[PathBuf; 2]) -> Result<()> {
    let back = scene.path("back");
    std::fs::create_dir(&back)?;
    let line = ["restore", "many", "--machines", name, "--to", text(&back)?, "--format", "raw"];
    let set = scene.ask_program(&line)?;
    ensure!(set["state"] == "completed" && set["total"]["done"] == 1, "{set}");
    let images: [PathBuf; 2] = ["d-disk0.raw", "d-disk1.raw"].map(|image| back.join(name).join(image));
    assert_equal(&images, truth)?;
    let listed = scene.ask_program(&["restore", "set", "list"])?;
    let shown = scene.ask_program(&["restore", "set", "show", id(only(&listed)?)?])?;
    ensure!(shown["members"][0]["state"] == "done", "{shown}");
    // What is there is not replaced: the second time fails, and says so.
    scene.run_program(&line)?.failed(1, &["is there already", "1 of 1 were not restored"])
}

fn only_what_differs(scene: &Scene, name: &str, truth: &Path) -> Result<()> {
    let image = scene.path("later.raw");
    std::fs::copy(truth, &image)?;
    File::options().write(true).open(&image)?.write_all_at(&[0x55; 100_000], 3 << 20)?;
    let target = format!("d-disk0={}", text(&image)?);
    let line = ["restore", name, "--into", &target];
    scene.run_program(&line)?.failed(USAGE, &["written over", "--yes"])?;
    let planned = scene.ask_program(&[&line[..], &["--plan"]].concat())?;
    let written =
        |disk: &Value| disk["data_bytes"].as_u64().unwrap_or(0) + disk["zero_bytes"].as_u64().unwrap_or(0);
    ensure!(written(only(&planned)?) == 2 << 16, "{planned}");
    let done = scene.ask_program(&[&line[..], &["--yes"]].concat())?;
    ensure!(done["result"]["disks"] == planned, "{done}");
    assert_equal(&[image.clone(), image], &[truth.to_owned(), truth.to_owned()])
}

fn in_its_place(scene: &Scene, name: &str) -> Result<()> {
    let line = ["restore", name, "--replace", "--yes"];
    scene.run_program(&line)?.failed(STATE, &["runs", "--power-off"])?;
    let done = scene.ask_program(&[&line[..], &["--power-off"]].concat())?;
    // Its power was cut: what is kept of it is said to be no more than that.
    ensure!(done["state"] == "completed_with_warnings" && done["kind"] == "replace", "{done}");
    ensure!(done["asked_by"].is_string(), "{done}");
    let points = scene.ask_program(&["point", "list", name])?;
    ensure!(points.as_array().map(Vec::len) == Some(2), "the state before is a point: {points}");
    let listed = scene.ask_program(&["restore", "list", name])?;
    let one = only(&listed)?;
    ensure!(one["state"] == "done" && one["safety_point"] == points[1]["id"], "{one}");
    let kept = |one: &Value| -> Result<Vec<PathBuf>> {
        let files = one["kept"].as_array().context("files")?.iter().filter_map(Value::as_str);
        Ok(files.map(PathBuf::from).collect())
    };
    ensure!(kept(one)?.len() == 2 && kept(one)?.iter().all(|file| file.is_file()), "{one}");

    let undone = scene.ask_program(&["restore", "undo", name, "--power-off", "--yes"])?;
    ensure!(undone["state"] == "completed", "{undone}");
    let listed = scene.ask_program(&["restore", "list", name])?;
    let files = kept(only(&listed)?)?;
    scene.run_program(&["restore", "remove", name])?.failed(USAGE, &["cannot be undone", "--yes"])?;
    ensure!(files.iter().all(|file| file.is_file()), "{files:?}");
    scene.ask_program(&["restore", "remove", name, "--yes"])?;
    ensure!(!files.iter().any(|file| file.exists()), "{files:?}");
    ensure!(scene.ask_program(&["restore", "list", name])? == json!([]));
    Ok(())
}
