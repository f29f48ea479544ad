//! Takes back what a dead process of ours left: its backup job, a machine that stands because of it, a frozen
//! guest. Checkpoints are not left behind but kept: see `checkpoints.rs`.

use super::guest::{self, DomainGuest};
use super::job::{self, Job};
use super::link::{Link, State, field};
use crate::scratch;
use crate::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What libvirt calls the work of a backup.
const BACKUP: &str = "Backup";

/// libvirt begins a backup in a quarter of a second.
const TOLD_WAIT: Duration = Duration::from_secs(10);

/// Nothing tells of it but asking.
const TOLD_PAUSE: Duration = Duration::from_millis(100);

/// Takes back leftovers; refuses while their owner lives, or while another tool backs the machine up. Returns
/// what was done, and why the guest may still be frozen, if it may.
pub(super) async fn take_back(link: &Link) -> Result<(Vec<String>, Option<String>)> {
    wait_until_told(link).await?;
    let (job, mark) = (Job::find(link).await?, guest::marked(link).await?);
    let lives = |folder: &Path| scratch::is_held(&folder.join("any"));
    if job.as_ref().is_some_and(|job| job.is_ours() && job.is_held()) || mark.as_deref().is_some_and(lives) {
        let text = "freeze a machine that another Strongroom process is freezing";
        return Err(Error::new(ErrorKind::Busy, text));
    }
    if job.as_ref().is_some_and(|job| !job.is_ours()) {
        return Err(Error::new(ErrorKind::Busy, "freeze a machine that another tool is backing up"));
    }
    let mut done = Vec::new();
    if job.is_some() {
        job::end(link).await.map_err(|error| error.within("take back what an earlier freeze left"))?;
        done.push("ended a backup job".to_owned());
        if link.state().await? == State::IoError {
            link.ask("resume", &[]).await?;
            done.push("ran the machine on, which its scratch file had stopped".to_owned());
        }
    }
    let Some(folder) = mark else { return Ok((done, None)) };
    match guest::thaw_leftover(&DomainGuest::new(link.clone(), folder)).await {
        Ok(()) => {
            done.push("thawed the guest".to_owned());
            Ok((done, None))
        }
        Err(error) if error.kind() == ErrorKind::Unreachable => Err(error),
        Err(error) => Ok((done, Some(error.chain()))),
    }
}

/// A process that dies while libvirt begins its backup leaves a job that is at work but not told of yet. It is
/// told within a second, or fails.
async fn wait_until_told(link: &Link) -> Result<()> {
    let deadline = Instant::now() + TOLD_WAIT;
    while Instant::now() < deadline && work(link).await?.as_deref() == Some(BACKUP) {
        if Job::find(link).await?.is_some() {
            return Ok(());
        }
        sleep(TOLD_PAUSE).await;
    }
    Ok(())
}

/// What libvirt is at work on with the machine, in its own word.
async fn work(link: &Link) -> Result<Option<String>> {
    let jobs = match link.ask("domjobinfo", &[]).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None), // it does not run
        // "backup job data missing": one is about to begin.
        Err(error) if error.kind() == ErrorKind::Failed => return Ok(Some(BACKUP.to_owned())),
        jobs => jobs?,
    };
    Ok(match field(&jobs, "Job type") {
        None | Some("None") => None,
        Some(_) => Some(field(&jobs, "Operation").unwrap_or("a job").to_owned()),
    })
}

/// [`Machine::reconcile`](crate::Machine::reconcile).
pub(super) async fn reconcile(link: &Link) -> Result<Vec<String>> {
    match take_back(link).await? {
        (done, None) => Ok(done),
        (_, Some(reason)) => Err(Error::new(ErrorKind::Guest, reason)),
    }
}

/// Whether the machine runs.
///
/// # Errors
/// `Failed` for one that is off, or stopped for a reason that is not ours; `Busy` when libvirt is at work on it.
pub(super) async fn check_machine(link: &Link) -> Result<bool> {
    let running = match link.state().await? {
        State::Running => true,
        State::Paused => false,
        State::IoError => {
            let text = "freeze a machine that stands over an I/O error: give its disks room, and resume it";
            return Err(Error::new(ErrorKind::Failed, text));
        }
        State::Off => {
            let text = "freeze a machine that is off: its disks can be read as they are";
            return Err(Error::new(ErrorKind::Failed, text));
        }
        State::Other => {
            let text = "freeze a machine that neither runs nor is paused";
            return Err(Error::new(ErrorKind::Busy, text));
        }
    };
    match work(link).await? {
        None => Ok(running),
        Some(work) => {
            let text = format!("freeze a machine that libvirt is at work on: {work}");
            Err(Error::new(ErrorKind::Busy, text))
        }
    }
}
