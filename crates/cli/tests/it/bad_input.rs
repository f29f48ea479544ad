//! What people get wrong: each mistake has its exit code, is named, and is told what to do.

use crate::guest::Guest;
use crate::program::Running;
use crate::scene::{Scene, names_in};
use anyhow::{Context, Result, ensure};
use std::os::unix::net::UnixListener;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const EXISTS: i32 = 4;
const UNREACHABLE: i32 = 5;
const KEY: i32 = 6;
const UNSUPPORTED: i32 = 8;

/// A command line, in which `{}` is the scene's folder and `{machine}` its machine; how it ends; what it says.
type Case = (&'static str, i32, &'static [&'static str]);

const VAULTS: &[Case] = &[
    (
        "point list --vault {}/nowhere",
        NOT_FOUND,
        &[
            "open the vault {}/nowhere",
            "there is no directory",
            "try: check the address",
            "vault create URL|DIR",
        ],
    ),
    (
        "point list --vault {}/empty",
        NOT_FOUND,
        &["open the vault {}/empty", "there is no vault", "vault create URL|DIR"],
    ),
    ("vault show {}/empty", NOT_FOUND, &["there is no vault in {}/empty", "vault create URL|DIR"]),
    (
        "backup {machine} --vault {}/empty",
        NOT_FOUND,
        &["there is no vault in {}/empty", "vault create URL|DIR"],
    ),
    (
        "point list --vault {}/newer",
        UNSUPPORTED,
        &["{}/newer has format 2", "reads format 1", "use a newer strongroom"],
    ),
    (
        "restore disks latest --vault {}/newer --to {}/new",
        UNSUPPORTED,
        &["has format 2", "use a newer strongroom"],
    ),
    ("point list --key-file {}/none.key", KEY, &["{}/vault", "{}/none.key", "--key-file FILE"]),
    (
        "point list --key-file {}/other.key",
        KEY,
        &["{}/vault with the key {}/other.key", "the vault's own key with --key-file FILE"],
    ),
    ("backup {machine} --key-file {}/other.key", KEY, &["{}/other.key", "the vault's own key"]),
    ("point list --key-file {}/text", KEY, &["{}/text", "the vault's own key"]),
    (
        "vault create {}/busy --key-file {}/new.key",
        EXISTS,
        &["create a vault in {}/busy", "it holds something", "choose another, empty place"],
    ),
    (
        "vault create {}/vault --key-file {}/new.key",
        EXISTS,
        &["{}/vault is not empty", "choose another, empty place"],
    ),
    ("vault create {}/fresh --key-file {}/vault.key", EXISTS, &["{}/vault.key", "choose another"]),
    (
        "vault create {}/no/parent --key-file {}/new.key",
        NOT_FOUND,
        &["{}/no/parent", "the folder above it must exist"],
    ),
];

const MACHINES: &[Case] = &[
    (
        "backup no-such-machine",
        NOT_FOUND,
        &["no machine no-such-machine runs", "strongroom rescue machine list", "--qmp SOCKET"],
    ),
    ("backup --qmp {}/none.sock", NOT_FOUND, &["connect to {}/none.sock", "try:"]),
    (
        "backup --qmp {}/silent.sock",
        UNREACHABLE,
        &["{}/silent.sock accepts but does not greet", "end the other client"],
    ),
    ("backup --qmp {}/text", UNREACHABLE, &["{}/text", "check that the machine runs"]),
    ("backup {machine} --scratch {}/no/scratch", NOT_FOUND, &["no folder {}/no/scratch", "--scratch DIR"]),
    (
        "backup another-one --qmp {}/mistakes/qmp.sock",
        NOT_FOUND,
        &["another-one was asked for, but at {}/mistakes/qmp.sock answers {machine} (", "leave the name out"],
    ),
    ("backup", USAGE, &["MACHINE", "--help"]),
    ("backup {machine} --agent {}/none.sock", USAGE, &["--qmp"]),
];

const POINTS: &[Case] = &[
    (
        "point show latest --machine nobody",
        NOT_FOUND,
        &["no points of machine nobody", "strongroom rescue point list"],
    ),
    ("point show ffffffff", NOT_FOUND, &["there is no point ffffffff", "strongroom rescue point list"]),
    (
        "restore disks ffffffff --to {}/new",
        NOT_FOUND,
        &["there is no point ffffffff", "strongroom rescue point list"],
    ),
    (
        "nbd serve ffffffff --socket {}/s",
        NOT_FOUND,
        &["there is no point ffffffff", "strongroom rescue point list"],
    ),
    (
        "restore disks latest --to {}/new --disk sdz",
        NOT_FOUND,
        &["no disk 'sdz'", "it has d-disk0, d-disk1", "strongroom rescue point show"],
    ),
    (
        "nbd serve latest --socket {}/s --disk sdz",
        NOT_FOUND,
        &["no disk 'sdz'", "it has d-disk0, d-disk1", "strongroom rescue point show"],
    ),
    (
        "restore disks latest --to {}/no/parent",
        NOT_FOUND,
        &["{}/no/parent", "the folder above it must exist"],
    ),
    ("nbd serve latest --socket {}/text", USAGE, &["{}/text", "the path is in use"]),
    ("nbd serve latest --socket {}/no/s", NOT_FOUND, &["{}/no/s", "check the path"]),
    (
        "restore disks latest --to {}/restored --format raw",
        EXISTS,
        &["{}/restored/d-disk1.raw is there already", "try: choose an empty folder"],
    ),
    (
        "restore disks latest --to {}/restored --format qcow2",
        EXISTS,
        &["{}/restored/machine.json is there already", "try: choose an empty folder"],
    ),
];

const USAGES: &[Case] = &[
    ("point list --nonsense", USAGE, &["--nonsense", "--help"]),
    ("restore disks latest", USAGE, &["--to <DIR|NBD-URL>"]),
    ("nonsense", USAGE, &["nonsense", "--help"]),
    ("point list --output xml", USAGE, &["xml", "json"]),
    ("", USAGE, &["Usage: strongroom"]),
];

#[test]
fn mistakes_are_named_and_told_what_to_do() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::still(&scene, "mistakes")?;
    let _silent = prepare(&scene)?;
    scene.backup(guest.name())?;
    let restored = path(&scene.path("restored"))?.to_owned();
    scene
        .run(["restore", "disks", "latest", "--disk", "d-disk1", "--format", "raw", "--to", &restored])?
        .succeeded()?;

    let folder = scene.path("").display().to_string();
    let fill =
        |text: &str| text.replace("{machine}", guest.name()).replace("{}", folder.trim_end_matches('/'));
    let mut wrong = Vec::new();
    for (line, code, says) in [VAULTS, MACHINES, POINTS, USAGES].concat() {
        let says: Vec<String> = says.iter().map(|text| fill(text)).collect();
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        let filled = fill(line);
        let checked = scene.run(filled.split_whitespace()).and_then(|ran| ran.failed(code, &says));
        wrong.extend(checked.err().map(|error| format!("strongroom {line}\n    {error:#}")));
    }
    assert!(wrong.is_empty(), "{} mistakes are not met well:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(scene.points()?.len() == 1, "no mistake made a point");
    for name in ["new", "new.key", "s"] {
        ensure!(!scene.path(name).exists(), "{name} should not have been made");
    }
    guest.assert_left_alone(&scene, false, scene.points()?.first())?;
    guest.quit_and_check()?;
    a_missing_program_is_named(&scene)
}

fn a_missing_program_is_named(scene: &Scene) -> Result<()> {
    let mut command = scene.command(["restore", "disks", "latest", "--format", "qcow2", "--to"]);
    let command = command.arg(scene.path("no-qemu")).env("PATH", scene.path("empty"));
    let ran = Running::start(command)?.finish()?;
    ran.failed(1, &["qemu-img is not installed", "apt install qemu-utils"])?;
    ensure!(names_in(&scene.path("no-qemu"))?.is_empty(), "nothing is left");
    Ok(())
}

/// Folders and files to stumble over, and a socket that never says anything.
fn prepare(scene: &Scene) -> Result<UnixListener> {
    for folder in ["empty", "busy", "newer"] {
        std::fs::create_dir(scene.path(folder))?;
    }
    std::fs::write(scene.path("busy/something"), "of somebody's")?;
    std::fs::write(scene.path("text"), "a letter")?;
    let info = std::fs::read_to_string(scene.path("vault/vault.json"))?;
    let newer = info.replace("\"format\": 1", "\"format\": 2");
    ensure!(newer != info, "{info}");
    std::fs::write(scene.path("newer/vault.json"), newer)?;
    let other = scene.path("other");
    let made =
        scene.run(["vault", "create", path(&other)?, "--key-file", path(&scene.path("other.key"))?])?;
    made.succeeded()?;
    Ok(UnixListener::bind(scene.path("silent.sock"))?)
}

fn path(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}
