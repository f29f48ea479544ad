//! What QEMU, or the guest agent, answered instead of doing what it was asked.

use crate::agent::tame;
use serde_json::Value;
use std::fmt;

/// An error reply. Kept whole in the source chain of [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QmpError {
    /// The command that was refused.
    pub command: String,
    /// The class, part of the protocol: `GenericError`, `CommandNotFound`, `DeviceNotActive`...
    pub class: String,
    /// QEMU's sentence. For people; nothing decides by it.
    pub description: String,
}

impl QmpError {
    pub(crate) fn from_reply(command: &str, error: &Value) -> Self {
        let text = |key: &str| tame(error.get(key).and_then(Value::as_str).unwrap_or("?"));
        Self { command: command.to_owned(), class: text("class"), description: text("desc") }
    }

    /// Whether the other side does not know, or does not allow, the command at all.
    pub fn is_unknown_command(&self) -> bool {
        self.class == "CommandNotFound"
    }
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.command, self.description, self.class)
    }
}

impl std::error::Error for QmpError {}
