//! Strongroom's freeze hook in a Linux guest: put there, looked at, and taken out, all through the agent.
//!
//! The host writes the files aside (`guest-file-write`) and runs the script `guest/setup` (`guest-exec`), which
//! moves them into place; its head says what a crash leaves. Where the agent must be restarted to call the
//! hook, that happens a second after it answered, and we wait for the new one.

mod said;

use crate::agent::Agent;
use crate::consistency::UNBLOCK_AGENT;
use crate::{Error, ErrorKind, GuestSystem, Machine, Result};
use said::Said;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SETUP: &str = include_str!("../../guest/setup");
const HOOK: &str = include_str!("../../guest/fsfreeze-hook");
const CONFIGURATION: &str = include_str!("../../guest/freeze.conf");

/// The scripts that we bring, by application.
const SCRIPTS: &[(&str, &str)] = &[
    ("postgresql", include_str!("../../guest/freeze.d/postgresql")),
    ("mariadb", include_str!("../../guest/freeze.d/mariadb")),
];

/// What the agent must be allowed to do.
const NEEDED: &[&str] = &["guest-exec", "guest-exec-status", "guest-file-open", "guest-file-write"];

/// The script asks systemd a few things; an emulated guest is slow.
const SETUP_WAIT: Duration = Duration::from_secs(60);

/// For the agent to be restarted and to open its port again.
const RESTART_WAIT: Duration = Duration::from_secs(60);

/// Between looks for the new agent.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// What there is in a guest for backups of its applications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GuestHooks {
    /// The agent's version; `None` if none answers.
    pub agent_version: Option<String>,
    /// What runs in the guest, where the agent says so.
    pub guest_system: Option<GuestSystem>,
    /// The version of our hook there.
    pub hook: Option<u32>,
    /// Whether the agent calls it.
    pub enabled: bool,
    /// The scripts it has.
    pub scripts: Vec<FreezeScript>,
    /// Applications that run there and that we bring a script for.
    pub applications: Vec<String>,
    /// Files of the administrator's that were left as they are.
    pub kept: Vec<String>,
    /// What is left for people to do, or stands in the way.
    pub advice: Vec<String>,
}

/// A freeze script in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FreezeScript {
    /// Its name.
    pub name: String,
    /// `ours`, `own` (the administrator's), `off` (not executable), or why the hook does not run it.
    pub state: String,
}

/// Looks at what a guest has. A guest without an agent, or with one that may do little, is an answer too.
///
/// # Errors
/// `Unreachable` when the machine is gone.
pub async fn status(machine: &dyn Machine) -> Result<GuestHooks> {
    let mut agent = match machine.agent().await {
        Ok(agent) => agent,
        Err(error) if error.kind() == ErrorKind::Unreachable => return Err(error),
        Err(error) => return Ok(GuestHooks { advice: vec![error.chain()], ..GuestHooks::default() }),
    };
    let mut hooks = begin(&mut agent).await;
    match refusal(&agent, &hooks) {
        Some(refusal) => hooks.advice.push(refusal),
        None => setup(&mut agent, "status").await?.tell(&mut hooks),
    }
    hooks.advise();
    Ok(hooks)
}

/// Puts the hook there, with our scripts for these applications, and has the agent call it. What is there already
/// is brought up to date; what is not ours stays.
///
/// # Errors
/// `Guest` when there is no agent, or it may not do this (the context says how to allow it), or it did not come
/// back; `Unsupported` in Windows, which needs no hook; `Invalid` for an application we have no script for.
pub async fn install(machine: &dyn Machine, applications: &[&str]) -> Result<GuestHooks> {
    let mut files = vec![("fsfreeze-hook".to_owned(), HOOK), ("freeze.conf".to_owned(), CONFIGURATION)];
    for name in applications {
        let script = SCRIPTS.iter().find(|(known, _)| known == name);
        let unknown =
            || Error::new(ErrorKind::Invalid, format!("install a freeze script for {name}: unknown"));
        files.push((format!("freeze.d/{name}"), script.ok_or_else(unknown)?.1));
    }
    let context = "install the freeze hook";
    let (mut agent, mut hooks) = connect(machine, context).await?;
    let staged = setup(&mut agent, "stage").await?;
    let folder = staged.value("staging").unwrap_or("/etc/strongroom/.new").to_owned();
    for (name, text) in &files {
        agent
            .write_file(&format!("{folder}/{name}"), text.as_bytes())
            .await
            .map_err(|e| e.within(context))?;
    }
    let said = setup(&mut agent, "install").await?;
    said.tell(&mut hooks);
    drop(agent);
    if said.value("restart") == Some("yes") {
        wait_for_agent(machine, true).await?;
    }
    Ok(GuestHooks { kept: hooks.kept, advice: hooks.advice, ..status(machine).await? })
}

/// Has the agent call the hook no more, and removes what is ours.
///
/// # Errors
/// As [`install`]; also when somebody else's setting has the agent call the hook.
pub async fn remove(machine: &dyn Machine) -> Result<GuestHooks> {
    let (mut agent, mut hooks) = connect(machine, "remove the freeze hook").await?;
    let disabled = setup(&mut agent, "disable").await?;
    drop(agent);
    if disabled.value("restart") == Some("yes") {
        wait_for_agent(machine, false).await?;
    }
    let mut agent = machine.agent().await?;
    setup(&mut agent, "erase").await?.tell(&mut hooks);
    drop(agent);
    Ok(GuestHooks { kept: hooks.kept, ..status(machine).await? })
}

async fn connect(machine: &dyn Machine, context: &str) -> Result<(Agent, GuestHooks)> {
    let mut agent = machine.agent().await.map_err(|e| e.within(context.to_owned()))?;
    let hooks = begin(&mut agent).await;
    if hooks.is_windows() {
        let text =
            format!("{context}: a Windows guest needs none, its shadow copies bring applications to rest");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    match refusal(&agent, &hooks) {
        Some(refusal) => Err(Error::new(ErrorKind::Guest, format!("{context}: {refusal}"))),
        None => Ok((agent, hooks)),
    }
}

async fn begin(agent: &mut Agent) -> GuestHooks {
    let (version, system) = (agent.version().to_owned(), agent.system().await.ok());
    GuestHooks { agent_version: Some(version), guest_system: system, ..GuestHooks::default() }
}

/// Why nothing can be done through this agent.
fn refusal(agent: &Agent, hooks: &GuestHooks) -> Option<String> {
    let blocked: Vec<&str> = NEEDED.iter().copied().filter(|command| agent.is_blocked(command)).collect();
    if hooks.is_windows() || blocked.is_empty() {
        return None;
    }
    Some(format!(
        "the guest's agent is not allowed to {}: RHEL and its likes forbid it by default, though whoever runs \
         the host can read and change the guest's disks anyway; allow it in the guest: {UNBLOCK_AGENT}",
        blocked.join(", ")
    ))
}

async fn setup(agent: &mut Agent, verb: &str) -> Result<Said> {
    let context = || format!("set the guest's freeze hook up ({verb})");
    let run = agent.run("/bin/sh", &["-c", SETUP, "setup", verb], SETUP_WAIT).await;
    let run = run.map_err(|e| e.within(context()))?;
    let said = Said::read(&run.stdout);
    if run.exit == 0 {
        return Ok(said);
    }
    let why = said.value("failed").unwrap_or(run.stderr.trim());
    Err(Error::new(ErrorKind::Guest, format!("{}: exit code {}: {why}", context(), run.exit)))
}

/// Waits for an agent that calls the hook, or no longer does, and sees that it can be asked to freeze.
async fn wait_for_agent(machine: &dyn Machine, calls_hook: bool) -> Result<()> {
    let deadline = Instant::now() + RESTART_WAIT;
    loop {
        sleep(RESTART_PAUSE).await;
        let seen = async {
            let mut agent = machine.agent().await?;
            let mut hooks = GuestHooks::default();
            setup(&mut agent, "status").await?.tell(&mut hooks);
            agent.is_frozen().await?;
            Ok::<_, Error>(hooks.enabled)
        };
        match seen.await {
            Ok(enabled) if enabled == calls_hook => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Unreachable => return Err(error),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.within("wait for the guest's agent to come back after its restart"));
            }
            Ok(_) if Instant::now() >= deadline => {
                let text =
                    "the guest's agent was to be restarted, but goes on as before: restart it in the guest";
                return Err(Error::new(ErrorKind::Guest, text));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

impl GuestHooks {
    fn is_windows(&self) -> bool {
        self.guest_system.as_ref().is_some_and(GuestSystem::is_windows)
    }

    /// What would make backups of this guest better.
    fn advise(&mut self) {
        if !self.advice.is_empty() || self.is_windows() {
            return;
        }
        let without = |name: &&String| !self.scripts.iter().any(|script| script.name == **name);
        let missing: Vec<&str> = self.applications.iter().filter(without).map(String::as_str).collect();
        if !missing.is_empty() {
            let names = missing.join(",");
            self.advice
                .push(format!("`strongroom guest install-hooks --with {names}` has {names} take part"));
        } else if self.hook.is_none() {
            self.advice.push("`strongroom guest install-hooks` lets applications take part".to_owned());
        }
        if self.hook.is_some() && !self.enabled {
            let text = "the agent does not call the hook: start qemu-ga with -F/etc/strongroom/fsfreeze-hook";
            self.advice.push(text.to_owned());
        }
    }
}
