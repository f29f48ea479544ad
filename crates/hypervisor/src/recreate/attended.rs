//! QEMU started as planned and as a part of us: it ends when it is dropped, and when we are killed.
//!
//! For machines that only try something out. The system kills QEMU when the thread that started it ends, and so when
//! our process does, whatever ended it. CRASH: killed between `fork` and `prctl`, a QEMU may stay;
//! [`end_stray()`] finds it by its pid file.

use super::recreation::QemuPlan;
use super::start::{MONITOR_POLL, SAID_BYTES_MAX, START_LIMIT, end_tpm, make_folder, start_tpm};
use super::words::{self, Word};
use crate::qemu::{QemuMachine, command_line};
use crate::{Error, ErrorKind, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Devices through which a guest speaks to a console.
const CONSOLES: [&str; 6] =
    ["isa-serial", "pci-serial", "virtconsole", "spapr-vty", "sclpconsole", "usb-serial"];
/// What the console said, in the machine's folder. No original's file is called so.
const CONSOLE_LOG: &str = "strongroom-console.log";
/// A killed process is gone in milliseconds, unless a disk that hangs holds it.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A machine that runs as long as this is held.
#[derive(Debug)]
pub struct AttendedQemu {
    machine: QemuMachine,
    process: Process,
    plan: QemuPlan,
}

/// QEMU's process. Dropped, it is killed.
#[derive(Debug)]
struct Process {
    child: Child,
    /// The thread that started it waits for this to be closed: it must outlive the child.
    _starter: mpsc::SyncSender<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already
        let _ = self.child.wait();
    }
}

/// Has the machine's console written to a file in its folder, whatever it was connected to. Gives the file.
pub fn record_console(plan: &mut QemuPlan) -> Result<PathBuf> {
    let path = plan.folder.join(CONSOLE_LOG);
    let text = super::recreation::text_of(&path)?;
    let mut words = words::parse(&plan.arguments);
    let as_file = |id: &str| Word::new("chardev", format!("file,id={id},path={}", text.replace(',', ",,")));
    let chardev = console(&words);
    let of_console = |word: &Word| {
        word.is("chardev") && chardev.is_some() && word.settings("backend").get("id") == chardev
    };
    if let Some(at) = words.iter().position(of_console) {
        words[at] = as_file(chardev.as_deref().unwrap_or_default());
    } else {
        words.retain(|word| !is_nothing(word));
        let serial = Word::new("serial", format!("file:{text}"));
        match words.iter().position(|word| word.is("serial")) {
            Some(first) => words[first] = serial,
            None => words.push(serial),
        }
    }
    plan.arguments = words::write(&words);
    Ok(path)
}

fn is_nothing(word: &Word) -> bool {
    word.is("serial") && word.text() == "none"
}

/// The connection of the first console, where it has one by name.
fn console(words: &[Word]) -> Option<String> {
    words.iter().find_map(|word| match word.option.as_str() {
        "serial" => word.text().strip_prefix("chardev:").map(str::to_owned),
        "device" => {
            let settings = word.settings("driver");
            let driver = settings.get("driver")?;
            CONSOLES.contains(&driver.as_str()).then(|| settings.get("chardev")).flatten()
        }
        _ => None,
    })
}

/// Starts the machine, and returns once its monitor answers. The guest boots meanwhile.
///
/// # Errors
/// `Unsupported` when `setpriv` of util-linux is missing; `Failed` with what QEMU said when it would not start.
pub async fn start_attended(plan: QemuPlan) -> Result<AttendedQemu> {
    make_folder(&plan.folder)?;
    let waiting = plan.tpm.is_some().then(|| WaitingTpm(&plan.folder));
    if let Some(tpm) = &plan.tpm {
        start_tpm(tpm, &plan.folder).await?;
    }
    let (process, machine) = begin(&plan).await?;
    std::mem::forget(waiting); // it has its QEMU, and ends with that
    Ok(AttendedQemu { machine, process, plan })
}

/// A TPM that no QEMU has connected to yet, by its machine's folder. Dropped, it is ended.
struct WaitingTpm<'a>(&'a Path);

impl Drop for WaitingTpm<'_> {
    fn drop(&mut self) {
        end_tpm(self.0);
    }
}

async fn begin(plan: &QemuPlan) -> Result<(Process, QemuMachine)> {
    let mut process = spawn(plan)?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Ok(Some(status)) = process.child.try_wait() {
            let said = said(&plan.log());
            return Err(Error::caused(ErrorKind::Failed, format!("start {}: {status}", plan.program), said));
        }
        match QemuMachine::connect(&plan.qmp, plan.agent.as_deref()).await {
            Ok(machine) => return Ok((process, machine)),
            Err(error) if !error.kind().retry_helps() && error.kind() != ErrorKind::NotFound => {
                return Err(error);
            }
            Err(error) if Instant::now() >= deadline => return Err(error.within("wait for QEMU's monitor")),
            Err(_) => sleep(MONITOR_POLL).await,
        }
    }
}

/// In a thread of its own, which lives as long as QEMU. That thread is waited for, the milliseconds that it takes: whoever
/// went away while it starts QEMU would leave one that nobody kills.
fn spawn(plan: &QemuPlan) -> Result<Process> {
    let context = || format!("start {}", plan.program);
    let mut words = words::parse(&plan.arguments);
    words.retain(|word| !word.is("daemonize"));
    let log = File::create(plan.log()).map_err(|e| Error::io(context(), e))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=SIGKILL", "--"]).arg(&plan.program).args(words::write(&words));
    command.current_dir(&plan.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let (stop, stopped) = mpsc::sync_channel::<()>(1);
    let (started, start) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let spawned = command.spawn();
        if started.send(spawned).is_ok() {
            let _ = stopped.recv(); // closed when QEMU is not needed any more
        }
    });
    let gone = |_| Error::new(ErrorKind::Failed, format!("{}: its thread has ended", context()));
    let child = start.recv().map_err(gone)?.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            let text = format!("{}: setpriv of util-linux is missing", context());
            Error::caused(ErrorKind::Unsupported, text, e)
        }
        _ => Error::io(context(), e),
    })?;
    Ok(Process { child, _starter: stop })
}

fn said(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.unwrap_or_default().trim().chars().take(SAID_BYTES_MAX).collect()
}

impl AttendedQemu {
    /// The machine.
    pub fn machine(&self) -> &QemuMachine {
        &self.machine
    }

    /// Whether it has a guest agent's socket at all.
    pub fn has_agent(&self) -> bool {
        self.plan.agent.is_some()
    }

    /// How QEMU ended, with what it said, if it did.
    pub fn ended(&mut self) -> Option<(ExitStatus, String)> {
        let status = self.process.child.try_wait().ok().flatten()?;
        Some((status, said(&self.plan.log())))
    }

    /// Kills it, and returns when it is gone. Its images are not closed in order.
    pub fn end(self) {
        drop(self);
    }
}

/// Kills the QEMU, and the TPM, that a process which is gone has left of a machine with this folder. Nothing else is
/// ever killed: their command lines name the folder.
pub async fn end_stray(folder: &Path) -> Result<()> {
    let name = folder.display().to_string();
    for file in ["qemu.pid", "swtpm.pid"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        let Ok(pid) = text.trim().parse::<u32>() else { continue };
        let is_ours = || command_line(pid).is_some_and(|words| words.iter().any(|word| word.contains(&name)));
        let deadline = Instant::now() + KILL_LIMIT;
        while is_ours() {
            let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            let killed = process.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            if Instant::now() >= deadline || killed.is_none() {
                let text = format!("end the machine that was left in {name}: process {pid} does not go");
                return Err(Error::new(ErrorKind::Busy, text));
            }
            sleep(MONITOR_POLL).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Waker};

    fn plan(program: &str, folder: &Path, words: &[&str]) -> QemuPlan {
        QemuPlan {
            program: program.into(),
            arguments: words.iter().map(|&word| word.to_owned()).collect(),
            folder: folder.to_owned(),
            qmp: folder.join("qmp"),
            agent: None,
            tpm: None,
            left_out: Vec::new(),
        }
    }

    /// Processes that have the path among their words.
    fn processes(path: &Path) -> usize {
        let name = path.display().to_string();
        let all = std::fs::read_dir("/proc").expect("it is there").flatten();
        let lines = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
        lines.filter(|line| line.contains(&name)).count()
    }

    #[tokio::test]
    async fn whoever_goes_away_while_it_starts_leaves_no_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        // Stands in for QEMU: its words name the folder, and it never opens a monitor.
        let file = folder.path().join("file");
        File::create(&file).expect("made");
        let program = plan("tail", &folder.path().join("run"), &["-f", &file.display().to_string()]);
        for _ in 0..20 {
            let mut starting = Box::pin(start_attended(program.clone()));
            let polled = starting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "{polled:?}");
            drop(starting);
            // Neither now nor soon.
            for _ in 0..10 {
                assert_eq!(processes(folder.path()), 0);
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn recorded(words: &[&str]) -> Vec<String> {
        let mut plan = plan("qemu", Path::new("/run/m"), words);
        record_console(&mut plan).expect("a path that is text");
        plan.arguments
    }

    #[test]
    fn a_console_is_written_down_whatever_it_was() {
        let file = "file:/run/m/strongroom-console.log";
        let chardev = "file,id=c,path=/run/m/strongroom-console.log";
        assert_eq!(recorded(&["-serial", "pty", "-m", "1"]), ["-serial", file, "-m", "1"]);
        assert_eq!(recorded(&["-serial", "none"]), ["-serial", file]);
        assert_eq!(recorded(&["-m", "1"]), ["-m", "1", "-serial", file]);
        assert_eq!(
            recorded(&["-serial", "file:a", "-serial", "file:b"]),
            ["-serial", file, "-serial", "file:b"]
        );
        let by_name = ["-chardev", "socket,id=c,path=/x,server=on", "-serial", "chardev:c"];
        assert_eq!(recorded(&by_name), ["-chardev", chardev, "-serial", "chardev:c"]);
        let device = ["-chardev", "pty,id=c", "-chardev", "pty,id=d", "-device", "isa-serial,chardev=c"];
        assert_eq!(recorded(&device)[..4], ["-chardev", chardev, "-chardev", "pty,id=d"]);
    }
}
