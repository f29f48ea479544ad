//! Machines of an image that run at once, by order: while another job adds some, after theirs was cancelled and tried
//! again, and whatever becomes of their mover.

use super::desk::{Answer, Desk, Working};
use super::image::{capture, create, done, machines, made};
use super::scene::{Guest, Scene, claimed_again};
use crate::image::program;
use anyhow::{Context, Result, ensure};
use api::StopMachine;
use api::images::{ImageWork, MadeMachine};
use api::work::{Order, Report, ReportEvent, Work};
use model::job::{JobKind, Step};
use model::{JobId, PointId};
use mover::deploy::CopyJournal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::Monitor;

/// Nothing of the image comes by itself.
const NEXT_TO_NOTHING: u64 = 1;
/// How often something is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn at_once(scene: &Scene, point: PointId, name: (&str, u32), same: Option<JobId>) -> Order {
    let mut order = create(scene, point, name);
    order.kind = JobKind::CreateMachinesAtOnce;
    order.vault.transfer_bytes_per_second = Some(NEXT_TO_NOTHING);
    let Work::Image(work) = &mut order.work else { unreachable!("it is an image's") };
    let ImageWork::Create { wish, same_as, .. } = &mut **work else { unreachable!("it makes machines") };
    (wish.start, wish.at_once, wish.memory_mib, *same_as) = (true, true, Some(256), same);
    order
}

/// The machines of an order, as soon as they run.
async fn run(desk: &Desk, order: &Order) -> Result<Value> {
    desk.hand_out(order.clone());
    desk.until(|desk| !desk.news(order.job).is_empty()).await;
    let told = desk.news(order.job);
    let Some(ReportEvent::StepDone { step: Step::MakeMachines, result: Some(result) }) = told.first() else {
        anyhow::bail!("{told:?}")
    };
    ensure!(machines(result)?.iter().all(|one| one.shares && one.error.is_none()), "{result}");
    Ok(result.clone())
}

/// A monitor of a machine that nobody else holds.
fn monitor(machine: &MadeMachine) -> Result<Monitor> {
    let run = Path::new(&machine.folder).join("run");
    let entries = std::fs::read_dir(&run)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_meant = |path: &PathBuf| {
        path.to_string_lossy().ends_with(".sock") && path.to_string_lossy().contains("qmp-harness")
    };
    Monitor::connect(
        &entries.into_iter().find(is_meant).with_context(|| format!("a monitor in {}", run.display()))?,
    )
}

fn runs(machine: &MadeMachine) -> Result<bool> {
    Ok(monitor(machine)?.command("query-status", Value::Null)?["status"] == "running")
}

/// Machines that are ended, whatever becomes of the test.
struct Ended(Vec<MadeMachine>);

impl Ended {
    fn end(&mut self, count: usize) {
        for machine in self.0.drain(..count) {
            if let Ok(mut monitor) = monitor(&machine) {
                let _ = monitor.command("quit", Value::Null); // gone before the answer is
            }
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end(self.0.len());
    }
}

fn waits(report: &Report, words: &str) -> bool {
    report.progress.as_ref().is_some_and(|progress| progress.doing.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_an_image_run_at_once_whatever_becomes_of_their_mover() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let captured = capture(&scene, &guest, Some(StopMachine::PowerOff));
    let desk = Desk::kind(Vec::new());
    let settings = || -> Result<mover::work::Settings> {
        let mut settings = scene.settings("mover");
        settings.files_program = Some(program()?);
        // One place for other work: what machines run on takes none.
        settings.orders_at_once = 1;
        Ok(settings)
    };
    let working = Working::start(&desk, settings()?);
    let point = made(&done(&desk, &captured).await?)?.made.point;

    let first = at_once(&scene, point, ("web-{}", 2), None);
    let told = run(&desk, &first).await?;
    let mut all = Ended(machines(&told)?);
    let copy = scene.path("made/image-web-1");
    ensure!(!CopyJournal::read(&copy)?.whole, "they run before it is here");
    // While it is served more are made of it.
    let mut more = at_once(&scene, point, ("more-{}", 1), None);
    more.generation.0 += 7;
    let added = run(&desk, &more).await?;
    all.0.extend(machines(&added)?);

    // Cancelled, the job leaves them, and tried again it has them back.
    let generation = first.generation;
    desk.decide(move |report| match report.generation == generation {
        true => Answer::Cancel,
        false => Answer::GoOn,
    });
    let cancelled = desk.end_of(&first).await;
    ensure!(cancelled == ReportEvent::Cancelled {}, "{cancelled:?}");
    desk.decide(|_| Answer::GoOn);
    let again = at_once(&scene, point, ("web-{}", 2), Some(first.job));
    let same = run(&desk, &again).await?;
    ensure!(machines(&same)? == machines(&told)?, "the same ones: {same} {told}");

    working.kill().await;
    // What is dropped ends in its own time.
    while copy.join("nbd.sock").exists() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let working = Working::start(&desk, settings()?);
    for (order, result) in [(&again, &same), (&more, &added)] {
        let mut goes_on = claimed_again(order, 1, Some(result.clone()));
        goes_on.vault.transfer_bytes_per_second = None;
        desk.hand_out(goes_on);
    }
    desk.until(|desk| desk.last(again.job).is_some_and(|report| waits(&report, "2 machines still read")))
        .await;
    ensure!(CopyJournal::read(&copy)?.whole, "all of it is here");
    for machine in &all.0 {
        while !runs(machine)? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    all.end(1);
    desk.until(|desk| desk.last(again.job).is_some_and(|report| waits(&report, "1 machine still reads")))
        .await;
    all.end(1);
    let end = desk.end_of(&again).await;
    ensure!(
        matches!(&end, ReportEvent::StepDone { step: Step::FollowData, result: Some(result) } if *result == same),
        "{end:?}"
    );
    ensure!(copy.join("nbd.sock").exists(), "the other job serves still");
    all.end(1);
    desk.end_of(&more).await;
    working.stop().await;
    let journal = CopyJournal::read(&copy)?;
    ensure!(journal.machines.len() == 3 && journal.machines.iter().all(|one| !one.served), "{journal:?}");
    ensure!(!copy.join("nbd.sock").exists(), "nobody needs it");
    Ok(())
}
