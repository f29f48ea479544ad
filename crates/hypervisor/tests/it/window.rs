//! One instant for all disks of a running machine, and how long it takes.

use crate::guest::{Guest, as_parent, pull};
use anyhow::Result;
use hypervisor::{FreezeRequest, HookPhase, Level, Machine, Outcome};
use std::time::Duration;

const ROUNDS: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_machine_is_frozen_at_one_instant_and_its_applications_with_it() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("window", |_, _| ()))?;
    let script = "/etc/strongroom/freeze.d/shop";
    guest.sh(&format!("printf '#!/bin/sh\\nexit 0\\n' > {script}; chmod +x {script}"))?;
    let machine = guest.connect().await?;
    tokio::task::block_in_place(|| {
        guest.machine.agent().start("guest-probe seq /data0/seq /data1/seq >/dev/null 2>&1")
    })?;
    guest.sh("until [ -s /data0/seq ] && [ -s /data1/seq ]; do sleep 0.1; done")?;
    let (mut windows, mut parent) = (Vec::new(), None);
    for round in 0..ROUNDS {
        let request = FreezeRequest {
            wish: Level::Application,
            may_fall: round == 0,
            ..guest.request_after(&format!("round-{round}"), parent.take())
        };
        let frozen = machine.freeze(request).await?;
        let consistency = frozen.consistency();
        assert_eq!(consistency.level, Level::Application, "{consistency:?}");
        assert_eq!(consistency.frozen_filesystems, 2);
        assert!(consistency.fell_because.is_empty() && consistency.agent_version.is_some());
        let phases: Vec<HookPhase> = consistency.hooks.iter().map(|hook| hook.phase).collect();
        assert_eq!(phases, [HookPhase::Freeze, HookPhase::Thaw]);
        windows.push((frozen.window(), consistency.freeze_ms));
        assert!(frozen.window() > Duration::ZERO);
        if round == 0 {
            let copies = [guest.path("a.raw"), guest.path("b.raw")];
            for (disk, copy) in frozen.disks().iter().zip(&copies) {
                pull(disk, copy)?;
            }
            let counters = tokio::task::block_in_place(|| testkit::oracle::check(&copies[0], &copies[1]))?;
            assert!(counters.a > 0);
        }
        parent = Some(as_parent(&frozen));
        frozen.check().await?;
        frozen.release(Outcome::Committed).await?;
    }
    windows.sort();
    let (median, held) = windows[ROUNDS / 2];
    println!("window of two disks: median {median:?} (guest held {held} ms); all: {windows:?}");
    guest.sh("kill $(pidof guest-probe)")?;
    guest.assert_untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_quiescing_the_disks_are_still_of_one_instant() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("crash", |_, _| ()))?;
    let machine = guest.connect().await?;
    tokio::task::block_in_place(|| {
        guest.machine.agent().start("guest-probe seq /data0/seq /data1/seq >/dev/null 2>&1")
    })?;
    guest.sh("until [ -s /data0/seq ] && [ -s /data1/seq ]; do sleep 0.1; done")?;
    for round in 0..3 {
        let request = FreezeRequest { wish: Level::Crash, ..guest.request(&format!("crash-{round}"), None) };
        let frozen = machine.freeze(request).await?;
        assert_eq!(frozen.consistency().level, Level::Crash);
        assert!(frozen.consistency().fell_because.is_empty());
        let copies = [guest.path("a.raw"), guest.path("b.raw")];
        for (disk, copy) in frozen.disks().iter().zip(&copies) {
            pull(disk, copy)?;
        }
        frozen.release(Outcome::Abandoned).await?;
        tokio::task::block_in_place(|| testkit::oracle::check(&copies[0], &copies[1]))?;
    }
    guest.sh("kill $(pidof guest-probe)")?;
    guest.assert_untouched()
}
