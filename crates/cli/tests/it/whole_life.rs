//! A machine's whole life: backed up twice, lost, and brought back from either point.

use crate::guest::{BOOT, Guest, as_disks, check_image, image, run};
use crate::program::Running;
use crate::scene::{Scene, id, names_in, tracking};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use testkit::{Format, GuestDisk, GuestMachine, MachineOptions};

const ROWS: &str = "select count(*) || ' ' || md5(string_agg(id || what, ',' order by id)) from orders";

#[test]
fn a_machine_is_backed_up_lost_and_brought_back() -> Result<()> {
    let scene = Scene::without_vault()?;
    create_vault(&scene)?;
    let mut options = Guest::options(&scene, "shop")?;
    options.postgres = Some("/data0/pg".into());
    let guest = Guest::boot(options)?;
    guest.machine.wait_postgres(BOOT)?;
    assert_listed(&scene, &guest)?;

    guest.machine.psql("create table orders (id bigserial primary key, what text)")?;
    insert(&guest, 20_000)?;
    let rows_first = guest.machine.psql(ROWS)?;
    let first = full_backup(&scene, &guest)?;
    guest.assert_at_work(&scene, Some(&first))?;

    insert(&guest, 5_000)?;
    let rows_last = guest.machine.psql(ROWS)?;
    let last = incremental_backup(&scene, &guest, &first)?;
    guest.assert_at_work(&scene, Some(&last))?;
    guest.quit_and_check()?;
    std::fs::remove_dir_all(scene.path("shop"))?;

    assert_points_shown(&scene, &first, &last)?;
    let raw = scene.restore(&first, "raw", "raw")?;
    assert_boots(&scene, "raw-again", as_disks(&raw, Format::Raw), &rows_first)?;
    let qcow2 = restore_latest(&scene, &last)?;
    assert_boots(&scene, "qcow2-again", as_disks(&qcow2, Format::Qcow2), &rows_last)?;
    check_image(&qcow2[0])
}

/// Creates the vault as the first command of a new user: nothing says where the key is to lie.
fn create_vault(scene: &Scene) -> Result<()> {
    let made = scene.run(["vault", "create", &scene.vault().display().to_string(), "--output", "json"])?;
    made.said(&["Keep a copy of the key file somewhere else"])?;
    let made = made.json()?;
    let key = made["key_file"].as_str().context("it says where the key is")?;
    let expected = scene.path(".config/strongroom/keys").join(format!("{}.key", id(&made)?));
    ensure!(expected.to_str() == Some(key), "{made}");
    let mode = std::fs::metadata(key)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "others can read the key: {mode:o}");
    ensure!(scene.run(["point", "list"])?.succeeded()?.contains("No recovery points yet"), "no points");
    Ok(())
}

fn assert_listed(scene: &Scene, guest: &Guest) -> Result<()> {
    let machines = scene.ask(&["machine", "list"])?;
    let expected = json!({
        "name": guest.name(),
        "uuid": guest.machine.options().uuid,
        "pid": guest.machine.process_id(),
        "provider": "qemu",
        "qmp": [guest.machine.qmp_socket(), guest.machine.options().folder.join("qmp-harness.sock")],
        "agent": guest.machine.agent_socket(),
    });
    ensure!(machines.as_array().is_some_and(|found| found.contains(&expected)), "{expected} in {machines}");
    let table = scene.run(["machine", "list"])?;
    let row = table.succeeded()?.lines().find(|line| line.starts_with(guest.name()));
    let row = row.with_context(|| format!("no row in {}", table.stdout))?;
    ensure!(row.contains(&guest.machine.qmp_socket().display().to_string()), "{row}");
    Ok(())
}

fn insert(guest: &Guest, rows: u32) -> Result<()> {
    let insert = format!("insert into orders (what) select md5(n::text) from generate_series(1, {rows}) n");
    guest.machine.psql(&insert).map(drop)
}

fn full_backup(scene: &Scene, guest: &Guest) -> Result<Value> {
    let ran = scene.try_backup(guest.name(), &["--strict"])?;
    ran.said(&["Take snapshot", "application-consistent, guest paused", "Transfer data to vault"])?;
    ran.said(&[
        "Disk d-disk0, 1.00 GiB, everything: no earlier point",
        "Disk d-disk1, 512.00 MiB, everything",
    ])?;
    let point = ran.json()?;
    ensure!(point["consistency"]["level"] == "application", "{point}");
    ensure!(point["consistency"]["frozen_filesystems"] == 2, "{point}");
    let hooks = point["consistency"]["hooks"].as_array().context("hooks")?;
    let ran = |phase: &str| {
        hooks.iter().any(|h| h["name"] == "postgresql" && h["phase"] == phase && h["exit"] == 0)
    };
    ensure!(ran("freeze") && ran("thaw"), "{point}");
    ensure!(point["machine"]["name"] == guest.name() && point["parent"].is_null(), "{point}");
    Ok(point)
}

fn incremental_backup(scene: &Scene, guest: &Guest, first: &Value) -> Result<Value> {
    let point = scene.backup(guest.name())?;
    ensure!(tracking(&point) == ["only changes", "only changes"], "{point}");
    ensure!(point["parent"] == first["id"] && point["consistency"]["level"] == "application", "{point}");
    let read = |point: &Value| point["stats"]["read_bytes"].as_u64().context("read_bytes");
    let (full, changed) = (read(first)?, read(&point)?);
    ensure!(changed * 4 < full, "the incremental read {changed} bytes, the full one {full}");
    Ok(point)
}

fn assert_points_shown(scene: &Scene, first: &Value, last: &Value) -> Result<()> {
    ensure!(scene.points()? == [first.clone(), last.clone()], "{:?}", scene.points());
    let table = scene.run(["point", "list"])?;
    let rows: Vec<&str> = table.succeeded()?.lines().collect();
    ensure!(rows.len() == 3 && rows[0].starts_with("POINT"), "{rows:?}");
    for (row, point) in rows[1..].iter().zip([first, last]) {
        ensure!(row.starts_with(id(point)?) && row.contains("application"), "{row}");
    }
    let end = &id(first)?[id(first)?.len() - 8..];
    ensure!(scene.ask(&["point", "show", end])? == *first, "by the end of its id");
    ensure!(scene.ask(&["point", "show", "latest"])? == *last, "the latest");
    let shown = scene.run(["point", "show", "latest"])?;
    for text in [id(last)?, id(first)?, "d-disk1", "only changes", "\"level\": \"application\""] {
        ensure!(shown.succeeded()?.contains(text), "'{text}' in {}", shown.stdout);
    }
    let vault = scene.ask(&["vault", "show"])?;
    let name = &first["machine"]["name"];
    ensure!(vault["points"] == 2 && vault["machines"][0]["name"] == *name, "{vault}");
    Ok(())
}

/// Restores the last point in both formats, which must agree, and says how.
fn restore_latest(scene: &Scene, last: &Value) -> Result<[PathBuf; 2]> {
    let folder = scene.path("qcow2");
    let mut command = scene.command(["restore", "disks", "latest", "--output", "json", "--to"]);
    let ran = Running::start(command.arg(&folder))?.finish()?;
    let restored = ran.json()?;
    ensure!(names_in(&folder)? == ["d-disk0.qcow2", "d-disk1.qcow2", "machine.json"], "{restored}");
    let images = [0, 1].map(|disk| folder.join(format!("d-disk{disk}.qcow2")));
    let raw = scene.restore(last, "raw-latest", "raw")?;
    for ((image, raw), disk) in images.iter().zip(&raw).zip(0..) {
        check_image(image)?;
        run(Command::new("qemu-img").args(["compare", "-f", "qcow2", "-F", "raw"]).arg(image).arg(raw))?;
        ensure!(restored["disks"][disk]["path"] == json!(image), "{restored}");
    }
    let description: Value = serde_json::from_slice(&std::fs::read(folder.join("machine.json"))?)?;
    ensure!(description["point"] == last["id"] && description["machine"].is_object(), "{description}");
    ensure!(description["disks"][1]["path"] == json!(images[1]), "{description}");
    Ok(images)
}

fn assert_boots(scene: &Scene, name: &str, disks: Vec<GuestDisk>, rows: &str) -> Result<()> {
    let machine = GuestMachine::start(image(), MachineOptions::new(name, &scene.path(name), disks))?;
    machine.wait_postgres(BOOT)?;
    ensure!(machine.psql(ROWS)? == rows, "the rows are those of the point");
    machine.psql("create extension amcheck")?;
    let (code, said) = machine.sh("pg_amcheck -U postgres --heapallindexed postgres")?;
    ensure!(code == 0 && said.is_empty(), "pg_amcheck: {code}: {said}");
    machine.power_off()
}
