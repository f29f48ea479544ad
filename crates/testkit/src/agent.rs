//! The guest agent, as the harness uses it.
//!
//! QEMU serves one client at a time on the agent's socket, and the product needs the same socket: every
//! call connects, synchronises, asks one thing and closes. Of a machine of libvirt's the socket is libvirt's:
//! then its program is asked.

use crate::base64;
use crate::libvirt::virsh;
use crate::line_socket::LineSocket;
use crate::wait::wait_for;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For one answer: freezing runs hooks, and the processor is emulated and shared.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// For one synchronisation, before a new connection is tried.
const SYNC_TIMEOUT: Duration = Duration::from_secs(5);
/// For a command of [`Agent::sh`].
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);
/// Makes the agent drop what it has half read, and marks its answer to the synchronisation.
const SENTINEL: u8 = 0xff;

/// Tells our answers from those to another client that went away.
static SYNC_ID: AtomicU64 = AtomicU64::new(1);

/// The agent of one guest. Nothing is open between calls.
#[derive(Clone, Debug)]
pub struct Agent {
    route: Route,
}

/// How an agent is reached.
#[derive(Clone, Debug)]
enum Route {
    Socket(PathBuf),
    Libvirt { uri: String, domain: String },
}

impl Agent {
    /// The agent behind the chardev socket of `org.qemu.guest_agent.0`.
    pub fn new(socket: &Path) -> Self {
        Self { route: Route::Socket(socket.into()) }
    }

    /// The agent of a machine of libvirt's.
    pub fn of_libvirt(uri: &str, domain: &str) -> Self {
        Self { route: Route::Libvirt { uri: uri.into(), domain: domain.into() } }
    }

    /// Waits until the agent answers.
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        wait_for("the guest agent", timeout, || match &self.route {
            Route::Socket(path) => Ok(connect(path, Instant::now() + SYNC_TIMEOUT).ok().map(drop)),
            Route::Libvirt { .. } => Ok(self.call("guest-ping", Value::Null).ok().map(drop)),
        })
    }

    /// One command of the agent's, such as `guest-fsfreeze-status`.
    pub fn call(&self, command: &str, arguments: Value) -> Result<Value> {
        let line = match &self.route {
            Route::Socket(path) => {
                let deadline = Instant::now() + CALL_TIMEOUT;
                let mut socket = connect(path, deadline)?;
                socket.send(&request(command, arguments))?;
                let line = socket.line(deadline)?;
                line.with_context(|| format!("the agent did not answer {command}"))?
            }
            Route::Libvirt { uri, domain } => {
                let message = String::from_utf8(request(command, arguments)).expect("JSON is text");
                let limit = CALL_TIMEOUT.as_secs().to_string();
                let words = ["--domain", domain, "--timeout", &limit, "--cmd", message.trim_end()];
                virsh(uri, &[&["qemu-agent-command"], &words[..]].concat())?.into_bytes()
            }
        };
        let mut answer: Value = serde_json::from_slice(&line)
            .with_context(|| format!("the agent's answer to {command} is not JSON"))?;
        if let Some(error) = answer.get("error") {
            bail!("the agent refused {command}: {}: {}", error["class"], error["desc"]);
        }
        Ok(answer["return"].take())
    }

    /// Runs a shell command in the guest: exit code, and both outputs one after the other.
    ///
    /// Between questions the socket is free, and a freeze by another client is waited out.
    pub fn sh(&self, command: &str) -> Result<(i32, String)> {
        self.sh_with_input(command, "")
    }

    /// As [`Agent::sh`], with text for standard input.
    pub fn sh_with_input(&self, command: &str, input: &str) -> Result<(i32, String)> {
        let arguments = json!({
            "path": "/bin/sh", "arg": ["-c", command], "capture-output": true,
            "input-data": base64::encode(input.as_bytes()),
        });
        let process = self.call("guest-exec", arguments)?;
        let ended = wait_for(&format!("`{command}` in the guest"), COMMAND_TIMEOUT, || {
            match self.call("guest-exec-status", process.clone()) {
                Ok(status) => Ok((status["exited"] == true).then_some(status)),
                Err(error) if error.to_string().contains("frozen") => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        let output = |name: &str| {
            let bytes = base64::decode(ended[name].as_str().unwrap_or(""));
            bytes.with_context(|| format!("{name} of `{command}` is not base64"))
        };
        let bytes = [output("out-data")?, output("err-data")?].concat();
        // A process ended by a signal has no exit code; the shell would say 128 and more.
        let code = ended["exitcode"].as_i64().or(ended["signal"].as_i64().map(|signal| 128 + signal));
        let code = code.and_then(|code| i32::try_from(code).ok()).context("the agent gave no exit code")?;
        Ok((code, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Starts a shell command in the guest and leaves it running. Returns its process number.
    pub fn start(&self, command: &str) -> Result<u64> {
        let process = self.call("guest-exec", json!({"path": "/bin/sh", "arg": ["-c", command]}))?;
        process["pid"].as_u64().context("the agent gave no process number")
    }

    /// Runs SQL in the guest's database, stopping at the first error. Returns unadorned rows.
    pub fn psql(&self, sql: &str) -> Result<String> {
        let psql = "su -s /bin/sh postgres -c 'psql -X -q -A -t -v ON_ERROR_STOP=1'";
        match self.sh_with_input(psql, sql)? {
            (0, rows) => Ok(rows.trim_end().to_string()),
            (code, output) => bail!("psql ended with {code}: {}", output.trim_end()),
        }
    }

    /// Waits until the guest's database answers.
    pub fn wait_postgres(&self, timeout: Duration) -> Result<()> {
        wait_for("PostgreSQL in the guest", timeout, || {
            Ok((self.sh("pg_isready -q -U postgres")?.0 == 0).then_some(()))
        })
    }

    /// Asks the guest to power off. It goes away without an answer.
    pub fn power_off(&self) -> Result<()> {
        match &self.route {
            Route::Socket(path) => {
                let mut socket = connect(path, Instant::now() + CALL_TIMEOUT)?;
                socket.send(&request("guest-shutdown", json!({"mode": "powerdown"})))
            }
            Route::Libvirt { uri, domain } => {
                virsh(uri, &["shutdown", "--domain", domain, "--mode", "agent"]).map(drop)
            }
        }
    }
}

/// Connects and discards what was meant for earlier clients.
fn connect(path: &Path, deadline: Instant) -> Result<LineSocket> {
    let mut socket = LineSocket::connect(path)?;
    let id = u64::from(std::process::id()) << 20 | SYNC_ID.fetch_add(1, Ordering::Relaxed);
    socket.send(&[&[SENTINEL], request("guest-sync-delimited", json!({"id": id})).as_slice()].concat())?;
    while let Some(line) = socket.line(deadline)? {
        let mark = line.iter().rposition(|byte| *byte == SENTINEL);
        let answer = mark.and_then(|at| serde_json::from_slice::<Value>(&line[at + 1..]).ok());
        if answer.is_some_and(|answer| answer["return"] == id) {
            return Ok(socket);
        }
    }
    bail!("the guest agent does not answer (is it running, or does another client hold the socket?)")
}

/// A line of the agent's protocol; null arguments are none.
fn request(command: &str, arguments: Value) -> Vec<u8> {
    let mut request = json!({"execute": command});
    if !arguments.is_null() {
        request["arguments"] = arguments;
    }
    format!("{request}\n").into_bytes()
}
