//! What is particular to machines of libvirt.

use crate::conformance::{Harness, LibvirtHarness, Parent, Provider};
use crate::guest::{as_parent, compare, pull, run};
use anyhow::{Context, Result, ensure};
use hypervisor::libvirt::{LibvirtMachine, RunState, discover};
use hypervisor::{ErrorKind, FreezeRequest, Level, Machine, Outcome, Tracking};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const VAULT: &str = "v";

fn start(name: &str) -> Result<LibvirtHarness> {
    tokio::task::block_in_place(|| LibvirtHarness::start(name))
}

fn request(harness: &LibvirtHarness, point: &str, parent: Parent) -> FreezeRequest {
    harness.request(VAULT, point, parent)
}

fn untouched(harness: &LibvirtHarness) -> Result<()> {
    harness.assert_untouched()
}

fn write(harness: &LibvirtHarness, seed: u32) -> Result<()> {
    (harness as &dyn Harness).write(seed)
}

/// Commits a point to go on from.
async fn committed(machine: &LibvirtMachine, request: FreezeRequest) -> Result<Parent> {
    let frozen = machine.freeze(request).await?;
    let parent = as_parent(&frozen);
    frozen.release(Outcome::Committed).await?;
    Ok(Some(parent))
}

/// A small file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, size: &str) -> Result<Self> {
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_folder_that_fills_costs_the_backup_and_not_the_guest() -> Result<()> {
    let home = tempfile::tempdir()?;
    let folder = home.path().join("tiny");
    std::fs::create_dir(&folder)?;
    let tiny_folder = Mounted::new(&folder, "300m")?;
    let harness = tokio::task::block_in_place(|| LibvirtHarness::start_in(home, "full"))?;
    let machine = harness.connected().await?;
    write(&harness, 1)?;
    let tiny = |point: &str| FreezeRequest { scratch: folder.clone(), ..request(&harness, point, None) };

    // Too little from the beginning.
    let error = machine.freeze(tiny("p0")).await.err().context("frozen with too little room")?;
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    ensure!(std::fs::read_dir(&folder)?.count() == 0);

    // It fills: the backup is given up while there is room.
    run(Command::new("mount").args(["-o", "remount,size=600m"]).arg(&folder))?;
    let frozen = machine.freeze(tiny("p1")).await?;
    frozen.check().await?;
    let file = File::create(folder.join("others"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 400 << 20)?;
    until_given_up(&frozen, "scratch folder has only").await?;
    write(&harness, 2)?;
    frozen.release(Outcome::Abandoned).await?;
    drop(file);
    std::fs::remove_file(folder.join("others"))?;
    ensure!(std::fs::read_dir(&folder)?.count() == 0);
    untouched(&harness)?;

    // It is full before anybody can look: QEMU stops the machine, and the watch runs it on.
    let frozen = machine.freeze(tiny("p2")).await?;
    let mut file = File::create(folder.join("others"))?;
    // What lies above hides the room from the watch.
    let hidden = Mounted::new(&folder, "1g")?;
    while file.write_all(&[1; 1 << 20]).is_ok() {}
    // libvirt passes nothing on to the agent of a machine that stands: nobody waits for this.
    let fill = "guest-probe rndw /data0/noise 40000000 60 4096 7; sync; touch /tmp/written";
    tokio::task::block_in_place(|| harness.agent().start(fill))?;
    until_given_up(&frozen, "I/O error").await?;
    drop(hidden);
    frozen.release(Outcome::Abandoned).await?;
    harness.sh("until [ -e /tmp/written ]; do sleep 0.1; done")?;
    std::fs::remove_file(folder.join("others"))?;
    drop(tiny_folder);
    untouched(&harness)
}

/// The watch needs a moment to look.
async fn until_given_up(frozen: &hypervisor::FrozenMachine, why: &str) -> Result<()> {
    for _ in 0..600 {
        match frozen.check().await {
            Err(error) if error.kind() == ErrorKind::Broken && error.to_string().contains(why) => {
                return Ok(());
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    anyhow::bail!("the backup was not given up")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_the_guest_runs_on_and_the_chain_goes_on() -> Result<()> {
    let mut harness = start("dies")?;
    let machine = harness.connected().await?;
    write(&harness, 1)?;
    let chain = committed(&machine, request(&harness, "p0", None)).await?;

    // A mover that dies, at many moments of a freeze; the last holds it.
    for cut in [30, 100, 200, 300, 400, 500, 600, 700, 800, 1000, 1300, 1700, 60_000] {
        let held = freeze_and_die(&harness, request(&harness, &format!("dies-{cut}"), chain.clone()), cut)?;
        let next = machine.freeze(request(&harness, "next", chain.clone())).await?;
        ensure!(next.disks().iter().all(|disk| disk.tracking.bitmap().is_some()), "{:?}", next.disks());
        println!("died after {cut} ms, holding it: {held}; taken back: {:?}", next.recovered());
        ensure!(!held || next.recovered().iter().any(|done| done.contains("backup job")));
        next.check().await?;
        next.release(Outcome::Abandoned).await?;
        untouched(&harness)?;
    }

    // A frozen guest whose freezer is dead.
    let mark = "<freeze folder='/nonexistent/strongroom-x'/>";
    let place = ["--uri", "urn:strongroom:freeze", "--live", "--key", "strongroom", "--set", mark];
    tokio::task::block_in_place(|| {
        harness.machine.virsh("metadata", &place)?;
        harness.agent().call("guest-fsfreeze-freeze", serde_json::Value::Null)
    })?;
    assert_eq!(machine.reconcile().await?, ["thawed the guest"]);
    untouched(&harness)?;

    // A libvirt that is restarted in the middle.
    let (frozen, copy) = (machine.freeze(request(&harness, "p1", chain.clone())).await?, "copy.raw");
    tokio::task::block_in_place(|| harness.daemon.stop())?;
    let error = frozen.check().await.err().context("checked without a libvirt")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    pull(&frozen.disks()[0], &harness.folder().join(copy))?;
    tokio::task::block_in_place(|| harness.daemon.start_again())?;
    frozen.check().await?;
    frozen.release(Outcome::Committed).await?;
    untouched(&harness)?;
    assert_eq!(harness.records()?, [1, 1]);
    others_in_the_way(&harness, &machine).await
}

/// Freezes in a runtime of its own, which is torn down without a word after so many milliseconds, or while it
/// holds the frozen machine. Whether it did.
fn freeze_and_die(harness: &LibvirtHarness, request: FreezeRequest, cut: u64) -> Result<bool> {
    let (uri, name) = (harness.daemon.uri(), harness.machine.options().name.clone());
    tokio::task::block_in_place(|| {
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let whole = runtime.block_on(async {
                let freeze = async {
                    let machine = LibvirtMachine::connect(&uri, &name).await?;
                    anyhow::Ok(machine.freeze(request).await?)
                };
                match tokio::time::timeout(Duration::from_millis(cut), freeze).await {
                    Ok(frozen) => frozen.map(|frozen| {
                        std::mem::forget(frozen);
                        true
                    }),
                    // The dropped future alone would be an orderly end, which has no time left.
                    Err(_) => Ok(false),
                }
            });
            runtime.shutdown_background();
            whole
        })
        .join()
        .expect("the thread does not panic")
    })
}

async fn others_in_the_way(harness: &LibvirtHarness, machine: &LibvirtMachine) -> Result<()> {
    // Another process of ours that lives.
    let second = harness.connected().await?;
    let held = second.freeze(request(harness, "held", None)).await?;
    let busy = |result: hypervisor::Result<_>| result.err().map(|error| error.kind());
    assert_eq!(busy(machine.freeze(request(harness, "second", None)).await.map(drop)), Some(ErrorKind::Busy));
    assert_eq!(busy(machine.reconcile().await.map(drop)), Some(ErrorKind::Busy));
    held.check().await?;
    held.release(Outcome::Abandoned).await?;
    untouched(harness)?;

    // Another tool's backup stays.
    let folder = harness.folder().join("foreign");
    std::fs::create_dir(&folder)?;
    let job = format!(
        "<domainbackup mode='pull'><server transport='unix' socket='{0}/nbd.sock'/><disks>\
         <disk name='vda' backup='yes' type='file'><scratch file='{0}/a'/></disk></disks></domainbackup>",
        folder.display()
    );
    std::fs::write(folder.join("job.xml"), job)?;
    let file = folder.join("job.xml").display().to_string();
    tokio::task::block_in_place(|| harness.machine.virsh("backup-begin", &["--backupxml", &file]))?;
    assert_eq!(
        busy(machine.freeze(request(harness, "foreign", None)).await.map(drop)),
        Some(ErrorKind::Busy)
    );
    tokio::task::block_in_place(|| {
        harness.machine.virsh("backup-dumpxml", &[])?;
        harness.machine.virsh("domjobabort", &[])
    })?;

    // What somebody else paused stays so.
    tokio::task::block_in_place(|| harness.pause())?;
    let frozen = machine.freeze(request(harness, "paused", None)).await?;
    assert_eq!(frozen.consistency().level, Level::Crash);
    frozen.release(Outcome::Committed).await?;
    let state = tokio::task::block_in_place(|| harness.machine.virsh("domstate", &[]))?;
    assert_eq!(state.trim(), "paused");
    tokio::task::block_in_place(|| harness.resume())?;
    untouched(harness)
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_found_and_described_with_disks_of_every_kind() -> Result<()> {
    let harness = start("kinds")?;
    let found = discover(&harness.daemon.uri()).await?;
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].name, found[0].state, found[0].persistent), ("kinds", RunState::Running, true));
    let machine = LibvirtMachine::connect(&found[0].uri, &found[0].uuid).await?;
    let first = committed(&machine, request(&harness, "p1", None)).await?;

    attach(&harness, "plain.raw", "vdc", &["--subdriver", "raw"])?;
    attach(&harness, "fixed.raw", "vdd", &["--subdriver", "raw", "--mode", "readonly"])?;
    attach(&harness, "shared.raw", "vde", &["--subdriver", "raw", "--mode", "shareable"])?;
    let told = machine.describe().await?;
    assert_eq!(told.uuid.as_deref(), Some(&*found[0].uuid));
    assert_eq!((told.name.as_deref(), &*told.status, told.cpus), (Some("kinds"), "running", 1));
    assert_eq!(told.memory_bytes, 512 << 20);
    let disks: Vec<_> =
        told.disks.iter().map(|disk| (&*disk.id, disk.size, &*disk.format, disk.keeps_bitmaps)).collect();
    let wanted =
        [("vda", 1 << 30, "qcow2", true), ("vdb", 512 << 20, "qcow2", true), ("vdc", 8 << 20, "raw", false)];
    assert_eq!(disks, wanted);
    let skipped: Vec<_> = told.skipped.iter().map(|drive| (&*drive.id, &*drive.reason)).collect();
    assert_eq!(skipped, [("vdd", "read-only"), ("vde", "shared with other machines")]);
    let definition = told.definition.context("no definition")?;
    ensure!(definition.contains(&found[0].uuid) && definition.trim_start().starts_with("<domain "));

    // A disk that is new, and one without a place for records, among those that are not.
    let frozen = machine.freeze(request(&harness, "p2", first)).await?;
    let tracked = |id: &str| &frozen.disks().iter().find(|disk| disk.id == id).expect(id).tracking;
    ensure!(matches!(tracked("vda"), Tracking::Incremental { .. }));
    ensure!(matches!(tracked("vdc"), Tracking::Full { reason } if reason.contains("not in the earlier")));
    pull(&frozen.disks()[2], &harness.folder().join("copy.raw"))?;
    compare(&harness.folder().join("copy.raw"), &harness.folder().join("plain.raw"))?;
    let second = Some(as_parent(&frozen));
    frozen.release(Outcome::Committed).await?;
    let frozen = machine.freeze(request(&harness, "p3", second)).await?;
    let plain = &frozen.disks()[2].tracking;
    ensure!(matches!(plain, Tracking::Full { reason } if reason.contains("not qcow2")), "{plain:?}");
    let third = Some(as_parent(&frozen));
    frozen.release(Outcome::Committed).await?;

    // A record that libvirt does not know of is in the way of the new one: then there is none, but a backup.
    let stray = serde_json::json!({ "node": &told.disks[0].node, "name": "strongroom.v.p4" });
    tokio::task::block_in_place(|| harness.machine.qmp("block-dirty-bitmap-add", stray.clone()))?;
    let frozen = machine.freeze(request(&harness, "p4", third)).await?;
    let refused = &frozen.disks()[0].tracking;
    ensure!(matches!(refused, Tracking::Full { reason } if reason.contains("refused")), "{refused:?}");
    frozen.check().await?;
    frozen.release(Outcome::Committed).await?;
    tokio::task::block_in_place(|| harness.machine.qmp("block-dirty-bitmap-remove", stray))?;
    assert_eq!(harness.records()?, [0, 0]);
    untouched(&harness)?;
    swapped_and_off(&harness, &machine).await
}

fn attach(harness: &LibvirtHarness, file: &str, target: &str, more: &[&str]) -> Result<()> {
    let path = harness.folder().join(file);
    if !path.exists() {
        std::fs::write(&path, vec![7; 8 << 20])?;
    }
    let path = path.display().to_string();
    let words = [&["--source", &path, "--target", target, "--live"], more].concat();
    tokio::task::block_in_place(|| harness.machine.virsh("attach-disk", &words)).map(drop)
}

/// Another image under a known name, with a record by the right name in it; then a machine that is off.
async fn swapped_and_off(harness: &LibvirtHarness, machine: &LibvirtMachine) -> Result<()> {
    let detach = || {
        tokio::task::block_in_place(|| harness.machine.virsh("detach-disk", &["--target", "vdc", "--live"]))
    };
    detach()?;
    let image = |name: &str| harness.folder().join(name);
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(image("one.qcow2")).arg("8M"))?;
    while attach(harness, "one.qcow2", "vdc", &["--subdriver", "qcow2"]).is_err() {}
    let parent = committed(machine, request(harness, "s1", None)).await?;
    detach()?;
    let copied = || std::fs::copy(image("one.qcow2"), image("two.qcow2"));
    copied()?;
    while attach(harness, "two.qcow2", "vdc", &["--subdriver", "qcow2"]).is_err() {}
    let frozen = machine.freeze(request(harness, "s2", parent)).await?;
    let swapped = &frozen.disks()[2].tracking;
    ensure!(matches!(swapped, Tracking::Full { reason } if reason.contains("another image")), "{swapped:?}");
    frozen.release(Outcome::Committed).await?;

    tokio::task::block_in_place(|| harness.machine.virsh("destroy", &[]))?;
    assert_eq!(machine.describe().await?.status, "shut off");
    let off = machine.freeze(request(harness, "off", None)).await;
    assert_eq!(off.err().map(|error| error.kind()), Some(ErrorKind::Failed));
    assert_eq!(discover(&harness.daemon.uri()).await?[0].state, RunState::Off);
    Ok(())
}

/// libvirt's own pretended hypervisor stands for one on another host: it can be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn machines_of_other_hosts_are_found_and_described_but_not_frozen() -> Result<()> {
    let uri = "test:///default";
    let found = discover(uri).await?;
    assert_eq!((&*found[0].name, found[0].state), ("test", RunState::Running));
    let machine = LibvirtMachine::connect(uri, "test").await?;
    let told = machine.describe().await?;
    assert_eq!((told.name.as_deref(), told.cpus, told.memory_bytes), (Some("test"), 2, 2 << 30));
    let request =
        FreezeRequest { wish: Level::Crash, ..FreezeRequest::new("p", VAULT, std::env::temp_dir()) };
    let error = machine.freeze(request).await.err().context("frozen from afar")?;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    ensure!(error.to_string().contains("on its own host"), "{error}");
    let none = LibvirtMachine::connect(uri, "nothing").await;
    assert_eq!(none.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    let gone = discover("qemu:///system?socket=/nonexistent").await;
    assert_eq!(gone.err().map(|error| error.kind()), Some(ErrorKind::Unreachable));
    Ok(())
}
