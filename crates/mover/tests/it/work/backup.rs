//! A machine's way into the vault and back by orders.

use super::desk::{Answer, Desk, Working};
use super::scene::{Guest, Scene, assert_equal, made};
use anyhow::{Context, Result, ensure};
use api::work::{AssignedHost, Order, ReportEvent, Work};
use api::{JobError, MachineState, RestoreFormat};
use model::HostId;
use model::job::{Failure, JobKind, Step};
use model::policy::DiskSelection;
use serde_json::json;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_machine_is_backed_up_and_comes_back_equal() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = scene.back_up(&guest);
    let desk = Desk::kind(vec![order.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&order).await)?;
    ensure!(!point.in_snapshot_tier && point.in_vault_tier && point.consistency == "crash", "{point:?}");
    let disks: Vec<_> = point.disks.iter().map(|disk| (disk.name.as_str(), disk.bytes)).collect();
    ensure!(disks == [("d-disk0", 1 << 30), ("d-disk1", 512 << 20)], "{disks:?}");
    let news = desk.news(order.job);
    ensure!(news[0] == ReportEvent::StepDone { step: Step::TakeSnapshot, result: None }, "{news:?}");
    ensure!(news.len() == 2, "{news:?}");
    guest.assert_left_alone()?;

    let points = scene.points("vault").await?;
    ensure!(points.len() == 1 && points[0].id.0 == point.point.0, "{points:?}");
    ensure!(points[0].machine.as_str() == scene.item.to_string(), "{:?}", points[0].machine);
    ensure!(points[0].service["job"] == json!(order.job), "{}", points[0].service);
    ensure!(points[0].session.0 == order.session, "{:?}", points[0].session);

    let expected = guest.copy_disks(&scene)?;
    let folder = scene.path("restored");
    let restore = restore(&scene, point.point, &folder.display().to_string());
    desk.hand_out(restore.clone());
    let end = desk.end_of(&restore).await;
    let ReportEvent::StepDone { step: Step::DefineMachine, result: Some(result) } = &end else {
        anyhow::bail!("{end:?}")
    };
    let files = [0, 1].map(|disk| folder.join(format!("d-disk{disk}.raw")));
    ensure!(result["files"] == json!([files[0], files[1], folder.join("machine.json")]), "{result}");
    for (file, expected) in files.iter().zip(&expected) {
        assert_equal(file, expected)?;
    }
    let left = std::fs::read_dir(&folder)?.count();
    ensure!(left == 3, "the folder holds {left} files");
    // The word of it may get lost: the same job finds what it has done.
    let mut again = super::scene::claimed_again(&restore, 0, None);
    again.generation.0 += 7;
    desk.hand_out(again.clone());
    desk.until(|desk| desk.news(restore.job).len() == 4).await;
    ensure!(desk.news(restore.job)[3] == end, "{:?}", desk.news(restore.job));
    working.stop().await;
    Ok(())
}

/// A guest is backed up, restored as a machine under another name, and started; an attempt whose word got lost is
/// made again and finds the machine that runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_point_becomes_a_new_machine_once() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = scene.back_up(&guest);
    let desk = Desk::kind(vec![order.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&order).await)?;
    let folder = scene.path("twin");
    let mut restore = restore(&scene, point.point, &folder.display().to_string());
    let Work::Restore { machine, format, .. } = &mut restore.work else { unreachable!("it is a restore") };
    *format = RestoreFormat::Qcow2;
    *machine = Some(api::NewMachine {
        name: "twin".into(),
        network: api::NewNetwork::Disconnected {},
        keep_uuid: false,
        keep_macs: false,
        cpus: None,
        memory_mib: None,
        start: true,
        at_once: false,
        libvirt: None,
    });
    desk.hand_out(restore.clone());
    let end = desk.end_of(&restore).await;
    let ReportEvent::StepDone { step: Step::DefineMachine, result: Some(result) } = &end else {
        anyhow::bail!("{end:?}")
    };
    let qmp = std::path::PathBuf::from(result["machine"]["qmp"].as_str().unwrap_or_default());
    let twin = hypervisor::qemu::QemuMachine::connect(&qmp, None).await?;
    let described = hypervisor::Machine::describe(&twin).await?;
    ensure!(described.name.as_deref() == Some("twin"), "{described:?}");
    ensure!(described.uuid == Some(restore.job.to_string()), "a uuid of its own: {:?}", described.uuid);
    ensure!(
        described.disks.iter().all(|disk| disk.file.starts_with(&folder.display().to_string())),
        "{described:?}"
    );
    let mut again = super::scene::claimed_again(&restore, 1, None);
    again.generation.0 += 7;
    desk.hand_out(again.clone());
    desk.until(|desk| desk.news(restore.job).len() == 3).await;
    ensure!(desk.news(restore.job)[2] == end, "{:?}", desk.news(restore.job));
    guest.assert_left_alone()?;
    working.stop().await;
    let pid = result["machine"]["pid"].to_string();
    ensure!(std::process::Command::new("kill").arg(&pid).status()?.success(), "end QEMU {pid}");
    Ok(())
}

/// A machine runs at once on its point; its mover stops and comes back, and goes on with the same machine until its
/// data is all there.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_runs_at_once_whatever_becomes_of_its_mover() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = scene.back_up(&guest);
    let desk = Desk::kind(vec![order.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&order).await)?;
    let folder = scene.path("now");
    let mut restore = restore(&scene, point.point, &folder.display().to_string());
    restore.kind = JobKind::InstantRestore;
    let Work::Restore { machine, .. } = &mut restore.work else { unreachable!("it is a restore") };
    let wish = serde_json::json!({ "name": "now", "start": true, "at_once": true });
    *machine = Some(serde_json::from_value(wish)?);
    desk.hand_out(restore.clone());
    desk.until(|desk| !desk.news(restore.job).is_empty()).await;
    let begun = desk.news(restore.job)[0].clone();
    let ReportEvent::StepDone { step: Step::DefineMachine, result: Some(result) } = &begun else {
        anyhow::bail!("{begun:?}")
    };
    working.stop().await;

    let working = Working::start(&desk, scene.settings("mover"));
    let mut again = super::scene::claimed_again(&restore, 1, None);
    again.generation.0 += 7;
    desk.hand_out(again.clone());
    let followed = |desk: &Desk| {
        desk.news(restore.job).into_iter().find_map(|event| match event {
            ReportEvent::StepDone { step: Step::FollowData, result } => result,
            _ => None,
        })
    };
    desk.until(|desk| followed(desk).is_some()).await;
    let told = followed(&desk).context("it was just there")?;
    ensure!(told == *result, "it is the same machine: {told} {result}");
    let journal = mover::instant::Journal::read(&folder)?;
    ensure!(journal.state == mover::instant::State::Whole, "{journal:?}");
    let qmp = std::path::PathBuf::from(told["machine"]["qmp"].as_str().unwrap_or_default());
    let now = hypervisor::qemu::QemuMachine::connect(&qmp, None).await?;
    let described = hypervisor::Machine::describe(&now).await?;
    ensure!(described.uuid == Some(restore.job.to_string()), "{described:?}");
    guest.assert_left_alone()?;
    working.stop().await;
    let pid = told["machine"]["pid"].to_string();
    ensure!(std::process::Command::new("kill").arg(&pid).status()?.success(), "end QEMU {pid}");
    Ok(())
}

fn restore(scene: &Scene, point: model::PointId, folder: &str) -> Order {
    let (item, folder) = (scene.item, folder.to_owned());
    let (disks, format) = (Vec::new(), RestoreFormat::Raw);
    scene.order(JobKind::Restore, Work::Restore { item, point, folder, disks, format, machine: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_reads_changes_of_the_disks_that_are_chosen() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let first = scene.back_up(&guest);
    let mut second = scene.back_up(&guest);
    let mut third = scene.back_up(&guest);
    for (order, disks) in [
        (&mut second, DiskSelection::OsOnly {}),
        (&mut third, DiskSelection::Include { disks: vec!["d-disk9".into()] }),
    ] {
        let Work::BackUp(work) = &mut order.work else { unreachable!("it is a backup") };
        work.disks = disks;
    }
    let desk = Desk::kind(Vec::new());
    let working = Working::start(&desk, scene.settings("mover"));
    let mut points = Vec::new();
    for order in [&first, &second, &third] {
        desk.hand_out(order.clone());
        points.push(made(&desk.end_of(order).await)?);
    }
    let read = |number: usize| points[number].disks.iter().map(|disk| disk.read_bytes).sum::<u64>();
    ensure!(read(1) * 4 < read(0), "the incremental read {} bytes, the full one {}", read(1), read(0));
    for point in &points[1..] {
        let names: Vec<_> = point.disks.iter().map(|disk| disk.name.as_str()).collect();
        ensure!(names == ["d-disk0"], "the machine boots from its first disk: {names:?}");
    }
    let warnings = desk.last(third.job).and_then(|report| report.progress).map(|progress| progress.warnings);
    let is_told = |text: &String| text.contains("d-disk9");
    ensure!(warnings.as_ref().is_some_and(|texts| texts.iter().any(is_told)), "{warnings:?}");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_so_that_it_is_tried_again_or_not() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let mut absent = scene.back_up(&guest);
    let Work::BackUp(work) = &mut absent.work else { unreachable!("it is a backup") };
    work.known_as = Uuid::new_v4().to_string();
    let mut locked = scene.back_up(&guest);
    locked.vault.key = format!("strongroom-key 1\nkey {}\n", "ab".repeat(32));
    let mut nowhere = scene.back_up(&guest);
    nowhere.vault.location = scene.path("nowhere").display().to_string();
    let missing = restore(&scene, model::PointId(Uuid::now_v7()), "/tmp/x");
    let table = [
        (absent, Failure::Unreachable, "start it"),
        (locked, Failure::Denied, "key"),
        (nowhere, Failure::Invalid, "vault"),
        (missing, Failure::Invalid, ""),
    ];
    let desk = Desk::kind(table.iter().map(|(order, ..)| order.clone()).collect());
    let working = Working::start(&desk, scene.settings("mover"));
    for (order, expected, hint) in &table {
        let end = desk.end_of(order).await;
        let ReportEvent::Failed { error: JobError { failure, text, hint: told } } = &end else {
            anyhow::bail!("{end:?}")
        };
        ensure!(failure == expected, "{end:?}");
        ensure!(!text.is_empty() && told.as_deref().unwrap_or_default().contains(hint), "{end:?}");
    }
    working.stop().await;
    guest.assert_left_alone()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_tell_of_their_machines() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let host = AssignedHost { id: HostId(Uuid::now_v7()), address: "local".into() };
    let desk = Desk::with_hosts(Vec::new(), vec![host.clone()], |_| Answer::GoOn);
    let working = Working::start(&desk, scene.settings("mover"));
    desk.until(|desk| !desk.inventories().is_empty()).await;
    let inventory = desk.inventories().remove(0);
    ensure!(inventory.host == host.id, "{inventory:?}");
    let uuid = guest.machine.options().uuid.to_string();
    let seen = inventory.machines.iter().find(|machine| machine.known_as == uuid);
    let Some(seen) = seen else { anyhow::bail!("{inventory:?}") };
    ensure!(seen.name == guest.machine.options().name && seen.state == MachineState::Running, "{seen:?}");
    let disks: Vec<_> = seen.disks.iter().map(|disk| (disk.name.as_str(), disk.bytes, disk.is_os)).collect();
    ensure!(disks == [("d-disk0", 1 << 30, true), ("d-disk1", 512 << 20, false)], "{disks:?}");
    ensure!(seen.obstacle.is_none() && seen.description["uuid"] == json!(uuid), "{seen:?}");
    working.stop().await;
    Ok(())
}
