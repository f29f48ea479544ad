//! A machine put back to a point in its own place, once, however often the order is begun; that undone; and what it
//! kept removed.
//!
//! What is done is written down in the engine's journal beside the machine's first disk (`replace/`). The file
//! `DATA/replacements/ID` names that journal, and was written before it, so that every later attempt finds it; whoever
//! works on a replacement holds a lock on the file, so that no two do.
//!
//! CRASH: the next attempt goes on by the journal. One that is cancelled takes back what it has done.

use super::backup::{Tier, fence, gate, told};
use super::doors::libvirt_of;
use super::failure::{Failed, Result};
use super::nearest::find_nearest;
use super::order::Run;
use super::pointer::Pointer;
use super::server::in_words;
use super::verify::find;
use crate::machines::{self, Known};
use crate::{Existing, Journal, Replacement, ReplacementPlan, SafetyPoint, Stage, plan_replacement};
use api::StopMachine;
use api::work::{MadePoint, ReplaceWork, ReplacedDisk, StoreAccess, ToldReplacement};
use hypervisor::ErrorKind;
use hypervisor::recreate::Stop;
use model::PointId;
use model::job::{Failure, JobKind, Step};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use vault::{Point, SessionId, Vault};

/// What to do about one that ended half way.
const GO_ON: &str =
    "`strongroom restore finish MACHINE` goes on, `strongroom restore undo MACHINE` puts all back as it was";
/// What to do about a machine that runs.
const STOP_IT: &str = "shut it down, or have it stopped: --stop, --power-off";
/// What to do when the vault takes no point of the present state, and nothing is begun.
const NOT_SAFE: &str = "the vault must be there to take the machine's present state: put it right (`strongroom vault heal`), \
                        or leave that point out (--no-safety-point): the disks that the machine has now are kept \
                        beside the restored ones either way, until `strongroom restore remove`";

/// Puts the machine back, or tells what that would be.
pub(super) async fn replace(run: &Run, work: &ReplaceWork) -> Result<()> {
    let _inside = run.enter(&work.known_as).await;
    run.lease.begin(&Step::Plan.to_string(), 0);
    let pointer = match work.plan {
        true => None,
        false => Some(Pointer::lock(run.settings(), work.replacement)?),
    };
    let begun = pointer.as_ref().and_then(Pointer::journal).filter(|path| path.exists());
    let safe = match &work.safety {
        Some(_) => Some(safe_place(run, work, begun.is_some()).await?),
        // The vault may be gone: nothing is asked of it.
        None => None,
    };
    let (source, point) = match &work.from {
        Some(place) => from_second(run, work, place).await?,
        None => find_nearest(run, work.item, work.point).await?,
    };
    let Some(pointer) = pointer else {
        let plan = plan(run, work, &point).await?;
        let told = describe(plan.journal(), &plan.path(), &point, &[]);
        run.lease.step_done(Step::Plan, Some(json!(told)));
        return Ok(());
    };
    let replacement = match begun {
        Some(path) => load(&path, work.replacement)?,
        None => begin(run, work, &point, &pointer).await?,
    };
    if safe.is_none() && replacement.journal().safety.is_some() {
        // Else it would go to the store that the machine comes back from.
        let text = "its journal asks for a point of the present state, and the order does not";
        return Err(Failed::new(Failure::Invalid, text, GO_ON));
    }
    let drive = Drive { run, work, source: &source, safe: safe.as_ref(), point: &point };
    drive.to_the_end(replacement).await.map_err(with_hint(GO_ON))
}

/// The vault, fit to take the point of the present state: before anything is done to the machine.
async fn safe_place(run: &Run, work: &ReplaceWork, is_begun: bool) -> Result<Arc<Vault>> {
    let ready = async {
        let vault = run.vaults().vault(&run.order.vault).await?;
        // One that was opened before may be gone since, and a store takes what is written to it all the same: nobody
        // would find that point again.
        Vault::info_of(vault.store()).await?;
        if !work.plan {
            run.vaults().attach(&vault).await?;
            fence(run, &vault).await?;
        }
        Ok(vault)
    };
    let ready: Result<_> = ready.await;
    ready.map_err(|Failed(error)| {
        let text = format!("the present state cannot become a point: {}", error.text);
        let hint = Some(if is_begun { GO_ON } else { NOT_SAFE }.to_owned());
        // Who takes the second store knows that the vault is not well: a person decides, at once.
        let failure = if is_begun || work.from.is_none() { error.failure } else { Failure::Invalid };
        Failed(api::JobError { failure, text, hint })
    })
}

/// A point that the machine goes back to, out of the vault's second store.
async fn from_second(run: &Run, work: &ReplaceWork, place: &StoreAccess) -> Result<(Arc<Vault>, Point)> {
    let Some(second) = run.vaults().second(&run.order.vault, place).await? else {
        let text = format!("there is no second store of the vault in {}", place.location);
        return Err(Failed::new(Failure::Invalid, text, "`strongroom vault show` tells how far copying is"));
    };
    let (_, point) = find(std::iter::once(&second), work.item, work.point).await?;
    Ok((second, point))
}

/// Ends what was begun, after its work was dropped: nothing more commits, and if somebody has cancelled it, all is as it
/// was before.
pub(super) async fn settle(run: &Run, work: &ReplaceWork, cancelled: bool) -> Result<()> {
    if work.plan {
        return Ok(());
    }
    // Without a point of the present state nothing is written to the vault.
    if work.safety.is_some() {
        let vault = run.vaults().vault(&run.order.vault).await?;
        vault.abort_session(SessionId(run.order.session), run.now()).await?;
    }
    let pointer = Pointer::lock(run.settings(), work.replacement)?;
    let Some(path) = pointer.journal().filter(|path| cancelled && path.exists()) else { return Ok(()) };
    let mut replacement = Replacement::load(&path)?;
    if replacement.journal().stage != Stage::Done {
        replacement.undo(None, &|progress| run.lease.progress(progress)).await?;
    }
    Ok(())
}

/// Takes a replacement back, however far it came.
pub(super) async fn undo(
    run: &Run,
    known_as: &str,
    (replacement, journal): (Uuid, &str),
    stop: Option<StopMachine>,
) -> Result<()> {
    let _inside = run.enter(known_as).await;
    let pointer = Pointer::lock(run.settings(), replacement)?;
    let path = pointer.journal().unwrap_or_else(|| PathBuf::from(journal));
    let mut taken = load(&path, replacement)?;
    run.lease.begin(&Step::PutBack.to_string(), 0);
    run.lease.renewed().await;
    let tell = |progress| run.lease.progress(progress);
    taken.undo(stop.map(how), &tell).await.map_err(Failed::from).map_err(with_hint(STOP_IT))?;
    let told = state(taken.journal(), &path, &taken.kept());
    run.lease.step_done(Step::PutBack, Some(json!(told)));
    Ok(())
}

/// Removes what a replacement kept, if it is what somebody was shown. An earlier attempt may have removed some of it.
pub(super) async fn remove(run: &Run, (replacement, journal): (Uuid, &str), files: &[String]) -> Result<()> {
    let pointer = Pointer::lock(run.settings(), replacement)?;
    let path = pointer.journal().unwrap_or_else(|| PathBuf::from(journal));
    run.lease.begin(&Step::RemoveKept.to_string(), 0);
    run.lease.renewed().await;
    // The journal goes last: without it, all is gone.
    if path.exists() {
        let done = Replacement::load(&path)?;
        must_be(done.journal(), replacement)?;
        let other = done.kept().into_iter().find(|kept| !files.contains(&kept.display().to_string()));
        if let Some(other) = other {
            let text =
                format!("{} is kept too, which nobody was shown; nothing was removed", other.display());
            return Err(Failed::new(Failure::Invalid, text, "look at it again: `strongroom restore list`"));
        }
        done.remove_kept()?;
    }
    pointer.remove()?;
    run.lease.step_done(Step::RemoveKept, Some(json!({ "removed": files })));
    Ok(())
}

/// A replacement that is driven to its end.
struct Drive<'a> {
    run: &'a Run,
    work: &'a ReplaceWork,
    /// The store that the machine comes back from.
    source: &'a Arc<Vault>,
    /// The one that the point of the present state goes to; none if there is to be none.
    safe: Option<&'a Arc<Vault>>,
    point: &'a Point,
}

impl Drive<'_> {
    async fn to_the_end(&self, mut replacement: Replacement) -> Result<()> {
        let run = self.run;
        let safety = SafetyPoint {
            into: self.safe.cloned(),
            point: vault::PointId((run.settings().draw)()),
            session: SessionId(run.order.session),
            service: self.work.safety.as_ref().map_or(Value::Null, |service| json!(service)),
            gate: Some(gate(run)),
            // For sockets alone: who reads the images is a user that may not pass through our own folders.
            scratch: std::env::temp_dir(),
            clock: run.settings().clock,
        };
        run.will_write();
        let tell = |progress| run.lease.progress(progress);
        loop {
            self.tell_steps(&replacement).await?;
            // Nothing is done to a machine under a claim that may be another's by now.
            run.lease.renewed_lately().await;
            if !Box::pin(replacement.advance(self.source, &safety, &tell)).await? {
                break;
            }
        }
        match replacement.journal().stage {
            Stage::Done => Ok(()),
            _ => Err(Failed::new(Failure::Invalid, "it was taken back meanwhile", "restore it anew")),
        }
    }

    /// Tells of the steps that are done by now and were not told of.
    async fn tell_steps(&self, replacement: &Replacement) -> Result<()> {
        let (journal, lease) = (replacement.journal(), &self.run.lease);
        let done = steps_done(journal.stage);
        let all = JobKind::Replace.steps();
        let untold: Vec<Step> = all[..done]
            .iter()
            .skip(self.run.order.steps_done)
            .copied()
            .filter(|step| !lease.has_step(*step))
            .collect();
        if untold.is_empty() {
            return Ok(());
        }
        let mut told = describe(journal, replacement.path(), self.point, &replacement.kept());
        told.safety = self.safety(journal).await?;
        for step in untold {
            lease.step_done(step, Some(json!(told)));
        }
        if let Some(next) = all.get(done) {
            let bytes = match next {
                Step::WriteDisks => self.point.disks.iter().map(|disk| disk.map.size).sum(),
                _ => 0,
            };
            lease.begin(&next.to_string(), bytes);
        }
        Ok(())
    }

    /// The point of the state before, once it is made.
    async fn safety(&self, journal: &Journal) -> Result<Option<MadePoint>> {
        let made = journal.safety.filter(|_| steps_done(journal.stage) > 1);
        let Some((id, vault)) = made.zip(self.safe) else { return Ok(None) };
        let (_, point) = find(std::iter::once(vault), self.work.item, PointId(id.0)).await?;
        Ok(serde_json::from_value(told(&point, id, Tier::Vault)).ok())
    }
}

/// How many steps of a job are done at a stage.
fn steps_done(stage: Stage) -> usize {
    match stage {
        Stage::Planned | Stage::Stopped | Stage::Undoing | Stage::Undone => 1,
        Stage::Safe => 2,
        Stage::Restored | Stage::Swapped => 3,
        Stage::Done => 4,
    }
}

/// Plans it and writes that down.
async fn begin(run: &Run, work: &ReplaceWork, point: &Point, pointer: &Pointer) -> Result<Replacement> {
    let plan = plan(run, work, point).await?;
    if plan.journal().was_running && work.stop.is_none() {
        let text = format!("the machine {} runs", work.name);
        return Err(Failed::new(Failure::Invalid, text, STOP_IT));
    }
    pointer.point_to(&plan.path())?;
    Ok(plan.begin()?)
}

async fn plan(run: &Run, work: &ReplaceWork, point: &Point) -> Result<ReplacementPlan> {
    let existing = existing(work, point).await?;
    let safety = work.safety.as_ref().map(|_| vault::PointId((run.settings().draw)()));
    let wishes = (work.replacement, safety, work.stop.map(how));
    let planned = plan_replacement(point, run.order.vault.id.0, &existing, wishes).await;
    planned.map_err(|error| match &error {
        // What it is not any more, in words for people.
        crate::Error::Machine(_, cause) if cause.kind() == ErrorKind::Unsupported => {
            let hint = "bring it back as a new machine (--to, --as-machine), or its disks (--to)";
            Failed::new(Failure::Invalid, in_words(&error), hint)
        }
        _ => error.into(),
    })
}

/// The machine, as it is now.
async fn existing(work: &ReplaceWork, point: &Point) -> Result<Existing> {
    let found = machines::find(libvirt_of(&work.host)).await?;
    let is_meant = |known: &Known| known.known_as().is_some_and(|id| id.eq_ignore_ascii_case(&work.known_as));
    let mut meant = found.machines.into_iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(Known::Libvirt(domain, _)), None) => {
            Ok(Existing::Libvirt { uri: domain.uri, name: domain.uuid })
        }
        (Some(Known::Qemu(address)), None) => Ok(Existing::Running(address)),
        (None, _) if point.description["definition"].is_string() => {
            let silent = found.silent.map(|error| format!(": {}", in_words(&error))).unwrap_or_default();
            let text =
                format!("libvirt has no machine {} on the host {}{silent}", work.name, work.host.address);
            Err(Failed::new(Failure::Invalid, text, "bring it back as a new machine"))
        }
        (None, _) => Ok(Existing::Off),
        (Some(_), Some(_)) => {
            let text = format!("several machines on the host {} are {}", work.host.address, work.known_as);
            Err(Failed::new(Failure::Invalid, text, "shut down the one that is not meant"))
        }
    }
}

fn load(path: &Path, id: Uuid) -> Result<Replacement> {
    let replacement = Replacement::load(path)?;
    must_be(replacement.journal(), id)?;
    Ok(replacement)
}

fn must_be(journal: &Journal, id: Uuid) -> Result<()> {
    match journal.id == id {
        true => Ok(()),
        false => {
            let text = format!("the journal is of the restore {}, not of {id}", journal.id);
            Err(Failed::new(Failure::Invalid, text, "somebody has changed files beside the machine's disks"))
        }
    }
}

fn how(stop: StopMachine) -> Stop {
    match stop {
        StopMachine::ShutDown => Stop::ShutDown,
        StopMachine::PowerOff => Stop::PowerOff,
    }
}

/// How a replacement stands, with what the point says of its disks.
fn describe(journal: &Journal, path: &Path, point: &Point, kept: &[PathBuf]) -> ToldReplacement {
    let mut told = state(journal, path, kept);
    for disk in &mut told.disks {
        disk.bytes = point.disk(&disk.name).map_or(0, |record| record.map.size);
    }
    told
}

fn state(journal: &Journal, path: &Path, kept: &[PathBuf]) -> ToldReplacement {
    let text = |path: &Path| path.display().to_string();
    let disks = journal.disks.iter();
    let disks =
        disks.map(|swap| ReplacedDisk { name: swap.disk.clone(), file: text(&swap.original), bytes: 0 });
    ToldReplacement {
        replacement: journal.id,
        journal: text(path),
        disks: disks.collect(),
        was_running: journal.was_running,
        kept: kept.iter().map(|path| text(path)).collect(),
        safety: None,
    }
}

fn with_hint(hint: &'static str) -> impl Fn(Failed) -> Failed {
    move |Failed(error)| {
        let told = error.hint.clone().unwrap_or_else(|| hint.to_owned());
        Failed(api::JobError { hint: Some(told), ..error })
    }
}
