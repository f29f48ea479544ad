//! Images: a guest forgets who it is and becomes an image; six machines of it are booted at once from a store that
//! counts, each another, and each block of the image comes from there once.

use crate::counted_store::CountedStore;
use crate::scene::{BOOT, Scene, blocking, image, now, run, sh};
use anyhow::{Context, Result, ensure};
use block::{BlockSource, ExtentKind};
use hypervisor::offline::OfflineMachine;
use hypervisor::qemu::QemuMachine;
use hypervisor::recreate::{Network, StartedQemu, Stop, stop_qemu};
use hypervisor::{Level, Machine};
use mover::capture::{CaptureRequest, Captured, capture, generalise, images};
use mover::deploy::{
    DeployRequest, Deployed, DeployedDisks, NewIdentity, Serving, ServingProgress, copies_in_use, deploy,
    flatten, known_copies, note_copy,
};
use mover::{Made, Place};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use testkit::{Agent, Format, GuestMachine, MachineOptions, Monitor};
use uuid::Uuid;
use vault::{Point, PointDisk};

/// Machines that are booted at once: emulated, on two processors.
const MACHINES: usize = 6;
/// The guest keeps who it is; and an emulated one on a busy host panics when it tries its timer in vain.
const APPEND: &str = "os=/data0 no_timer_check";
/// What the guest tells of itself, a line each; all of it differs from machine to machine.
const WHO: &str = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key /var/lib/cloud/data/instance-id \
                   /sys/class/dmi/id/product_uuid";
/// Of packs more is read than that: what lies between chunks that come with one request, and a chunk for each place of the
/// image that it stands at. Six machines that shared nothing would read it six times.
const GAPS: f64 = 2.0;

#[test]
#[ignore = "not a test: what parses the disks for the test below, in its cage"]
fn looks_into_disks() {
    // Whoever runs it for a test has no questions, and is refused.
    let _ = files::answer_caged();
}

pub(crate) fn program() -> Result<files::Program> {
    let arguments = ["image::looks_into_disks", "--exact", "--ignored", "--test-threads=1"];
    Ok(files::Program { path: std::env::current_exe()?, arguments: arguments.map(str::to_owned).into() })
}

fn golden(scene: &Scene) -> Result<GuestMachine> {
    let folder = scene.path("golden");
    let disks = image().fresh_disks(&folder, Format::Qcow2)?;
    let mut options = MachineOptions::new("golden", &folder, disks).without_postgres();
    options.append = APPEND.into();
    let card = ["-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,id=card"];
    options.arguments.extend(card.map(str::to_owned));
    let guest = GuestMachine::start(image(), options)?;
    guest.wait_agent(BOOT)?;
    Ok(guest)
}

/// The guest as an image, after it was refused as somebody's.
async fn made_image(scene: &Scene) -> Result<Point> {
    let guest = blocking(|| golden(scene))?;
    sh(guest.agent(), "echo golden >/data0/mark && sync")?;
    let machine = QemuMachine::connect(&guest.qmp_socket(), Some(&guest.agent_socket())).await?;
    let told = machine.describe().await?;
    generalise(&machine).await?;
    drop(machine);
    stop_qemu(&guest.qmp_socket(), Stop::PowerOff).await?;
    drop(guest);
    let (machine, told) = OfflineMachine::described(&told, false)?;
    let request = CaptureRequest {
        name: "web".parse()?,
        backup: scene.request(Level::Crash, &scene.path("scratch")),
        specialized: false,
        excluded: false,
        program: program()?,
    };
    let captured = Box::pin(capture(&scene.vault, (&machine, &told), &request, &|_| ())).await?;
    let Captured::Made { record, point, checked } = captured else { anyhow::bail!("{captured:?}") };
    ensure!(record.shown() == "web:1" && checked.is_generalised(), "{record:?} {checked:?}");
    Ok(*point)
}

fn wanted(scene: &Scene, point: &Point, names: Vec<String>, disks: DeployedDisks) -> DeployRequest {
    DeployRequest {
        point: point.clone(),
        image: "web:1".into(),
        folder: scene.path("made"),
        machines: NewIdentity::draw(names, &mut Uuid::new_v4),
        disks,
        place: Place::Qemu,
        network: Network::Isolated,
        cpus: None,
        memory_bytes: Some(384 << 20),
        start: matches!(disks, DeployedDisks::AtOnce(_)),
        user_data: None,
        goes_on: false,
    }
}

/// Machines that were started as processes of their own; dropped, they end.
struct Running(Vec<(NewIdentity, StartedQemu)>);

impl Running {
    fn of(deployed: &Deployed) -> Result<Self> {
        let started = deployed.machines.iter().map(|one| match &one.made {
            Ok(Made::Started(qemu)) => Ok((one.identity.clone(), qemu.clone())),
            other => anyhow::bail!("{}: {other:?}", one.identity.name),
        });
        started.collect::<Result<_>>().map(Self)
    }

    /// Who each is, in the words of its guest and of its QEMU.
    fn identities(&self) -> Result<Vec<Vec<String>>> {
        let mut identities = Vec::new();
        for (identity, qemu) in &self.0 {
            let name = &identity.name;
            let agent = Agent::new(qemu.agent.as_deref().context("an agent's socket")?);
            agent.wait(BOOT * MACHINES as u32)?;
            let (code, said) = agent.sh(WHO)?;
            ensure!(code == 0, "{name}: {said}");
            let mark = agent.sh("cat /data0/mark && echo mine >/data0/mine && sync")?;
            ensure!(mark == (0, "golden\n".into()), "{name} is of the image, and writes: {mark:?}");
            let mut who: Vec<String> = said.lines().map(str::to_owned).collect();
            let uuid = identity.uuid.to_string();
            ensure!(who.len() == 5 && who[0] == *name && who[4] == uuid, "{name}: {who:?}");
            ensure!(who[3] == format!("iid-{uuid}"), "{name}: {who:?}");
            let mut monitor = Monitor::connect(&qemu.qmp)?;
            let card = json!({ "path": "/machine/peripheral/card", "property": "mac" });
            who.push(monitor.command("qom-get", card)?.as_str().unwrap_or_default().to_owned());
            identities.push(who);
        }
        Ok(identities)
    }

    fn end(&mut self) {
        for (_, qemu) in self.0.drain(..) {
            if let Ok(mut monitor) = Monitor::connect(&qemu.qmp) {
                let _ = monitor.command("quit", Value::Null); // gone before the answer is
            }
            while Path::new("/proc").join(qemu.pid.to_string()).exists() {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Bytes of an image's blocks that are not zeros.
async fn data_bytes(scene: &Scene, point: &Point) -> Result<u64> {
    let mut bytes = 0;
    for record in &point.disks {
        let disk = PointDisk::new(Arc::clone(&scene.vault), record.map.clone());
        let extents = disk.extents(0, record.map.size).await?;
        bytes += extents.iter().filter(|one| one.kind != ExtentKind::Zero).map(|one| one.length).sum::<u64>();
    }
    Ok(bytes)
}

fn backing(overlay: &Path) -> Result<Value> {
    run(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(overlay))?;
    let mut info = Command::new("qemu-img");
    let told = info.args(["info", "--output=json", "-f", "qcow2"]).arg(overlay).output()?.stdout;
    let told: Value = serde_json::from_slice(&told)?;
    Ok(told["backing-filename"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn six_machines_at_once_are_six_others_and_each_block_comes_once() -> Result<()> {
    let (store, counted) = CountedStore::new();
    let scene = Scene::with_store(tempfile::tempdir()?, store).await?;
    let point = made_image(&scene).await?;
    let data = data_bytes(&scene, &point).await?;
    let copies = scene.path("copies");
    let folder = scene.path("made/image-web-1");
    note_copy(&copies, point.id, &folder)?;

    counted.begin();
    let names: Vec<String> = (1..=MACHINES).map(|number| format!("web-{number}")).collect();
    let request = wanted(&scene, &point, names, DeployedDisks::AtOnce(Duration::from_secs(60)));
    let deployed = Box::pin(deploy(&scene.vault, &request, &|_| ())).await?;
    let mut running = Running::of(&deployed)?;
    let mut serving = deployed.serving.context("they run on what is not here yet")?;
    // Whoever deletes the image now would take from them what was not fetched.
    let in_use = copies_in_use(&copies, point.id);
    ensure!(in_use.len() == 1 && in_use[0].journal.dependents().count() == MACHINES, "{in_use:?}");
    let identities = blocking(|| running.identities())?;
    for place in 0..identities[0].len() {
        let different: BTreeSet<&String> = identities.iter().map(|who| &who[place]).collect();
        ensure!(different.len() == MACHINES, "the machines share something: {identities:?}");
    }
    let by_boot = serving.fetched_bytes();
    serving.fill().await?;
    ensure!(serving.fetched_bytes() == data, "{} bytes of {data} came", serving.fetched_bytes());
    let reads = counted.pack_reads();
    let ratio = reads.bytes as f64 / reads.distinct_bytes as f64;
    println!(
        "{MACHINES} boots needed {by_boot} bytes of {data}; of packs {reads:?} were read: {ratio:.3} times"
    );
    ensure!(ratio < GAPS, "packs were read again and again: {reads:?}");
    ensure!(copies_in_use(&copies, point.id).is_empty(), "what is whole needs no image");
    stand_alone_or_on_files(&scene, &mut running, serving).await?;

    // More of them fetch nothing, whatever became of the image.
    scene.vault.delete_point(point.id, now()).await?;
    ensure!(images(&scene.vault, None).await?.is_empty());
    let more = wanted(&scene, &point, vec!["web-7".into(), "web-8".into()], DeployedDisks::Overlays);
    let more = Box::pin(deploy(&scene.vault, &more, &|_| ())).await?;
    ensure!(more.fetched_bytes == 0 && more.machines.len() == 2, "{} bytes came", more.fetched_bytes);
    ensure!(known_copies(&copies, point.id)[0].journal.dependents().count() == MACHINES - 1 + 2);
    Ok(())
}

/// One that runs is made to stand alone; the others stand on the copy's files once they were off.
async fn stand_alone_or_on_files(scene: &Scene, running: &mut Running, serving: Serving) -> Result<()> {
    let folder = scene.path("made/image-web-1");
    serving.stop().await;
    flatten(&scene.vault, &folder, &["web-1".to_owned()], &|_| ()).await?;
    let (identity, qemu) = running.0.first().context("web-1 runs")?;
    ensure!(identity.name == "web-1");
    let agent = Agent::new(qemu.agent.as_deref().context("an agent's socket")?);
    sh(&agent, "cat /data0/mark /data0/mine && echo alone >/data0/mine && sync")?;
    blocking(|| {
        running.end();
        Ok(())
    })?;
    let whole = |progress| {
        if let ServingProgress::Unreadable(why) = progress {
            panic!("the vault is there: {why}");
        }
    };
    Serving::resume(&scene.vault, &folder).await?.follow(&whole).await;
    let overlay = |name: &str| scene.path("made").join(name).join("d-disk0.qcow2");
    ensure!(backing(&overlay("web-1"))?.is_null(), "web-1 stands alone");
    let file = folder.join("d-disk0.raw").display().to_string();
    for number in 2..=MACHINES {
        let told = backing(&overlay(&format!("web-{number}")))?;
        ensure!(told == file, "web-{number} stands on {told}");
    }
    Ok(())
}
