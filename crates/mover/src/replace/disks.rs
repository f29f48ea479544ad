//! Images as they lie: in use or not, how large, and their names changed.

use crate::error::{Doing, Result};
use crate::restore_into::{io, sync_folder};
use rustix::fs::{CWD, RenameFlags};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use tokio::process::Command;

/// Whether a QEMU has an image open for writing: it keeps such locked.
pub(super) async fn is_in_use(path: &Path, format: &str) -> Result<bool> {
    match look(path, format).await {
        Ok(_) => Ok(false),
        Err(said) if said.contains("lock") => Ok(true),
        Err(said) => refused(path, said),
    }
}

/// An image's size as its guest sees it.
pub(super) async fn size(path: &Path, format: &str) -> Result<u64> {
    let told = match look(path, format).await {
        // Its size is no secret of whoever writes it; whether it may be touched is asked elsewhere.
        Err(said) if said.contains("lock") => info(path, format, &["--force-share"]).await,
        other => other,
    };
    match told.as_ref().map(|value| value["virtual-size"].as_u64()) {
        Ok(Some(size)) => Ok(size),
        Ok(None) => refused(path, "its size is not told".into()),
        Err(said) => refused(path, said.clone()),
    }
}

async fn look(path: &Path, format: &str) -> std::result::Result<Value, String> {
    info(path, format, &[]).await
}

async fn info(path: &Path, format: &str, more: &[&str]) -> std::result::Result<Value, String> {
    let mut image = Command::new("qemu-img");
    image.args(["info", "--output=json", "-f", format]).args(more).arg(path).env("LC_ALL", "C");
    let output = image.kill_on_drop(true).output().await.map_err(|e| format!("qemu-img: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

fn refused<T>(path: &Path, said: String) -> Result<T> {
    Err(block::Error::new(block::ErrorKind::Io, said))
        .doing(|| format!("look at the image {}", path.display()))
}

/// Gives a file a name that none has, durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot promise it: looking must do.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => fs::rename(from, to),
        other => other.map_err(Into::into),
    };
    renamed.and_then(|()| sync_folder(to)).map_err(|e| io(&format!("rename to {}", to.display()), from, e))
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Who could use the original can use what takes its place.
pub(super) fn give_as(original: &Path, fresh: &Path) -> Result<()> {
    let was = fs::metadata(original).map_err(|e| io("look at", original, e))?;
    let is = fs::metadata(fresh).map_err(|e| io("look at", fresh, e))?;
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        chown(fresh, Some(was.uid()), Some(was.gid()))
            .map_err(|e| io("give to the original's owner", fresh, e))?;
    }
    fs::set_permissions(fresh, was.permissions()).map_err(|e| io("set the permissions of", fresh, e))
}
