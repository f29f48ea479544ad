//! Images by a server: a machine that is somebody's is refused, forgets who it is, becomes an image, and that machines,
//! each another, which run before the image is here, whatever becomes of the server; the image goes, and they stay.

use crate::guest::{BOOT, Guest, until};
use crate::image::{SYSPREP, define, disk_of};
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare, prepare_vault, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Agent, LibvirtDaemon, Monitor};

/// The guest keeps who it is; and an emulated one on a busy host panics when it tries its timer in vain.
const APPEND: &str = "os=/data0 no_timer_check";
/// What the guest tells of itself, a line each; all of it differs from machine to machine.
const WHO: &str = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key /var/lib/cloud/data/instance-id \
                   /sys/class/dmi/id/product_uuid";

/// A job that makes no sense as it was asked for.
const REFUSED: i32 = 1;
/// Something else is under way.
const CONFLICT: i32 = 13;
/// A claim has lapsed by then.
const LAPSED: i64 = 300;

/// Machines of a folder that were started by the server's mover; dropped, they end.
struct Started(Vec<PathBuf>);

impl Started {
    fn who(&self) -> Result<Vec<Vec<String>>> {
        let one = |folder: &PathBuf| {
            let agent = Agent::new(&socket(folder, "agent")?);
            agent.wait(BOOT)?;
            let (code, said) = agent.sh(WHO)?;
            ensure!(code == 0, "{said}");
            ensure!(agent.sh("cat /data0/mark && sync")?.1 == "golden\n", "it is of the image");
            Ok(said.lines().map(str::to_owned).collect())
        };
        self.0.iter().map(one).collect()
    }

    fn end(&self) {
        for folder in &self.0 {
            let Ok(socket) = socket(folder, "qmp-harness") else { continue };
            let pid = std::fs::read_to_string(folder.join("run/qemu.pid")).unwrap_or_default();
            if let Ok(mut monitor) = Monitor::connect(&socket) {
                let _ = monitor.command("quit", Value::Null); // gone before the answer is
                // The last that it does is to remove its sockets: whoever starts it again before has none.
                while !pid.is_empty() && Path::new("/proc").join(pid.trim()).exists() {
                    std::thread::yield_now();
                }
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end();
    }
}

/// A socket of a machine, by what it is for.
fn socket(folder: &Path, what: &str) -> Result<PathBuf> {
    let run = folder.join("run");
    let entries = std::fs::read_dir(&run)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut named = entries.filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.ends_with(".sock") && name.contains(what)
    });
    named.next().with_context(|| format!("a socket for {what} in {}", run.display()))
}

#[test]
fn a_server_makes_an_image_and_machines_that_outlive_it() -> Result<()> {
    let mut scene = Scene::without_vault()?;
    let mut options = Guest::options(&scene, "golden")?;
    options.append = APPEND.into();
    let card = ["-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,id=card"];
    options.arguments.extend(card.map(str::to_owned));
    let guest = Guest::boot(options)?;
    guest.sh("echo golden >/data0/mark && sync")?;
    let mut server = Server::start(&scene)?;
    prepare(&scene, &guest)?;

    let create = ["image", "create", "web", "--from", guest.name()];
    scene.run_program(&create)?.failed(REFUSED, &["runs, and an image is made of a machine that is off"])?;
    let generalise = [&create[..], &["--power-off", "--generalize"]].concat();
    let asked = scene.run_program(&generalise)?;
    asked.failed(2, &["the host keys of SSH are removed", "add --yes"])?;
    let made = scene.ask_program(&[&generalise[..], &["--yes"]].concat())?;
    ensure!(made["name"] == "web" && made["version"] == 1 && made["generalised"] == true, "{made}");
    ensure!(made["latest"] == true && made["from"] == guest.name(), "{made}");
    drop(guest);

    // Three, of which two run at once; their image's copy is fetched once.
    let folder = scene.path("made");
    let to = ["machine", "create", "--image", "web", "--to", text(&folder)?, "--memory", "384"];
    let named = ["--name", "web-{}", "--count", "2", "--start", "--at-once", "--network", "isolated"];
    scene.ask_program(&["vault", "update", "main", "--transfer-limit", "1"])?;
    let made = scene.ask_program(&[&to[..], &named[..]].concat())?;
    let all = made.as_array().context("a list")?;
    ensure!(all.len() == 2 && all.iter().all(|one| one["error"].is_null()), "{made}");
    let both = Started(["web-1", "web-2"].map(|name| folder.join(name)).into());
    let (copy, job) = served_by_a_server_that_is_killed(&mut scene, &mut server, &folder)?;
    let who = both.who()?;
    for place in 0..5 {
        let different: BTreeSet<&String> = who.iter().map(|who| &who[place]).collect();
        ensure!(different.len() == 2, "the machines share something: {who:?}");
    }
    ensure!(who[0][0] == "web-1" && json!(who[0][4]) == all[0]["uuid"], "{who:?} {made}");
    let started = off_and_on_again(&scene, &both, (&copy, &job))?;
    let again = started.who()?;
    ensure!(again == who[..1], "it stands on the copy alone, and is the same: {again:?} {who:?}");
    let third = scene.ask_program(&[&to[..], &["--name", "alone", "--full"]].concat())?;
    ensure!(only(&third)?["shares"] == false, "{third}");
    scene
        .run_program(&[&to[..], &["--name", "alone"]].concat())?
        .failed(REFUSED, &["alone is there already, and nothing is replaced"])?;

    let shown = scene.ask_program(&["image", "show", "web"])?;
    ensure!(shown["image"]["machines"] == 3 && shown["machines"][1]["name"] == "web-1", "{shown}");
    copied_and_deleted(&scene)?;
    // They run on, and what they read is there.
    ensure!(started.who()? == who[..1], "the image is gone, and it is the same");
    drop(started);
    server.stop()
}

/// What the machines run on comes slowly, and is served again by a server that was killed while they boot.
fn served_by_a_server_that_is_killed(
    scene: &mut Scene,
    server: &mut Server,
    folder: &Path,
) -> Result<(PathBuf, String)> {
    let copy = folder.join("image-web-1");
    ensure!(!is_whole(&copy)?, "they run before the image is here");
    let jobs = scene.ask_program(&["job", "list", "--state", "in_progress"])?;
    let mut jobs = jobs.as_array().into_iter().flatten();
    let job = jobs.find(|job| job["kind"] == "create_machines_at_once").context("the job goes on")?;
    let job = id(job)?.to_owned();
    let delete = ["image", "delete", "web", "--yes"];
    scene.run_program(&delete)?.failed(CONFLICT, &["is under way for it, and excludes this"])?;
    scene.ask_program(&["vault", "update", "main", "--transfer-limit", "0"])?;
    // The clock of the next one says that the claim has lapsed.
    scene.set_clock(LAPSED)?;
    server.kill()?;
    server.run_again(scene)?;
    until("the image to be here", || is_whole(&copy))?;
    Ok((copy, job))
}

fn is_whole(copy: &Path) -> Result<bool> {
    let journal: Value = serde_json::from_slice(&std::fs::read(copy.join("image.json"))?)?;
    Ok(journal["whole"] == true)
}

/// The job waits for machines that run, and is over when they were off; the first of them is started again.
fn off_and_on_again(scene: &Scene, started: &Started, (copy, job): (&Path, &str)) -> Result<Started> {
    let shown = || scene.ask_program(&["job", "show", job]);
    until("the job to wait for the machines", || {
        Ok(shown()?["progress"]["doing"]
            == "2 machines still read through this mover, until each was off once")
    })?;
    started.end();
    scene.ask_program(&["job", "watch", job])?;
    ensure!(!copy.join("nbd.sock").exists(), "nobody serves it");
    let folder = started.0[0].clone();
    let ran = Command::new(folder.join("start.sh")).status()?;
    ensure!(ran.success(), "start.sh: {ran}");
    Ok(Started(vec![folder]))
}

fn copied_and_deleted(scene: &Scene) -> Result<()> {
    let here = ["--vault", "main"];
    let place = scene.path("region");
    scene.run_program(&["vault", "create", "region", text(&place)?])?.succeeded()?;
    let copied = scene.ask_program(&[&["image", "copy", "web:1", "--to", "region"], &here[..]].concat())?;
    ensure!(copied["version"] == 1 && copied["copy_of"].is_string(), "{copied}");
    scene
        .run_program(&[&["image", "copy", "web", "--to", "region"], &here[..]].concat())?
        .failed(13, &["has web:1 already"])?;
    scene.ask_program(&[&["image", "delete", "web", "--yes"], &here[..]].concat())?;
    ensure!(scene.ask_program(&[&["image", "list"], &here[..]].concat())? == json!([]));
    scene.run_program(&[&["image", "show", "web"], &here[..]].concat())?.failed(3, &["image web"])?;
    let gone = scene.ask_program(&[&["image", "list", "--deleted"], &here[..]].concat())?;
    ensure!(id(only(&gone)?)? != id(&copied)?, "{gone}");
    scene.ask_program(&[&["image", "undelete", "web:1"], &here[..]].concat())?;
    scene.ask_program(&[&["image", "delete", "web:1", "--yes"], &here[..]].concat())?;
    let there = scene.ask_program(&["image", "list", "--vault", "region"])?;
    ensure!(only(&there)?["name"] == "web", "{there}");
    Ok(())
}

/// Of libvirt, which knows machines that are off. The program that works on their disks is a stand-in, for the real one
/// starts a machine of its own.
#[test]
fn a_server_generalises_a_machine_that_is_off_on_its_disks() -> Result<()> {
    let mut scene = Scene::without_vault()?;
    let (system, id) = (("etc/os-release", "ID=debian\n"), ("etc/machine-id", "0123456789abcdef\n"));
    let somebody = disk_of(&scene, "somebody", &[system, id])?;
    let nobody = disk_of(&scene, "nobody", &[system])?;
    let daemon = LibvirtDaemon::start(&scene.path("libvirt"))?;
    define(&scene, &daemon, "golden", &somebody)?;
    scene.stand_in(SYSPREP, "#!/bin/sh\necho no operating systems were found >&2\nexit 1\n")?;
    let server = Server::start(&scene)?;
    scene.ask_program(&["host", "add", "here", "--address", &daemon.uri()])?;
    prepare_vault(&scene)?;
    until("the machine to be told of", || {
        Ok(scene.ask_program(&["machine", "list"])?[0]["state"] == "stopped")
    })?;

    let create = ["image", "create", "web", "--from", "golden"];
    let refused = ["the machine is not generalised", "vda:/etc/machine-id (the machine's id)"];
    scene.run_program(&create)?.failed(REFUSED, &refused)?;
    let generalise = [&create[..], &["--generalize"]].concat();
    scene.run_program(&generalise)?.failed(2, &["virt-sysprep does this on its disks", "add --yes"])?;
    let generalise = [&generalise[..], &["--yes"]].concat();
    let failed = "it failed (exit status: 1): no operating systems were found";
    scene.run_program(&generalise)?.failed(REFUSED, &[failed])?;
    scene.stand_in(SYSPREP, &format!("#!/bin/sh\nexec cp {} {}\n", nobody.display(), somebody.display()))?;
    let made = scene.ask_program(&generalise)?;
    ensure!(made["version"] == 1 && made["generalised"] == true && made["from"] == "golden", "{made}");
    server.stop()
}
