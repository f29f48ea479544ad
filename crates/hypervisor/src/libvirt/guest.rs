//! The guest of a domain: its agent through libvirt, and the mark that it may be frozen.
//!
//! The mark is an element of ours in the running domain's metadata, where libvirt has a place for such: it
//! lives as long as the QEMU does, hence as the frozen guest; it outlives us and libvirt's own restarts; and
//! whoever reaches the machine next finds it, from whatever host and with whatever scratch folder. It names the
//! freeze's folder, whose lock says whether its owner lives.

use super::link::Link;
use super::xml::{self, Element};
use crate::agent::{Agent, Line};
use crate::consistency::Guest;
use crate::qmp::QmpError;
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Names what is ours in a domain's metadata.
const NAMESPACE: &str = "urn:strongroom:freeze";

/// Before a command libvirt may have to find its way to the agent again, for which it allows 5 s.
const SYNC_WAIT: Duration = Duration::from_secs(6);

const LEFTOVER_THAW_PATIENCE: Duration = Duration::from_secs(10);

/// See [`Guest`].
#[derive(Debug)]
pub(super) struct DomainGuest {
    link: Link,
    /// The folder of the freeze that would mark it.
    folder: PathBuf,
}

impl DomainGuest {
    pub(super) fn new(link: Link, folder: PathBuf) -> Self {
        Self { link, folder }
    }
}

#[async_trait]
impl Guest for DomainGuest {
    async fn agent(&self) -> Result<Agent> {
        Agent::over(DomainLine { link: self.link.clone() }).await
    }

    async fn mark_frozen(&self) -> Result<()> {
        let mark = Element::new("freeze").with("folder", self.folder.display().to_string()).write();
        let place = ["--uri", NAMESPACE, "--live", "--key", "strongroom", "--set", &mark];
        self.link.ask("metadata", &place).await.map(drop)
    }

    async fn unmark_frozen(&self) -> Result<()> {
        match self.link.ask("metadata", &["--uri", NAMESPACE, "--live", "--remove"]).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn address(&self) -> Option<Vec<String>> {
        Some(vec!["--libvirt".to_owned(), self.link.virsh.uri().to_owned(), self.link.uuid.clone()])
    }
}

/// The folder of the freeze that marked the guest; `None` if none did.
pub(super) async fn marked(link: &Link) -> Result<Option<PathBuf>> {
    match link.ask("metadata", &["--uri", NAMESPACE, "--live"]).await {
        Ok(mark) => {
            let document = xml::parse(mark.trim())?;
            let folder = document.root_element().attribute("folder").unwrap_or_default();
            Ok(Some(PathBuf::from(folder)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.within("look whether an earlier freeze marked the guest")),
    }
}

/// Thaws a guest that a dead process of ours may have left frozen.
pub(super) async fn thaw_leftover(guest: &DomainGuest) -> Result<()> {
    let context = "thaw the guest that an earlier freeze may have left frozen";
    let mut agent = guest.agent().await.map_err(|e| e.within(context))?;
    agent.thaw(LEFTOVER_THAW_PATIENCE).await.map_err(|e| e.within(context))?;
    guest.unmark_frozen().await
}

/// The agent by libvirt's `qemu-agent-command`, which keeps the line in step by itself.
#[derive(Debug)]
struct DomainLine {
    link: Link,
}

#[async_trait]
impl Line for DomainLine {
    async fn execute(&mut self, command: &str, arguments: Value, limit: Duration) -> Result<Value> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let seconds = limit.as_secs_f64().ceil().max(1.0).to_string();
        let words = ["--timeout", &seconds, "--cmd", &message.to_string()];
        let said = self.link.ask_within("qemu-agent-command", &words, limit + SYNC_WAIT).await;
        let said = said.map_err(|error| refused(command, &error))?;
        let strange = |e| Error::caused(ErrorKind::Guest, format!("read the answer to {command}"), e);
        let mut reply: Value = serde_json::from_str(&said).map_err(strange)?;
        Ok(reply["return"].take())
    }
}

/// Only a machine that is gone is out of reach. A libvirt that does not answer may do so in a moment, and the
/// guest may wait for its thaw meanwhile: that is the agent's silence.
fn refused(command: &str, error: &Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return Error::new(ErrorKind::Unreachable, format!("{command}: {}", error.chain()));
    }
    let description = error.chain();
    // libvirt tells the agent's sentence, not its class.
    let refused = QmpError { command: command.to_owned(), class: "GenericError".to_owned(), description };
    Error::caused(ErrorKind::Guest, format!("the guest agent did not do {command}"), refused)
}
