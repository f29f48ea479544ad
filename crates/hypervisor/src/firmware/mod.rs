//! What a machine's firmware remembers in files beside its disks. In a point each is a small disk.
//!
//! They are read right after the instant, and a machine is not left without a backup because of them: what could
//! not be had is listed as skipped. `tpm.rs` finds the state of an emulated TPM. UEFI variables are a drive of QEMU
//! and frozen with the others where we may do that; where we may not (libvirt) their file is read. It is written
//! while it is read, at worst: then it is what a power cut leaves, which UEFI's own journal of variables is made for;
//! that two reads agree makes it unlikely.

mod tpm;

pub(crate) use tpm::Tpm;

use crate::{
    Error, ErrorKind, FirmwareDescription, FirmwareKind, FrozenDisk, MachineDescription, Result,
    SkippedDrive, Tracking,
};
use block::MemoryDisk;
use nbd::{Address, Export, RunningServer, Server};
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// UEFI variables are half a MiB on x86, and 64 MiB, mostly zeros, on ARM.
const NVRAM_BYTES_MAX: u64 = 64 << 20;
/// Reads of a file that is being written, until two agree.
const READS: u32 = 4;

/// Where a machine's firmware remembers.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    pub(crate) tpm: Option<Tpm>,
    /// The file of its UEFI variables, where that is no drive which is frozen.
    pub(crate) nvram: Option<PathBuf>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StateFile {
    name: String,
    kind: FirmwareKind,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Memories {
    /// Reads all there is and serves it on a socket of ours, each file as a disk of its size. `description` tells
    /// what was found, and what could not be read.
    pub(crate) async fn serve(
        self,
        description: &mut MachineDescription,
        socket: &Path,
    ) -> Result<(Option<RunningServer>, Vec<FrozenDisk>)> {
        let looked = tokio::task::spawn_blocking(move || self.read()).await;
        let failed = |e| Error::caused(ErrorKind::Failed, "read what the firmware remembers", e);
        let mut files: Vec<StateFile> = Vec::new();
        for (id, read) in looked.map_err(failed)? {
            let taken = |name: &str| {
                description.disks.iter().any(|disk| disk.id == name)
                    || files.iter().any(|one| one.name == name)
            };
            let reason = match read {
                Ok(read) if read.iter().any(|file| taken(&file.name)) => {
                    "a disk has the name of its file".into()
                }
                Ok(read) => {
                    files.extend(read);
                    continue;
                }
                Err(error) => error.chain(),
            };
            description.skipped.push(SkippedDrive { id, reason });
        }
        description.firmware.extend(files.iter().map(|file| FirmwareDescription {
            name: file.name.clone(),
            kind: file.kind,
            file: file.path.display().to_string(),
        }));
        if files.is_empty() {
            return Ok((None, Vec::new()));
        }
        let (server, disks) = serve(files, socket).await?;
        Ok((Some(server), disks))
    }

    /// What each holds, by its name.
    fn read(self) -> Vec<(String, Result<Vec<StateFile>>)> {
        let tpm = self.tpm.map(|tpm| (tpm.id.clone(), tpm.read()));
        let nvram = self.nvram.map(|path| ("nvram".to_owned(), read_settled(&path).map(|file| vec![file])));
        tpm.into_iter().chain(nvram).collect()
    }
}

/// Reads the variables until two reads agree.
fn read_settled(path: &Path) -> Result<StateFile> {
    let read = || read_file(path.to_owned(), FirmwareKind::Nvram, NVRAM_BYTES_MAX);
    let mut last = read()?;
    for _ in 1..READS {
        let again = read()?;
        if again == last {
            return Ok(last);
        }
        last = again;
    }
    Err(Error::new(ErrorKind::Failed, format!("read {}: it does not stop changing", path.display())))
}

fn read_file(path: PathBuf, kind: FirmwareKind, bytes_max: u64) -> Result<StateFile> {
    let failed = |e| Error::io(format!("read what firmware remembers in {}", path.display()), e);
    let mut bytes = Vec::new();
    // We may be root, and the folder somebody else's.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(failed)?;
    opened.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.is_empty() || bytes.len() as u64 > bytes_max {
        let text = format!("{} is empty or larger than {bytes_max} bytes", path.display());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(StateFile { name, kind, path, bytes })
}

async fn serve(files: Vec<StateFile>, socket: &Path) -> Result<(RunningServer, Vec<FrozenDisk>)> {
    let failed = |e| Error::caused(ErrorKind::Failed, "serve what the firmware remembers", e);
    let (mut server, mut disks) = (Server::new(), Vec::new());
    for StateFile { name, bytes, .. } in files {
        let size = bytes.len() as u64;
        let source = Arc::new(MemoryDisk::from(bytes));
        server = server.export(&name, Export::read_only(source)).map_err(failed)?;
        disks.push(FrozenDisk {
            export: name.clone(),
            id: name,
            size,
            format: "raw".into(),
            address: Address::Unix(socket.to_owned()),
            bitmap: None,
            tracking: Tracking::Full { reason: "what firmware remembers is small".into() },
            allocation: true,
            samples: Vec::new(),
        });
    }
    let server = server.listen(&Address::Unix(socket.to_owned())).await.map_err(failed)?;
    Ok((server, disks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vars.fd");
        fs::write(&path, [7; 100]).unwrap();
        let file = read_settled(&path).unwrap();
        assert_eq!((&*file.name, file.bytes.len(), file.kind), ("vars.fd", 100, FirmwareKind::Nvram));
        assert!(read_file(path.clone(), FirmwareKind::Tpm, 99).is_err());
        fs::write(&path, []).unwrap();
        assert!(read_settled(&path).is_err());
        assert_eq!(read_settled(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_told_and_what_can_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vars.fd");
        fs::write(&path, [7; 4096]).unwrap();
        let socket = folder.path().join("s");
        let memories = |nvram: &Path| Memories { nvram: Some(nvram.to_owned()), tpm: None };
        let mut description = MachineDescription::default();
        let (server, disks) = memories(&path).serve(&mut description, &socket).await.unwrap();
        assert_eq!((disks.len(), disks[0].size, &*disks[0].id), (1, 4096, "vars.fd"));
        assert_eq!(description.firmware[0].name, "vars.fd");
        server.expect("there is something to serve").stop().await;
        let mut description = MachineDescription::default();
        let (server, disks) = memories(Path::new("/none")).serve(&mut description, &socket).await.unwrap();
        assert!(server.is_none() && disks.is_empty() && description.firmware.is_empty());
        assert_eq!(description.skipped[0].id, "nvram");
    }
}
