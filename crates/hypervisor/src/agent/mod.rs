//! The QEMU guest agent: a program inside the guest, reached through its hypervisor.
//!
//! `line.rs` is QEMU's socket; a provider that reaches the agent in another way brings a [`Line`] of its own.
//! `freeze.rs` freezes and thaws; `files.rs` reads and writes files; `base64.rs` is how their bytes travel.

pub(crate) mod base64;
mod files;
mod freeze;
mod line;

use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use line::SocketLine;
use serde_json::Value;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

/// An agent that lives answers in milliseconds; a busy guest under emulation in a second or so.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

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
}

/// A conversation with the agent of one guest. It serves one client at a time.
#[derive(Debug)]
pub struct Agent {
    line: Box<dyn Line>,
    version: String,
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
        let mut agent = Self { line: Box::new(line), version: String::new() };
        let info = agent.execute("guest-info", Value::Null).await;
        let info =
            info.map_err(|e| e.within("the agent's port is open, but it hangs or another client holds it"))?;
        info["version"].as_str().unwrap_or("?").clone_into(&mut agent.version);
        Ok(agent)
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
    /// `Guest` when the agent refuses, with the [`QmpError`] as source, or is silent for 5 s.
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

fn silent(command: &str, limit: Duration) -> Error {
    let text = format!("{command}: no answer from the guest agent within {} ms", limit.as_millis());
    Error::new(ErrorKind::Guest, text)
}

#[cfg(test)]
mod tests;
