//! A mover on another host: it joins a server by a token that is good once, over TLS, is given its host's jobs, and makes
//! a point. The other host is this one with folders of its own; the vault is in a folder that both reach.

use crate::guest::{Guest, assert_equal, until};
use crate::program::Running;
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare_vault, text};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const UNTRUSTED: i32 = 6;
const UNAUTHENTICATED: i32 = 11;

/// The program on the other host: it knows nothing of this one's contexts, keys and caches.
fn far(scene: &Scene, arguments: &[&str]) -> Result<Command> {
    let home = scene.path("far");
    for folder in ["", "tmp", "scratch"] {
        std::fs::create_dir_all(home.join(folder)).context("make the other host's folders")?;
    }
    let mut command = scene.program(arguments);
    command.env("HOME", &home).env("TMPDIR", home.join("tmp")).env_remove("STRONGROOM_VAULT");
    command.env("STRONGROOM_DATA", home.join("data"));
    Ok(command)
}

/// Joins; the server is known by its fingerprint.
fn join(scene: &Scene, server: &Server, token: &str) -> Result<()> {
    let line = ["mover", "join", &server.url, "--name", "far"];
    let with = |token: &str, fingerprint: &str| {
        let mut command = far(scene, &line)?;
        command.args(["--fingerprint", fingerprint]).env("STRONGROOM_TOKEN", token);
        Running::start(&mut command)?.finish()
    };
    let fingerprint = server.said("fingerprint")?;
    with(token, &"AB".repeat(32))?.failed(UNTRUSTED, &["not the server that is meant"])?;
    with("no-such-token", fingerprint)?.failed(UNAUTHENTICATED, &["strongroom mover token"])?;
    let joined = with(token, fingerprint)?;
    ensure!(joined.succeeded()?.contains("far has joined"), "{joined:?}");
    with(token, fingerprint)?.failed(UNAUTHENTICATED, &["strongroom mover token"])?;
    let kept = scene.path("far/data/mover.json");
    let mode = std::fs::metadata(&kept)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "its token is its own: {mode:o}");
    Ok(())
}

/// Whether a file below a folder has these bytes in it.
fn holds(folder: &Path, bytes: &[u8]) -> Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found = match path.is_dir() {
            true => holds(&path, bytes)?,
            false if path.is_file() => {
                std::fs::read(&path)?.windows(bytes.len()).any(|window| window == bytes)
            }
            false => false,
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The longest line of the one key that the server keeps: its secret.
fn secret(scene: &Scene) -> Result<String> {
    let keys = scene.path("data/keys");
    let key = std::fs::read_dir(&keys)?.next().context("the vault has a key")??.path();
    let key = std::fs::read_to_string(key)?;
    key.lines().max_by_key(|line| line.len()).map(str::to_owned).context("a key has lines")
}

#[test]
fn a_mover_that_joined_makes_the_points_of_its_host() -> Result<()> {
    let scene = Scene::without_vault()?;
    let guest = Guest::boot(Guest::options(&scene, "far-away")?)?;
    let server = Server::start(&scene)?;
    let token = scene.ask_program(&["mover", "token"])?;
    join(&scene, &server, token["token"].as_str().context("a token")?)?;
    let mut command = far(&scene, &["mover", "run", "--scratch"])?;
    let mut mover = Running::start(command.arg(scene.path("far/scratch")))?;
    mover.wait_for("the mover runs")?;

    // The server has no host of its own: what it knows of machines it was told by the one that joined.
    prepare_vault(&scene)?;
    until("the far host's machines to be told of", || {
        let machines = scene.ask_program(&["machine", "list", "--standing", "protectable"])?;
        let mut machines = machines.as_array().into_iter().flatten();
        Ok(machines.any(|machine| machine["name"] == guest.name()))
    })?;
    let hosts = scene.ask_program(&["host", "list"])?;
    ensure!(only(&hosts)?["mover"] == "far", "{hosts}");
    guest.machine.pause()?;
    scene.ask_program(&["protect", guest.name(), "--policy", "nightly", "--now"])?;
    let jobs = scene.ask_program(&["job", "list", "--machine", guest.name()])?;
    let watched = scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    ensure!(watched["state"].as_str().is_some_and(|state| state.starts_with("completed")), "{watched}");
    only(&scene.ask_program(&["point", "list", guest.name()])?)?;

    // The vault's key came with the order, and is in no file of the other host.
    let secret = secret(&scene)?;
    ensure!(holds(&scene.path("data/keys"), secret.as_bytes())?, "or the next line proves nothing");
    ensure!(!holds(&scene.path("far"), secret.as_bytes())?, "a mover keeps keys in memory");

    // And it brings it back, to a folder of its own.
    let source = guest.copy_disks(&scene, "source")?;
    let folder = scene.path("far/restored");
    let restored: Value = scene.ask_program(&[
        "restore",
        guest.name(),
        "--point",
        "latest",
        "--format",
        "raw",
        "--to",
        text(&folder)?,
    ])?;
    ensure!(restored["state"] == "completed", "{restored}");
    let images: [PathBuf; 2] = ["d-disk0.raw", "d-disk1.raw"].map(|image| folder.join(image));
    assert_equal(&images, &source)?;
    guest.machine.resume()?;

    mover.signal("TERM")?;
    let ran = mover.finish()?;
    ensure!(ran.code == Some(0), "{ran:?}");
    server.stop()?;
    guest.quit_and_check()
}
