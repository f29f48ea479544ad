//! Making a stopped Linux guest nobody's, on its disks, by a program of others: `virt-sysprep`. What is removed is what
//! `generalise.rs` removes, and nothing of all else that the program would by itself (logs, mail, keys of people).
//!
//! It finds the guest's systems and changes them in a small machine of its own, which it starts for that, so a guest's
//! damaged file system harms nobody. That machine's QEMU locks the disks as any QEMU does.
//!
//! CRASH: when we end, so does it, within moments. The disks are then as after a power failure in the middle, and to
//! do it again does the rest.

use crate::error::{Doing, Result};
use crate::new_machine::quoted;
use hypervisor::offline::OfflineMachine;
use hypervisor::{Machine, MachineDescription};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// The program, looked for in `PATH`.
pub const SYSPREP: &str = "virt-sysprep";
/// What to do where it is missing.
pub const GET_SYSPREP: &str = "install virt-sysprep where its disks are (Debian: apt-get install guestfs-tools), or \
                               start the machine: it is generalised through its agent then";

/// What is done, in this order. Each is a run of its own: `customize` gives the machine an id where that is empty, and
/// some versions do it last.
const RUNS: [&str; 2] = ["customize", "machine-id,ssh-hostkeys"];
/// What `customize` is to remove: what the program has no operation for, or one that knows fewer names. The first six
/// are what `cloud-init clean --logs` would.
const FORGOTTEN: [&str; 8] = [
    "/var/lib/cloud/instance",
    "/var/lib/cloud/instances",
    "/var/lib/cloud/data",
    "/var/lib/cloud/sem",
    "/var/log/cloud-init.log",
    "/var/log/cloud-init-output.log",
    "/etc/udev/rules.d/*persistent-net*",
    "/var/lib/systemd/random-seed",
];
/// Through libvirt its QEMU would be of another user, who may not read the disks.
const BACKEND: (&str, &str) = ("LIBGUESTFS_BACKEND", "direct");
/// For each run: seconds with KVM; under emulation, on a busy host, minutes, the first time also for making that machine.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// What is told of its words when it fails: the last say why.
const TOLD_LINES: usize = 8;
const TOLD_BYTES: usize = 4096;

/// What will be run.
#[derive(Debug)]
pub struct OfflineGeneralise {
    program: PathBuf,
    /// Arguments.
    runs: Vec<Vec<OsString>>,
}

impl OfflineGeneralise {
    /// Plans it for a machine that is stopped, as [`OfflineMachine::described`] tells of it. Nothing is changed.
    ///
    /// # Errors
    /// `Busy` when somebody uses its disks; `Invalid` for images that are not what they are said to be, or stand on
    /// files that may not be followed: QEMU would follow them.
    pub async fn plan(
        program: &Path,
        (machine, told): (&OfflineMachine, &MachineDescription),
    ) -> Result<Self> {
        let doing = || "see that the machine's disks can be written".to_owned();
        machine.describe().await.doing(doing)?;
        let mut disks = Vec::new();
        // Its firmware's variables are an image too, and no disk.
        let is_disk = |name: &str| told.disks.iter().any(|disk| disk.id == name);
        for image in machine.images().iter().filter(|image| is_disk(&image.name)) {
            let found = image.path.canonicalize();
            let io = |error| block::Error::io(format!("find {}", image.path.display()), error);
            disks.push((found.map_err(io).doing(doing)?, image.format.name()));
        }
        let runs = RUNS.iter().map(|operations| arguments(&disks, operations)).collect();
        Ok(Self { program: program.to_owned(), runs })
    }

    /// Whether the program is there.
    pub fn is_installed(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(&self.program).is_file())
    }

    /// The commands, as one would type them.
    pub fn commands(&self) -> Vec<String> {
        let backend = format!("{}={}", BACKEND.0, backend().to_string_lossy());
        let command = |arguments: &Vec<OsString>| {
            let words = std::iter::once(self.program.as_os_str()).chain(arguments.iter().map(|word| &**word));
            words.fold(backend.clone(), |text, word| text + " " + &quoted(&word.to_string_lossy()))
        };
        self.runs.iter().map(command).collect()
    }

    /// Does it.
    ///
    /// # Errors
    /// `Io` with the program's last words when it fails or takes too long: then what was done is done, and doing it
    /// again does the rest.
    pub async fn run(&self) -> Result<()> {
        for arguments in &self.runs {
            let run = self.run_one(arguments, LIMIT).await;
            run.doing(|| format!("generalise the machine's disks by {SYSPREP}"))?;
        }
        Ok(())
    }

    async fn run_one(&self, arguments: &[OsString], limit: Duration) -> block::Result<()> {
        let io = |error| block::Error::io(format!("run {}", self.program.display()), error);
        let mut command = Command::new(&self.program);
        command.args(arguments).env(BACKEND.0, backend()).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(io)?;
        let mut said = Vec::new();
        let stderr = child.stderr.take().expect("it was asked for");
        let ended = async {
            keep_end(stderr, &mut said).await?;
            child.wait().await
        };
        let why = match timeout(limit, ended).await {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) => format!("it failed ({status})"),
            Ok(Err(error)) => return Err(io(error)),
            Err(_) => {
                child.kill().await.map_err(io)?;
                format!("it did not end within {} s and was ended", limit.as_secs())
            }
        };
        Err(block::Error::new(block::ErrorKind::Io, format!("{why}: {}", last_words(&said))))
    }
}

/// For absolute paths, which no option and no address of a network can be taken for.
fn arguments(disks: &[(PathBuf, &'static str)], operations: &str) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--quiet".into(), "--no-network".into()];
    // A format holds for the disks after it. Where none is told it would be guessed, from what the guest has written.
    // Backwards, for so the program takes them: a guest whose fstab says /dev/vda1 finds it on its first disk alone.
    for (path, format) in disks.iter().rev() {
        words.extend(["--format".into(), OsString::from(*format), "-a".into(), path.into()]);
    }
    words.extend(["--operations", operations].map(OsString::from));
    if operations == "customize" {
        words.extend(FORGOTTEN.iter().flat_map(|path| ["--delete".into(), OsString::from(*path)]));
    }
    words
}

/// What the administrator has chosen, if anything.
fn backend() -> OsString {
    std::env::var_os(BACKEND.0).unwrap_or_else(|| BACKEND.1.into())
}

async fn keep_end(mut from: impl AsyncRead + Unpin, end: &mut Vec<u8>) -> std::io::Result<()> {
    while from.read_buf(end).await? > 0 {
        end.drain(..end.len().saturating_sub(TOLD_BYTES));
    }
    Ok(())
}

/// The last lines as one, without what would steer a terminal (names of a guest's files may be in them), and without
/// the advice to report a bug.
fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines = text.lines().map(|line| line.trim().replace(char::is_control, " "));
    let lines: Vec<String> = lines
        .take_while(|line| !line.starts_with("If reporting bugs"))
        .filter(|line| !line.is_empty())
        .collect();
    match lines.is_empty() {
        true => "it said nothing".to_owned(),
        false => lines[lines.len().saturating_sub(TOLD_LINES)..].join("; "),
    }
}

#[cfg(test)]
mod tests;
