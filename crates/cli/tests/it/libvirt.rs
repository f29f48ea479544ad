//! A machine of libvirt, named on the command line like any other.

use crate::guest::{BOOT, Guest, assert_equal, check_image, image};
use crate::scene::{Scene, id, names_in, tracking};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use testkit::{LibvirtDaemon, LibvirtGuest};

#[test]
fn a_machine_of_libvirt_is_listed_backed_up_and_restored() -> Result<()> {
    let scene = Scene::new()?;
    let daemon = LibvirtDaemon::start(&scene.path("libvirt"))?;
    let machine = LibvirtGuest::start(image(), &daemon, Guest::options(&scene, "domain")?)?;
    machine.agent().wait(BOOT)?;
    let (uri, name) = (daemon.uri(), machine.options().name.clone());

    let listed = scene.ask(&["machine", "list", "--libvirt", &uri])?;
    ensure!(listed.as_array().is_some_and(|machines| machines.len() == 1), "{listed}");
    ensure!(listed[0]["name"] == name && listed[0]["state"] == "running", "{listed}");
    let none = scene.try_backup("nobody", &["--libvirt", &uri])?;
    ensure!(none.code == Some(3) && none.stderr.contains("has no machine nobody"), "{none:?}");
    let silent = scene.run(["machine", "list", "--libvirt", "qemu:///system?socket=/nonexistent"])?;
    ensure!(silent.code == Some(5) && silent.stderr.contains("Failed to connect"), "{silent:?}");

    let run = |command: &str| -> Result<()> {
        let (code, said) = machine.agent().sh(command)?;
        ensure!(code == 0, "{command}: {said}");
        Ok(())
    };
    run("guest-probe fill /data0/noise 40000000 1 && guest-probe fill /data1/noise 30000001 2 && sync")?;
    let full = back_up_and_compare(&scene, &machine, &uri, "full")?;
    ensure!(tracking(&full).iter().all(|how| how.starts_with("everything")), "{full}");
    run("guest-probe rndw /data0/noise 40000000 80 4096 3 && rm /data1/noise && sync; fstrim /data0; sync")?;
    let changed = back_up_and_compare(&scene, &machine, &uri, "changed")?;
    ensure!(tracking(&changed) == ["only changes", "only changes"], "{changed}");
    ensure!(changed["description"]["definition"].as_str().is_some_and(|xml| xml.contains(&name)));

    machine.virsh("destroy", &[])?;
    for disk in 0..2 {
        check_image(&scene.path("domain").join(format!("data{disk}.qcow2")))?;
    }
    Ok(())
}

/// Backs the machine up while it stands, restores the point, and compares it with the disks as they are.
fn back_up_and_compare(scene: &Scene, machine: &LibvirtGuest, uri: &str, name: &str) -> Result<Value> {
    machine.virsh("suspend", &[])?;
    let point = scene.try_backup(&machine.options().name, &["--libvirt", uri])?.json()?;
    ensure!(names_in(&scene.path("scratch"))?.is_empty(), "the scratch folder is empty again");
    let folder = scene.path(name);
    let mut restore = scene.command(["restore", "disks", id(&point)?, "--format", "raw", "--to"]);
    crate::program::Running::start(restore.arg(&folder))?.finish()?.succeeded()?;
    let mut expected = Vec::new();
    for disk in &machine.options().disks {
        let source = disk.path.as_ref().context("the disk is a file")?;
        let target = scene.path(&format!("{name}-{}.raw", disk.node));
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-U", "-f", "qcow2", "-O", "raw"]).arg(source).arg(&target);
        ensure!(convert.status().context("run qemu-img")?.success(), "{convert:?}");
        expected.push(target);
    }
    let expected: [PathBuf; 2] = expected.try_into().ok().context("two disks")?;
    assert_equal(&["vda.raw", "vdb.raw"].map(|image| folder.join(image)), &expected)?;
    machine.virsh("resume", &[])?;
    Ok(point)
}
