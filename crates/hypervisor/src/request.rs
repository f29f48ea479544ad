//! What is asked of a freeze.

use crate::{DiskSelection, Error, ErrorKind, Level, Rendezvous, Result, Watchdog};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One freeze.
#[derive(Clone, Debug)]
pub struct FreezeRequest {
    /// The recovery point to be made, a uuid. It names bitmaps, and is the token that proves the hook ran.
    pub point: String,
    /// The vault it goes to, a uuid. Each vault has its own chain of bitmaps.
    pub vault: String,
    /// The point to compare with; `None` reads everything.
    pub parent: Option<String>,
    /// The disks in that point and their sizes then.
    pub parent_disks: BTreeMap<String, u64>,
    /// An existing folder on this host with room for what the guest overwrites meanwhile.
    pub scratch: PathBuf,
    /// How consistent the point should be.
    pub wish: Level,
    /// Whether less will do.
    pub may_fall: bool,
    /// How long the guest may take to come to a stand.
    pub freeze_timeout: Duration,
    /// What thaws the guest if this process dies; without it the next freeze does.
    pub watchdog: Option<Watchdog>,
    /// Which disks are frozen. The others are told as skipped.
    pub disks: DiskSelection,
    /// Disks whose record of changes is not to be believed, and why. It is removed, unless the machine
    /// is stopped: nothing is written into its images.
    pub distrusted: BTreeMap<String, String>,
    /// Ranges to read of each disk, offset and length, where there is a record of changes to be audited.
    pub samples: BTreeMap<String, Vec<(u64, usize)>>,
    /// Where machines that are frozen at one instant meet.
    pub rendezvous: Option<Arc<Rendezvous>>,
}

impl FreezeRequest {
    /// How long a guest may take by default: a database's checkpoint, and no longer than Windows holds writes.
    pub const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long a guest may take at most. No application should wait longer for a backup.
    pub const FREEZE_TIMEOUT_MAX: Duration = Duration::from_secs(1800);
    /// A freeze of all disks as consistent as can be had, to read everything.
    pub fn new(point: impl Into<String>, vault: impl Into<String>, scratch: impl Into<PathBuf>) -> Self {
        Self {
            point: point.into(),
            vault: vault.into(),
            parent: None,
            parent_disks: BTreeMap::new(),
            scratch: scratch.into(),
            wish: Level::Application,
            may_fall: true,
            freeze_timeout: Self::FREEZE_TIMEOUT,
            watchdog: None,
            disks: DiskSelection::All,
            distrusted: BTreeMap::new(),
            samples: BTreeMap::new(),
            rendezvous: None,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let ids = [Some(&self.point), Some(&self.vault), self.parent.as_ref()];
        if let Some(id) = ids.into_iter().flatten().find(|id| !is_id(id)) {
            return Err(Error::new(ErrorKind::Invalid, format!("freeze a machine: {id:?} is not an id")));
        }
        if self.freeze_timeout > Self::FREEZE_TIMEOUT_MAX {
            let text = "freeze a machine: the freeze timeout is longer than 1800 s";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        if self.parent.as_ref() == Some(&self.point) {
            return Err(Error::new(ErrorKind::Invalid, "freeze a machine: a point cannot be its own parent"));
        }
        Ok(())
    }
}

/// Ids stand in names of bitmaps and folders.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
