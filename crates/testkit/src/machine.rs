//! A running guest.

use crate::wait::wait_for;
use crate::{Accel, Agent, GuestImage, MachineOptions, Monitor};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// QEMU opens its sockets within milliseconds of its start, on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// For QEMU to close its images after `quit`.
const QUIT_TIMEOUT: Duration = Duration::from_secs(30);
/// For the guest to stop its database and unmount.
const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(60);

/// A QEMU process with a guest in it. Dropping it kills the process.
pub struct GuestMachine {
    options: MachineOptions,
    command_line: Vec<String>,
    process: Child,
    monitor: Mutex<Monitor>,
    agent: Agent,
}

impl GuestMachine {
    /// Starts QEMU. The guest is booting when this returns: see [`GuestMachine::wait_agent`].
    pub fn start(image: &GuestImage, options: MachineOptions) -> Result<Self> {
        let accel = match options.accel {
            Some(accel) => accel,
            None => Accel::probe(image, &|_| ())?,
        };
        fs::create_dir_all(&options.folder)
            .with_context(|| format!("cannot create {}", options.folder.display()))?;
        let command_line = options.command_line(image, accel)?;
        for socket in [options.qmp_socket(), options.harness_socket(), options.agent_socket()] {
            let _ = fs::remove_file(socket);
        }
        let log = options.folder.join("qemu.log");
        let errors = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(&command_line).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let mut process = command.spawn().context("cannot start qemu-system-x86_64")?;
        let connected = wait_for("QEMU's monitor", START_TIMEOUT, || {
            if let Some(status) = process.try_wait().context("cannot watch QEMU")? {
                let why = fs::read_to_string(&log).unwrap_or_default();
                bail!("QEMU ended at once with {status}: {}", why.trim_end());
            }
            Ok(Monitor::connect(&options.harness_socket()).ok())
        });
        match connected {
            Ok(monitor) => {
                let agent = Agent::new(&options.agent_socket());
                Ok(Self { options, command_line, process, monitor: Mutex::new(monitor), agent })
            }
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error.context(format!("cannot start the machine {}", options.name)))
            }
        }
    }

    /// What it was started with.
    pub fn options(&self) -> &MachineOptions {
        &self.options
    }

    /// QEMU's arguments.
    pub fn command_line(&self) -> &[String] {
        &self.command_line
    }

    /// QEMU's process number.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The QMP socket left to the product: the harness never connects to it.
    pub fn qmp_socket(&self) -> PathBuf {
        self.options.qmp_socket()
    }

    /// The guest agent's socket, shared with the product: one client at a time.
    pub fn agent_socket(&self) -> PathBuf {
        self.options.agent_socket()
    }

    /// The guest agent.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What the guest printed on its console so far.
    pub fn console(&self) -> String {
        fs::read(self.options.console_log())
            .map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into())
    }

    /// Waits until the agent has opened its port and answers.
    pub fn wait_agent(&self, timeout: Duration) -> Result<()> {
        let opened = wait_for("the guest agent to open its port", timeout, || {
            let devices = self.qmp("query-chardev", Value::Null)?;
            let mut devices = devices.as_array().into_iter().flatten();
            Ok(devices
                .any(|device| device["label"] == "qga0" && device["frontend-open"] == true)
                .then_some(()))
        });
        opened.and_then(|()| self.agent.wait(timeout)).with_context(|| self.last_words())
    }

    /// Waits until the database answers.
    pub fn wait_postgres(&self, timeout: Duration) -> Result<()> {
        self.wait_agent(timeout)?;
        self.agent.wait_postgres(timeout).with_context(|| self.last_words())
    }

    /// Runs a shell command in the guest: see [`Agent::sh`]. Fails while the guest is frozen.
    pub fn sh(&self, command: &str) -> Result<(i32, String)> {
        self.agent.sh(command)
    }

    /// Runs SQL in the guest: see [`Agent::psql`].
    pub fn psql(&self, sql: &str) -> Result<String> {
        self.agent.psql(sql)
    }

    /// A command on the harness's monitor; `arguments` may be null.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        self.monitor().command(command, arguments)
    }

    /// The oldest unseen event of this name on the harness's monitor.
    pub fn wait_event(&self, name: &str, timeout: Duration) -> Result<Value> {
        self.monitor().wait_event(name, timeout)
    }

    /// Stops the guest's processors.
    pub fn pause(&self) -> Result<()> {
        self.qmp("stop", Value::Null).map(drop)
    }

    /// Lets them run again.
    pub fn resume(&self) -> Result<()> {
        self.qmp("cont", Value::Null).map(drop)
    }

    /// Resets the guest, as its button would.
    pub fn reset(&self) -> Result<()> {
        self.qmp("system_reset", json!({})).map(drop)
    }

    /// Ends QEMU in an orderly way under a running guest: for the guest a power cut, for the images a
    /// clean close that keeps dirty bitmaps.
    pub fn quit(mut self) -> Result<()> {
        // QEMU may be gone before the answer is.
        let _ = self.qmp("quit", Value::Null);
        self.wait_exit(QUIT_TIMEOUT).map(drop)
    }

    /// Powers the guest off: database stopped, file systems unmounted, images closed.
    pub fn power_off(mut self) -> Result<()> {
        self.agent.power_off()?;
        self.wait_exit(POWER_OFF_TIMEOUT).map(drop).with_context(|| self.last_words())
    }

    /// Kills QEMU, as the loss of the host would.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill().context("cannot kill QEMU")?;
        self.process.wait().context("cannot wait for QEMU").map(drop)
    }

    /// Kills QEMU and starts it again with the same disks, as after the loss of the host.
    pub fn kill_and_start(&mut self, image: &GuestImage) -> Result<()> {
        self.process.kill().context("cannot kill QEMU")?;
        self.process.wait().context("cannot wait for QEMU")?;
        *self = Self::start(image, self.options.clone())?;
        Ok(())
    }

    /// Waits until QEMU has ended by itself.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let process = &mut self.process;
        wait_for("QEMU to end", timeout, || process.try_wait().context("cannot watch QEMU"))
    }

    fn monitor(&self) -> MutexGuard<'_, Monitor> {
        // A panic elsewhere leaves the connection usable: answers are matched by number.
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_words(&self) -> String {
        let console = self.console();
        let start = console.lines().count().saturating_sub(20);
        let lines: Vec<&str> = console.lines().skip(start).collect();
        format!("machine {}; the end of its console:\n{}", self.options.name, lines.join("\n"))
    }
}

impl Drop for GuestMachine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
