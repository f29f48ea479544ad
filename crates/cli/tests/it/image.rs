//! Images: a machine that is somebody's is refused, forgets who it is, becomes an image, and that many machines, each
//! another.

use crate::guest::{BOOT, Guest, check_image, image, run, strings};
use crate::program::Running;
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Agent, GuestMachine, LibvirtDaemon, LibvirtGuest, MachineOptions, Monitor};

/// The guest keeps who it is; and an emulated one on a busy host panics when it tries its timer in vain.
const APPEND: &str = "os=/data0 no_timer_check";
/// What the guest tells of itself, a line each; all of it differs from machine to machine.
const WHO: &str = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key /var/lib/cloud/data/instance-id \
                   /sys/class/dmi/id/product_uuid";
/// What belongs to one machine alone, beside what the guest makes at its first boot.
const REMEMBERED: &str = "mkdir -p /var/lib/cloud/instances/i-1 /data0/etc/udev/rules.d && \
    echo i-1 >/var/lib/cloud/data/instance-id && echo golden >/data0/mark && \
    echo x >/data0/etc/udev/rules.d/70-persistent-net.rules && ln -sfn /data0/etc/udev /etc/udev && sync";

/// The program of others that works on the disks of a machine that is off.
pub(crate) const SYSPREP: &str = "virt-sysprep";

/// Machines that were started as processes of their own; dropped, they end.
struct Started(Vec<(String, Value)>);

impl Started {
    fn of(made: &Value) -> Self {
        let machines = made["machines"].as_array().into_iter().flatten();
        Self(machines.map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), one.clone())).collect())
    }

    fn socket(machine: &Value, key: &str) -> Result<String> {
        Ok(machine["machine"][key].as_str().with_context(|| format!("{machine} has a {key}"))?.to_owned())
    }

    /// Who each is, in the words of its guest and of its QEMU.
    fn identities(&self) -> Result<Vec<Vec<String>>> {
        let mut identities = Vec::new();
        for (name, machine) in &self.0 {
            let agent = Agent::new(Path::new(&Self::socket(machine, "agent")?));
            agent.wait(BOOT)?;
            let (code, said) = agent.sh(WHO)?;
            ensure!(code == 0, "{name}: {said}");
            let (_, mark) = agent
                .sh("cat /data0/mark /sys/class/dmi/id/product_uuid && echo mine >/data0/mine && sync")?;
            ensure!(mark.starts_with("golden\n"), "{name} is of the image: {mark}");
            let uuid = machine["uuid"].as_str().unwrap_or_default();
            ensure!(mark.contains(uuid), "{name} is told its uuid {uuid}: {mark}");
            let mut who: Vec<String> = said.lines().map(str::to_owned).collect();
            ensure!(who.len() == 5 && who[0] == *name && who[3] == format!("iid-{uuid}"), "{name}: {who:?}");
            let mut monitor = Monitor::connect(Path::new(&Self::socket(machine, "qmp")?))?;
            let card = json!({ "path": "/machine/peripheral/card", "property": "mac" });
            who.push(monitor.command("qom-get", card)?.as_str().unwrap_or_default().to_owned());
            identities.push(who);
        }
        Ok(identities)
    }

    fn end(&mut self) {
        for (_, machine) in self.0.drain(..) {
            let Ok(socket) = Self::socket(&machine, "qmp") else { continue };
            if let Ok(mut monitor) = Monitor::connect(Path::new(&socket)) {
                let _ = monitor.command("quit", Value::Null); // gone before the answer is
            }
            let pid = machine["machine"]["pid"].to_string();
            while Path::new("/proc").join(&pid).exists() {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end();
    }
}

fn golden(scene: &Scene) -> Result<MachineOptions> {
    let mut options = Guest::options(scene, "golden")?;
    options.append = APPEND.into();
    let card = ["-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,id=card"];
    options.arguments.extend(card.map(str::to_owned));
    Ok(options)
}

fn boot(options: &MachineOptions) -> Result<GuestMachine> {
    let machine = GuestMachine::start(image(), options.clone())?;
    machine.wait_agent(BOOT)?;
    Ok(machine)
}

/// The image `web`: refused while its machine is somebody's, taken when it is nobody's.
fn capture(scene: &Scene, options: &MachineOptions) -> Result<Value> {
    let create = ["image", "create", "web", "--from", &options.name];
    let machine = boot(options)?;
    let (code, said) = machine.sh(REMEMBERED)?;
    ensure!(code == 0, "{said}");
    scene.run(create)?.failed(13, &["runs, and an image is made of a machine that is off"])?;
    let refused = scene.run([&create[..], &["--power-off"]].concat())?;
    let found = [
        "it is not generalised: 5 things",
        "d-disk0:/etc/ssh/ssh_host_ed25519_key: a host key of SSH",
        "d-disk0:/etc/machine-id: the machine's id",
        "d-disk0:/var/lib/cloud/instances/i-1: what cloud-init remembers",
        "d-disk0:/var/lib/cloud/data/instance-id",
        "d-disk0:/etc/udev/rules.d/70-persistent-net.rules",
        "--generalize",
    ];
    refused.failed(13, &found)?;
    ensure!(scene.points()?.is_empty(), "what is refused leaves no point");
    drop(machine);

    let machine = boot(options)?;
    machine.sh("ln -sfn /data0/etc/udev /etc/udev")?;
    let generalise = [&create[..], &["--power-off", "--generalize"]].concat();
    let told = scene.run(generalise.clone())?;
    told.failed(1, &["the host keys of SSH are removed", "nothing was done: add --yes"])?;
    let (_, id) = machine.sh("cat /etc/machine-id")?;
    ensure!(!id.trim().is_empty(), "a plan changes nothing");
    let made = scene.ask(&[&generalise[..], &["--yes"]].concat())?;
    drop(machine);
    ensure!(made["image"] == "web:1" && made["generalised"] == true && made["latest"] == true, "{made}");
    Ok(made)
}

#[test]
fn machines_of_an_image_are_all_others() -> Result<()> {
    let scene = Scene::new()?;
    let options = golden(&scene)?;
    let first = capture(&scene, &options)?;

    // A second version, of the images as they lie, is there but not meant.
    let images = [0, 1]
        .map(|disk| format!("d-disk{disk}={}", scene.path(&format!("golden/data{disk}.qcow2")).display()));
    let point = first["point"].as_str().context("a point")?;
    let second = ["image", "create", "web", "--image", &images[0], "--image", &images[1], "--like", point];
    let second = scene.ask(&[&second[..], &["--exclude-from-latest"]].concat())?;
    ensure!(second["image"] == "web:2" && second["latest"] == false, "{second}");
    let listed = scene.ask(&["image", "list"])?;
    ensure!(strings(&listed, "image").eq(["web:1", "web:2"]), "{listed}");
    ensure!(scene.ask(&["image", "show", "web"])?["image"] == "web:1");
    scene.run(["image", "show", "web:3"])?.failed(3, &["the image web has the versions 1, 2"])?;

    // In another region it is the same.
    let replica = scene.path("replica").display().to_string();
    scene.run(["image", "copy", "web", "--to", &replica, "--create"])?.succeeded()?;
    let there = scene.ask(&["image", "list", "--vault", &replica])?;
    ensure!(strings(&there, "image").eq(["web:1"]) && there[0]["point"] == first["point"], "{there}");

    let to = scene.path("made");
    let folder = to.display().to_string();
    let three = ["machine", "create", "--image", "web", "--name", "web-{}", "--count", "3", "--to", &folder];
    let made = scene.ask(&[&three[..], &["--start"]].concat())?;
    let mut started = Started::of(&made);
    ensure!(started.0.len() == 3, "{made}");
    let identities = started.identities()?;
    for place in 0..identities[0].len() {
        let different: BTreeSet<&String> = identities.iter().map(|who| &who[place]).collect();
        ensure!(different.len() == 3, "the machines share something: {identities:?}");
    }
    started.end();
    let copy = to.join("image-web-1");
    for name in ["web-1", "web-2", "web-3"] {
        let overlay = to.join(name).join("d-disk0.qcow2");
        check_image(&overlay)?;
        let told =
            run(Command::new("qemu-img").args(["info", "--output=json", "-f", "qcow2"]).arg(&overlay))?;
        let told: Value = serde_json::from_str(&told)?;
        ensure!(told["backing-filename"] == copy.join("d-disk0.raw").display().to_string(), "{told}");
    }
    scene.run(three)?.failed(4, &["web-1 is there already, and nothing is replaced"])?;
    in_use(&scene, &copy)?;
    stand_alone(&scene, &to, &copy)
}

/// An image whose copy is not whole is needed by its machines; one that is deleted is not.
fn in_use(scene: &Scene, copy: &Path) -> Result<()> {
    // As a fill that was interrupted leaves it.
    let journal = copy.join("image.json");
    let text = std::fs::read_to_string(&journal)?.replace("\"whole\": true", "\"whole\": false");
    std::fs::write(&journal, text)?;
    std::fs::remove_file(copy.join("d-disk0.raw.have"))?;
    let delete = ["image", "delete", "web:1"];
    scene.run(delete)?.failed(13, &["web:1 is in use: web-1, web-2, web-3", "--flatten"])?;
    let serve = [std::ffi::OsStr::new("image"), "serve".as_ref(), copy.as_os_str()];
    scene.run(serve)?.succeeded()?;
    scene.run(delete)?.succeeded()?;
    scene.run(["image", "show", "web:1"])?.failed(3, &["the image web has the versions 2"])?;
    // Its number is not another's.
    let point = scene.ask(&["image", "show", "web:2"])?;
    ensure!(point["excluded"] == true, "{point}");
    scene.run(["image", "show", "web"])?.failed(3, &[])
}

/// A machine that was flattened needs neither the image nor its copy.
fn stand_alone(scene: &Scene, to: &Path, copy: &Path) -> Result<()> {
    let to_second = ["machine", "create", "--image", "web:2", "--name", "alone", "--to"];
    let made = scene.path("second");
    let mut create = scene.command(to_second);
    create.args([made.as_os_str(), "--start".as_ref(), "--output".as_ref(), "json".as_ref()]);
    let made = Running::start(&mut create)?.finish()?.json()?;
    let mut started = Started::of(&made);
    started.identities()?;
    let second = scene.path("second/image-web-2");
    let flatten = [std::ffi::OsStr::new("image"), "flatten".as_ref(), second.as_os_str()];
    scene.run(flatten)?.said(&["alone stands alone"])?;
    let overlay = scene.path("second/alone/d-disk0.qcow2");
    started.end();
    check_image(&overlay)?;
    let told = run(Command::new("qemu-img").args(["info", "--output=json", "-f", "qcow2"]).arg(&overlay))?;
    ensure!(!told.contains("backing-filename"), "{told}");
    ensure!(to.join("web-1").is_dir() && copy.is_dir());
    Ok(())
}

/// Machines of libvirt's that were made; dropped, they end.
struct Made<'a> {
    uri: &'a str,
    names: [&'a str; 2],
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for name in self.names {
            let mut destroy = Command::new("virsh");
            let _ = destroy.args(["--quiet", "--connect", self.uri, "destroy", "--domain", name]).output();
        }
    }
}

#[test]
fn libvirt_gets_machines_of_an_image_too() -> Result<()> {
    let scene = Scene::new()?;
    let daemon = LibvirtDaemon::start(&scene.path("libvirt"))?;
    let mut options = Guest::options(&scene, "domain")?;
    options.append = APPEND.into();
    let golden = LibvirtGuest::start(image(), &daemon, options)?;
    golden.agent().wait(BOOT)?;
    let (code, said) = golden.agent().sh("echo golden >/data0/mark && sync")?;
    ensure!(code == 0, "{said}");
    let (uri, name) = (daemon.uri(), golden.options().name.clone());
    let create = ["image", "create", "web", "--from", &name, "--libvirt", &uri, "--power-off"];
    scene.ask(&[&create[..], &["--generalize", "--yes"]].concat())?;
    // It is off now, and nobody's.
    let again = scene.ask(&create)?;
    ensure!(again["image"] == "web:2" && again["generalised"] == true, "{again}");

    let folder = scene.path("made").display().to_string();
    let two = ["machine", "create", "--image", "web:1", "--count", "2", "--name", "lv-{}", "--to", &folder];
    let refused = scene.run([&two[..], &["--uri", &uri, "--start", "--at-once"]].concat())?;
    refused.said(&["only machines of QEMU's own run at once"])?;
    let names = ["lv-1", "lv-2"];
    let _made = Made { uri: &uri, names };
    let made = scene.ask(&[&two[..], &["--uri", &uri, "--start"]].concat())?;
    let mut identities = Vec::new();
    for (name, machine) in names.into_iter().zip(made["machines"].as_array().into_iter().flatten()) {
        let agent = Agent::of_libvirt(&uri, name);
        agent.wait(BOOT)?;
        let (_, said) = agent.sh(WHO)?;
        let who: Vec<String> = said.lines().map(str::to_owned).collect();
        ensure!(
            who.len() == 5 && who[0] == name && Some(&*who[4]) == machine["uuid"].as_str(),
            "{name}: {said}"
        );
        ensure!(agent.sh("cat /data0/mark")?.1.trim() == "golden");
        identities.push(who);
    }
    let is_other = |place: usize| identities[0][place] != identities[1][place];
    ensure!((0..5).all(is_other), "the machines share something: {identities:?}");
    Ok(())
}

/// A disk that is a file system with these files on it.
pub(crate) fn disk_of(scene: &Scene, name: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let (tree, disk) = (scene.path(name), scene.path(&format!("{name}.raw")));
    for (path, text) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().context("it lies in a folder")?)?;
        std::fs::write(path, text)?;
    }
    run(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(&tree).arg(&disk).arg("8M"))?;
    Ok(disk)
}

/// Defines a machine of this disk, which stays off: the least that libvirt takes for one.
pub(crate) fn define(scene: &Scene, daemon: &LibvirtDaemon, name: &str, disk: &Path) -> Result<()> {
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><disk type='file' device='disk'>\
         <driver name='qemu' type='raw'/><source file='{}'/><target dev='vda' bus='virtio'/></disk>\
         </devices></domain>",
        disk.display()
    );
    let path = scene.path(&format!("{name}.xml"));
    std::fs::write(&path, xml)?;
    daemon.define(&path)
}

#[test]
fn one_that_is_off_is_generalised_on_its_disks() -> Result<()> {
    let mut scene = Scene::new()?;
    let (system, id) = (("etc/os-release", "ID=debian\n"), ("etc/machine-id", "0123456789abcdef\n"));
    let somebody = disk_of(&scene, "somebody", &[system, id])?;
    let nobody = disk_of(&scene, "nobody", &[system])?;
    let disk = format!("d0={}", somebody.display());
    let backup = ["backup", "--name", "golden", "--image", &disk];
    scene.run(backup)?.succeeded()?;
    let points = scene.points()?;
    let point = points[0]["id"].as_str().context("a point")?;
    let create = ["image", "create", "web", "--image", &disk, "--like", point, "--generalize"];
    let with = |scene: &Scene, yes: &[&str]| scene.run([&create[..], yes].concat());
    let missing =
        ["golden is off, and virt-sysprep is not installed here", "guestfs-tools", "start the machine"];
    let nowhere = scene.path("tmp");
    let without = Running::start(scene.command([&create[..], &["--yes"]].concat()).env("PATH", nowhere))?;
    without.finish()?.failed(13, &missing)?;

    scene.stand_in(SYSPREP, "#!/bin/sh\necho no operating systems were found >&2\nexit 1\n")?;
    let command = format!("virt-sysprep --quiet --no-network --format raw -a {}", somebody.display());
    let plan = ["the host keys of SSH are removed", "on its disks", &command, "nothing was done: add --yes"];
    with(&scene, &[])?.failed(1, &plan)?;
    let failed = "it failed (exit status: 1): no operating systems were found";
    with(&scene, &["--yes"])?.failed(1, &["generalise the machine's disks by virt-sysprep", failed])?;
    scene.stand_in(SYSPREP, "#!/bin/sh\nexit 0\n")?;
    with(&scene, &["--yes"])?
        .failed(13, &["it is not generalised: 1 things", "/etc/machine-id: the machine's id"])?;
    ensure!(scene.points()?.len() == 1, "there is no image yet");
    scene.stand_in(SYSPREP, &format!("#!/bin/sh\nexec cp {} {}\n", nobody.display(), somebody.display()))?;
    let made = with(&scene, &["--yes"])?;
    ensure!(made.succeeded()? == "web:1 is made, of golden\n", "{made:?}");
    Ok(())
}
