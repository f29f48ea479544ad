//! The two-disk oracle over the whole way: a guest that counts on both disks in turn, backed up while it does, comes
//! back with counters of one instant. Once in every test run; `cargo xtask oracle --runs 20` does it as often.

use crate::scene::{BOOT, Scene, blocking, image, sh};
use anyhow::{Context, Result, ensure};
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::qemu::QemuMachine;
use hypervisor::{Level, Machine};
use testkit::{Agent, Format, LibvirtDaemon, LibvirtGuest, MachineOptions, oracle};

/// One after the other.
const WISHES: [Level; 3] = [Level::Crash, Level::Application, Level::FileSystem];

fn runs() -> Result<usize> {
    match std::env::var("STRONGROOM_ORACLE_RUNS") {
        Ok(runs) => runs.parse().context("STRONGROOM_ORACLE_RUNS is not a number"),
        Err(_) => Ok(2), // everything, then changes only
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_a_counting_machine_of_qemu_show_one_instant() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = blocking(|| scene.boot("counts", false))?;
    let machine = QemuMachine::connect(&guest.qmp_socket(), Some(&guest.agent_socket())).await?;
    count_and_check(&scene, &machine, guest.agent()).await?;
    crate::scene::assert_at_work(&guest)
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_a_counting_machine_of_libvirt_show_one_instant() -> Result<()> {
    let scene = Scene::new().await?;
    let (daemon, guest) = blocking(|| {
        let daemon = LibvirtDaemon::start(&scene.path("libvirt"))?;
        let folder = scene.path("counts");
        let options = MachineOptions::new("counts", &folder, image().fresh_disks(&folder, Format::Qcow2)?);
        let guest = LibvirtGuest::start(image(), &daemon, options.without_postgres())?;
        guest.agent().wait(BOOT)?;
        Ok((daemon, guest))
    })?;
    let machine = LibvirtMachine::connect(&daemon.uri(), "counts").await?;
    let done = count_and_check(&scene, &machine, guest.agent()).await;
    drop(guest); // before its libvirt
    done
}

async fn count_and_check(scene: &Scene, machine: &dyn Machine, agent: &Agent) -> Result<()> {
    // Without a script of its own an application cannot be brought to a stand.
    let script = "/etc/strongroom/freeze.d/counter";
    sh(agent, &format!("printf '#!/bin/sh\\nexit 0\\n' >{script}; chmod 755 {script}"))?;
    blocking(|| agent.start("guest-probe seq /data0/seq /data1/seq >/dev/null 2>&1"))?;
    sh(agent, "until [ -s /data0/seq ] && [ -s /data1/seq ]; do sleep 0.1; done")?;
    let mut last = 0;
    for (run, wish) in (0..runs()?).zip(WISHES.into_iter().cycle()) {
        let point = scene.backup(machine, wish).await?;
        let changes_only = point.disks.iter().all(|disk| disk.tracking == "only changes");
        ensure!(changes_only == (run > 0), "run {run}: {:?}", point.disks);
        let name = format!("run-{run}");
        let [one, two] = scene.restore(&point, &name).await?;
        let counters = blocking(|| oracle::check(&one, &two)).with_context(|| format!("run {run}"))?;
        println!("run {run}, {wish:?}: {counters:?}, {} KiB read", point.stats.read_bytes >> 10);
        ensure!(counters.a > last, "it counted on since the last point: {last}, then {counters:?}");
        last = counters.a;
        std::fs::remove_dir_all(scene.path(&name))?;
    }
    sh(agent, "kill $(pidof guest-probe)").map(drop)
}
