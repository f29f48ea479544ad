//! Points of libvirt's machines, tried out by libvirt beside the original.

use crate::new_machine::TOKEN;
use crate::scene::{BOOT, Scene, blocking};
use anyhow::{Result, ensure};
use hypervisor::Level;
use hypervisor::libvirt::{LibvirtMachine, discover};
use model::drill::{Check, Verdict};
use mover::drill::{DrillRequest, DrillStep, Sign, drill};
use testkit::LibvirtDaemon;
use tokio::sync::Notify;
use uuid::Uuid;
use vault::Point;

fn request(scene: &Scene, point: &Point, uri: &str, command: &str) -> DrillRequest {
    let check = Check { name: "c".into(), command: command.into(), exit: 0, pattern: None, limit_s: 3600 };
    DrillRequest {
        id: Uuid::new_v4(),
        point: point.clone(),
        libvirt: Some(uri.to_owned()),
        scratch: scene.path("scratch"),
        cpus: None,
        memory_bytes: None,
        sign: Sign::Agent,
        boot_limit: BOOT,
        checks: vec![check],
    }
}

/// The machines that a libvirt has, running or not.
async fn machines(uri: &str) -> Result<Vec<String>> {
    Ok(discover(uri).await?.into_iter().map(|found| found.name).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_libvirt_proves_itself_beside_its_original_and_is_gone() -> Result<()> {
    let scene = Scene::new().await?;
    let daemon = blocking(|| LibvirtDaemon::start(&scene.path("libvirt")))?;
    let old = blocking(|| scene.boot_in(&daemon, "old"))?;
    blocking(|| old.agent().psql(TOKEN))?;
    let uri = daemon.uri();
    let point = scene.backup(&LibvirtMachine::connect(&uri, "old").await?, Level::FileSystem).await?;

    let token = "until pg_isready -q -U postgres; do sleep 1; done; \
                 su -s /bin/sh postgres -c 'psql -X -q -A -t -c \"select count(*) from token\"'";
    let drilled = drill(&scene.vault, &request(&scene, &point, &uri, token), &|_| ()).await?;
    ensure!(drilled.record.verdict == Verdict::Proved, "{drilled:?}");
    ensure!(drilled.record.checks[0].output.trim() == "1", "{drilled:?}");
    ensure!(!drilled.record.console.is_empty() && drilled.record.read_bytes > 0, "{drilled:?}");
    ensure!(machines(&uri).await? == ["old"], "the original alone");
    ensure!(std::fs::read_dir(scene.path("scratch"))?.count() == 0, "a drill leaves nothing");

    // Dropped while the guest is asked: libvirt destroys what it ran for us.
    let asked = Notify::new();
    let tell = |step| {
        if step == DrillStep::Checks {
            asked.notify_one();
        }
    };
    let request = request(&scene, &point, &uri, "sleep 1000");
    tokio::select! {
        drilled = drill(&scene.vault, &request, &tell) => anyhow::bail!("it waits: {drilled:?}"),
        () = asked.notified() => {}
    }
    while machines(&uri).await?.len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ensure!(machines(&uri).await? == ["old"], "the original alone");
    ensure!(std::fs::read_dir(scene.path("scratch"))?.count() == 0, "nor does one that was given up");
    ensure!(blocking(|| old.agent().psql("select count(*) from token"))?.trim() == "1", "the old one ran on");
    drop(old);
    Ok(())
}
