//! A machine put back in its own place by orders: its mover dies midway, the word of it gets lost, it is cancelled,
//! undone, and what it kept removed.

use super::copies::{copy_order, second};
use super::desk::{Answer, Desk, Working, says};
use super::scene::{Guest, Scene, assert_equal, claimed_again, made};
use crate::scene::BOOT;
use anyhow::{Context, Result, ensure};
use api::work::{Order, ReplaceWork, Report, ReportEvent, ToldReplacement, Work};
use api::{JobError, StopMachine};
use hypervisor::recreate::{Stop, stop_qemu};
use model::PointId;
use model::job::{Failure, JobKind, Step};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use testkit::{Agent, LibvirtDaemon};
use uuid::Uuid;

const TOKEN: &str = "create table token (t text); insert into token values ('e6b1')";

/// An order to put the guest back. Its safety point says what the backup's said, of this job.
fn replace(scene: &Scene, guest: &Guest, point: PointId, stop: Option<StopMachine>) -> Order {
    replace_by(scene, scene.back_up(guest), point, stop)
}

/// The same of the machine of a backup.
fn replace_by(scene: &Scene, backup: Order, point: PointId, stop: Option<StopMachine>) -> Order {
    let Work::BackUp(back_up) = backup.work else { unreachable!("it is a backup") };
    let mut order = scene.order(JobKind::Replace, Work::Verify { item: scene.item, point });
    let mut safety = back_up.service;
    safety.job = order.job;
    order.work = Work::Replace(Box::new(ReplaceWork {
        item: scene.item,
        point,
        host: back_up.host,
        known_as: back_up.known_as,
        name: back_up.name,
        replacement: Uuid::now_v7(),
        stop,
        safety: Some(safety),
        from: None,
        plan: false,
    }));
    order
}

fn work(order: &Order) -> &ReplaceWork {
    let Work::Replace(work) = &order.work else { unreachable!("it is a replacement") };
    work
}

fn told(event: &ReportEvent) -> Result<ToldReplacement> {
    let ReportEvent::StepDone { result: Some(result), .. } = event else { anyhow::bail!("{event:?}") };
    Ok(serde_json::from_value(result.clone())?)
}

fn failed(event: &ReportEvent) -> Result<&JobError> {
    let ReportEvent::Failed { error } = event else { anyhow::bail!("{event:?}") };
    Ok(error)
}

fn tokens(agent: &Path, expected: &str) -> Result<()> {
    tokens_of(&Agent::new(agent), expected)
}

fn tokens_of(agent: &Agent, expected: &str) -> Result<()> {
    tokio::task::block_in_place(|| {
        agent.wait(BOOT)?;
        agent.wait_postgres(BOOT)?;
        let tokens = agent.psql("select string_agg(t, ',' order by t) from token")?;
        ensure!(tokens.trim() == expected, "{tokens}");
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_back_in_its_place_though_its_mover_dies_and_comes_back() -> Result<()> {
    let scene = Scene::new().await?;
    let mut guest = Guest::running(&scene)?;
    tokio::task::block_in_place(|| guest.machine.psql(TOKEN))?;
    let backup = scene.back_up(&guest);
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?.point;
    tokio::task::block_in_place(|| guest.machine.psql("insert into token values ('later')"))?;

    // What would be done is told, and nothing is done.
    let unasked = replace(&scene, &guest, point, None);
    let mut plan = replace(&scene, &guest, point, None);
    let Work::Replace(planned) = &mut plan.work else { unreachable!("it is a replacement") };
    (plan.kind, planned.plan) = (JobKind::Plan, true);
    desk.hand_out(plan.clone());
    let shown = told(&desk.end_of(&plan).await)?;
    ensure!(shown.was_running && shown.disks.len() == 2 && shown.disks[0].bytes == 1 << 30, "{shown:?}");
    ensure!(!Path::new(&shown.journal).exists() && shown.kept.is_empty(), "{shown:?}");
    desk.hand_out(unasked.clone());
    let end = desk.end_of(&unasked).await;
    ensure!(failed(&end)?.failure == Failure::Invalid, "a machine is not stopped unasked: {end:?}");

    // It dies when the machine is off and its state is a point, before anybody has heard.
    let order = replace(&scene, &guest, point, Some(StopMachine::PowerOff));
    desk.decide(|report: &Report| match says(report, Step::KeepCurrent) {
        true => Answer::Silence,
        false => Answer::GoOn,
    });
    desk.hand_out(order.clone());
    desk.until(|desk| desk.news(order.job).len() == 2).await;
    let news = desk.news(order.job);
    ensure!(matches!(news[1], ReportEvent::StepDone { step: Step::KeepCurrent, .. }), "{news:?}");
    working.kill().await;
    tokio::task::block_in_place(|| guest.machine.wait_exit(BOOT))?;
    ensure!(scene.points("vault").await?.len() == 2, "the state before is a point");
    desk.decide(|_| Answer::GoOn);
    let again = claimed_again(&order, 1, None);
    desk.hand_out(again.clone());
    let working = Working::start(&desk, scene.settings("mover"));
    let done = told(&desk.end_of(&again).await)?;
    let (qmp, agent) = (guest.machine.qmp_socket(), guest.machine.agent_socket());
    tokens(&agent, "e6b1")?;
    let points = scene.points("vault").await?;
    ensure!(points.len() == 2, "one job, one point of the state before: {points:?}");
    let safety = done.safety.as_ref().context("a point of the state before")?;
    let saved = points.iter().find(|one| one.id.0 == safety.point.0).context("it is in the vault")?;
    ensure!(saved.service["job"] == json!(order.job) && saved.machine.as_str() == scene.item.to_string());
    ensure!(done.kept.len() == 2 && done.kept.iter().all(|file| Path::new(file).is_file()), "{done:?}");

    // The word of it may get lost: the same job finds what it has done.
    let third = claimed_again(&again, 3, None);
    let before = desk.news(order.job).len();
    desk.hand_out(third.clone());
    desk.until(|desk| desk.news(order.job).len() > before).await;
    ensure!(told(&desk.end_of(&third).await)? == done, "{:?}", desk.news(order.job));
    tokens(&agent, "e6b1")?;

    undone_and_removed(&scene, &desk, work(&order), &done).await?;
    tokens(&agent, "e6b1,later")?;
    stop_qemu(&qmp, Stop::PowerOff).await?;
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_libvirt_goes_back_by_orders_and_comes_back() -> Result<()> {
    let scene = Scene::new().await?;
    let daemon = tokio::task::block_in_place(|| LibvirtDaemon::start(&scene.path("libvirt")))?;
    let guest = Guest::in_libvirt(&scene, &daemon, "replaced")?;
    let ask =
        |command: &str, arguments: &[&str]| tokio::task::block_in_place(|| guest.virsh(command, arguments));
    tokio::task::block_in_place(|| guest.agent().psql(TOKEN))?;
    let backup = scene.back_up_on(&daemon.uri(), "replaced", ask("domuuid", &[])?.trim());
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?.point;
    tokio::task::block_in_place(|| guest.agent().psql("insert into token values ('later')"))?;
    let definition = ask("dumpxml", &["--inactive"])?;

    // Its mover dies when the disks are written beside the originals, before anybody has heard.
    let order = replace_by(&scene, backup, point, Some(StopMachine::PowerOff));
    desk.decide(|report: &Report| match says(report, Step::WriteDisks) {
        true => Answer::Silence,
        false => Answer::GoOn,
    });
    desk.hand_out(order.clone());
    desk.until(|desk| desk.news(order.job).len() == 3).await;
    let news = desk.news(order.job);
    let ReportEvent::StepDone { step: Step::KeepCurrent, result } = &news[1] else {
        anyhow::bail!("{news:?}")
    };
    working.kill().await;
    ensure!(ask("domstate", &[])?.trim() == "shut off", "it was stopped");
    ensure!(scene.points("vault").await?.len() == 2, "the state before is a point");
    desk.decide(|_| Answer::GoOn);
    let again = claimed_again(&order, 2, result.clone());
    desk.hand_out(again.clone());
    let working = Working::start(&desk, scene.settings("mover"));
    let done = told(&desk.end_of(&again).await)?;
    tokens_of(guest.agent(), "e6b1")?;
    ensure!(ask("dumpxml", &["--inactive"])? == definition, "its definition is as it was");
    ensure!(scene.points("vault").await?.len() == 2, "one job, one point of the state before");
    ensure!(done.kept.len() == 2 && done.kept.iter().all(|file| Path::new(file).is_file()), "{done:?}");

    undone_and_removed(&scene, &desk, work(&order), &done).await?;
    tokens_of(guest.agent(), "e6b1,later")?;
    ensure!(ask("dumpxml", &["--inactive"])? == definition, "its definition is as it was");
    working.stop().await;
    drop(guest); // before its libvirt
    Ok(())
}

/// All becomes as it was; what was restored is kept, and goes when somebody says so who was shown it.
async fn undone_and_removed(
    scene: &Scene,
    desk: &Desk,
    of: &ReplaceWork,
    done: &ToldReplacement,
) -> Result<()> {
    let (replacement, journal) = (of.replacement, done.journal.clone());
    let (known_as, stop) = (of.known_as.clone(), Some(StopMachine::PowerOff));
    let undo = Work::UndoReplace { known_as, replacement, journal: journal.clone(), stop };
    let undo = scene.order(JobKind::UndoReplace, undo);
    desk.hand_out(undo.clone());
    let undone = told(&desk.end_of(&undo).await)?;
    ensure!(undone.kept.len() == 2 && undone.kept != done.kept, "{undone:?}");

    let remove = |files: &[String]| {
        let (journal, files) = (journal.clone(), files.to_vec());
        scene.order(JobKind::RemoveKept, Work::RemoveKept { replacement, journal, files })
    };
    let unseen = remove(&done.kept);
    desk.hand_out(unseen.clone());
    let end = desk.end_of(&unseen).await;
    ensure!(failed(&end)?.failure == Failure::Invalid, "{end:?}");
    ensure!(undone.kept.iter().all(|file| Path::new(file).is_file()), "nothing goes that nobody was shown");
    for _ in 0..2 {
        let seen = remove(&undone.kept);
        desk.hand_out(seen.clone());
        let end = desk.end_of(&seen).await;
        ensure!(matches!(end, ReportEvent::StepDone { .. }), "gone is gone: {end:?}");
        ensure!(undone.kept.iter().chain([&done.journal]).all(|file| !Path::new(file).exists()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_it_is_as_before_and_what_changed_shape_is_refused() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let backup = scene.back_up(&guest);
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?.point;
    let disks: Vec<_> = guest.machine.options().disks.iter().filter_map(|disk| disk.path.clone()).collect();
    let (order, other) = (replace(&scene, &guest, point, None), replace(&scene, &guest, point, None));
    tokio::task::block_in_place(|| guest.machine.kill())?;
    let before = disks.iter().map(|disk| copy(&scene, disk)).collect::<Result<Vec<_>>>()?;
    let beside = || -> Result<Vec<String>> {
        let names = std::fs::read_dir(scene.path("guest"))?.flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter(|name| name.contains("restore-") && !name.ends_with(".json")).collect())
    };

    desk.decide(|report: &Report| match says(report, Step::WriteDisks) {
        true => Answer::Cancel,
        false => Answer::GoOn,
    });
    desk.hand_out(order.clone());
    let is_over = |event: &ReportEvent| !matches!(event, ReportEvent::StepDone { .. });
    desk.until(|desk| desk.news(order.job).iter().any(is_over)).await;
    let news = desk.news(order.job);
    ensure!(news.contains(&ReportEvent::Cancelled {}), "{news:?}");
    for (disk, before) in disks.iter().zip(&before) {
        assert_equal(disk, before)?;
    }
    ensure!(beside()?.is_empty(), "{:?}", beside()?);
    // Whoever asks for the same again is told that it was taken back.
    desk.decide(|_| Answer::GoOn);
    let again = claimed_again(&order, 0, None);
    desk.hand_out(again.clone());
    desk.until(|desk| matches!(desk.news(order.job).last(), Some(ReportEvent::Failed { .. }))).await;

    tokio::task::block_in_place(|| {
        let mut resize = Command::new("qemu-img");
        ensure!(resize.args(["resize", "-q", "-f", "qcow2"]).arg(&disks[0]).arg("+1M").status()?.success());
        Ok(())
    })?;
    desk.hand_out(other.clone());
    let end = desk.end_of(&other).await;
    let error = failed(&end)?;
    ensure!(error.text.contains("bytes and has") && error.failure == Failure::Invalid, "{error:?}");
    ensure!(error.hint.as_ref().is_some_and(|hint| hint.contains("new machine")), "{error:?}");
    ensure!(beside()?.is_empty(), "nothing was begun: {:?}", beside()?);
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_the_second_store_it_goes_back_and_its_present_state_goes_to_the_vault_or_nowhere()
-> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let backup = scene.back_up(&guest);
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?.point;
    let copying = copy_order(&scene, &[&scene.points("vault").await?[0]]);
    desk.hand_out(copying.clone());
    desk.end_of(&copying).await;
    let disks: Vec<_> = guest.machine.options().disks.iter().filter_map(|disk| disk.path.clone()).collect();
    let wish = |safety: bool, plan: bool| {
        let mut order = replace(&scene, &guest, point, None);
        let Work::Replace(work) = &mut order.work else { unreachable!("it is a replacement") };
        (work.from, work.plan) = (Some(second(&scene)), plan);
        work.safety = work.safety.take().filter(|_| safety);
        if plan {
            order.kind = JobKind::Plan;
        }
        order
    };
    let orders =
        [wish(true, false), wish(true, true), wish(true, false), wish(false, true), wish(false, false)];
    let [good, plan, refused, alone, last] = orders;
    tokio::task::block_in_place(|| guest.machine.kill())?;
    let before = disks.iter().map(|disk| copy(&scene, disk)).collect::<Result<Vec<_>>>()?;
    let is_back = || -> Result<()> {
        for (disk, before) in disks.iter().zip(&before) {
            let compare = Command::new("qemu-img").arg("compare").arg(disk).arg(before).output()?;
            ensure!(compare.status.success(), "{compare:?}");
        }
        Ok(())
    };
    let write = || -> Result<()> {
        let mut write = Command::new("qemu-io");
        ensure!(write.args(["-c", "write -P 7 1M 1M"]).arg(&disks[0]).output()?.status.success());
        ensure!(is_back().is_err(), "it is another state");
        Ok(())
    };

    write()?;
    desk.hand_out(good.clone());
    let done = told(&desk.end_of(&good).await)?;
    is_back()?;
    let safety = done.safety.context("a point of the state before")?.point.0;
    let has = |points: Vec<vault::Point>| points.iter().any(|one| one.id.0 == safety);
    ensure!(has(scene.points("vault").await?) && !has(scene.points("second").await?), "it is the vault's");

    // The vault is gone, though this mover has it open: nothing is begun, and nothing written to where it was.
    std::fs::remove_dir_all(scene.path("vault"))?;
    write()?;
    let beside = || -> Result<usize> { Ok(std::fs::read_dir(scene.path("guest"))?.count()) };
    let there = beside()?;
    for order in [plan, refused] {
        desk.hand_out(order.clone());
        let end = desk.end_of(&order).await;
        let error = failed(&end)?;
        ensure!(error.text.starts_with("the present state cannot become a point"), "{error:?}");
        ensure!(error.hint.as_ref().is_some_and(|hint| hint.contains("--no-safety-point")), "{error:?}");
        ensure!(beside()? == there, "nothing was begun: {:?}", beside()?);
    }
    desk.hand_out(alone.clone());
    let shown = told(&desk.end_of(&alone).await)?;
    ensure!(shown.disks.len() == 2 && !Path::new(&shown.journal).exists(), "{shown:?}");
    desk.hand_out(last.clone());
    let done = told(&desk.end_of(&last).await)?;
    ensure!(done.safety.is_none() && done.kept.len() == 2, "{done:?}");
    is_back()?;
    ensure!(!scene.path("vault").exists(), "nothing is written to where the vault was");
    working.stop().await;
    Ok(())
}

fn copy(scene: &Scene, disk: &Path) -> Result<std::path::PathBuf> {
    let name = disk.file_name().context("a disk has a name")?.to_string_lossy().into_owned();
    let target = scene.path(&format!("before-{name}"));
    std::fs::copy(disk, &target)?;
    Ok(target)
}
