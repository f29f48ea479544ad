//! A database under load, backed up application-consistent, comes back whole: nothing that was committed is missing.

use crate::scene::{BOOT, Scene, assert_at_work, blocking, image, sh};
use anyhow::{Context, Result, ensure};
use hypervisor::Level;
use hypervisor::qemu::QemuMachine;
use std::path::PathBuf;
use testkit::{Format, GuestDisk, GuestMachine, MachineOptions};
use vault::Point;

/// Every transaction of pgbench moves one amount on an account, a teller and a branch, and writes it down.
const SUMS: &str =
    "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)
    and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)";
const COMMITTED: &str = "select count(*) from pgbench_history";

/// A point, with how many transactions were committed before it was begun and after it was done.
struct Taken {
    point: Point,
    committed: [u64; 2],
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_under_load_comes_back_with_all_that_was_committed() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = blocking(|| scene.boot("bank", true))?;
    let machine = QemuMachine::connect(&guest.qmp_socket(), Some(&guest.agent_socket())).await?;
    sh(guest.agent(), "pgbench -U postgres -i -q -s 1 postgres >/dev/null 2>&1")?;
    blocking(|| guest.agent().start("pgbench -U postgres -n -c 4 -T 3000 postgres >/dev/null 2>&1"))?;
    let under_load =
        "until [ $(psql -U postgres -Atc 'select count(*) from pgbench_history') -gt 100 ]; do :; done";
    sh(guest.agent(), under_load)?;
    let full = take(&scene, &guest, &machine).await?;
    let changes = take(&scene, &guest, &machine).await?;
    ensure!(changes.point.parent == Some(full.point.id), "{:?}", changes.point);
    ensure!(
        changes.point.disks.iter().all(|disk| disk.tracking == "only changes"),
        "{:?}",
        changes.point.disks
    );
    sh(guest.agent(), "pidof pgbench && killall pgbench")?;
    assert_at_work(&guest)?;
    drop(machine);
    blocking(|| guest.quit())?;
    for (name, taken) in [("full", &full), ("changes", &changes)] {
        let disks = scene.restore(&taken.point, &format!("{name}-disks")).await?;
        let restored = blocking(|| check(&scene, name, &disks))?;
        let [before, after] = taken.committed;
        println!("{name}: {before} committed before, {restored} restored, {after} after");
        ensure!((before..=after).contains(&restored), "{before} <= {restored} <= {after}");
    }
    Ok(())
}

async fn take(scene: &Scene, guest: &GuestMachine, machine: &QemuMachine) -> Result<Taken> {
    let committed = || -> Result<u64> {
        blocking(|| guest.psql(COMMITTED))?.trim().parse().context("a number of transactions")
    };
    let before = committed()?;
    let point = scene.backup(machine, Level::Application).await?;
    ensure!(point.consistency["level"] == "application", "{}", point.consistency);
    let after = committed()?;
    ensure!(before < after, "it was not under load");
    Ok(Taken { point, committed: [before, after] })
}

/// Boots the restored disks and looks at every page of the database; gives how many transactions it holds.
fn check(scene: &Scene, name: &str, disks: &[PathBuf; 2]) -> Result<u64> {
    let disks = disks.iter().zip(["disk0", "disk1"]);
    let disks = disks.map(|(path, node)| GuestDisk::file(node, path, Format::Raw)).collect();
    let machine = GuestMachine::start(image(), MachineOptions::new(name, &scene.path(name), disks))?;
    machine.wait_postgres(BOOT)?;
    ensure!(machine.psql(SUMS)?.trim() == "t", "{name}: the books do not balance");
    let committed = machine.psql(COMMITTED)?.trim().parse().context("a number of transactions")?;
    machine.psql("create extension amcheck")?;
    let (code, said) = machine.sh("pg_amcheck -U postgres --heapallindexed postgres")?;
    ensure!(code == 0 && said.is_empty(), "{name}: pg_amcheck: {code}: {said}");
    machine.power_off()?;
    Ok(committed)
}
