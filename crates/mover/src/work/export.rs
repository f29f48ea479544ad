//! A disk of a snapshot becomes a file, once, however often the order is begun.
//!
//! While it is written, `.NAME.strongroom-JOB` lies beside it: made when nothing had the file's name, so a file that has
//! it later, while that is there, is this job's, and whole. CRASH: it stays, and the next attempt goes by it. One that
//! dies after the mark is gone and before the server has heard is told by the next that the name is taken.

use super::failure::Result;
use super::order::Run;
use crate::error::Error;
use crate::restore::partial;
use crate::{ExportFormat, Exported};
use api::snapshots::SnapshotFormat;
use block::Error as BlockError;
use model::job::Step;
use serde_json::json;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{DiskRecord, Vault};

/// Writes a disk as a file, or finds that an earlier claim has.
pub(super) async fn export(
    run: &Run,
    vault: &Arc<Vault>,
    disk: &DiskRecord,
    (path, format): (&Path, SnapshotFormat),
) -> Result<()> {
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(super::backup::makes_no_sense(format!(
            "{} is no absolute path of a file",
            path.display()
        )));
    }
    run.lease.begin(&Step::WriteDisks.to_string(), disk.map.size);
    let format = match format {
        SnapshotFormat::Raw => ExportFormat::Raw,
        SnapshotFormat::Qcow2 => ExportFormat::Qcow2,
        SnapshotFormat::Vhd => ExportFormat::VhdFixed,
        SnapshotFormat::VhdDynamic => ExportFormat::VhdDynamic,
    };
    let (mark, is_ours) = Mark::make(path, &run.order.job.to_string())?;
    let exported = match is_ours && path.exists() {
        true => Exported { path: path.to_owned(), disk_bytes: format.size_of(disk.map.size)?, data_bytes: 0 },
        false => {
            if is_ours {
                remove_if_there(&partial(path))?;
            }
            let tell = |progress| run.lease.progress(progress);
            Box::pin(crate::export(vault, disk, path, format, &tell)).await?
        }
    };
    drop(mark);
    let result = json!({
        "files": [exported.path], "disk": disk.name,
        "disk_bytes": exported.disk_bytes, "data_bytes": exported.data_bytes,
    });
    run.lease.step_done(Step::WriteDisks, Some(result));
    Ok(())
}

/// Says whose a file is that has come to have a name. Dropped, it is gone.
struct Mark(PathBuf);

impl Mark {
    /// Makes it, or finds that an earlier claim of the job has.
    fn make(path: &Path, job: &str) -> std::result::Result<(Self, bool), Error> {
        let name = path.file_name().expect("it was checked").to_string_lossy();
        let mark = path.with_file_name(format!(".{name}.strongroom-{job}"));
        if mark.exists() {
            return Ok((Self(mark), true));
        }
        let doing = || format!("export to {}", path.display());
        if path.exists() {
            return Err(Error::Taken(doing(), path.to_owned()));
        }
        match fs::File::create_new(&mark) {
            Ok(_) => Ok((Self(mark), false)),
            Err(error) => {
                Err(Error::Disk(doing(), BlockError::io(format!("make {}", mark.display()), error)))
            }
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // an empty file, hidden, that says nothing once its job is over
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(BlockError::io(format!("remove {}", path.display()), error).into())
        }
        _ => Ok(()),
    }
}
