//! Movers that die, are cut off, cancelled or too slow: the job happens once or not at all.

use super::desk::{Answer, Desk, Working, says};
use super::scene::{Guest, Scene, claimed_again, made};
use anyhow::{Context, Result, ensure};
use api::work::{Report, ReportEvent};
use model::job::{Failure, Step};
use vault::{Ended, SessionId};

/// Whether it is the wish to be told that the claim still holds, after the machine was frozen.
fn at_the_gate() -> impl FnMut(&Report) -> bool + Send {
    let mut is_frozen = false;
    move |report| {
        let was_frozen = is_frozen;
        is_frozen |= says(report, Step::TakeSnapshot);
        was_frozen && matches!(report.event, ReportEvent::GoesOn {})
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_dies_between_commit_and_report_has_done_the_job_once() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = scene.back_up(&guest);
    // The word that all is done never gets through.
    let decide = |report: &Report| match says(report, Step::TransferToVault) {
        true => Answer::Silence,
        false => Answer::GoOn,
    };
    let desk = Desk::new(vec![order.clone()], decide);
    let working = Working::start(&desk, scene.settings("mover"));
    let lost = made(&desk.end_of(&order).await)?;
    working.kill().await;
    desk.decide(|_| Answer::GoOn);
    let again = claimed_again(&order, 1, None);
    desk.hand_out(again.clone());
    let working = Working::start(&desk, scene.settings("another mover"));
    let is_told = |last: &Report| last.generation == again.generation && says(last, Step::TransferToVault);
    desk.until(|desk| desk.last(order.job).as_ref().is_some_and(is_told)).await;
    let told = made(&desk.last(order.job).context("it was told")?.event)?;
    ensure!(told == lost, "{told:?} and {lost:?}");
    ensure!(scene.points("vault").await?.len() == 1, "one job, one point");
    working.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_lost_before_the_commit_leaves_no_point() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = scene.back_up(&guest);
    let mut gate = at_the_gate();
    let desk = Desk::new(vec![order.clone()], move |report| match gate(report) {
        true => Answer::Lost,
        false => Answer::GoOn,
    });
    let working = Working::start(&desk, scene.settings("mover"));
    let events = |desk: &Desk| desk.events(order.job).len();
    desk.until(|desk| {
        let events = desk.events(order.job);
        let taken = events.iter().position(|event| matches!(event, ReportEvent::StepDone { .. }));
        taken.is_some_and(|place| events.len() > place + 1)
    })
    .await;
    let before = events(&desk);
    // Stopping waits for what is under way.
    working.stop().await;
    ensure!(events(&desk) == before, "whoever lost a claim says nothing more: {:?}", desk.events(order.job));
    let vault = scene.open("vault").await?;
    ensure!(vault.points().await?.is_empty(), "no point");
    guest.assert_left_alone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_was_taken_over_commits_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = scene.back_up(&guest);
    let mut gate = at_the_gate();
    let desk = Desk::new(vec![order.clone()], move |report| match gate(report) {
        true => Answer::Broken,
        false => Answer::GoOn,
    });
    let working = Working::start(&desk, scene.settings("mover"));
    desk.until(|desk| desk.news(order.job).len() == 1).await;
    // Another has claimed the job meanwhile and aborted what this one has begun; the server still lets it go on.
    let vault = scene.open("vault").await?;
    ensure!(
        vault.abort_session(SessionId(order.session), super::scene::now()).await? == Ended::Aborted,
        "open"
    );
    desk.decide(|_| Answer::GoOn);
    let end = desk.end_of(&order).await;
    let ReportEvent::Failed { error } = &end else { anyhow::bail!("{end:?}") };
    ensure!(error.failure == Failure::Busy, "{error:?}");
    ensure!(vault.points().await?.is_empty(), "no point");
    working.stop().await;
    guest.assert_left_alone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_cancelled_or_given_back_leaves_nothing_that_could_commit() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let vault = scene.open("vault").await?;
    let cancelled = scene.back_up(&guest);
    let mut gate = at_the_gate();
    let desk = Desk::new(vec![cancelled.clone()], move |report| match gate(report) {
        true => Answer::Cancel,
        false => Answer::GoOn,
    });
    let working = Working::start(&desk, scene.settings("mover"));
    ensure!(desk.end_of(&cancelled).await == ReportEvent::Cancelled {}, "{:?}", desk.news(cancelled.job));
    guest.assert_left_alone()?;

    let stopped = scene.back_up(&guest);
    let mut gate = at_the_gate();
    // It waits there until it is to stop.
    desk.decide(move |report| match gate(report) {
        true => Answer::Broken,
        false => Answer::GoOn,
    });
    desk.hand_out(stopped.clone());
    desk.until(|desk| desk.news(stopped.job).len() == 1).await;
    desk.decide(|_| Answer::GoOn);
    working.stop().await;
    let end = desk.news(stopped.job).pop();
    // It may have been quicker.
    if end == Some(ReportEvent::Released {}) {
        ensure!(vault.points().await?.is_empty(), "no point");
        let fenced = vault.abort_session(SessionId(stopped.session), super::scene::now()).await?;
        ensure!(fenced == Ended::Aborted, "{fenced:?}");
    }
    let fenced = vault.abort_session(SessionId(cancelled.session), super::scene::now()).await?;
    ensure!(fenced == Ended::Aborted, "{fenced:?}");
    guest.assert_left_alone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_for_a_while_costs_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let guest = Guest::still(&scene)?;
    let order = scene.back_up(&guest);
    // Every other report is answered by an error.
    let mut is_broken = false;
    let desk = Desk::new(vec![order.clone()], move |_| {
        is_broken = !is_broken;
        if is_broken { Answer::Broken } else { Answer::GoOn }
    });
    let working = Working::start(&desk, scene.settings("mover"));
    let point = made(&desk.end_of(&order).await)?;
    ensure!(desk.news(order.job).len() == 2, "each step is told once: {:?}", desk.news(order.job));
    ensure!(scene.points("vault").await?[0].id.0 == point.point.0, "the point");
    working.stop().await;
    Ok(())
}
