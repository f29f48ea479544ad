//! Whatever dies, and whenever: the guest runs on and the next freeze is whole.

use crate::guest::{Guest, VAULT, as_parent};
use anyhow::Result;
use hypervisor::qemu::QemuMachine;
use hypervisor::{ErrorKind, FreezeRequest, Machine, Outcome, Tracking};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_after_any_command_leaves_nothing_for_long() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("dies", |_, _| ()))?;
    guest.write(1)?;
    let machine = guest.connect().await?;
    let parent = machine.freeze(guest.request("p0", None)).await?;
    let chain = as_parent(&parent);
    parent.release(Outcome::Committed).await?;
    drop(machine);
    let mut survived = 0;
    for commands in 1.. {
        let request = guest.request_after(&format!("dies-{commands}"), Some(chain.clone()));
        let path = guest.path(&format!("cut{commands}.sock"));
        let whole = freeze_and_die(&guest, path, request, commands)?;
        let machine = reconnect(&guest).await?;
        let next = machine.freeze(guest.request_after("next", Some(chain.clone()))).await?;
        for disk in next.disks() {
            assert!(matches!(disk.tracking, Tracking::Incremental { .. }), "after {commands}: {disk:?}");
        }
        next.check().await?;
        next.release(Outcome::Abandoned).await?;
        guest.assert_untouched()?;
        let bitmaps: Vec<(String, bool)> = guest.bitmaps("disk0")?.into_iter().collect();
        assert_eq!(bitmaps, [(format!("strongroom:{VAULT}:p0:d-disk0"), true)], "after {commands} commands");
        if whole {
            survived = commands;
            break;
        }
    }
    println!("a freeze of two disks takes fewer than {survived} commands; each was the last of a process");
    assert!(survived > 20);
    Ok(())
}

/// Freezes in a runtime of its own, which is torn down without a word once QEMU has answered so many commands.
/// Whether the freeze needed fewer: then it dies holding it.
fn freeze_and_die(guest: &Guest, path: PathBuf, request: FreezeRequest, commands: usize) -> Result<bool> {
    let (qmp, agent) = (guest.machine.qmp_socket(), guest.machine.agent_socket());
    tokio::task::block_in_place(|| {
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let whole = runtime.block_on(async {
                let cut = Arc::new(Notify::new());
                let listener = UnixListener::bind(&path)?;
                let silence = cut.clone();
                tokio::spawn(after_answers(listener, qmp, commands, move || {
                    silence.notify_one();
                    true
                }));
                let freeze = async {
                    let frozen = QemuMachine::connect(&path, Some(&agent)).await?.freeze(request).await?;
                    anyhow::Ok(frozen)
                };
                tokio::select! {
                    frozen = freeze => frozen.map(|frozen| { std::mem::forget(frozen); true }),
                    () = cut.notified() => Ok(false),
                }
            });
            runtime.shutdown_timeout(std::time::Duration::from_secs(10));
            whole
        })
        .join()
        .expect("the thread does not panic")
    })
}

/// A monitor in between, which does something after so many answers, and is silent from then on if that says so.
pub(crate) async fn after_answers(
    listener: UnixListener,
    qmp: PathBuf,
    commands: usize,
    strike: impl Fn() -> bool + Send,
) -> Result<()> {
    let (client, _) = listener.accept().await?;
    let qemu = UnixStream::connect(qmp).await?;
    let ((client_reads, mut client_writes), (qemu_reads, mut qemu_writes)) =
        (client.into_split(), qemu.into_split());
    let (answers, sent) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let asking = {
        let sent = sent.clone();
        async move {
            let mut lines = BufReader::new(client_reads).lines();
            while let Some(line) = lines.next_line().await? {
                sent.fetch_add(1, Ordering::SeqCst);
                qemu_writes.write_all(format!("{line}\n").as_bytes()).await?;
            }
            anyhow::Ok(())
        }
    };
    let answering = async {
        let mut lines = BufReader::new(qemu_reads).lines();
        while let Some(line) = lines.next_line().await? {
            let message: Value = serde_json::from_str(&line)?;
            if message.get("id").is_some()
                && answers.fetch_add(1, Ordering::SeqCst) + 1 == commands
                && strike()
            {
                std::future::pending::<()>().await;
            }
            client_writes.write_all(format!("{line}\n").as_bytes()).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(asking, answering)?;
    Ok(())
}

/// QEMU takes the next client once it has seen the dead one go.
async fn reconnect(guest: &Guest) -> Result<QemuMachine> {
    let mut last = guest.connect().await;
    for _ in 0..10 {
        if last.is_ok() {
            break;
        }
        last = guest.connect().await;
    }
    Ok(last?)
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_and_others_in_the_way() -> Result<()> {
    let guest = tokio::task::block_in_place(|| {
        Guest::start("others", |folder, options| {
            let socket = format!("unix:{},server=on,wait=off", folder.join("third.sock").display());
            options.arguments.extend(["-qmp".to_owned(), socket]);
        })
    })?;
    let machine = guest.connect().await?;

    // A second client of the monitor.
    let error = guest.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("another client"));

    // A caller that gives up: at once, in the middle, and holding the frozen machine.
    for polls in [1, 3, 10] {
        let mut freeze = Box::pin(machine.freeze(guest.request(&format!("gone-{polls}"), None)));
        for _ in 0..polls {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(20), &mut freeze).await;
        }
        drop(freeze);
        machine.settled().await;
        guest.assert_untouched()?;
    }
    drop(machine.freeze(guest.request("dropped", None)).await?);
    machine.settled().await;
    guest.assert_untouched()?;

    // Another process of ours that lives.
    let third = QemuMachine::connect(&guest.path("third.sock"), None).await?;
    let held = third.freeze(guest.request("held", None)).await?;
    assert_eq!(machine.freeze(guest.request("second", None)).await.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(machine.reconcile().await.unwrap_err().kind(), ErrorKind::Busy);
    held.check().await?;
    held.release(Outcome::Abandoned).await?;
    guest.assert_untouched()?;
    assert_eq!(machine.reconcile().await?, Vec::<String>::new());

    // Another tool's NBD server.
    let address = json!({ "type": "unix", "data": { "path": guest.path("foreign.sock") } });
    guest.qmp("nbd-server-start", json!({ "addr": address }))?;
    let error = machine.freeze(guest.request("foreign", None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    guest.assert_untouched()?;
    guest.qmp("nbd-server-stop", Value::Null)?; // it is still there
    stays_paused(&guest, &machine).await
}

/// What somebody else paused stays so; what was paused with our mark runs on.
async fn stays_paused(guest: &Guest, machine: &QemuMachine) -> Result<()> {
    tokio::task::block_in_place(|| guest.machine.pause())?;
    let frozen = machine.freeze(guest.request("paused", None)).await?;
    assert!(frozen.window().is_zero());
    frozen.release(Outcome::Committed).await?;
    assert_eq!(guest.qmp("query-status", Value::Null)?["running"], false);
    guest.qmp("blockdev-add", json!({ "driver": "null-co", "node-name": "strongroom-stopped" }))?;
    assert_eq!(machine.reconcile().await?.len(), 1);
    guest.assert_untouched()?;

    // The point of a vault nobody asks for again does not disturb another vault's.
    let other = FreezeRequest { vault: "other".to_owned(), ..guest.request("first", None) };
    machine.freeze(other).await?.release(Outcome::Committed).await?;
    let sizes: BTreeMap<String, u64> =
        [("d-disk0", 1 << 30), ("d-disk1", 512 << 20)].map(|(id, size)| (id.to_owned(), size)).into();
    let next = machine.freeze(guest.request_after("later", Some(("paused".to_owned(), sizes)))).await?;
    assert!(next.disks().iter().all(|disk| disk.tracking.bitmap().is_some()), "{:?}", next.disks());
    next.release(Outcome::Committed).await?;
    let names: Vec<String> = guest.bitmaps("disk0")?.into_keys().collect();
    assert_eq!(
        names,
        [format!("strongroom:{VAULT}:later:d-disk0"), "strongroom:other:first:d-disk0".to_owned()]
    );
    let missing =
        FreezeRequest { scratch: Path::new("/nonexistent").to_owned(), ..guest.request("lost", None) };
    let error = machine.freeze(missing).await.expect_err("there is no such folder");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    guest.assert_untouched()
}
