//! QEMU's monitor, as the harness uses it. Independent of the product's client, so that a mistake there
//! cannot hide here.

use crate::line_socket::LineSocket;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

/// For one answer, on a busy machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Events kept for [`Monitor::wait_event`]; older ones are dropped.
const EVENTS_MAX: usize = 1024;

/// A connection to a QMP socket.
pub struct Monitor {
    socket: LineSocket,
    commands: u64,
    events: VecDeque<Value>,
}

impl Monitor {
    /// Connects and leaves the negotiation mode. QEMU serves one client on each monitor.
    pub fn connect(path: &Path) -> Result<Self> {
        let mut monitor = Self { socket: LineSocket::connect(path)?, commands: 0, events: VecDeque::new() };
        monitor.read(Instant::now() + COMMAND_TIMEOUT)?.context("QEMU's monitor gave no greeting")?;
        monitor.command("qmp_capabilities", Value::Null)?;
        Ok(monitor)
    }

    /// One command; `arguments` may be null.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        self.commands += 1;
        let mut request = json!({"execute": name, "id": self.commands});
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        self.socket.send(format!("{request}\n").as_bytes())?;
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        loop {
            let answer = self.read(deadline)?;
            let mut answer = answer.with_context(|| format!("QEMU did not answer {name}"))?;
            if answer.get("event").is_some() {
                self.keep(answer);
            } else if answer["id"] == self.commands {
                if let Some(error) = answer.get("error") {
                    bail!("QEMU refused {name}: {}: {}", error["class"], error["desc"]);
                }
                return Ok(answer["return"].take());
            }
        }
    }

    /// The oldest unseen event of this name, waiting for it if need be.
    pub fn wait_event(&mut self, name: &str, timeout: Duration) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        loop {
            let found = self.events.iter().position(|event| event["event"] == name);
            if let Some(event) = found.and_then(|at| self.events.remove(at)) {
                return Ok(event);
            }
            let event = self.read(deadline)?;
            self.keep(event.with_context(|| format!("QEMU sent no event {name}"))?);
        }
    }

    fn keep(&mut self, event: Value) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn read(&mut self, deadline: Instant) -> Result<Option<Value>> {
        let Some(line) = self.socket.line(deadline)? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&line).context("QEMU's monitor sent something that is not JSON")?))
    }
}
