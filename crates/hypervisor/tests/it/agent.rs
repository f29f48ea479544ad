//! The ladder: agents that are missing, hung, slow, or whose hooks fail.

use crate::guest::Guest;
use anyhow::Result;
use hypervisor::qemu::QemuMachine;
use hypervisor::{Consistency, ErrorKind, FreezeRequest, Level, Machine, Outcome};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Freezes, asserts that all came of it that can, and returns what was reached.
async fn reach(guest: &Guest, machine: &QemuMachine, request: FreezeRequest) -> Result<Consistency> {
    let frozen = machine.freeze(request).await?;
    frozen.check().await?;
    let consistency = frozen.consistency().clone();
    frozen.release(Outcome::Abandoned).await?;
    guest.assert_untouched()?;
    Ok(consistency)
}

fn says(consistency: &Consistency, text: &str) -> bool {
    consistency.fell_because.iter().any(|reason| reason.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn less_than_wished_is_said_with_its_reason_or_refused() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("ladder", |_, _| ()))?;
    let application = |point: &str| FreezeRequest { wish: Level::Application, ..guest.request(point, None) };

    // No agent known.
    let machine = QemuMachine::connect(&guest.machine.qmp_socket(), None).await?;
    let reached = reach(&guest, &machine, guest.request("p1", None)).await?;
    assert_eq!(reached.level, Level::Crash);
    assert!(says(&reached, "no guest agent socket"), "{reached:?}");
    drop(machine);

    // A hook, but no application.
    let machine = connect_again(&guest).await?;
    let reached = reach(&guest, &machine, application("p2")).await?;
    assert_eq!((reached.level, reached.frozen_filesystems), (Level::FileSystem, 2));
    assert!(says(&reached, "no application has a freeze script"), "{reached:?}");
    let strict = FreezeRequest { may_fall: false, ..application("p3") };
    let error = machine.freeze(strict.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest, "{error}");
    guest.assert_untouched()?;

    // An application that fails.
    let script = "/etc/strongroom/freeze.d/shop";
    guest.sh(&format!("printf '#!/bin/sh\\n[ $1 = thaw ] || exit 3\\n' > {script}; chmod +x {script}"))?;
    let reached = reach(&guest, &machine, application("p4")).await?;
    assert_eq!(reached.level, Level::Crash);
    assert_eq!(reached.hooks[0].exit, 3, "{reached:?}");
    assert_eq!(machine.freeze(strict).await.unwrap_err().kind(), ErrorKind::Guest);
    guest.assert_untouched()?;

    // An application that is too slow: the freeze is given up, yet the guest thaws in the end.
    guest.sh(&format!("printf '#!/bin/sh\\n[ $1 = thaw ] || sleep 4\\n' > {script}"))?;
    let impatient = FreezeRequest { freeze_timeout: Duration::from_secs(1), ..application("p5") };
    let reached = reach(&guest, &machine, impatient).await?;
    assert_eq!(reached.level, Level::Crash);
    assert!(says(&reached, "no answer from the guest agent within 1000 ms"), "{reached:?}");

    // Somebody else's hook, which ends well whatever its scripts did: no folder for the token.
    guest.sh("rm -r /run/strongroom; printf '#!/bin/sh\\nexit 0\\n' >/etc/qemu/fsfreeze-hook")?;
    let reached = reach(&guest, &machine, application("p6")).await?;
    assert_eq!(reached.level, Level::FileSystem);
    assert!(says(&reached, "no freeze hook of ours"), "{reached:?}");
    Ok(())
}

/// QEMU takes the next client once it has seen the last one go.
async fn connect_again(guest: &Guest) -> Result<QemuMachine> {
    for _ in 0..50 {
        if let Ok(machine) = guest.connect().await {
            return Ok(machine);
        }
    }
    Ok(guest.connect().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_or_missing_agent_costs_seconds_and_the_level() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("hung", |_, _| ()))?;
    let machine = guest.connect().await?;
    let hang = "p=$(pidof qemu-ga); sleep 1; kill -STOP $p; echo HUNG >/dev/console; \
                sleep 20; kill -CONT $p; echo AWAKE >/dev/console";
    tokio::task::block_in_place(|| guest.machine.agent().start(hang))?;
    wait_console(&guest, "HUNG").await;
    let began = Instant::now();
    let frozen = machine.freeze(guest.request("p1", None)).await?;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(frozen.consistency().level, Level::Crash);
    assert!(says(frozen.consistency(), "no answer from the guest agent"), "{:?}", frozen.consistency());
    frozen.release(Outcome::Abandoned).await?;
    let strict = FreezeRequest { may_fall: false, ..guest.request("p2", None) };
    assert_eq!(machine.freeze(strict).await.unwrap_err().kind(), ErrorKind::Guest);
    wait_console(&guest, "AWAKE").await;
    guest.assert_untouched()?;
    assert_eq!(reach(&guest, &machine, guest.request("p3", None)).await?.level, Level::FileSystem);

    tokio::task::block_in_place(|| guest.machine.agent().start("kill $(pidof qemu-ga)"))?;
    // A port without an id has no event.
    while has_open_port(&guest)? {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let frozen = machine.freeze(guest.request("p4", None)).await?;
    assert!(says(frozen.consistency(), "no guest agent is connected"), "{:?}", frozen.consistency());
    frozen.release(Outcome::Abandoned).await?;
    Ok(())
}

fn has_open_port(guest: &Guest) -> Result<bool> {
    let chardevs = guest.qmp("query-chardev", Value::Null)?;
    let mut chardevs = chardevs.as_array().into_iter().flatten();
    Ok(chardevs.any(|chardev| chardev["label"] == "qga0" && chardev["frontend-open"] == true))
}

async fn wait_console(guest: &Guest, word: &str) {
    while !guest.machine.console().contains(word) {
        tokio::time::sleep(Duration::from_millis(100)).await; // a file nobody announces
    }
}
