//! A machine made of its point, which runs while its data follows.

use crate::new_machine::{Guard, TOKEN, shows_its_token, wanted};
use crate::scene::{Scene, blocking, run};
use anyhow::{Context, Result, bail, ensure};
use hypervisor::Level;
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::qemu::{QemuMachine, discover};
use hypervisor::recreate::{Network, Stop, stop_qemu};
use mover::instant::{
    InstantMachine, InstantOptions, InstantRequest, InstantRestore, Journal, State, plan_discard,
};
use mover::{Defined, Made, Place};
use std::process::Command;
use std::time::Duration;
use testkit::{Agent, LibvirtDaemon};
use tokio::task::JoinHandle;
use vault::Point;

/// What became of the machine, and its data following.
type AtOnce = (Defined, JoinHandle<mover::Result<Journal>>);

async fn at_once(scene: &Scene, point: &Point, place: Place) -> Result<AtOnce> {
    let wish = wanted(scene, point, place, Network::Isolated);
    let request = InstantRequest {
        point: point.clone(),
        folder: wish.restore.folder,
        vault: "here".into(),
        door: None,
        run_folder: None,
        job: None,
        patience: Duration::from_secs(10),
    };
    let machine = InstantMachine { recreation: wish.recreation, place: wish.place, start: true };
    let options = InstantOptions::default();
    let (restore, made) =
        InstantRestore::start_machine(&scene.vault, &request, &machine, &options, &|_| ()).await?;
    Ok((made, tokio::spawn(async move { restore.follow(&|_| ()).await })))
}

/// That the images need nobody, and are sound.
async fn assert_alone(scene: &Scene, following: JoinHandle<mover::Result<Journal>>) -> Result<()> {
    let journal = following.await??;
    ensure!(journal.state == State::Whole && !scene.path("new/nbd.sock").exists(), "{journal:?}");
    for disk in &journal.disks {
        let info =
            Command::new("qemu-img").args(["info", "-U", "--output=json"]).arg(&disk.image).output()?;
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        ensure!(info.contains("virtual-size") && !info.contains("backing"), "{info}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_qemu_is_made_runs_at_once_and_is_given_up_by_name() -> Result<()> {
    let scene = Scene::new().await?;
    let old = blocking(|| scene.boot("old", true))?;
    blocking(|| old.psql(TOKEN))?;
    let connected = QemuMachine::connect(&old.qmp_socket(), Some(&old.agent_socket())).await?;
    let point = scene.backup(&connected, Level::FileSystem).await?;
    blocking(|| old.psql("insert into token values ('later')"))?;

    let (made, following) = at_once(&scene, &point, Place::Qemu).await?;
    let Ok(Made::Started(started)) = &made.made else { bail!("{:?}", made.made) };
    let found = discover()?.into_iter().find(|found| found.pid == started.pid).context("it runs")?;
    let line = found.argv.join(" ");
    ensure!(line.contains("property=rerror,value=stop"), "{line}");
    let agent = Agent::new(started.agent.as_ref().context("an agent's socket")?);
    shows_its_token(&agent)?;
    ensure!(plan_discard(&scene.path("new")).await.is_err(), "a machine runs on it");
    assert_alone(&scene, following).await?;
    shows_its_token(&agent)?;
    ensure!(blocking(|| old.psql("select count(*) from token"))?.trim() == "2", "the old one ran on");

    stop_qemu(&started.qmp, Stop::PowerOff).await?;
    run(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(scene.path("new/d-disk0.qcow2")))?;
    let plan = plan_discard(&scene.path("new")).await?;
    ensure!(plan.files.contains(&made.definition), "{plan:?}");
    plan.apply().await?;
    ensure!(!scene.path("new").exists(), "nothing is left");
    drop(connected);
    blocking(|| old.quit())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_libvirt_is_defined_and_runs_at_once() -> Result<()> {
    let scene = Scene::new().await?;
    let daemon = blocking(|| LibvirtDaemon::start(&scene.path("libvirt")))?;
    let old = blocking(|| scene.boot_in(&daemon, "old"))?;
    blocking(|| old.agent().psql(TOKEN))?;
    let uri = daemon.uri();
    let connected = LibvirtMachine::connect(&uri, "old").await?;
    let point = scene.backup(&connected, Level::FileSystem).await?;

    let (made, following) = at_once(&scene, &point, Place::Libvirt(uri.clone())).await?;
    let _again = Guard { uri: &uri, name: "again" };
    ensure!(matches!(&made.made, Ok(Made::Defined { .. })), "{:?}", made.made);
    let agent = Agent::of_libvirt(&uri, "again");
    shows_its_token(&agent)?;
    assert_alone(&scene, following).await?;
    shows_its_token(&agent)?;
    drop(old);
    Ok(())
}
