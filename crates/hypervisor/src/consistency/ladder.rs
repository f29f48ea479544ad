//! Brings the guest to a stand as far down the ladder as it must, and keeps the evidence.
//!
//! A level is never claimed, only proved: file-system consistency by the agent's count and a clean thaw in
//! time, application consistency by the record of our own hook, which carries this point's token. Debian's
//! stock hook ends with 0 whatever its scripts did, so the agent's word alone proves nothing of applications.

use super::vss::VssResult;
use super::watchdog::Post;
use super::{Consistency, Guest, Level, hooks};
use crate::agent::Agent;
use crate::{Error, ErrorKind, FreezeRequest};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const TOKEN: &str = "/run/strongroom/freeze-token";
const RESULT: &str = "/run/strongroom/freeze-result";

/// Windows holds writes for 10 s and then lets go without a word; nobody should hold a Linux guest longer.
const HELD_MAX: Duration = Duration::from_secs(10);

/// Of the freeze's time, what the file systems may need after the hook's scripts, and its `timeout` to end one.
const AFTER_SCRIPTS: Duration = Duration::from_secs(2);

/// How long a caller waits for a thaw; after that a task goes on trying.
const THAW_PATIENCE: Duration = Duration::from_secs(10);

/// Between the tries of that task, so that a hung agent's socket does not fill.
const KEEPER_PAUSE: Duration = Duration::from_secs(20);

/// How an administrator lets the agent of a RHEL-like guest do what its packages forbid.
pub(crate) const UNBLOCK_AGENT: &str = "sed -i -E 's/^(BLACKLIST_RPC|BLOCK_RPCS|FILTER_RPC_ARGS)=/#&/' \
    /etc/sysconfig/qemu-ga && systemctl restart qemu-guest-agent";

/// A guest that stands, or one that could not be brought to.
pub(crate) struct Quiesced {
    guest: Arc<dyn Guest>,
    agent: Option<Agent>,
    applications: Applications,
    frozen_at: Option<Instant>,
    post: Option<Post>,
    keeper: Option<Keeper>,
    evidence: Consistency,
}

/// What can prove that the guest's applications took part.
#[derive(Debug)]
enum Applications {
    Nothing,
    /// The record of our hook that bears this token.
    Hook(String),
    /// Windows' own word.
    Vss,
}

/// A task that goes on thawing a guest that could not be thawed in time.
pub(crate) struct Keeper(JoinHandle<()>);

impl Quiesced {
    /// A guest left as it is, for this reason.
    pub(crate) fn untouched(guest: &Arc<dyn Guest>, reason: Option<String>) -> Self {
        let evidence = Consistency::crash(reason);
        let applications = Applications::Nothing;
        let guest = guest.clone();
        Self { guest, agent: None, applications, frozen_at: None, post: None, keeper: None, evidence }
    }

    /// Freezes the guest as far as wished and possible. Never fails: what cannot be had is in the evidence.
    pub(crate) async fn freeze(guest: &Arc<dyn Guest>, request: &FreezeRequest) -> Self {
        let mut this = Self::untouched(guest, None);
        if request.wish == Level::Crash {
            return this;
        }
        match guest.agent().await {
            Err(error) => this.fell(error.chain()),
            Ok(mut agent) => {
                this.learn(&mut agent).await;
                if request.wish == Level::Application {
                    this.prepare_applications(&mut agent, request).await;
                }
                this.freeze_by(agent, request).await;
            }
        }
        this
    }

    /// What the agent tells of the guest. An agent that may not say so can freeze all the same.
    async fn learn(&mut self, agent: &mut Agent) {
        self.evidence.agent_version = Some(agent.version().to_owned());
        self.evidence.guest_system = agent.system().await.ok();
        self.evidence.filesystems = agent.filesystems().await.unwrap_or_default();
    }

    async fn prepare_applications(&mut self, agent: &mut Agent, request: &FreezeRequest) {
        if self.evidence.guest_system.as_ref().is_some_and(|system| system.is_windows()) {
            self.evidence.vss = Some(VssResult::begin(agent).await);
            self.applications = Applications::Vss;
            return;
        }
        let seconds = request.freeze_timeout.saturating_sub(AFTER_SCRIPTS).as_secs().max(1);
        // Of this very freeze: a point may take two.
        let token = format!("{}.{:016x}", request.point, RandomState::new().hash_one(&request.point));
        let order = format!("{token}\n{seconds}\n");
        match agent.write_file(TOKEN, order.as_bytes()).await {
            Ok(()) => self.applications = Applications::Hook(token),
            Err(_) if agent.is_blocked("guest-file-open") => self.lacks_scripts(format!(
                "the guest's agent may not write files, so no application can take part; allow it in the guest: \
                 {UNBLOCK_AGENT}"
            )),
            // Its folder is not there. An agent that fails otherwise may have one.
            Err(error) if error.kind() == ErrorKind::Guest => self.lacks_scripts(format!(
                "the guest has no freeze hook of ours (`strongroom guest install-hooks` puts it there): {}",
                error.chain()
            )),
            Err(error) => self.fell(format!("ask the guest's freeze hook to take part: {}", error.chain())),
        }
    }

    async fn freeze_by(&mut self, mut agent: Agent, request: &FreezeRequest) {
        if let Some(watchdog) = &request.watchdog {
            let limit = request.freeze_timeout + HELD_MAX;
            match watchdog.post(&*self.guest, request, limit, agent.descriptor()).await {
                Ok(post) => self.post = post,
                // A guest that might stay frozen is not frozen.
                Err(error) => return self.fell(error.chain()),
            }
        }
        // CRASH: from here the mark tells the next process that a frozen guest is ours to thaw.
        if let Err(error) = self.guest.mark_frozen().await {
            self.fell(error.chain());
            return self.dismiss().await;
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
                self.agent = Some(agent);
            }
            Err(error) => {
                self.complain(error.chain());
                self.agent = Some(agent);
            }
        }
    }

    /// After a freeze that failed or timed out: the guest may be frozen now, or be so in a while. It comes with the
    /// thaw, after the instant: an agent that hangs takes its time, and others may wait for the instant.
    async fn recover(&mut self, mut agent: Agent) {
        self.tell_alive().await;
        match agent.thaw(THAW_PATIENCE).await {
            Ok(_) => {
                self.thawed().await;
                self.read_hooks(&mut agent).await;
            }
            Err(error) => self.keep_thawing(agent, &error),
        }
    }

    /// What is known so far.
    pub(crate) fn evidence(&self) -> &Consistency {
        &self.evidence
    }

    /// How long the guest has stood.
    pub(crate) fn held_for(&self) -> Duration {
        self.frozen_at.map(|at| at.elapsed()).unwrap_or_default()
    }

    /// The best level that the thaw can still confirm.
    pub(crate) fn reachable(&self) -> Level {
        match (self.frozen_at, &self.applications) {
            (Some(_), Applications::Hook(_) | Applications::Vss) => Level::Application,
            (Some(_), Applications::Nothing) => Level::FileSystem,
            (None, _) => Level::Crash,
        }
    }

    /// Thaws, reads the hook's record, and says what was reached.
    pub(crate) async fn thaw(mut self) -> (Consistency, Option<Keeper>) {
        match (self.frozen_at, self.agent.take()) {
            (Some(frozen_at), Some(agent)) => self.thaw_by(agent, frozen_at).await,
            (None, Some(agent)) => self.recover(agent).await,
            (_, None) => {}
        }
        (self.evidence, self.keeper)
    }

    async fn thaw_by(&mut self, mut agent: Agent, frozen_at: Instant) {
        // Whoever thawed it, the watchdog or another tool, may have done so before the instant.
        let stood = agent.is_frozen().await;
        self.tell_alive().await;
        let thawed = agent.thaw(THAW_PATIENCE).await;
        let held = frozen_at.elapsed();
        self.evidence.freeze_ms = millis(held);
        match thawed {
            Err(error) => self.keep_thawing(agent, &error),
            Ok(complaint) => {
                self.thawed().await;
                if !matches!(stood, Ok(true)) {
                    self.fell("the guest was thawed by something else while it should have stood");
                } else if held >= HELD_MAX {
                    self.fell("the guest was held for longer than it can hold writes");
                } else {
                    self.judge(complaint, &mut agent).await;
                }
            }
        }
    }

    /// What a guest reached that stood for as long as it should and is thawed.
    async fn judge(&mut self, complaint: Option<Error>, agent: &mut Agent) {
        if let Some(complaint) = complaint {
            let text = complaint.chain();
            if self.evidence.vss.is_some() && VssResult::is_of_a_writer(&text) {
                self.evidence.level = Level::FileSystem;
            }
            return self.complain(format!("the thaw reported: {text}"));
        }
        self.evidence.level = Level::FileSystem;
        if let Some(vss) = &mut self.evidence.vss {
            vss.complete = true;
            self.evidence.level = Level::Application;
        } else if let Some(record) = self.read_hooks(agent).await {
            match hooks::objection(&record) {
                Some(objection) if record.has_no_script() => self.lacks_scripts(objection),
                Some(objection) => self.fell(objection),
                None => self.evidence.level = Level::Application,
            }
        }
    }

    /// The record of this very freeze, if it was to be made and is found.
    async fn read_hooks(&mut self, agent: &mut Agent) -> Option<hooks::Record> {
        let Applications::Hook(token) = &self.applications else { return None };
        let token = token.clone();
        let record = agent.read_file(RESULT).await.map_err(|error| error.chain());
        match record.and_then(|record| hooks::parse(&record, &token)) {
            Ok(record) => {
                self.evidence.hooks.clone_from(&record.ran);
                self.evidence.skipped_hooks.clone_from(&record.skipped);
                Some(record)
            }
            Err(reason) => {
                self.fell(format!("no proof from the guest's freeze hook: {reason}"));
                None
            }
        }
    }

    fn keep_thawing(&mut self, agent: Agent, error: &Error) {
        self.fell(error.chain());
        self.keeper = Some(Keeper(tokio::spawn(thaw_for_ever(agent, self.post.take()))));
    }

    /// The guest is known to be thawed. If the mark cannot be removed the next freeze thaws once more, in vain.
    async fn thawed(&mut self) {
        let _ = self.guest.unmark_frozen().await;
        self.dismiss().await;
    }

    async fn dismiss(&mut self) {
        if let Some(post) = self.post.take() {
            post.done().await;
        }
    }

    async fn tell_alive(&mut self) {
        if let Some(post) = &mut self.post {
            post.alive().await;
        }
    }

    /// As [`fell`](Self::fell), of what the guest itself said.
    fn complain(&mut self, reason: String) {
        if let Some(vss) = &mut self.evidence.vss {
            vss.complaint = Some(reason.clone());
        }
        self.fell(reason);
    }

    /// As [`fell`](Self::fell), of a guest that has nothing to bring applications to rest.
    fn lacks_scripts(&mut self, reason: impl Into<String>) {
        self.evidence.lacks_scripts = true;
        self.fell(reason);
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
async fn thaw_for_ever(mut agent: Agent, mut post: Option<Post>) {
    loop {
        if let Some(post) = &mut post {
            post.alive().await;
        }
        match agent.thaw(THAW_PATIENCE).await {
            Err(error) if error.kind() != ErrorKind::Unreachable => sleep(KEEPER_PAUSE).await,
            _ => break,
        }
    }
    if let Some(post) = post {
        post.done().await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
