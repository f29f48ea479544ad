//! The QEMU guest agent: a program inside the guest, reached through its hypervisor.
//!
//! `line.rs` is QEMU's socket; a provider that reaches the agent in another way brings a [`Line`] of its own.
//! `freeze.rs` freezes and thaws; `files.rs` reads and writes files; `run.rs` runs programs; `facts.rs` asks
//! what the guest is; `base64.rs` is how bytes travel.

pub mod base64;
mod facts;
mod files;
mod freeze;
mod line;
mod run;

use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use line::SocketLine;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

pub use facts::{GuestFilesystem, GuestSystem};
pub use run::GuestRun;

/// How a guest comes by an agent: nobody can ask it which system it is.
pub const INSTALL_AGENT: &str = "install it in the guest: apt-get install qemu-guest-agent (Debian, Ubuntu), \
    dnf install qemu-guest-agent (RHEL, Fedora), zypper install qemu-guest-agent (SUSE), \
    msiexec /i D:\\guest-agent\\qemu-ga-x86_64.msi (Windows, from the virtio-win disk)";

/// An agent that lives answers in milliseconds; a busy guest under emulation in a second or so.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Characters of one text: sentences and paths, no books.
const TEXT_MAX: usize = 1000;

/// How commands get to an agent and replies back, one at a time.
#[async_trait]
pub(crate) trait Line: Send + Sync + Debug {
    /// Runs a command and gives what it returned.
    ///
    /// A reply to a command somebody gave up on must never be taken for the reply to this one.
    ///
    /// # Errors
    /// `Guest` when the agent refuses, or is silent for `limit`; `Unreachable` when the guest is gone.
    async fn execute(&mut self, command: &str, arguments: Value, limit: Duration) -> Result<Value>;

    /// The connection itself, where it is one that a second process can use while this one hangs.
    fn descriptor(&self) -> Option<OwnedFd> {
        None
    }
}

/// A conversation with the agent of one guest. It serves one client at a time.
#[derive(Debug)]
pub struct Agent {
    line: Box<dyn Line>,
    version: String,
    /// Commands that it has but may not run.
    blocked: BTreeSet<String>,
}

impl Agent {
    /// Connects to the agent's socket if the guest has an agent, and hears it answer.
    ///
    /// # Errors
    /// `Guest` when no agent is there, when it does not answer, or when another client holds it.
    pub(crate) async fn connect(qmp: &Qmp, path: &Path) -> Result<Self> {
        Self::over(SocketLine::connect(qmp, path).await?).await
    }

    /// Hears the agent answer over this line.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(crate) async fn over(line: impl Line + 'static) -> Result<Self> {
        let mut agent = Self { line: Box::new(line), version: String::new(), blocked: BTreeSet::new() };
        let info = agent.execute("guest-info", Value::Null).await;
        let info =
            info.map_err(|e| e.within("the agent's port is open, but it hangs or another client holds it"))?;
        agent.version = tame(info["version"].as_str().unwrap_or("?"));
        let commands = info["supported_commands"].as_array().into_iter().flatten();
        let blocked = commands.filter(|command| command["enabled"] == false);
        agent.blocked = blocked.filter_map(|command| Some(command["name"].as_str()?.to_owned())).collect();
        Ok(agent)
    }

    /// Over a connection that another process had before, whatever it left in it.
    pub(crate) async fn inherited(connection: std::os::unix::net::UnixStream) -> Result<Self> {
        Self::over(SocketLine::inherited(connection)?).await
    }

    /// Whether the guest's administrator keeps it from running this command.
    pub fn is_blocked(&self, command: &str) -> bool {
        self.blocked.contains(command)
    }

    /// See [`Line::descriptor`].
    pub(crate) fn descriptor(&self) -> Option<OwnedFd> {
        self.line.descriptor()
    }

    /// The agent's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it answers.
    pub async fn ping(&mut self) -> Result<()> {
        self.execute("guest-ping", Value::Null).await.map(drop)
    }

    /// Runs a command that answers at once.
    ///
    /// # Errors
    /// `Guest` when the agent refuses, with the [`QmpError`](crate::QmpError) as source, or is silent for 5 s.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_within(command, arguments, ANSWER_WAIT).await
    }

    /// [`execute`](Self::execute) with its own limit. Giving up does not stop the command in the guest.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_within(
        &mut self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value> {
        self.line.execute(command, arguments, limit).await
    }
}

/// A text of the guest's, fit to be kept and shown: nobody there may fill our records or steer a terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(TEXT_MAX).collect()
}

pub(crate) fn silent(command: &str, limit: Duration) -> Error {
    let text = format!("{command}: no answer from the guest agent within {} ms", limit.as_millis());
    Error::new(ErrorKind::Guest, text)
}

#[cfg(test)]
mod tests;
