//! Files out of a point through a server: its mover reads a real point of a real machine, and what comes out is what the
//! kernel shows of that disk.

use crate::guest::{Guest, image, run};
use crate::program::Running;
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare, text};
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Format, MachineOptions};

const FORBIDDEN: i32 = 12;
const NOT_FOUND: i32 = 3;

/// Mounts a disk's file system by the kernel while something is done to it.
fn mounted<T>(disk: &Path, at: &Path, options: &str, act: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    std::fs::create_dir_all(at)?;
    run(Command::new("mount").args(["-o", &format!("loop,{options}")]).arg(disk).arg(at))?;
    let done = act(at);
    testkit::unmount(at)?;
    done
}

/// What a guest might leave to whoever looks at its files.
fn fill(root: &Path) -> Result<()> {
    let folder = root.join("files");
    std::fs::create_dir_all(folder.join("deep/er"))?;
    std::fs::write(folder.join("hosts"), "127.0.0.1 localhost\n")?;
    std::fs::write(folder.join("deep/large"), [b'x'; 64].repeat(60_000))?;
    std::fs::File::create(folder.join("deep/sparse"))?.set_len(5_000_001)?;
    std::os::unix::fs::symlink("/etc/passwd", folder.join("deep/er/passwd"))?;
    std::os::unix::fs::symlink("../../..", folder.join("deep/up"))?;
    for name in
        [&b"new\nline"[..], b"\xff\xfe", b"-rf", b"..\\..\\evil", b"\x1b[31mred", b"...", b"a\"b'c;$(d)"]
    {
        std::fs::write(folder.join(OsStr::from_bytes(name)), name)?;
    }
    run(Command::new("chown").arg("1234:5678").arg(folder.join("hosts"))).map(drop)
}

/// Every path of a tree with its owner, mode, time and sum, as programs of the host tell them.
fn told(root: &Path) -> Result<String> {
    let script = "find . -mindepth 1 -printf '%p %y %U %G %m %T@ %l\\0' | sort -z | tr '\\0' '\\n'; \
                  find . -type f -print0 | sort -z | xargs -0 sha256sum";
    run(Command::new("sh").args(["-c", script]).current_dir(root))
}

/// A server with a point of a machine that has such files, on a disk of ext4.
/// Named, for all servers of a host see each other's machines.
fn stage(name: &str) -> Result<(Scene, Guest, Server, PathBuf)> {
    let scene = Scene::without_vault()?;
    let folder = scene.path(name);
    let disks = image().fresh_disks(&folder, Format::Raw)?;
    let disk = disks[0].path.clone().context("the disk has a file")?;
    mounted(&disk, &scene.path("fill"), "rw", fill)?;
    let name = format!("e2e-{name}-{}", std::process::id());
    let mut options = MachineOptions::new(&name, &folder, disks).without_postgres();
    // Its processors never run: the disk stays as the kernel left it.
    options.arguments.push("-S".into());
    let guest = Guest::start(options)?;
    let server = Server::start(&scene)?;
    prepare(&scene, &guest)?;
    scene.ask_program(&["protect", guest.name(), "--policy", "nightly", "--now"])?;
    let jobs = scene.ask_program(&["job", "list", "--machine", guest.name()])?;
    let watched = scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    ensure!(watched["state"].as_str().is_some_and(|state| state.starts_with("completed")), "{watched}");
    Ok((scene, guest, server, disk))
}

fn words<'a>(guest: &'a Guest, rest: &[&'a str]) -> Vec<&'a str> {
    [&["files", guest.name()], rest].concat()
}

#[test]
fn files_come_out_of_a_point_through_a_server() -> Result<()> {
    let (scene, guest, server, disk) = stage("lent")?;
    let ask = |rest: &[&str]| scene.ask_program(&words(&guest, rest));
    let try_it = |rest: &[&str]| scene.run_program(&words(&guest, rest));

    let volumes = ask(&["volumes"])?;
    let seen: Vec<_> =
        volumes.as_array().into_iter().flatten().map(|one| (&one["name"], &one["content"])).collect();
    ensure!(seen == [(&"d-disk0".into(), &"ext".into()), (&"d-disk1".into(), &"xfs".into())], "{volumes}");

    let listed = ask(&["ls", "d-disk0:/files"])?;
    let names: Vec<_> =
        listed.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    let expected = [
        "\\u{1b}[31mred",
        "-rf",
        "...",
        "..\\\\..\\\\evil",
        "a\"b'c;$(d)",
        "deep",
        "hosts",
        "new\\nline",
        "\\xff\\xfe",
    ];
    ensure!(names == expected, "{names:?}");
    let shown = try_it(&["ls", "d-disk0:/files"])?;
    ensure!(!shown.succeeded()?.contains('\u{1b}'), "a name steers the terminal");
    // Typed as bytes, asked for as what was meant.
    let mut cat = scene.program(["files", guest.name(), "cat"]);
    cat.arg(OsStr::from_bytes(b"d-disk0:/files/\xff\xfe"));
    let said = cat.output()?;
    ensure!(said.status.success() && said.stdout == b"\xff\xfe", "{said:?}");
    try_it(&["cat", "d-disk0:/nowhere"])?.failed(NOT_FOUND, &["d-disk0:/nowhere"])?;
    try_it(&["cat", "d-disk0:/files"])?.failed(2, &["is not a file"])?;

    let found = ask(&["find", "d-disk0:/files", "--regex", "l.*e"])?;
    let places: Vec<_> =
        found.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    ensure!(places == ["d-disk0:/files/deep/large", "d-disk0:/files/new\\nline"], "{places:?}");

    let theirs = mounted(&disk, &scene.path("kernel"), "ro", |at| told(&at.join("files")))?;
    let out = scene.path("out");
    let got = ask(&["get", "d-disk0:/files", "--to", text(&out)?])?;
    ensure!(got["files"] == 10 && got["links"] == 2 && got["failed_count"] == 0, "{got}");
    ensure!(told(&out)? == theirs, "{}\n{theirs}", told(&out)?);
    try_it(&["get", "d-disk0:/files", "--to", text(&out)?])?.failed(4, &["is not empty"])?;

    let (tar, untarred) = (scene.path("files.tar"), scene.path("untarred"));
    ask(&["get", "d-disk0:/files", "--tar", text(&tar)?])?;
    std::fs::create_dir(&untarred)?;
    run(Command::new("tar").args(["-xpf"]).arg(&tar).arg("-C").arg(&untarred))?;
    ensure!(told(&untarred)? == theirs, "by GNU tar");
    try_it(&["get", "d-disk0:/files", "--tar", text(&tar)?])?.failed(4, &["files.tar"])?;
    let zip = scene.path("files.zip");
    ask(&["get", "d-disk0:/files/deep", "--zip", text(&zip)?])?;
    run(Command::new("unzip").arg("-tq").arg(&zip))?;
    ensure!(!scene.path("files.tar.partial").exists() && !scene.path("files.zip.partial").exists());

    who_may_not_restore_sees_nothing(&scene, &guest, &server)?;
    let audit = scene.ask_program(&["audit", "list"])?.to_string();
    ensure!(
        audit.contains("files.open") && audit.contains("files.download") && audit.contains("d-disk0:/files"),
        "{audit}"
    );
    server.stop()?;
    guest.quit_and_check()
}

fn who_may_not_restore_sees_nothing(scene: &Scene, guest: &Guest, server: &Server) -> Result<()> {
    let add = ["user", "add", "reader", "--password-stdin", "--role", "reader"];
    scene.run_with_input(&add, "correct horse battery")?.succeeded()?;
    server.log_in(scene, "reader", "correct horse battery")?;
    scene.run_program(&words(guest, &["volumes"]))?.failed(FORBIDDEN, &["reader"])?;
    scene.run_program(&["context", "use", "admin"])?.succeeded().map(drop)
}

/// The mover of another host is killed while it sends: what came is not taken for the whole.
#[test]
fn a_mover_that_dies_leaves_an_error_and_no_short_file() -> Result<()> {
    let (scene, guest, server, _) = stage("killed")?;
    let tar = scene.path("all.tar");
    let token = scene.ask_program(&["mover", "token"])?;
    let home = scene.path("far");
    for folder in ["", "tmp", "scratch"] {
        std::fs::create_dir_all(home.join(folder))?;
    }
    let far = |arguments: &[&str]| {
        let mut command = scene.program(arguments);
        command.env("HOME", &home).env("TMPDIR", home.join("tmp")).env("STRONGROOM_DATA", home.join("data"));
        command
    };
    let mut join =
        far(&["mover", "join", &server.url, "--name", "far", "--fingerprint", server.said("fingerprint")?]);
    join.env("STRONGROOM_TOKEN", token["token"].as_str().context("a token")?);
    Running::start(&mut join)?.finish()?.succeeded()?;
    let mut mover = Running::start(far(&["mover", "run", "--scratch"]).arg(home.join("scratch")))?;
    mover.wait_for("the mover runs")?;

    // Held by whoever reads: nothing is at its end before the mover is gone.
    let mut get = scene.program(["files", guest.name(), "--mover", "far", "get", "d-disk0:/", "--tar", "-"]);
    let mut reading =
        get.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn()?;
    let mut first = [0; 4096];
    let mut stream = reading.stdout.take().context("a pipe")?;
    std::io::Read::read_exact(&mut stream, &mut first)?;
    mover.signal("KILL")?;
    mover.wait_gone()?;
    let copied = std::io::copy(&mut stream, &mut std::fs::File::create(&tar)?)?;
    let ended = reading.wait_with_output()?;
    let errors = String::from_utf8_lossy(&ended.stderr);
    ensure!(!ended.status.success(), "{copied} bytes were taken for all: {errors}");
    ensure!(errors.contains("was not heard of"), "{errors}");

    // And by name: none is left.
    let no = scene.path("no.tar");
    let line = words(&guest, &["--mover", "nobody", "get", "d-disk0:/", "--tar", text(&no)?]);
    scene.run_program(&line)?.failed(2, &["must be one of the movers"])?;
    ensure!(!scene.path("no.tar").exists() && !scene.path("no.tar.partial").exists());
    server.stop()?;
    guest.quit_and_check()
}
