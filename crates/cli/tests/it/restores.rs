//! What a server restores beyond a folder: many machines as one, a machine in its own place, only the differences; and
//! each of these, files and a drill out of the second store when the vault is gone.

use crate::guest::{BOOT, Guest, assert_equal};
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const STATE: i32 = 13;

#[test]
fn a_server_restores_many_in_place_and_only_what_differs() -> Result<()> {
    let scene = Scene::without_vault()?;
    let mut options = Guest::options(&scene, "restored")?;
    // Its processors never run; those of a drill of it do, perhaps emulated on a busy host.
    options.arguments.push("-S".into());
    options.append = "no_timer_check".into();
    let guest = Guest::start(options)?;
    let server = Server::start(&scene)?;
    prepare(&scene, &guest)?;
    scene.ask_program(&["protect", guest.name(), "--policy", "nightly", "--now"])?;
    let jobs = scene.ask_program(&["job", "list", "--machine", guest.name()])?;
    scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    let truth = guest.copy_disks(&scene, "truth")?;

    many(&scene, guest.name(), &truth)?;
    only_what_differs(&scene, guest.name(), &truth[0])?;
    in_its_place(&scene, guest.name())?;
    out_of_the_second_store(&scene, guest.name(), &truth[0])?;
    end_qemu(&scene, guest.name())?;
    server.stop()
}

/// Ends a machine that runs as no child of ours.
fn end_qemu(scene: &Scene, name: &str) -> Result<()> {
    let machines = scene.ask_program(&["rescue", "machine", "list"])?;
    let running = machines.as_array().context("a list")?.iter().find(|one| one["name"] == name);
    let pid = running.with_context(|| format!("{name} runs"))?["pid"].to_string();
    ensure!(Command::new("kill").arg(&pid).status()?.success(), "end QEMU {pid}");
    Ok(())
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

/// The region is lost, and the machine's first point comes back in every form. Its state by now has nowhere to go.
fn out_of_the_second_store(scene: &Scene, name: &str, truth: &Path) -> Result<()> {
    let points = scene.ask_program(&["point", "list", name])?;
    let point = id(&points[0])?;
    let of_copy = [name, "--point", point, "--from-copy"];
    let line = |words: &[&str], rest: &[&str]| -> Vec<String> {
        [words, &of_copy, rest].concat().into_iter().map(str::to_owned).collect()
    };
    let ask = |words: &[&str], rest: &[&str]| {
        let line = line(words, rest);
        scene.ask_program(&line.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let try_it = |words: &[&str], rest: &[&str]| {
        let line = line(words, rest);
        scene.run_program(&line.iter().map(String::as_str).collect::<Vec<_>>())
    };
    try_it(&["files"], &["volumes"])?.failed(NOT_FOUND, &["has no second store", "--copy-to"])?;
    let (vault, second) = (scene.path("vault"), scene.path("second"));
    std::fs::create_dir(&second)?;
    scene.ask_program(&["vault", "update", "main", "--copy-to", text(&second)?])?;
    scene.ask_program(&["vault", "copy", "main"])?;
    std::fs::remove_dir_all(&vault)?;

    let volumes = ask(&["files"], &["volumes"])?;
    let seen: Vec<_> = volumes.as_array().into_iter().flatten().map(|one| &one["content"]).collect();
    ensure!(seen == ["ext", "xfs"], "{volumes}");
    let found = ask(&["files"], &["ls", "d-disk0:/"])?;
    ensure!(found.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "lost+found")), "{found}");

    let image = scene.path("far.raw");
    File::create(&image)?.set_len(std::fs::metadata(truth)?.len())?;
    let target = format!("d-disk0={}", text(&image)?);
    ask(&["restore"], &["--into", &target, "--yes"])?;
    assert_equal(&[image.clone(), image], &[truth.to_owned(), truth.to_owned()])?;

    // A machine at once, which is of no use any more once its data is there.
    let (folder, twin) = (scene.path("twin"), format!("{name}-twin"));
    let made = ask(&["restore"], &["--to", text(&folder)?, "--as-machine", &twin, "--instant"])?;
    end_qemu(scene, &twin)?;
    ensure!(made["kind"] == "instant_restore" && made["state"] == "completed", "{made}");

    let limit = BOOT.as_secs().to_string();
    let proved = ask(&["drill"], &["--timeout", &limit, "--check", "disk=test -d /data0/lost+found"])?;
    ensure!(proved["result"]["verdict"]["verdict"] == "proved", "{proved}");
    let copies = scene.ask_program(&["vault", "copies", "main"])?;
    let mut tried = copies.as_array().into_iter().flatten().filter(|copy| !copy["drill"].is_null());
    let (one, other) = (tried.next().context("one was tried")?, tried.next());
    ensure!(one["point"] == point && other.is_none(), "{copies}");
    let proofs = scene.ask_program(&["report", "proof"])?;
    let proof = only(&proofs)?;
    ensure!(proof["proved"].is_null() && proof["copy_proved"] == one["taken"], "{proof} and {one}");

    let refused = try_it(&["restore"], &["--replace", "--power-off", "--yes"])?;
    ensure!(refused.code != Some(0), "{refused:?}");
    refused.said(&["the present state cannot become a point", "--no-safety-point"])?;
    ensure!(scene.ask_program(&["restore", "list", name])? == json!([]), "nothing was begun");
    let done = ask(&["restore"], &["--replace", "--power-off", "--no-safety-point", "--yes"])?;
    ensure!(done["kind"] == "replace" && done["state"] == "completed", "{done}");
    let listed = scene.ask_program(&["restore", "list", name])?;
    ensure!(only(&listed)?["state"] == "done" && only(&listed)?["safety_point"].is_null(), "{listed}");
    ensure!(!vault.exists(), "nothing is written to where the vault was");
    Ok(())
}
