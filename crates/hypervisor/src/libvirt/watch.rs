//! The watch over a backup: it is given up before it can hurt the guest.
//!
//! libvirt has QEMU save what the guest overwrites before the guest may write (its `blockdev-backup`). If the
//! scratch file cannot take it, QEMU stops the machine with an I/O error: the guest would stand until somebody
//! comes. So the room is watched, and the backup ended while some is left; and the machine is watched, and run
//! on if it was stopped after all. It repeats its refused write then, and notices nothing but the time.

use super::job;
use super::link::{Link, State};
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// With less room the backup is given up: what a guest may overwrite at 2 GB/s between two looks.
const ROOM_KEPT: u64 = 256 << 20;

/// With less room none is begun.
const ROOM_TO_BEGIN: u64 = 2 * ROOM_KEPT;

/// Asking the system for the room costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asking libvirt starts a process: every tenth look, so a stopped guest stands about a second.
const LOOKS_PER_QUESTION: u32 = 10;

/// Between tries to give up, when libvirt does not answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Ending a job, and running the machine on, takes a second or two.
const STOP_WAIT: Duration = Duration::from_secs(40);

/// A task that looks until it is told to stop, or its owner is gone. What it has begun to mend it ends.
#[derive(Debug)]
pub(super) struct Watch {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    broken: watch::Receiver<Option<String>>,
}

impl Watch {
    /// Begins to look.
    pub(super) fn begin(link: Link, folder: PathBuf) -> Self {
        let (tell, broken) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        Self { task: tokio::spawn(look(link, folder, tell, stopped)), stop, broken }
    }

    /// Whether the backup was given up.
    ///
    /// # Errors
    /// `Broken`, with the reason.
    pub(super) fn holds(&self) -> Result<()> {
        match &*self.broken.borrow() {
            None => Ok(()),
            Some(reason) => Err(Error::new(ErrorKind::Broken, format!("the backup was given up: {reason}"))),
        }
    }

    /// Stops looking. A guest that is being run on is waited for.
    pub(super) async fn end(self) {
        drop(self.stop);
        let _ = timeout(STOP_WAIT, self.task).await; // the task goes on by itself
    }
}

/// Refuses a folder in which a backup would soon have to be given up.
pub(super) async fn check_room(folder: &Path) -> Result<()> {
    let room = room(folder).await?;
    if room < ROOM_TO_BEGIN {
        let text = format!(
            "use the scratch folder {}: it has {} MiB left, and a machine of libvirt needs {} MiB or more",
            folder.display(),
            room >> 20,
            ROOM_TO_BEGIN >> 20
        );
        return Err(Error::new(ErrorKind::NoSpace, text));
    }
    Ok(())
}

async fn room(folder: &Path) -> Result<u64> {
    let context = format!("read the room left in {}", folder.display());
    let folder = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder)).await;
    let read = read.map_err(|e| Error::caused(ErrorKind::Failed, context.clone(), e))?;
    let found = read.map_err(|e| Error::io(context, e.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

async fn look(
    link: Link,
    folder: PathBuf,
    tell: watch::Sender<Option<String>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1u32.. {
        tokio::select! {
            _ = looks.tick() => {}
            _ = &mut stopped => return,
        }
        if let Some(reason) = danger(&link, &folder, number % LOOKS_PER_QUESTION == 0).await {
            let _ = tell.send(Some(reason)); // whoever asks next
            give_up(&link).await;
            return;
        }
    }
}

/// Room that cannot be read and a libvirt that does not answer say nothing; the other look may.
async fn danger(link: &Link, folder: &Path, ask: bool) -> Option<String> {
    if let Ok(left) = room(folder).await
        && left < ROOM_KEPT
    {
        return Some(format!("the scratch folder has only {} MiB left", left >> 20));
    }
    if ask && matches!(link.state().await, Ok(State::IoError)) {
        return Some("QEMU stopped the machine over an I/O error".to_owned());
    }
    None
}

/// Ends the job, then runs on what it stopped. A machine that its own full disk stopped stops again at once.
async fn give_up(link: &Link) {
    loop {
        let ended = async {
            job::end(link).await?;
            if link.state().await? == State::IoError {
                link.ask("resume", &[]).await?;
            }
            Ok::<_, Error>(())
        };
        match ended.await {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return, // the machine is gone
            Err(_) => sleep(TRY_AGAIN).await,
        }
    }
}
