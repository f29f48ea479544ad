//! How consistent an instant is: the ladder that a guest is brought down, and the evidence.
//!
//! The same for every provider: a provider says how its guest's agent is reached, and keeps the mark that a
//! guest may be frozen ([`Guest`]). `ladder.rs` freezes and thaws; `hooks.rs` reads what the guest's hook did,
//! `vss.rs` what Windows said. `record.rs` writes freezes down, `watchdog.rs` starts the process that thaws if
//! this one does not, and `watch.rs` is that process's work.

mod hooks;
mod ladder;
mod record;
#[cfg(test)]
mod tests;
mod vss;
mod watch;
mod watchdog;

use crate::Result;
use crate::agent::{Agent, GuestFilesystem, GuestSystem};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

pub use hooks::{HookPhase, HookResult, SkippedHook};
pub(crate) use ladder::{Keeper, Quiesced, UNBLOCK_AGENT};
pub use record::Outstanding;
pub use vss::VssResult;
pub use watch::stand_watch;
pub use watchdog::Watchdog;

/// Rungs of the ladder, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As after a power cut, at one instant for all disks.
    Crash,
    /// The guest's file systems were flushed and held.
    FileSystem,
    /// Its applications were too, each by its own script.
    Application,
}

/// How consistent a point is, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// What was reached.
    pub level: Level,
    /// File systems the agent froze.
    pub frozen_filesystems: u64,
    /// How long the guest took to come to a stand, its hooks included.
    pub quiesce_ms: u64,
    /// How long it stood: from the agent's answer that it is frozen to its answer that it is thawed.
    pub freeze_ms: u64,
    /// The guest's file systems just before, where its agent knows them.
    #[serde(default)]
    pub filesystems: Vec<GuestFilesystem>,
    /// What the guest's hook ran.
    pub hooks: Vec<HookResult>,
    /// What it did not run, because others than root could have changed it.
    #[serde(default)]
    pub skipped_hooks: Vec<SkippedHook>,
    /// How Windows' volume shadow copy went, in a Windows guest.
    #[serde(default)]
    pub vss: Option<VssResult>,
    /// What runs in the guest, by its agent's account.
    #[serde(default)]
    pub guest_system: Option<GuestSystem>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// Why it is not more consistent, one sentence per reason.
    pub fell_because: Vec<String>,
    /// The guest has nothing that could bring applications to rest: no hook of ours, or no script for it. Its file
    /// systems at rest are all that such a guest gives.
    #[serde(default)]
    pub lacks_scripts: bool,
}

impl Consistency {
    /// Whether the guest gave all it has: nothing went wrong that somebody should see to.
    pub fn is_all_there_is(&self) -> bool {
        self.fell_because.is_empty() || self.lacks_scripts && self.level == Level::FileSystem
    }

    /// The lowest rung, for this reason.
    pub(crate) fn crash(reason: Option<String>) -> Self {
        Self {
            level: Level::Crash,
            frozen_filesystems: 0,
            quiesce_ms: 0,
            freeze_ms: 0,
            filesystems: Vec::new(),
            hooks: Vec::new(),
            skipped_hooks: Vec::new(),
            vss: None,
            guest_system: None,
            agent_version: None,
            fell_because: reason.into_iter().collect(),
            lacks_scripts: false,
        }
    }
}

/// A guest, as the ladder reaches it.
#[async_trait]
pub(crate) trait Guest: Send + Sync + Debug {
    /// A conversation with its agent.
    ///
    /// # Errors
    /// `Guest` when it has none, or none that answers.
    async fn agent(&self) -> Result<Agent>;

    /// Leaves a mark, where the next process finds it, that the guest may be frozen and is ours to thaw.
    async fn mark_frozen(&self) -> Result<()>;

    /// Takes the mark away: the guest is known to be thawed.
    async fn unmark_frozen(&self) -> Result<()>;

    /// The words that name its machine on Strongroom's command line, so that another process can take it back;
    /// `None` where no other can, and then no watchdog is posted.
    fn address(&self) -> Option<Vec<String>> {
        None
    }
}
