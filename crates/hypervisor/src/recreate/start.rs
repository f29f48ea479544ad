//! QEMU started as planned, with its TPM before it.

use super::recreation::{QemuPlan, TpmPlan};
use crate::qemu::command_line;
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// Until QEMU has opened its images and sockets: a second, on an idle machine with a few disks.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);
/// Until its monitor answers, once it has started.
const MONITOR_LIMIT: Duration = Duration::from_secs(20);
/// How often that is tried.
pub(super) const MONITOR_POLL: Duration = Duration::from_millis(20);
/// Of what a program says when it fails, as much as fits an error.
pub(super) const SAID_BYTES_MAX: usize = 2000;

/// A machine that was started.
#[derive(Clone, Debug)]
pub struct StartedQemu {
    /// QEMU's process.
    pub pid: u32,
    /// Its monitor.
    pub qmp: PathBuf,
    /// Its guest agent's socket, if it has one.
    pub agent: Option<PathBuf>,
}

/// Starts the machine as a process of its own, and returns once its monitor answers. The guest boots meanwhile. One
/// that runs already, in this folder, is an earlier attempt's.
///
/// # Errors
/// `NotFound` for a QEMU or swtpm that is not installed; `Failed` with what it said when it would not start;
/// `Unreachable` when its monitor does not answer. Its disks stay as they are. CRASH: QEMU runs, or does not; its pid
/// file tells.
pub async fn start(plan: &QemuPlan) -> Result<StartedQemu> {
    if let Some(running) = running(plan) {
        return Ok(running);
    }
    make_folder(&plan.folder)?;
    if let Some(tpm) = &plan.tpm {
        start_tpm(tpm, &plan.folder).await?;
    }
    let mut qemu = Command::new(&plan.program);
    qemu.args(&plan.arguments).current_dir(&plan.folder);
    let said = run(qemu, &plan.program, START_LIMIT).await;
    // Warnings, too, are worth keeping.
    let text = said.as_deref().map_or_else(Error::chain, str::to_owned);
    let _ = std::fs::write(plan.log(), text); // the error itself is told below
    if said.is_err() && plan.tpm.is_some() {
        end_tpm(&plan.folder);
    }
    said?;
    answering(&plan.qmp).await?;
    started(plan)
}

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().mode(0o700).create(folder);
    made.map_err(|e| Error::io(format!("make the machine's folder {}", folder.display()), e))
}

/// The machine, if the process of its pid file has its monitor. That is not asked: it serves one at a time.
fn running(plan: &QemuPlan) -> Option<StartedQemu> {
    let started = started(plan).ok()?;
    let monitor = plan.qmp.display().to_string();
    command_line(started.pid)?.iter().any(|word| word.contains(&monitor)).then_some(started)
}

fn started(plan: &QemuPlan) -> Result<StartedQemu> {
    let pid_file = plan.pid_file();
    let text = std::fs::read_to_string(&pid_file)
        .map_err(|e| Error::io(format!("read QEMU's process number in {}", pid_file.display()), e))?;
    let unread = || Error::new(ErrorKind::Failed, format!("read QEMU's process number {text:?}"));
    let pid = text.trim().parse().map_err(|_| unread())?;
    Ok(StartedQemu { pid, qmp: plan.qmp.clone(), agent: plan.agent.clone() })
}

/// The TPM ends with the QEMU that connects to it.
pub(super) async fn start_tpm(tpm: &TpmPlan, folder: &Path) -> Result<()> {
    let mut swtpm = Command::new("swtpm");
    swtpm.args(["socket", "--daemon", "--terminate", "--flags", "startup-clear"]);
    if tpm.version_2 {
        swtpm.arg("--tpm2");
    }
    swtpm.arg("--tpmstate").arg(format!("dir={}", tpm.state.display()));
    swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", tpm.socket.display()));
    swtpm.arg("--pid").arg(format!("file={}", folder.join("swtpm.pid").display()));
    swtpm.arg("--log").arg(format!("file={}", folder.join("swtpm.log").display()));
    run(swtpm, "swtpm", START_LIMIT).await.map(drop)
}

/// A TPM that no QEMU connected to would wait for ever.
pub(super) fn end_tpm(folder: &Path) {
    let pid =
        std::fs::read_to_string(folder.join("swtpm.pid")).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM); // it may have ended by itself
    }
}

/// Runs a program that goes on in the background; gives what it said until then.
pub(super) async fn run(mut command: Command, program: &str, limit: Duration) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match timeout(limit, command.output()).await {
        Ok(output) => output.map_err(|e| Error::io(format!("start {program}"), e))?,
        Err(_) => {
            let text = format!("start {program}: it did not come up within {} s", limit.as_secs());
            return Err(Error::new(ErrorKind::Failed, text));
        }
    };
    let said =
        String::from_utf8_lossy(&output.stderr).trim().chars().take(SAID_BYTES_MAX).collect::<String>();
    match output.status.success() {
        true => Ok(said),
        false => Err(Error::caused(ErrorKind::Failed, format!("start {program}"), said)),
    }
}

async fn answering(qmp: &Path) -> Result<()> {
    let answer = async {
        loop {
            match Qmp::connect(qmp).await {
                Ok(_) => return Ok(()),
                Err(error) if !error.kind().retry_helps() && error.kind() != ErrorKind::NotFound => {
                    return Err(error);
                }
                Err(_) => sleep(MONITOR_POLL).await,
            }
        }
    };
    let text = || format!("wait for QEMU's monitor {}", qmp.display());
    timeout(MONITOR_LIMIT, answer).await.map_err(|_| Error::new(ErrorKind::Unreachable, text()))?
}
