//! A point is tried out for a server: its steps are told as they end, and the verdict with the last.

use super::desk::{Desk, Working};
use super::scene::{Guest, Scene, claimed_again, made};
use anyhow::{Result, ensure};
use api::work::{Order, ReportEvent, Work};
use model::PointId;
use model::drill::{Check, DrillRecord, DrillStage, Verdict};
use model::job::{JobKind, Step};
use model::policy::DrillOptions;

fn order(scene: &Scene, point: PointId, command: &str) -> Order {
    let check = Check { name: "c".into(), command: command.into(), exit: 0, pattern: None, limit_s: 60 };
    let options = DrillOptions { checks: vec![check], ..DrillOptions::default() };
    scene.order(JobKind::Drill, Work::Drill { item: scene.item, point, options })
}

/// The steps that were told of a job, and what the last came to.
fn told(desk: &Desk, order: &Order) -> Result<(Vec<Step>, DrillRecord)> {
    let (mut steps, mut record) = (Vec::new(), None);
    for event in desk.news(order.job) {
        let ReportEvent::StepDone { step, result } = event else { anyhow::bail!("{event:?}") };
        steps.push(step);
        record = result;
    }
    Ok((steps, serde_json::from_value(record.unwrap_or_default())?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_told_whichever_it_is() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let backup = scene.back_up(&guest);
    let desk = Desk::kind(vec![backup.clone()]);
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&backup).await)?.point;

    let good = order(&scene, point, "test -f /data0/pg/PG_VERSION");
    desk.hand_out(good.clone());
    desk.end_of(&good).await;
    let (steps, record) = told(&desk, &good)?;
    ensure!(steps == JobKind::Drill.steps(), "{steps:?}");
    ensure!(record.verdict == Verdict::Proved && record.read_bytes > 0, "{record:?}");
    let warnings =
        |order: &Order| desk.last(order.job).and_then(|report| report.progress).map(|told| told.warnings);
    ensure!(warnings(&good).is_some_and(|texts| texts.is_empty()), "{:?}", warnings(&good));

    // An earlier claim has told of two steps and died: all is done again, and the rest is told.
    let bad = claimed_again(&order(&scene, point, "exit 4"), 2, None);
    desk.hand_out(bad.clone());
    desk.end_of(&bad).await;
    let (steps, record) = told(&desk, &bad)?;
    ensure!(steps == [Step::RunChecks, Step::TearDown], "{steps:?}");
    ensure!(matches!(record.verdict, Verdict::Failed { stage: DrillStage::Checks, .. }), "{record:?}");
    ensure!(warnings(&bad).is_some_and(|texts| texts.iter().any(|text| text.contains("ended with 4"))));
    let left = std::fs::read_dir(scene.path("mover/scratch"))?.count();
    ensure!(left == 0, "a drill leaves nothing");
    working.stop().await;
    Ok(())
}
