//! Vaults that need no guest: copied to a replica, and rescued. Points are made through the library.

use crate::scene::{Scene, id, names_in};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, DiskRecord, KeyFile, MachineKey, PointDraft, PointId, Session, SessionId, Store, Vault,
};

const NOT_FOUND: i32 = 3;
const CORRUPT: i32 = 7;
const GAPS: i32 = 10;

/// What the disk of the point numbered `number` holds: four chunks, the second of zeros.
fn disk(number: u8) -> Vec<u8> {
    let chunk = |fill: u8| vec![fill; CHUNK_BYTES];
    [chunk(1), chunk(0), chunk(10 + number), chunk(100)].concat()
}

/// Puts a point into the scene's vault.
async fn put_point(scene: &Scene, number: u8) -> Result<()> {
    let holder = KeyFile::read(&scene.path("vault.key"))?;
    let vault = Arc::new(Vault::open(Store::local(scene.vault())?, &holder).await?);
    let instant = jiff::Timestamp::from_second(1_800_000_000 + i64::from(number))?;
    let session = Session::begin(&vault, SessionId(Uuid::now_v7()), instant).await?;
    let bytes = disk(number);
    let mut writer = session.disk(bytes.len() as u64, None).await?;
    let batch = session.store(0, bytes).await?;
    writer.record(&session, &batch).await?;
    let map = writer.finish(&session).await?;
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: MachineKey::new("machine-1")?,
        machine_name: "one".into(),
        instant,
        parent: None,
        consistency: serde_json::json!({ "level": "crash" }),
        description: Value::Null,
        service: Value::Null,
    };
    session
        .commit(draft, vec![DiskRecord { name: "disk0".into(), map, tracking: "test".into(), read_bytes: 0 }])
        .await?;
    Ok(())
}

/// A vault with two points.
fn scene() -> Result<Scene> {
    let scene = Scene::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        put_point(&scene, 1).await?;
        put_point(&scene, 2).await
    })?;
    Ok(scene)
}

fn whats(rows: &Value) -> Result<Vec<&str>> {
    let rows = rows.as_array().context("a list")?;
    Ok(rows.iter().filter_map(|row| row["what"].as_str()).collect())
}

#[test]
fn points_are_copied_to_a_replica_and_restored_from_it() -> Result<()> {
    let scene = scene()?;
    let replica = scene.path("replica").display().to_string();
    let copy = ["vault", "copy", "--to", &replica];
    scene.run(copy)?.failed(NOT_FOUND, &["replica", "--create"])?;
    let made = scene.ask(&[&copy[..], &["--create", "--point", "latest"]].concat())?;
    ensure!(whats(&made)? == ["copied"], "{made}");
    let planned = scene.ask(&[&copy[..], &["--plan"]].concat())?;
    ensure!(whats(&planned)? == ["to be copied", "was there"], "{planned}");
    let all = scene.ask(&copy)?;
    ensure!(whats(&all)? == ["copied", "was there"], "{all}");
    // One chunk differs, and the other is there.
    ensure!(all[0]["read_bytes"].as_u64().is_some_and(|bytes| bytes > 0 && bytes < 1000), "{all}");
    ensure!(scene.run(copy)?.succeeded()?.contains("was there"), "a table");
    let listed = scene.ask(&["point", "list", "--vault", &replica])?;
    ensure!(listed.as_array().is_some_and(|points| points.len() == 2), "{listed}");
    let to = scene.path("restored").display().to_string();
    scene
        .run(["restore", "disks", "latest", "--vault", &replica, "--format", "raw", "--to", &to])?
        .succeeded()?;
    ensure!(std::fs::read(scene.path("restored/disk0.raw"))? == disk(2), "the same bytes");
    // A damaged chunk of the source is named, and what is whole is copied.
    let second = scene.path("second").display().to_string();
    let packs = names_in(&scene.vault().join("packs"))?;
    let newest = scene.vault().join("packs").join(packs.last().context("a pack")?).join("00000000");
    std::fs::remove_file(newest)?;
    let copied = scene.run(["vault", "copy", "--to", &second, "--create"])?;
    ensure!(copied.code == Some(CORRUPT), "{copied:?}");
    copied.said(&["1 points were not copied", "packs/", "vault verify"])?;
    let listed = scene.ask(&["point", "list", "--vault", &second])?;
    ensure!(listed.as_array().is_some_and(|points| points.len() == 1), "{listed}");
    Ok(())
}

#[test]
fn a_damaged_vault_is_verified_repaired_from_its_replica_and_collected() -> Result<()> {
    let scene = scene()?;
    let replica = scene.path("replica").display().to_string();
    scene.run(["vault", "copy", "--to", &replica, "--create"])?.succeeded()?;
    ensure!(scene.run(["vault", "repair"])?.succeeded()?.contains("Damaged"), "nothing is damaged");
    let packs = names_in(&scene.vault().join("packs"))?;
    let newest = scene.vault().join("packs").join(packs.last().context("a pack")?).join("00000000");
    let mut bytes = std::fs::read(&newest)?;
    bytes[100] ^= 1;
    std::fs::write(&newest, &bytes)?;
    let verified = scene.run(["vault", "verify"])?;
    ensure!(verified.code == Some(CORRUPT), "{verified:?}");
    verified.said(&["1 objects are damaged", "vault repair"])?;
    let planned = scene.run(["vault", "repair"])?;
    planned.succeeded()?;
    planned.said(&["Nothing was changed", "--yes"])?;
    ensure!(std::fs::read(&newest)? == bytes, "nothing was changed");
    let alone = scene.run(["vault", "repair", "--yes"])?;
    ensure!(alone.code == Some(CORRUPT), "{alone:?}");
    alone.said(&["of 1 chunks no whole copy was found", "backup --full"])?;
    let healed = scene.ask(&["vault", "repair", "--from", &replica, "--yes"])?;
    ensure!(healed["repaired"]["from_other"] == 1 && healed["repaired"]["lost"] == 0, "{healed}");
    let to = scene.path("restored").display().to_string();
    scene.run(["restore", "disks", "latest", "--format", "raw", "--to", &to])?.succeeded()?;
    ensure!(std::fs::read(scene.path("restored/disk0.raw"))? == disk(2), "the same bytes");
    let done = scene.ask(&["vault", "collect", "--grace", "0", "--yes"])?;
    ensure!(done["done"]["deleted"] == 1, "the damaged pack is needed by nobody: {done}");
    scene.run(["vault", "verify"])?.succeeded()?;
    scene.run(["vault", "reindex"])?.succeeded()?;
    Ok(())
}

#[test]
fn a_vault_that_lost_all_but_its_objects_is_rescued() -> Result<()> {
    let scene = scene()?;
    let points = scene.points()?;
    for lost in ["log", "index", "checkpoints"] {
        std::fs::remove_dir_all(scene.vault().join(lost))?;
    }
    std::fs::remove_file(scene.vault().join("vault.json"))?;
    scene.run(["point", "list"])?.failed(NOT_FOUND, &["there is no vault"])?;
    let found = scene.ask(&["salvage", "--list"])?;
    ensure!(found.as_array().is_some_and(|found| found.len() == 2), "{found}");
    ensure!(found[0]["standing"] == "not in the log", "{found}");
    let to = scene.path("rescued");
    let rescue = ["salvage", "--to", &to.display().to_string()].map(str::to_owned);
    let last = id(&points[1])?;
    scene.run([&rescue[..], &["--point".into(), last[last.len() - 8..].into()]].concat())?.succeeded()?;
    let image = to.join(last).join("disk0.raw");
    ensure!(std::fs::read(&image)? == disk(2), "the same bytes");
    ensure!(names_in(&to.join(last))? == ["disk0.raw", "machine.json"], "nothing is missing");

    // The pack with the second point's own chunk is gone.
    let packs = names_in(&scene.vault().join("packs"))?;
    std::fs::remove_dir_all(scene.vault().join("packs").join(packs.last().context("a pack")?))?;
    std::fs::remove_dir_all(&to)?;
    let ran = scene.run(&rescue)?;
    ensure!(ran.code == Some(GAPS), "{ran:?}");
    ran.said(&["1 of 2 disks have gaps", "*.missing"])?;
    let mut expected = disk(2);
    expected[2 * CHUNK_BYTES..3 * CHUNK_BYTES].fill(0);
    ensure!(std::fs::read(&image)? == expected, "a hole, and nothing else");
    let missing = std::fs::read_to_string(to.join(last).join("disk0.missing"))?;
    ensure!(missing.lines().count() == 1, "{missing}");
    ensure!(missing.starts_with("131072 65536 ") && missing.contains("packs/"), "{missing}");
    let first = to.join(id(&points[0])?);
    ensure!(std::fs::read(first.join("disk0.raw"))? == disk(1), "the other point is whole");
    ensure!(names_in(&first)? == ["disk0.raw", "machine.json"], "and says so");
    Ok(())
}
