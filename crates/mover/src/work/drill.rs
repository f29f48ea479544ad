//! Tries a point out for a server: a verdict is what the order comes to, whichever it is.
//!
//! An order that is begun again drills again: nothing of an earlier attempt is left to go on with.

use super::failure::Result;
use super::nearest::find_nearest;
use super::order::Run;
use super::server::in_words;
use crate::drill::{DrillRequest, DrillStep, Screenshot, Sign};
use api::work::PictureReport;
use hypervisor::base64;
use model::PointId;
use model::job::{JobKind, Step};
use model::policy::DrillOptions;
use std::time::Duration;
use uuid::Uuid;

/// Of a picture in base64: what a report may hold. Larger ones are left out.
const PICTURE_CHARACTERS_MAX: usize = 1_000_000;

/// Tries a point out.
pub(super) async fn drill(run: &Run, item: Uuid, point: PointId, options: &DrillOptions) -> Result<()> {
    let (store, point) = find_nearest(run, item, point).await?;
    let request = DrillRequest {
        id: run.draw(),
        point,
        libvirt: None,
        scratch: run.settings().scratch.clone(),
        cpus: options.cpus,
        memory_bytes: options.memory_mib.map(|mib| mib << 20),
        sign: options.console.clone().map_or(Sign::Agent, Sign::Console),
        boot_limit: Duration::from_secs(options.boot_limit_s.into()),
        checks: options.checks.clone(),
    };
    let tell = |began: DrillStep| {
        let step = step(began);
        done_before(run, step);
        run.lease.begin(&step.to_string(), 0);
    };
    let drilled = Box::pin(crate::drill::drill(&store, &request, &tell)).await?;
    if let Some(screenshot) = &drilled.screenshot {
        send(run, screenshot).await;
    }
    if !drilled.record.verdict.is_good() {
        run.lease.warn(format!("the point {}", drilled.record.verdict));
    }
    done_before(run, Step::TearDown);
    let result = serde_json::to_value(&drilled.record).expect("plain data");
    run.lease.step_done(Step::TearDown, Some(result));
    Ok(())
}

fn step(began: DrillStep) -> Step {
    match began {
        DrillStep::Restore => Step::RestorePoint,
        DrillStep::Boot => Step::Boot,
        DrillStep::Checks => Step::RunChecks,
        DrillStep::TearDown => Step::TearDown,
    }
}

/// Tells that all steps before one are over. Those that an earlier claim has told of are told.
fn done_before(run: &Run, step: Step) {
    let steps = JobKind::Drill.steps().iter().enumerate();
    for (place, earlier) in steps.take_while(|(_, other)| **other != step) {
        if place >= run.order.steps_done && !run.lease.has_step(*earlier) {
            run.lease.step_done(*earlier, None);
        }
    }
}

/// A picture that does not arrive is no reason to lose the verdict.
async fn send(run: &Run, screenshot: &Screenshot) {
    let data = base64::encode(&screenshot.bytes);
    if data.len() > PICTURE_CHARACTERS_MAX {
        run.lease.warn("the screenshot is too large to be kept".to_owned());
        return;
    }
    let screenshot = api::Screenshot { format: screenshot.format.to_owned(), data };
    let (claimant, generation) = (run.claimant(), run.order.generation);
    let report = PictureReport { claimant, generation, screenshot };
    if let Err(error) = run.server().picture(run.order.job, &report).await {
        run.lease.warn(format!("the screenshot could not be kept: {}", in_words(&error)));
    }
}
