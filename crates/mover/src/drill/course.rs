//! A drill from beginning to end.

use super::attended::{Attended, Plan};
use super::checks;
use super::console::Console;
use super::disks::{self, Served, in_words, is_damage};
use super::folder::DrillFolder;
use super::request::{DrillRequest, Patterns};
use super::screenshot::Screenshot;
use super::sign;
use super::sweep::sweep;
use crate::error::{Doing, Error, Result};
use hypervisor::{Agent, recreate};
use model::drill::{DrillRecord, DrillStage, Verdict};
use std::sync::Arc;
use tokio::time::Instant;
use vault::Vault;

/// A part of a drill that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrillStep {
    /// The disks are made.
    Restore,
    /// The machine is started, and its sign of life waited for.
    Boot,
    /// The guest is asked.
    Checks,
    /// All of it goes.
    TearDown,
}

/// What a drill came to.
#[derive(Clone, Debug)]
pub struct Drilled {
    /// What is kept of it.
    pub record: DrillRecord,
    /// What the screen showed at its end, if the machine had one.
    pub screenshot: Option<Screenshot>,
}

/// Boots a point, waits for its sign of life, asks it, and tears everything down again.
///
/// A point that does not come up is no error but a verdict. Dropped in the middle it tears down as well.
///
/// # Errors
/// When the drill could not be made, so that nothing is known of the point: a request that makes no sense, a point
/// that does not tell how its machine was started, a scratch folder without room, a vault that is not reached.
pub async fn drill(
    vault: &Arc<Vault>,
    request: &DrillRequest,
    progress: &(dyn Fn(DrillStep) + Sync),
) -> Result<Drilled> {
    let patterns = Patterns::of(request)?;
    sweep(&request.scratch).await;
    let began = Instant::now();
    progress(DrillStep::Restore);
    // What is dropped first stands last: the machine, its disks' server, the folder.
    let folder = DrillFolder::create(&request.scratch, request.id)?;
    let files = disks::files(&request.point, folder.path());
    let plan = Plan::of(request, &folder, files.clone())?;
    let left_out = plan.left_out().iter().map(|one| format!("{}: {}", one.what, one.reason)).collect();
    let mut record = DrillRecord { left_out, ..blank() };
    let served = Served::start(vault, &request.point, &folder).await?;
    plan.open_to_libvirt(&folder)?;
    match disks::make(vault, &request.point, &folder, &files).await {
        Ok(restored) => record.read_bytes = restored,
        Err(error) if is_damage(&error) => {
            record.verdict = failed(DrillStage::Restore, in_words(&error));
            return Ok(Drilled { record, screenshot: None });
        }
        Err(error) => return Err(error),
    }
    progress(DrillStep::Boot);
    let mut screenshot = None;
    let console = plan.console.clone();
    match plan.start().await {
        Ok(mut machine) => {
            record.restore_ms = Some(milliseconds(began));
            let mut console = Console::new(console);
            let course = Course { request, patterns: &patterns, progress };
            record.verdict = course.run(&mut machine, &mut console, &mut record).await;
            screenshot = machine.screenshot(&folder.run()).await;
            progress(DrillStep::TearDown);
            machine.end().await;
            console.listen();
            record.console = console.tail();
        }
        Err(error) if error.kind() == hypervisor::ErrorKind::Unsupported => {
            return Err(Error::Machine("start the machine".into(), error));
        }
        Err(error) => record.verdict = failed(DrillStage::Start, in_words(&error)),
    }
    record.read_bytes += served.read_bytes();
    if let (Verdict::Failed { reason, .. }, Some(unread)) = (&mut record.verdict, served.failure()) {
        reason.push_str(&format!("; the vault could not be read: {unread}"));
    }
    // A TPM ends by itself some time after its machine.
    let ended = recreate::end_stray(&folder.run()).await;
    ended.doing(|| "tear the drill down".to_owned())?;
    served.stop().await;
    Ok(Drilled { record, screenshot })
}

/// What follows once the machine runs.
struct Course<'a> {
    request: &'a DrillRequest,
    patterns: &'a Patterns,
    progress: &'a (dyn Fn(DrillStep) + Sync),
}

impl Course<'_> {
    async fn run(&self, machine: &mut Attended, console: &mut Console, record: &mut DrillRecord) -> Verdict {
        let began = Instant::now();
        let (limit, pattern) = (self.request.boot_limit, self.patterns.console.as_ref());
        let agent = match sign::wait(machine, console, pattern, limit).await {
            Ok(agent) => agent,
            Err(reason) => return failed(DrillStage::Boot, reason),
        };
        record.boot_ms = Some(milliseconds(began));
        if agent.is_none() && self.request.checks.is_empty() {
            return Verdict::BootedOnly;
        }
        (self.progress)(DrillStep::Checks);
        let mut agent = match agent {
            Some(agent) => agent,
            // The console was first; what is to be asked needs the agent.
            None => match sign::wait(machine, console, None, limit.saturating_sub(began.elapsed())).await {
                Ok(agent) => agent.expect("without a pattern it is the agent that is waited for"),
                Err(reason) => return failed(DrillStage::Checks, reason),
            },
        };
        self.ask(&mut agent, record).await
    }

    async fn ask(&self, agent: &mut Agent, record: &mut DrillRecord) -> Verdict {
        // An agent that may not say is still one that answers.
        let system = agent.system().await.ok();
        let is_windows = system.as_ref().is_some_and(hypervisor::GuestSystem::is_windows);
        record.guest = system.map(|system| system.name);
        let patterns = self.patterns.checks.iter().map(Option::as_ref);
        let checks: Vec<_> = self.request.checks.iter().zip(patterns).collect();
        record.checks = checks::run(agent, is_windows, &checks).await;
        let reasons: Vec<String> = record
            .checks
            .iter()
            .filter_map(|check| Some(format!("{}: {}", check.name, check.failure.as_ref()?)))
            .collect();
        if reasons.is_empty() { Verdict::Proved } else { failed(DrillStage::Checks, reasons.join("; ")) }
    }
}

fn failed(stage: DrillStage, reason: String) -> Verdict {
    Verdict::Failed { stage, reason }
}

/// Of a drill that came to nothing yet.
fn blank() -> DrillRecord {
    DrillRecord {
        verdict: failed(DrillStage::Restore, "it was not begun".into()),
        restore_ms: None,
        boot_ms: None,
        read_bytes: 0,
        guest: None,
        checks: Vec::new(),
        console: String::new(),
        left_out: Vec::new(),
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
