//! Snapshots: of a real guest at one instant, beside its backups; copied to another vault at the cost of what is new
//! there; made into files that other programs read.

use crate::scene::{Scene, blocking, now, run, sh};
use anyhow::{Context, Result, ensure};
use block::{BlockSink, BlockSource, MemoryDisk};
use hypervisor::qemu::QemuMachine;
use hypervisor::{DiskSelection, Level, Machine};
use mover::{BackupRequest, ExportFormat, SnapshotCopy, copy_snapshot, export, snapshot_key, store_disk};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use testkit::oracle;
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, DiskRecord, KeyFile, Point, PointDisk, PointDraft, PointId, Session, SessionId, Store,
    Vault, VaultId,
};

const BLOCK: u64 = CHUNK_BYTES as u64;

fn snapshot(scene: &Scene, disks: DiskSelection) -> Result<BackupRequest> {
    let kept_as = Some((snapshot_key("counts")?, "counts".to_owned()));
    Ok(BackupRequest { kept_as, disks, ..scene.request(Level::Crash, &scene.path("scratch")) })
}

async fn take(scene: &Scene, machine: &dyn Machine, disks: DiskSelection) -> Result<Point> {
    Ok(mover::backup(machine, &scene.vault, &snapshot(scene, disks)?, &|_| ()).await?)
}

fn is_incremental(point: &Point) -> bool {
    point.disks.iter().all(|disk| disk.tracking == "only changes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_shows_one_instant_disturbs_no_backup_and_outlives_its_machine() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = blocking(|| scene.boot("counts", false))?;
    let machine = QemuMachine::connect(&guest.qmp_socket(), Some(&guest.agent_socket())).await?;
    blocking(|| guest.agent().start("guest-probe seq /data0/seq /data1/seq >/dev/null 2>&1"))?;
    sh(guest.agent(), "until [ -s /data0/seq ] && [ -s /data1/seq ]; do sleep 0.1; done")?;
    let backup = scene.backup(&machine, Level::Crash).await?;
    let names: Vec<String> = backup.disks.iter().map(|disk| disk.name.clone()).collect();
    let both = DiskSelection::Include(names.clone());

    let first = take(&scene, &machine, both.clone()).await?;
    let second = take(&scene, &machine, both.clone()).await?;
    ensure!(is_incremental(&second), "only what changed since the first: {:?}", second.disks);
    let after = scene.backup(&machine, Level::Crash).await?;
    ensure!(is_incremental(&after), "snapshots left the backups' record alone: {:?}", after.disks);

    // Of one disk by itself, then of the other: neither takes the other's record.
    for _ in 0..2 {
        for name in &names {
            let one = take(&scene, &machine, DiskSelection::Include(vec![name.clone()])).await?;
            ensure!(is_incremental(&one), "{name}: {:?}", one.disks);
            ensure!(one.disks.len() == 1 && one.disks[0].name == *name, "{:?}", one.disks);
        }
    }
    let last = take(&scene, &machine, both).await?;
    sh(guest.agent(), "kill $(pidof guest-probe)")?;
    crate::scene::assert_at_work(&guest)?;

    // The machine goes, and its disks.
    drop(machine);
    drop(guest);
    std::fs::remove_dir_all(scene.path("counts"))?;
    let mut before = 0;
    for (name, point) in [("first", &first), ("second", &second), ("last", &last)] {
        let [one, two] = scene.restore(point, name).await?;
        let counters = blocking(|| oracle::check(&one, &two)).with_context(|| name.to_owned())?;
        println!("{name}: {counters:?}, {} KiB read", point.stats.read_bytes >> 10);
        ensure!(counters.a > before, "it counted on: {before}, then {counters:?}");
        before = counters.a;
    }
    // Deleting one harms no other.
    scene.vault.delete_point(second.id, now()).await?;
    for (name, point) in [("first again", &first), ("last again", &last)] {
        let [one, two] = scene.restore(point, name).await?;
        blocking(|| oracle::check(&one, &two)).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// A snapshot of a disk in memory; everything is read, and only what the vault has not is stored.
async fn stored(vault: &Arc<Vault>, disk: &MemoryDisk) -> Result<Point> {
    let session = Session::begin(vault, SessionId(Uuid::now_v7()), now()).await?;
    let (map, read_bytes) = store_disk(&session, disk, None, &|_| ()).await?;
    let record = DiskRecord { name: "disk0".into(), map, tracking: String::new(), read_bytes };
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: snapshot_key("memory")?,
        machine_name: "memory".into(),
        instant: now(),
        parent: None,
        consistency: json!({ "level": "crash" }),
        description: Value::Null,
        service: Value::Null,
    };
    Ok(session.commit(draft, vec![record]).await?)
}

async fn vault_in(folder: &Path) -> Result<Arc<Vault>> {
    std::fs::create_dir(folder)?;
    let store = Store::local(folder)?;
    Ok(Arc::new(Vault::create(store, VaultId(Uuid::new_v4()), now(), &KeyFile::generate()).await?))
}

async fn bytes_of(vault: &Arc<Vault>, point: &Point) -> Result<Vec<u8>> {
    let disk = PointDisk::new(Arc::clone(vault), point.disks[0].map.clone());
    Ok(disk.read(0, vec![0; usize::try_from(disk.size())?]).await?)
}

/// Bytes that do not compress, different for every seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn a_copy_moves_only_what_is_new_in_the_other_vault() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = vault_in(&folder.path().join("here")).await?;
    let there = vault_in(&folder.path().join("there")).await?;
    let disk = MemoryDisk::from(noise(1, 200 * CHUNK_BYTES - 700));
    let copy = |point: Point, base: Option<(Point, Point)>| {
        let (here, there) = (Arc::clone(&here), Arc::clone(&there));
        async move {
            let wish = SnapshotCopy {
                point: &point,
                base,
                id: PointId(Uuid::now_v7()),
                session: SessionId(Uuid::now_v7()),
                service: json!({ "a": 1 }),
                now: now(),
            };
            Box::pin(copy_snapshot((&here, &there), wish, Box::pin(async {}), &|_| ())).await
        }
    };
    let first = stored(&here, &disk).await?;
    let first_there = copy(first.clone(), None).await?;
    ensure!(bytes_of(&there, &first_there).await? == disk.bytes(), "a whole copy");
    ensure!(
        (first_there.instant, &first_there.machine) == (first.instant, &first.machine),
        "the same snapshot"
    );
    ensure!(first_there.id != first.id && first_there.service["a"] == 1, "with an id of its own");

    // Two blocks are new, one is zero now, and one holds what stands elsewhere.
    disk.write(7 * BLOCK + 100, noise(2, 2 * CHUNK_BYTES - 200)).await?;
    disk.zero(50 * BLOCK, BLOCK).await?;
    let known = disk.read(100 * BLOCK, vec![0; CHUNK_BYTES]).await?;
    disk.write(120 * BLOCK, known).await?;
    let second = stored(&here, &disk).await?;
    let (_, before) = there.usage().await?;
    let second_there = copy(second.clone(), Some((first, first_there))).await?;
    let (_, after) = there.usage().await?;
    ensure!(bytes_of(&there, &second_there).await? == disk.bytes(), "a whole copy");
    let stats = second_there.stats;
    ensure!(stats.read_bytes == 3 * BLOCK, "what differs, and is not zero: {stats:?}");
    ensure!(stats.new_bytes == 2 * BLOCK, "what the other vault has not: {stats:?}");
    let sealed = stats.stored_bytes;
    ensure!(sealed < 2 * BLOCK + 32 * 1024, "two blocks and their path in the map: {sealed}");
    println!("copied: {stats:?}; the store grew by {} bytes", after - before);
    ensure!(after - before < sealed + 16 * 1024, "beside the sealed bytes, heads, index and log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_exported_in_formats_that_others_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let vault = vault_in(&folder.path().join("vault")).await?;
    // Of a size that is no geometry's and no whole MiB.
    let size = (33u64 << 20) + 5 * 512;
    let disk = MemoryDisk::new(usize::try_from(size)?);
    disk.write(3 << 20, noise(1, 300_000)).await?;
    disk.write((33 << 20) + 4 * 512, noise(2, 512)).await?;
    let point = stored(&vault, &disk).await?;
    let raw = folder.path().join("expected.raw");
    std::fs::write(&raw, disk.bytes())?;
    let table = [
        (ExportFormat::Raw, "raw", size),
        (ExportFormat::Qcow2, "qcow2", size),
        (ExportFormat::VhdFixed, "vpc", 34 << 20),
        (ExportFormat::VhdDynamic, "vpc", size),
    ];
    for (format, driver, size) in table {
        let path = folder.path().join(format!("{format:?}"));
        let done = export(&vault, &point.disks[0], &path, format, &|_| ()).await?;
        ensure!(done.disk_bytes == size, "{format:?}: {done:?}");
        let said = blocking(|| {
            Ok(Command::new("qemu-img").args(["info", "--output=json", "-f", driver]).arg(&path).output()?)
        })?;
        let said: Value = serde_json::from_slice(&said.stdout).context("what qemu-img says")?;
        ensure!(said["virtual-size"] == size, "{format:?}: {said}");
        // Not strict: what a fixed VHD has behind the disk's end is zero.
        run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", driver]).arg(&raw).arg(&path))?;
        let footer = driver == "vpc"
            && std::fs::read(&path)?.rchunks(512).next().is_some_and(|last| last.starts_with(b"conectix"));
        ensure!(footer == (driver == "vpc"), "{format:?} ends with the footer that others look for");
        let again = export(&vault, &point.disks[0], &path, format, &|_| ()).await.expect_err("it is there");
        ensure!(matches!(again, mover::Error::Taken(..)), "{again}");
    }
    let length = std::fs::metadata(folder.path().join("VhdFixed"))?.len();
    ensure!(length == (34 << 20) + 512, "whole MiB and the footer, as Azure takes it: {length}");
    let leftover = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "partial"))
    };
    ensure!(!std::fs::read_dir(folder.path())?.any(leftover), "nothing is left half written");
    Ok(())
}
