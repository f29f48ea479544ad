//! A new machine from a point, under another name and beside the old one, which runs on.

use crate::scene::{BOOT, Scene, blocking, image, run, sh};
use anyhow::{Context, Result, ensure};
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::qemu::{QemuMachine, discover};
use hypervisor::recreate::{Identity, Macs, Network, Recreation, Stop, stop_qemu};
use hypervisor::{Level, Machine};
use mover::{ImageFormat, Made, NewMachine, Place, Recreated, RestoreRequest};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;
use testkit::{Agent, Format, GuestMachine, LibvirtDaemon, MachineOptions};
use vault::Point;

pub(crate) const TOKEN: &str = "create table token (t text); insert into token values ('e6b1')";

pub(crate) fn wanted(scene: &Scene, point: &Point, place: Place, network: Network) -> NewMachine {
    let folder = scene.path("new");
    let recreation = Recreation {
        name: "again".into(),
        uuid: Identity::New(uuid::Uuid::new_v4().to_string()),
        macs: Macs::New(7),
        network,
        cpus: Some(2),
        memory_bytes: Some(640 << 20),
        disks: Vec::new(),
        folder: folder.join("run"),
        over: None,
    };
    let restore =
        RestoreRequest { point: point.clone(), disks: Vec::new(), folder, format: ImageFormat::Qcow2 };
    NewMachine { restore, recreation, place, start: true }
}

async fn make(scene: &Scene, wanted: &NewMachine) -> Result<Recreated> {
    Ok(Box::pin(mover::new_machine(&scene.vault, wanted, &|_| ())).await?)
}

/// The old machine's TPM; ends with it, or when dropped.
struct Tpm(Child);

impl Tpm {
    fn start(scene: &Scene) -> Result<Self> {
        let (state, socket) = (scene.path("tpm"), scene.path("tpm.sock"));
        std::fs::create_dir(&state)?;
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"]);
        swtpm.arg(format!("dir={}", state.display()));
        let tpm = Self(swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display())).spawn()?);
        while !socket.exists() {
            std::thread::yield_now();
        }
        Ok(tpm)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The database of the restored machine has what stood in it at the point, and nothing later.
pub(crate) fn shows_its_token(agent: &Agent) -> Result<()> {
    blocking(|| {
        agent.wait(BOOT)?;
        agent.wait_postgres(BOOT)?;
        let tokens = agent.psql("select string_agg(t, ',') from token")?;
        ensure!(tokens.trim() == "e6b1", "{tokens}");
        Ok(())
    })?;
    let cpus = sh(agent, "grep -c ^processor /proc/cpuinfo")?;
    ensure!(cpus.trim() == "2", "{cpus} processors");
    sh(agent, "echo alive >/data0/alive && sync").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_qemu_comes_back_beside_the_old_one() -> Result<()> {
    let scene = Scene::new().await?;
    let _tpm = blocking(|| Tpm::start(&scene))?;
    let old = blocking(|| {
        let folder = scene.path("old");
        let mut options = MachineOptions::new("old", &folder, image().fresh_disks(&folder, Format::Qcow2)?);
        let card = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,id=card"];
        let chardev = format!("socket,id=tpmc,path={}", scene.path("tpm.sock").display());
        let tpm = ["-tpmdev", "emulator,id=tpm0,chardev=tpmc", "-device", "tpm-tis,tpmdev=tpm0"];
        options
            .arguments
            .extend(card.into_iter().chain(["-chardev", &chardev]).chain(tpm).map(str::to_owned));
        let machine = GuestMachine::start(image(), options)?;
        machine.wait_postgres(BOOT)?;
        machine.psql(TOKEN)?;
        Ok(machine)
    })?;
    let connected = QemuMachine::connect(&old.qmp_socket(), Some(&old.agent_socket())).await?;
    let point = scene.backup(&connected, Level::FileSystem).await?;
    blocking(|| old.psql("insert into token values ('later')"))?;

    // Refused before anything is written.
    let mut impossible = wanted(&scene, &point, Place::Qemu, Network::Isolated);
    impossible.recreation.folder = format!("/tmp/{}", "x".repeat(120)).into();
    ensure!(make(&scene, &impossible).await.is_err() && !scene.path("new").exists());

    let new = make(&scene, &wanted(&scene, &point, Place::Qemu, Network::Isolated)).await?;
    let Ok(Made::Started(started)) = &new.made else { anyhow::bail!("{:?}", new.made) };
    shows_its_token(&Agent::new(started.agent.as_ref().context("an agent's socket")?))?;
    let found = discover()?.into_iter().find(|found| found.pid == started.pid).context("it runs")?;
    ensure!(found.name.as_deref() == Some("again"), "{found:?}");
    let line = found.argv.join(" ");
    ensure!(
        line.contains("restrict=on") && !line.contains(&scene.path("old").display().to_string()),
        "{line}"
    );
    let machine = QemuMachine::connect(&started.qmp, None).await?;
    let told = machine.describe().await?;
    ensure!(told.uuid != point.description["uuid"].as_str().map(str::to_owned) && told.cpus == 2, "{told:?}");
    ensure!(told.memory_bytes == 640 << 20 && told.nics.len() == 1, "{told:?}");
    let tpms = machine.qmp().execute("query-tpm", serde_json::Value::Null).await?;
    ensure!(tpms[0]["options"]["type"] == "emulator", "{tpms}");
    ensure!(scene.path("new/tpm2-00.permall").is_file() && line.contains("/new/run/swtpm.sock"), "{line}");
    ensure!(point.description["nics"][0]["mac"] != told.nics[0].mac.as_str(), "{told:?}");
    drop(machine);
    // The old one has run on, and knows nothing of the new.
    ensure!(blocking(|| old.psql("select count(*) from token"))?.trim() == "2");
    stop_qemu(&started.qmp, Stop::PowerOff).await?;
    for disk in new.restored.disks.iter().filter(|disk| disk.format == ImageFormat::Qcow2) {
        run(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(&disk.path))?;
    }

    // By hand it starts, too; and where it cannot be started, its disks stay and are told.
    let mut by_hand = Command::new(&new.definition);
    run(by_hand.stdin(std::process::Stdio::null()))?;
    stop_when_up(&started.qmp).await?;
    let mut failing = wanted(&scene, &point, Place::Qemu, Network::Disconnected);
    failing.restore.folder = scene.path("failing");
    failing.recreation.folder = scene.path("failing/none/run"); // no such folder to make it in
    let failed = make(&scene, &failing).await?;
    ensure!(failed.made.is_err() && failed.restored.disks.iter().all(|disk| disk.path.is_file()));
    drop(connected);
    blocking(|| old.quit())
}

async fn stop_when_up(qmp: &Path) -> Result<()> {
    let tried = tokio::time::timeout(Duration::from_secs(60), async {
        while stop_qemu(qmp, Stop::PowerOff).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    Ok(tried.await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_libvirt_is_defined_under_another_name() -> Result<()> {
    let scene = Scene::new().await?;
    let daemon = blocking(|| LibvirtDaemon::start(&scene.path("libvirt")))?;
    let old = blocking(|| scene.boot_in(&daemon, "old"))?;
    blocking(|| old.agent().psql(TOKEN))?;
    let uri = daemon.uri();
    // A card on a bridge that this host has not: the new machine must not need it.
    let card = ["--type", "bridge", "--source", "nowhere", "--model", "virtio", "--config"];
    blocking(|| old.virsh("attach-interface", &card))?;
    let connected = LibvirtMachine::connect(&uri, "old").await?;
    let point = scene.backup(&connected, Level::FileSystem).await?;
    blocking(|| old.agent().psql("insert into token values ('later')"))?;

    let wish = wanted(&scene, &point, Place::Libvirt(uri.clone()), Network::Disconnected);
    let new = make(&scene, &wish).await?;
    let again = Guard { uri: &uri, name: "again" };
    let Ok(Made::Defined { uuid }) = &new.made else { anyhow::bail!("{:?}", new.made) };
    let mut cards = Command::new("virsh");
    let cards = cards.args(["--quiet", "--connect", &uri, "domiflist", "again"]).output()?.stdout;
    let cards = String::from_utf8(cards)?;
    ensure!(
        cards.trim().lines().count() == 1 && cards.contains("virtio") && !cards.contains("nowhere"),
        "{cards}"
    );
    shows_its_token(&Agent::of_libvirt(&uri, "again"))?;
    let machine = LibvirtMachine::connect(&uri, uuid).await?;
    let told = machine.describe().await?;
    ensure!(told.name.as_deref() == Some("again") && told.uuid.as_deref() == Some(uuid), "{told:?}");
    let files: Vec<&str> = told.disks.iter().map(|disk| disk.file.as_str()).collect();
    ensure!(files.iter().all(|file| file.starts_with(&scene.path("new").display().to_string())), "{files:?}");
    ensure!(blocking(|| old.agent().psql("select count(*) from token"))?.trim() == "2");
    drop(again);

    // A name that is taken: nothing is redefined, the disks stay.
    let mut taken = wish.clone();
    taken.restore.folder = scene.path("taken");
    taken.recreation.name = "old".into();
    let refused = make(&scene, &taken).await?;
    ensure!(refused.made.is_err() && refused.restored.disks.iter().all(|disk| disk.path.is_file()));
    ensure!(blocking(|| old.agent().psql("select count(*) from token"))?.trim() == "2");
    Ok(())
}

/// Ends a machine of libvirt's that the harness did not start.
pub(crate) struct Guard<'a> {
    pub(crate) uri: &'a str,
    pub(crate) name: &'a str,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut virsh = Command::new("virsh");
        let _ = virsh.args(["--quiet", "--connect", self.uri, "destroy", self.name]).status();
    }
}
