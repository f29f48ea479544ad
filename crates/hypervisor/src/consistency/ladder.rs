//! Brings the guest to a stand as far down the ladder as it must, and keeps the evidence.
//!
//! A level is never claimed, only proved: file-system consistency by the agent's count and a clean thaw in
//! time, application consistency by the record of our own hook, which carries this point's token. Debian's
//! stock hook ends with 0 whatever its scripts did, so the agent's word alone proves nothing of applications.

use super::hooks;
use super::{Consistency, Guest, Level};
use crate::agent::Agent;
use crate::{Error, ErrorKind, FreezeRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const TOKEN: &str = "/run/strongroom/freeze-token";
const RESULT: &str = "/run/strongroom/freeze-result";

/// Windows holds writes for 10 s and then lets go without a word; nobody should hold a Linux guest longer.
const HELD_MAX: Duration = Duration::from_secs(10);

/// How long a caller waits for a thaw; after that a task goes on trying.
const THAW_PATIENCE: Duration = Duration::from_secs(10);

/// Between the tries of that task, so that a hung agent's socket does not fill.
const KEEPER_PAUSE: Duration = Duration::from_secs(20);

/// A guest that stands, or one that could not be brought to.
pub(crate) struct Quiesced {
    guest: Arc<dyn Guest>,
    agent: Option<Agent>,
    token: Option<String>,
    frozen_at: Option<Instant>,
    keeper: Option<Keeper>,
    evidence: Consistency,
}

/// A task that goes on thawing a guest that could not be thawed in time.
pub(crate) struct Keeper(JoinHandle<()>);

impl Quiesced {
    /// A guest left as it is, for this reason.
    pub(crate) fn untouched(guest: &Arc<dyn Guest>, reason: Option<String>) -> Self {
        let evidence = Consistency {
            level: Level::Crash,
            frozen_filesystems: 0,
            quiesce_ms: 0,
            freeze_ms: 0,
            hooks: Vec::new(),
            agent_version: None,
            fell_because: reason.into_iter().collect(),
        };
        Self { guest: guest.clone(), agent: None, token: None, frozen_at: None, keeper: None, evidence }
    }

    /// Freezes the guest as far as wished and possible. Never fails: what cannot be had is in the evidence.
    pub(crate) async fn freeze(guest: &Arc<dyn Guest>, request: &FreezeRequest) -> Self {
        let mut this = Self::untouched(guest, None);
        if request.wish == Level::Crash {
            return this;
        }
        match guest.agent().await {
            Err(error) => this.fell(error.chain()),
            Ok(agent) => {
                this.evidence.agent_version = Some(agent.version().to_owned());
                this.freeze_by(agent, request).await;
            }
        }
        this
    }

    async fn freeze_by(&mut self, mut agent: Agent, request: &FreezeRequest) {
        if request.wish == Level::Application {
            match agent.write_file(TOKEN, format!("{}\n", request.point).as_bytes()).await {
                Ok(()) => self.token = Some(request.point.clone()),
                Err(error) => self.fell(format!("the guest has no freeze hook of ours: {}", error.chain())),
            }
        }
        // CRASH: from here the mark tells the next process that a frozen guest is ours to thaw.
        if let Err(error) = self.guest.mark_frozen().await {
            return self.fell(error.chain());
        }
        let began = Instant::now();
        let frozen = agent.freeze(request.freeze_timeout).await;
        self.evidence.quiesce_ms = millis(began.elapsed());
        match frozen {
            Ok(count) if count > 0 => {
                self.evidence.frozen_filesystems = count;
                self.frozen_at = Some(Instant::now());
                self.agent = Some(agent);
            }
            Ok(_) => {
                self.fell("the agent froze no file system");
                self.recover(agent).await;
            }
            Err(error) => {
                self.fell(error.chain());
                self.recover(agent).await;
            }
        }
    }

    /// After a freeze that failed or timed out: the guest may be frozen now, or be so in a while.
    async fn recover(&mut self, mut agent: Agent) {
        match agent.thaw(THAW_PATIENCE).await {
            Ok(_) => {
                self.unmark().await;
                self.read_hooks(&mut agent).await;
            }
            Err(error) => self.keep_thawing(agent, &error),
        }
    }

    /// The best level that the thaw can still confirm.
    pub(crate) fn reachable(&self) -> Level {
        match (self.frozen_at, &self.token) {
            (Some(_), Some(_)) => Level::Application,
            (Some(_), None) => Level::FileSystem,
            (None, _) => Level::Crash,
        }
    }

    /// Thaws, reads the hook's record, and says what was reached.
    pub(crate) async fn thaw(mut self) -> (Consistency, Option<Keeper>) {
        if let (Some(frozen_at), Some(mut agent)) = (self.frozen_at, self.agent.take()) {
            let thawed = agent.thaw(THAW_PATIENCE).await;
            let held = frozen_at.elapsed();
            self.evidence.freeze_ms = millis(held);
            match thawed {
                Err(error) => self.keep_thawing(agent, &error),
                Ok(Some(complaint)) => {
                    self.unmark().await;
                    self.fell(format!("the thaw reported: {}", complaint.chain()));
                }
                Ok(None) => {
                    self.unmark().await;
                    if held >= HELD_MAX {
                        self.fell("the guest was held for longer than it can hold writes");
                    } else {
                        self.evidence.level = Level::FileSystem;
                        self.prove_application(&mut agent).await;
                    }
                }
            }
        }
        (self.evidence, self.keeper)
    }

    async fn prove_application(&mut self, agent: &mut Agent) {
        if self.token.is_some() && self.read_hooks(agent).await {
            match hooks::objection(&self.evidence.hooks) {
                Some(objection) => self.fell(objection),
                None => self.evidence.level = Level::Application,
            }
        }
    }

    /// Whether the record of this very freeze was found.
    async fn read_hooks(&mut self, agent: &mut Agent) -> bool {
        let Some(token) = self.token.clone() else { return false };
        let record = agent.read_file(RESULT).await.map_err(|error| error.chain());
        match record.and_then(|record| hooks::parse(&record, &token)) {
            Ok(results) => self.evidence.hooks = results,
            Err(reason) => {
                self.fell(format!("no proof from the guest's freeze hook: {reason}"));
                return false;
            }
        }
        true
    }

    fn keep_thawing(&mut self, agent: Agent, error: &Error) {
        self.fell(error.chain());
        self.keeper = Some(Keeper(tokio::spawn(thaw_for_ever(agent))));
    }

    /// Only once the guest is known to be thawed. If it fails the next freeze thaws once more, in vain.
    async fn unmark(&mut self) {
        let _ = self.guest.unmark_frozen().await;
    }

    fn fell(&mut self, reason: impl Into<String>) {
        self.evidence.fell_because.push(reason.into());
    }
}

impl Keeper {
    /// Whether the guest is thawed by now, or soon.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        match timeout(THAW_PATIENCE, &mut self.0).await {
            Ok(_) => Ok(()),
            // The task goes on by itself as long as this process lives.
            Err(_) => Err(Error::new(ErrorKind::Guest, "the guest may still be frozen; thawing goes on")),
        }
    }
}

/// Ends when the guest is thawed, or gone with its QEMU.
async fn thaw_for_ever(mut agent: Agent) {
    while let Err(error) = agent.thaw(THAW_PATIENCE).await {
        if error.kind() == ErrorKind::Unreachable {
            return;
        }
        sleep(KEEPER_PAUSE).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
