//! The state of an emulated TPM: the files that its `swtpm` keeps.
//!
//! QEMU knows only a socket. Behind it stands a `swtpm` whose command line names that socket and the folder of its
//! state; both are looked up in /proc, so this works for whoever started them.
//!
//! The files are read right after the instant, not at it: a TPM cannot be held still. That is the right side to err
//! on. All that the guest had stored by the instant is in them, and what it stored since concerns nothing on the
//! disks; read before the instant, a key that the disks need could be missing. `swtpm` replaces each file at once
//! (writes another, renames it), so what is read is whole.

use super::{StateFile, read_file};
use crate::qemu::Options;
use crate::{Error, ErrorKind, FirmwareKind, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A TPM's state is some 10 KiB; libtpms refuses more than 176 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Permanent, volatile and saved state of one TPM, and room for those of another version.
const FILES_MAX: usize = 8;

/// An emulated TPM of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tpm {
    /// QEMU's name for it.
    pub(super) id: String,
    socket: PathBuf,
    /// Whom the machine's QEMU runs as.
    user: u32,
}

impl Tpm {
    /// The emulated TPM that a QEMU's command line tells of. A machine has one at most.
    pub(crate) fn of(argv: &[String], folder: &Path, user: u32) -> Option<Self> {
        let values = |wanted: &'static str| {
            let pairs = argv.windows(2).filter(move |pair| pair[0].trim_start_matches('-') == wanted);
            pairs.map(|pair| Options::parse(&pair[1], "type"))
        };
        let (id, chardev) = values("tpmdev").find_map(|tpm| Some((tpm.get("id")?, tpm.get("chardev")?)))?;
        let behind = values("chardev").find(|found| found.get("id").as_ref() == Some(&chardev));
        let path = behind?.get("path")?;
        Some(Self { id, socket: folder.join(path), user })
    }

    /// Reads its state.
    ///
    /// # Errors
    /// `NotFound` when no `swtpm` that we may look at serves its socket; `Invalid` when its files are not what a
    /// TPM has.
    pub(super) fn read(&self) -> Result<Vec<StateFile>> {
        let folder = self.folder().ok_or_else(|| {
            let text = format!("no swtpm is seen that serves {}", self.socket.display());
            Error::new(ErrorKind::NotFound, text)
        })?;
        let failed = |e| Error::io(format!("list the TPM's state in {}", folder.display()), e);
        let entries = fs::read_dir(&folder).map_err(failed)?.flatten();
        let named = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // `permall`, `volatilestate`, `savestate`; not what is being written, nor locks.
            name.starts_with("tpm") && (name.ends_with("all") || name.ends_with("state")) && path.is_file()
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(named).collect();
        paths.sort();
        if paths.is_empty() || paths.len() > FILES_MAX {
            let text = format!("{} holds {} files of a TPM's state", folder.display(), paths.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        paths.into_iter().map(|path| read_file(path, FirmwareKind::Tpm, FILE_BYTES_MAX)).collect()
    }

    /// Where the `swtpm` that serves the socket keeps its state.
    fn folder(&self) -> Option<PathBuf> {
        let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
        processes.filter_map(|process| state_folder(&process, &self.socket, self.user)).next()
    }
}

/// Anybody can start a program that calls itself `swtpm` and names this socket: only root's, QEMU's own and that of
/// the user whom libvirt gives it to are believed.
fn state_folder(process: &Path, socket: &Path, user: u32) -> Option<PathBuf> {
    let owner = fs::metadata(process).ok()?.uid();
    if owner != 0 && owner != user && !is_tpm_user(owner) {
        return None;
    }
    let bytes = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<String> =
        bytes.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let program = Path::new(words.first()?).file_name()?;
    if program != "swtpm" {
        return None;
    }
    let folder = fs::read_link(process.join("cwd")).unwrap_or_else(|_| PathBuf::from("/"));
    let served = Options::parse(value_of(&words, "--ctrl")?, "type").get("path")?;
    if folder.join(served) != socket {
        return None;
    }
    let state = Options::parse(value_of(&words, "--tpmstate")?, "dir");
    let uri = || state.get("backend-uri")?.strip_prefix("dir://").map(str::to_owned);
    state.get("dir").or_else(uri).map(|state| folder.join(state))
}

/// Debian's, Red Hat's and Ubuntu's names.
fn is_tpm_user(uid: u32) -> bool {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .any(|user| ["tss", "swtpm"].contains(&user[0]) && user.get(2) == Some(&&*uid.to_string()))
}

/// The value of `--option value` or `--option=value`.
fn value_of<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
    let place = words.iter().position(|word| word.split('=').next() == Some(option))?;
    match words[place].split_once('=') {
        Some((_, value)) => Some(value),
        None => words.get(place + 1).map(String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::process::CommandExt;

    #[test]
    fn a_tpm_is_found_by_the_socket_between() {
        let argv = |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.to_owned()).collect() };
        let found = argv(&[
            "qemu-system-x86_64",
            "-chardev",
            "socket,id=other,path=/run/other",
            "-chardev",
            "socket,id=c,path=tpm.sock",
            "-tpmdev",
            "emulator,id=tpm0,chardev=c",
        ]);
        let tpm = Tpm { id: "tpm0".into(), socket: "/run/m/tpm.sock".into(), user: 7 };
        assert_eq!(Tpm::of(&found, Path::new("/run/m"), 7), Some(tpm));
        assert_eq!(Tpm::of(&found[..5], Path::new("/run/m"), 7), None);
        let passed_through = argv(&["q", "-tpmdev", "passthrough,id=tpm0,path=/dev/tpm0"]);
        assert_eq!(Tpm::of(&passed_through, Path::new("/"), 7), None);
        let words = argv(&["swtpm", "socket", "--ctrl=type=unixio,path=/s", "--tpmstate", "dir=/d"]);
        assert_eq!(value_of(&words, "--ctrl"), Some("type=unixio,path=/s"));
        assert_eq!(value_of(&words, "--tpmstate"), Some("dir=/d"));
    }

    /// A program that calls itself `swtpm`, with a folder of state. Ends when its input does.
    fn impostor(folder: &Path, user: Option<u32>) -> std::process::Child {
        let mut command = std::process::Command::new("sh");
        let (socket, state) = (folder.join("s"), folder.join("state"));
        command.arg0("swtpm").args(["-c", "echo; read line", "--ctrl"]);
        command.arg(format!("type=unixio,path={}", socket.display()));
        command.arg("--tpmstate").arg(format!("dir={}", state.display()));
        user.map(|user| command.uid(user));
        let (input, output) = (std::process::Stdio::piped(), std::process::Stdio::piped());
        let mut process = command.stdin(input).stdout(output).spawn().unwrap();
        // Its command line is there once it runs, a little later than it is started.
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        process
    }

    #[test]
    fn a_swtpm_of_somebody_else_is_not_believed() {
        const NOBODY: u32 = 65534;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::write(folder.path().join("state/tpm2-00.permall"), "state").unwrap();
        let us = rustix::process::geteuid().as_raw();
        // Only root can be somebody else.
        let theirs = (us == 0).then_some(NOBODY);
        let mut process = impostor(folder.path(), theirs);
        let read = |user: u32| {
            Tpm { id: "tpm0".into(), socket: folder.path().join("s"), user }.read().map(|files| files.len())
        };
        let owner = theirs.unwrap_or(us);
        assert_eq!(read(owner).unwrap(), 1, "QEMU's own user");
        assert_eq!(read(owner + 1).unwrap_err().kind(), ErrorKind::NotFound, "somebody else's");
        process.kill().unwrap();
        process.wait().unwrap();
        if us == 0 {
            let mut process = impostor(folder.path(), None);
            assert_eq!(read(NOBODY).unwrap(), 1, "root's");
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}
