//! QEMU's own locks on images, taken as QEMU takes them.
//!
//! A QEMU that uses an image holds shared locks on single bytes of it: from 100 on one for each permission it has,
//! from 200 on one for each that it grants to nobody else. Whoever asks for a permission looks whether somebody
//! denies it. They belong to the open file (`F_OFD_SETLK`), so they end with it, whatever becomes of us. But a child
//! that this process is just starting has the file open too, for a moment longer than us: [`unlock`] does not wait.
//!
//! QEMU itself would let a raw image be read while a machine writes it. We do not: an image that is being written
//! shows no instant.

use crate::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::path::Path;

const PERMITTED: i64 = 100;
const DENIED: i64 = 200;
/// To read what is consistent; to write; to change the size: places of QEMU's permissions.
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What we hold.
const LOCKED: [i64; 3] = [PERMITTED + CONSISTENT_READ, DENIED + WRITE, DENIED + RESIZE];

/// Says that we read the file and nobody may write it, until `file` is closed.
///
/// # Errors
/// `Busy` when somebody writes it, or may.
pub(super) fn lock(file: &File, path: &Path) -> Result<()> {
    let locked = try_lock(file, path);
    if locked.is_err() {
        unlock(file);
    }
    locked
}

/// Lets others write the file again, at once.
pub(super) fn unlock(file: &File) {
    for byte in LOCKED {
        let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&range(byte, libc::F_UNLCK))); // else it ends with the file
    }
}

fn try_lock(file: &File, path: &Path) -> Result<()> {
    let failed = |error: Errno| match error {
        // Where the file system has no locks QEMU goes without too; that the file does not change is seen anyway.
        Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::EINVAL => Ok(()),
        Errno::EAGAIN | Errno::EACCES => Err(in_use(path)),
        other => Err(Error::io(
            format!("lock {}", path.display()),
            std::io::Error::from_raw_os_error(other as i32),
        )),
    };
    // Set first, looked at second: of two that come at once, each sees the other's.
    for byte in LOCKED {
        fcntl(file, FcntlArg::F_OFD_SETLK(&range(byte, libc::F_RDLCK))).map(drop).or_else(failed)?;
    }
    for byte in [PERMITTED + WRITE, PERMITTED + RESIZE, DENIED + CONSISTENT_READ] {
        let mut found = range(byte, libc::F_WRLCK);
        match fcntl(file, FcntlArg::F_OFD_GETLK(&mut found)) {
            Ok(_) if i32::from(found.l_type) != libc::F_UNLCK => return Err(in_use(path)),
            Ok(_) => {}
            Err(error) => failed(error)?,
        }
    }
    Ok(())
}

fn range(byte: i64, kind: i32) -> libc::flock {
    let small = |number: i32| i16::try_from(number).expect("these constants are small");
    libc::flock { l_type: small(kind), l_whence: small(libc::SEEK_SET), l_start: byte, l_len: 1, l_pid: 0 }
}

fn in_use(path: &Path) -> Error {
    let text = format!("{} is in use; back the running machine up", path.display());
    Error::new(ErrorKind::Busy, text)
}
