//! Snapshots as a user meets them: of a machine that nobody protects, by a server, and without one.

use crate::guest::{Guest, assert_equal, run};
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOT_FOUND: i32 = 3;
const EXISTS: i32 = 4;

#[test]
fn disks_are_kept_and_outlive_their_machine() -> Result<()> {
    let scene = Scene::without_vault()?;
    let guest = Guest::still(&scene, "kept")?;
    let server = Server::start(&scene)?;
    prepare(&scene, &guest)?;
    let truth = guest.copy_disks(&scene, "truth")?;
    let name = guest.name().to_owned();

    let made =
        scene.ask_program(&["snapshot", "create", &name, "--name", "before", "--consistency", "crash"])?;
    let first = only(&made)?;
    ensure!(first["name"] == "before" && first["provisioned_bytes"] == 3u64 << 29, "{first}");
    let one_disk = format!("{name}/d-disk0");
    let made = scene.ask_program(&["snapshot", "create", &one_disk, "--consistency", "crash"])?;
    let second = id(only(&made)?)?.to_owned();
    scene
        .run_program(&["snapshot", "create", &format!("{name}/nothing")])?
        .failed(2, &["has no disk nothing"])?;
    let items = scene.ask_program(&["item", "list"])?;
    ensure!(items == json!([]), "nobody protects it: {items}");
    let told = scene.ask_program(&["snapshot", "diff", "before", &second])?;
    ensure!(told == json!({ "disk": "d-disk0", "bytes": 1u64 << 30, "ranges": [], "next": null }), "{told}");
    scene.ask_program(&["snapshot", "measure"])?;
    let shown = scene.ask_program(&["snapshot", "show", &second])?;
    let used = |what: &str| shown["used"][what].as_u64().with_context(|| format!("measured: {shown}"));
    ensure!(used("unique_bytes")? < used("shared_bytes")?, "it shares nearly all: {shown}");

    // The machine goes, and its disks.
    drop(guest);
    std::fs::remove_dir_all(scene.path("kept"))?;
    let disk = scene.path("again.raw");
    let to = ["--disk", "d-disk0", "--to", text(&disk)?];
    scene.ask_program(&[&["snapshot", "disk", "before", "--format", "raw"], &to[..]].concat())?;
    let vhd = scene.path("for-others.vhd");
    let to = ["--disk", "d-disk1", "--to", text(&vhd)?];
    scene.ask_program(&[&["snapshot", "export", "before", "--format", "vhd"], &to[..]].concat())?;
    assert_equal(&[disk, converted(&scene, &vhd)?], &truth)?;

    copied_and_deleted(&scene, id(first)?, &second)?;
    without_a_server(&scene, &second, &truth[0])?;
    server.stop()
}

fn converted(scene: &Scene, vhd: &Path) -> Result<PathBuf> {
    let raw = scene.path("converted.raw");
    run(Command::new("qemu-img").args(["convert", "-f", "vpc", "-O", "raw"]).arg(vhd).arg(&raw))?;
    Ok(raw)
}

fn copied_and_deleted(scene: &Scene, first: &str, second: &str) -> Result<()> {
    let place = scene.path("region");
    scene.run_program(&["vault", "create", "region", text(&place)?])?.succeeded()?;
    let here = ["--vault", "main"];
    let copied =
        scene.ask_program(&[&["snapshot", "copy", "before", "--to", "region"], &here[..]].concat())?;
    ensure!(only(&copied)?["copy_of"] == first, "{copied}");
    // Without anybody's leave nothing goes for good, and the other stays as it is.
    scene.ask_program(&[&["snapshot", "delete", "before", "--yes"], &here[..]].concat())?;
    let left = scene.ask_program(&[&["snapshot", "list"], &here[..]].concat())?;
    ensure!(id(only(&left)?)? == second, "{left}");
    let gone = scene.ask_program(&[&["snapshot", "list", "--deleted"], &here[..]].concat())?;
    ensure!(id(only(&gone)?)? == first, "{gone}");
    scene.run_program(&[&["vault", "delete", "main", "--yes"][..]].concat())?.failed(13, &["2 snapshots"])?;
    scene.ask_program(&[&["snapshot", "undelete", "before"], &here[..]].concat())?;
    let there = scene.ask_program(&["snapshot", "list", "--vault", "region"])?;
    ensure!(only(&there)?["name"] == "before", "{there}");
    Ok(())
}

fn without_a_server(scene: &Scene, second: &str, truth: &Path) -> Result<()> {
    let vaults = scene.ask_program(&["vault", "list"])?;
    let main = vaults.as_array().into_iter().flatten().find(|vault| vault["name"] == "main");
    let key = scene.path("data/keys").join(format!("{}.key", id(main.context("main")?)?));
    let place = scene.path("vault");
    let vault = ["--vault", text(&place)?, "--key-file", text(&key)?];
    let listed = scene.ask_program(&[&["rescue", "snapshot", "list", "--used"], &vault[..]].concat())?;
    let all = listed.as_array().context("a list")?;
    ensure!(all.len() == 2 && all.iter().all(|one| one["used"]["shared_bytes"].is_u64()), "{listed}");
    let points = scene.ask_program(&[&["rescue", "point", "list"], &vault[..]].concat())?;
    ensure!(points == json!([]), "a snapshot is nobody's latest point: {points}");
    let file = scene.path("rescued.raw");
    let export = ["rescue", "snapshot", "export", second, "--format", "raw", "--to", text(&file)?];
    let done: Value = scene.ask_program(&[&export[..], &vault[..]].concat())?;
    ensure!(done["disk_bytes"] == 1u64 << 30, "{done}");
    assert_equal(&[file.clone(), file.clone()], &[truth.to_owned(), truth.to_owned()])?;
    scene.run_program(&[&export[..], &vault[..]].concat())?.failed(EXISTS, &["is there already"])?;
    let missing = ["rescue", "snapshot", "delete", "nothing"];
    scene.run_program(&[&missing[..], &vault[..]].concat())?.failed(NOT_FOUND, &["there is no snapshot"])
}

#[test]
fn a_set_is_taken_without_a_server() -> Result<()> {
    let scene = Scene::new()?;
    let (one, two) = (Guest::still(&scene, "one")?, Guest::still(&scene, "two")?);
    let disk = format!("{}/d-disk1", two.name());
    let create = |name: &str| {
        let scratch = scene.path("scratch").display().to_string();
        let line = ["snapshot", "create", one.name(), &disk, "--name", name, "--consistency", "crash"];
        scene.ask(&[&line[..], &["--scratch", &scratch]].concat())
    };
    let made = create("both")?;
    let all = made.as_array().context("a list")?;
    ensure!(all.len() == 2 && all[0]["set"].is_string() && all[0]["set"] == all[1]["set"], "{made}");
    ensure!(all[0]["disks"].as_array().map(Vec::len) == Some(2), "{made}");
    ensure!(only(&all[1]["disks"])?["name"] == "d-disk1", "{made}");
    let again = create("again")?;
    for one in again.as_array().context("a list")? {
        ensure!(one["read_bytes"].as_u64().is_some_and(|bytes| bytes < 8 << 20), "only changes: {one}");
    }
    let one_of = |made: &Value, at: usize| Ok::<_, anyhow::Error>(id(&made[at])?.to_owned());
    let (before, after) = (one_of(&made, 1)?, one_of(&again, 1)?);
    let told = scene.ask(&["snapshot", "diff", &before, &after])?;
    ensure!(told["disk"] == "d-disk1" && told["ranges"] == json!([]), "{told}");
    scene.ask(&["snapshot", "delete", &before])?;
    ensure!(only(&scene.ask(&["snapshot", "list", "--deleted"])?)?["id"] == before, "it can be had back");
    scene.ask(&["snapshot", "undelete", &before])?;
    ensure!(scene.ask(&["snapshot", "list"])?.as_array().map(Vec::len) == Some(4), "all are there");
    Ok(())
}
