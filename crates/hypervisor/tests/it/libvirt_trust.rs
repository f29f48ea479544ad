//! What libvirt keeps is believed while nobody has a reason not to, and given back however libvirt fares meanwhile.

use crate::conformance::{LibvirtHarness, Parent, Provider};
use crate::guest::as_parent;
use anyhow::{Context, Result, ensure};
use hypervisor::libvirt::LibvirtMachine;
use hypervisor::{FreezeRequest, FrozenDisk, Machine, Outcome, Tracking};

fn request(harness: &LibvirtHarness, point: &str, parent: Parent) -> FreezeRequest {
    harness.request("v", point, parent)
}

async fn committed(machine: &LibvirtMachine, request: FreezeRequest) -> Result<Parent> {
    let frozen = machine.freeze(request).await?;
    let parent = as_parent(&frozen);
    frozen.release(Outcome::Committed).await?;
    Ok(Some(parent))
}

fn reason(disk: &FrozenDisk) -> &str {
    match &disk.tracking {
        Tracking::Full { reason } => reason,
        Tracking::Incremental { .. } => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_believed_is_gone_and_a_libvirt_that_is_away_is_waited_for() -> Result<()> {
    let mut harness = tokio::task::block_in_place(|| LibvirtHarness::start("trust"))?;
    let machine = harness.connected().await?;
    distrusted(&harness, &machine).await?;
    away(&mut harness, &machine).await
}

async fn distrusted(harness: &LibvirtHarness, machine: &LibvirtMachine) -> Result<()> {
    let parent = committed(machine, request(harness, "t1", None)).await?;
    let distrust = |disk: &str, point: &str| FreezeRequest {
        distrusted: [(disk.to_owned(), "it was caught lying".to_owned())].into(),
        ..request(harness, point, parent.clone())
    };
    // Of a disk that has no record there, nothing needs to go.
    let frozen = machine.freeze(distrust("vdz", "t2")).await?;
    ensure!(frozen.disks().iter().all(|disk| disk.tracking.bitmap().is_some()), "{:?}", frozen.disks());
    frozen.release(Outcome::Abandoned).await?;
    assert_eq!(harness.records()?, [1, 1]);

    let frozen = machine.freeze(distrust("vda", "t3")).await?;
    let removed = |done: &String| done.contains("not to be believed");
    ensure!(frozen.recovered().iter().any(removed), "{:?}", frozen.recovered());
    assert_eq!(reason(&frozen.disks()[0]), "it was caught lying");
    ensure!(reason(&frozen.disks()[1]).contains("no record"), "{:?}", frozen.disks()[1]);
    frozen.release(Outcome::Abandoned).await?;
    // Nobody committed anything, and yet no later run can believe it.
    assert_eq!(harness.records()?, [0, 0]);
    let frozen = machine.freeze(request(harness, "t4", parent.clone())).await?;
    ensure!(frozen.disks().iter().all(|disk| reason(disk).contains("no record")), "{:?}", frozen.disks());
    frozen.release(Outcome::Committed).await?;
    assert_eq!(harness.records()?, [1, 1]);
    harness.assert_untouched()
}

/// A libvirt that ends before the machine is given back, and comes again.
async fn away(harness: &mut LibvirtHarness, machine: &LibvirtMachine) -> Result<()> {
    let parent = committed(machine, request(harness, "w1", None)).await?;
    let frozen = machine.freeze(request(harness, "w2", parent)).await?;
    tokio::task::block_in_place(|| harness.daemon.stop())?;
    let given_back = tokio::spawn(frozen.release(Outcome::Committed));
    // It has asked by now, and was not answered: libvirt takes longer than that to start.
    tokio::task::block_in_place(|| harness.daemon.start_again())?;
    given_back.await?.context("it was not waited for")?;
    assert_eq!(harness.records()?, [1, 1]);
    harness.assert_untouched()
}
