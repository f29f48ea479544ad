//! A machine put back to a point in its own place, cut off after each step, finished, and undone.

use crate::differences::back_up;
use crate::scene::{BOOT, Scene, blocking, image, now, run};
use anyhow::{Context, Result, ensure};
use hypervisor::Level;
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::offline::Format as ImageKind;
use hypervisor::qemu::{QemuMachine, discover};
use hypervisor::recreate::{Stop, stop_qemu};
use mover::{Existing, Replacement, SafetyPoint, Stage, plan_replacement};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Agent, Format, GuestMachine, LibvirtDaemon, MachineOptions};
use uuid::Uuid;
use vault::{Point, PointId, SessionId};

const TOKEN: &str = "create table token (t text); insert into token values ('e6b1')";

fn safety(scene: &Scene) -> SafetyPoint {
    SafetyPoint {
        into: None,
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        service: serde_json::Value::Null,
        gate: None,
        scratch: scene.path("scratch"),
        clock: now,
    }
}

async fn plan(scene: &Scene, point: &Point, existing: &Existing, stop: Option<Stop>) -> Result<Replacement> {
    let wishes = (Uuid::now_v7(), Some(PointId(Uuid::now_v7())), stop);
    Ok(plan_replacement(point, scene.vault.id().0, existing, wishes).await?.begin()?)
}

/// Up to `steps` steps, each by a program that ends after it; says how many there were.
async fn advance(scene: &Scene, journal: &Path, steps: usize) -> Result<usize> {
    for done in 0..steps {
        let mut replacement = Replacement::load(journal)?;
        if !Box::pin(replacement.advance(&scene.vault, &safety(scene), &|_| ())).await? {
            return Ok(done);
        }
    }
    Ok(steps)
}

/// Two disks that are off, at a point and later.
struct Off {
    scene: Scene,
    point: Point,
    disks: [PathBuf; 2],
    /// What each held at the point, and later.
    states: [[Vec<u8>; 2]; 2],
}

impl Off {
    async fn new() -> Result<Self> {
        let scene = Scene::new().await?;
        let disks = [0, 1].map(|disk| scene.path(&format!("d{disk}.raw")));
        let state = |byte: u8, disk: u8| {
            (0..1_200_000_u32).map(|n| (n % 241) as u8 ^ byte ^ disk).collect::<Vec<u8>>()
        };
        let states = [0_u8, 1].map(|disk| {
            [1, 2].map(|byte| {
                let mut bytes = state(byte, disk);
                bytes.resize(1_204_224, 0); // whole sectors
                bytes
            })
        });
        for (path, states) in disks.iter().zip(&states) {
            std::fs::write(path, &states[0])?;
        }
        let images = [("d0", disks[0].as_path(), ImageKind::Raw), ("d1", disks[1].as_path(), ImageKind::Raw)];
        let point = back_up(&scene, "m", &images).await?;
        for (path, states) in disks.iter().zip(&states) {
            std::fs::write(path, &states[1])?;
        }
        Ok(Self { scene, point, disks, states })
    }

    fn holds(&self, state: usize) -> Result<()> {
        for (path, states) in self.disks.iter().zip(&self.states) {
            ensure!(std::fs::read(path)? == states[state], "{} is not in state {state}", path.display());
        }
        Ok(())
    }

    /// What lies beside the disks that we put there.
    fn beside(&self) -> Result<Vec<String>> {
        let names = std::fs::read_dir(self.scene.path("."))?.flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter(|name| name.contains("restore-")).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_after_any_step_it_is_finished_or_undone() -> Result<()> {
    let off = Off::new().await?;
    let mut total = 1;
    let mut cut = 0;
    while cut <= total {
        // Undone from here.
        let planned = plan(&off.scene, &off.point, &Existing::Off, None).await?;
        let journal = planned.path().to_owned();
        advance(&off.scene, &journal, cut).await?;
        Replacement::load(&journal)?.undo(None, &|_| ()).await?;
        off.holds(1)?;
        let mut undone = Replacement::load(&journal)?;
        undone.undo(None, &|_| ()).await?; // undoing is done once
        ensure!(undone.journal().stage == Stage::Undone);
        ensure!(!undone.advance(&off.scene.vault, &safety(&off.scene), &|_| ()).await?, "it stays undone");
        undone.remove_kept()?;
        ensure!(off.beside()?.is_empty(), "cut after {cut}: {:?}", off.beside()?);
        off.holds(1)?;

        // Finished from here.
        let planned = plan(&off.scene, &off.point, &Existing::Off, None).await?;
        let journal = planned.path().to_owned();
        advance(&off.scene, &journal, cut).await?;
        let early = Replacement::load(&journal)?;
        if early.journal().stage != Stage::Done {
            ensure!(early.remove_kept().is_err(), "originals stay until it is finished");
        }
        let rest = advance(&off.scene, &journal, usize::MAX).await?;
        total = cut + rest;
        off.holds(0)?;
        let mut done = Replacement::load(&journal)?;
        ensure!(done.journal().stage == Stage::Done && done.kept().len() == 2, "{:?}", done.journal());
        let saved = done.journal().safety.context("a safety point")?;
        let points = off.scene.vault.points().await?;
        let saved =
            points.iter().find(|point| point.id == saved).context("the safety point is in the vault")?;
        let restored = off.scene.restore(saved, &format!("saved-{cut}")).await?;
        for (path, states) in restored.iter().zip(&off.states) {
            ensure!(std::fs::read(path)? == states[1], "the safety point holds what was before");
        }
        done.undo(None, &|_| ()).await?;
        off.holds(1)?;
        ensure!(done.kept().len() == 2, "what was restored is kept: {:?}", done.kept());
        done.remove_kept()?;
        ensure!(off.beside()?.is_empty());
        cut += 1;
    }
    ensure!(total >= 9, "{total} steps: every rename is one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_that_is_cut_off_goes_on_and_what_changed_shape_is_refused() -> Result<()> {
    let off = Off::new().await?;
    let planned = plan(&off.scene, &off.point, &Existing::Off, None).await?;
    let journal = planned.path().to_owned();
    advance(&off.scene, &journal, usize::MAX).await?;
    // As if killed between the two renames of the first disk.
    let mut undoing = Replacement::load(&journal)?;
    let first = undoing.journal().disks[0].clone();
    std::fs::rename(&first.original, undoing.journal().undone(&first))?;
    undoing.undo(None, &|_| ()).await?;
    off.holds(1)?;
    undoing.remove_kept()?;

    let faults = async |what: &str| -> Result<()> {
        let error = plan(&off.scene, &off.point, &Existing::Off, None).await.expect_err("another shape");
        let text = format!("{error:?}");
        ensure!(text.contains(what), "{what}: {text}");
        ensure!(off.beside()?.is_empty(), "nothing was begun");
        Ok(())
    };
    std::fs::File::options().write(true).open(&off.disks[0])?.set_len(1_204_224 + 512)?;
    faults("had 1204224 bytes and has 1204736").await?;
    std::fs::remove_file(&off.disks[0])?;
    faults("is no file").await?;
    std::os::unix::fs::symlink(&off.disks[1], &off.disks[0])?;
    faults("is no file").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_qemu_goes_back_and_comes_back() -> Result<()> {
    let scene = Scene::new().await?;
    let mut guest = blocking(|| {
        let folder = scene.path("m");
        let options = MachineOptions::new("replaced", &folder, image().fresh_disks(&folder, Format::Qcow2)?);
        let machine = GuestMachine::start(image(), options)?;
        machine.wait_postgres(BOOT)?;
        machine.psql(TOKEN)?;
        Ok(machine)
    })?;
    let (qmp, agent) = (guest.qmp_socket(), guest.agent_socket());
    let machine = QemuMachine::connect(&qmp, Some(&agent)).await?;
    let point = scene.backup(&machine, Level::FileSystem).await?;
    drop(machine);
    blocking(|| guest.psql("insert into token values ('later')"))?;

    let pid = guest.process_id();
    let address = discover()?.into_iter().find(|found| found.pid == pid).context("it runs")?;
    let running = Existing::Running(address);
    ensure!(plan(&scene, &point, &running, None).await.is_err(), "a running machine is not stopped unasked");
    let planned = plan(&scene, &point, &running, Some(Stop::PowerOff)).await?;
    let journal = planned.path().to_owned();
    let steps = advance(&scene, &journal, usize::MAX).await?;
    println!("{steps} steps");
    blocking(|| guest.wait_exit(BOOT).map(drop))?;
    let agent = Agent::new(&agent);
    tokens(&agent, "e6b1")?;
    Replacement::load(&journal)?.undo(Some(Stop::PowerOff), &|_| ()).await?;
    tokens(&agent, "e6b1,later")?;
    stop_qemu(&qmp, Stop::PowerOff).await?;
    let replacement = Replacement::load(&journal)?;
    let kept = replacement.kept();
    ensure!(kept.len() == 2, "what the guest wrote after the restore is kept: {kept:?}");
    for disk in replacement.journal().disks.iter().map(|swap| &swap.original).chain(&kept) {
        run(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(disk))?;
    }
    replacement.remove_kept()?;
    Ok(())
}

fn tokens(agent: &Agent, expected: &str) -> Result<()> {
    blocking(|| {
        agent.wait(BOOT)?;
        agent.wait_postgres(BOOT)?;
        let tokens = agent.psql("select string_agg(t, ',' order by t) from token")?;
        ensure!(tokens.trim() == expected, "{tokens}");
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_libvirt_goes_back_and_comes_back() -> Result<()> {
    let scene = Scene::new().await?;
    let daemon = blocking(|| LibvirtDaemon::start(&scene.path("libvirt")))?;
    let guest = blocking(|| scene.boot_in(&daemon, "replaced"))?;
    blocking(|| guest.agent().psql(TOKEN))?;
    let uri = daemon.uri();
    let point = scene.backup(&LibvirtMachine::connect(&uri, "replaced").await?, Level::FileSystem).await?;
    blocking(|| guest.agent().psql("insert into token values ('later')"))?;
    let definition = blocking(|| guest.virsh("dumpxml", &["--inactive"]))?;

    let existing = Existing::Libvirt { uri, name: "replaced".into() };
    let planned = plan(&scene, &point, &existing, Some(Stop::PowerOff)).await?;
    let journal = planned.path().to_owned();
    advance(&scene, &journal, usize::MAX).await?;
    tokens(guest.agent(), "e6b1")?;
    ensure!(
        blocking(|| guest.virsh("dumpxml", &["--inactive"]))? == definition,
        "its definition is as it was"
    );
    Replacement::load(&journal)?.undo(Some(Stop::PowerOff), &|_| ()).await?;
    tokens(guest.agent(), "e6b1,later")?;

    // Another bus is another machine.
    blocking(|| guest.virsh("destroy", &[]))?;
    let changed = scene.path("changed.xml");
    let xml = definition.replacen("bus='virtio'", "bus='sata'", 1);
    let disk_end = xml.find("</disk>").context("a disk")?;
    let (disk, rest) = xml.split_at(disk_end);
    let disk = match (disk.rfind("<address"), disk.rfind("<disk")) {
        (Some(at), Some(begin)) if at > begin => disk[..at].to_owned(),
        _ => disk.to_owned(),
    };
    std::fs::write(&changed, disk + rest)?;
    let mut define = Command::new("virsh");
    run(define.args(["--quiet", "--connect", &daemon.uri(), "define", "--file"]).arg(&changed))?;
    let error = format!("{:?}", plan(&scene, &point, &existing, None).await.expect_err("another bus"));
    ensure!(error.contains("was on virtio and is on sata"), "{error}");
    Ok(())
}
