//! Restore: the disks of a point become images in a folder.

use crate::error::{Doing, Error, Result};
use crate::image::{Image, ImageFormat};
use crate::progress::Progress;
use block::{BlockSource, CopyOptions};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{DiskRecord, Point, PointDisk, Vault};

/// What to restore, and whither.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The point.
    pub point: Point,
    /// Names of its disks; empty for all.
    pub disks: Vec<String>,
    /// An existing folder, or one to be made in an existing one.
    pub folder: PathBuf,
    /// What the images are to be.
    pub format: ImageFormat,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The images.
    pub disks: Vec<RestoredDisk>,
    /// The machine's description beside them.
    pub description: PathBuf,
}

/// One restored image.
#[derive(Clone, Debug)]
pub struct RestoredDisk {
    /// The disk's name in the point.
    pub name: String,
    /// The image.
    pub path: PathBuf,
    /// Its format.
    pub format: ImageFormat,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that had to be written; the rest is zero.
    pub data_bytes: u64,
}

/// Restores a point's disks, one after the other, and puts the machine's description beside them.
///
/// Nothing existing is replaced: if a name is taken, nothing is restored. Dropped in the middle it leaves
/// whole images only. CRASH: leaves a `*.partial` file too, never a partial image under an image's name; the
/// description comes last.
pub async fn restore(
    vault: &Arc<Vault>,
    request: &RestoreRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Restored> {
    let disks = chosen(request)?;
    let targets = targets(request, &disks)?;
    let mut restored = Vec::new();
    for (record, path) in disks.iter().zip(targets) {
        let (name, size) = (record.name.clone(), record.map.size);
        progress(Progress::Disk { name: name.clone(), size, tracking: String::new() });
        let format = if is_firmware(&request.point, &name) { ImageFormat::Raw } else { request.format };
        let data_bytes = restore_disk(vault, record, &path, format, progress).await?;
        progress(Progress::DiskDone);
        restored.push(RestoredDisk { name, path, format, size, data_bytes });
    }
    let description = write_description(request, &restored)?;
    Ok(Restored { disks: restored, description })
}

/// Whether a disk of a point is a file of the machine's firmware: those come back as they were, under their names.
pub fn is_firmware(point: &Point, disk: &str) -> bool {
    let firmware = point.description["firmware"].as_array();
    firmware.into_iter().flatten().any(|file| file["name"] == disk)
}

pub(crate) fn chosen(request: &RestoreRequest) -> Result<Vec<&DiskRecord>> {
    let point = &request.point;
    if request.disks.is_empty() {
        return Ok(point.disks.iter().collect());
    }
    let found = request.disks.iter().map(|name| point.disk(name)).collect::<vault::Result<_>>();
    found.doing(|| "choose the disks to restore".into())
}

/// Where each disk's image is to be.
pub(crate) fn paths(request: &RestoreRequest, disks: &[&DiskRecord]) -> Vec<PathBuf> {
    let folder = &request.folder;
    let path = |disk: &&DiskRecord| match is_firmware(&request.point, &disk.name) {
        true => folder.join(file_name(&disk.name)),
        false => folder.join(format!("{}.{}", file_name(&disk.name), request.format.name())),
    };
    disks.iter().map(path).collect()
}

/// The names of the images, all free.
pub(crate) fn targets(request: &RestoreRequest, disks: &[&DiskRecord]) -> Result<Vec<PathBuf>> {
    let folder = &request.folder;
    let doing = || format!("prepare the folder {}", folder.display());
    if !folder.is_dir() {
        std::fs::create_dir(folder).map_err(|e| block::Error::io("create it", e)).doing(doing)?;
    }
    let paths = paths(request, disks);
    // A partial image may be another restore's that is under way.
    let partials: Vec<PathBuf> = paths.iter().map(|path| partial(path)).collect();
    let description = folder.join(DESCRIPTION);
    for path in paths.iter().chain(&partials).chain([&description]) {
        if path.exists() {
            return Err(Error::Taken(doing(), path.clone()));
        }
    }
    Ok(paths)
}

/// Where an image is written until it is whole.
pub(crate) fn partial(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.partial", path.display()))
}

/// A partial image; dropped, it is gone. CRASH: stays.
pub(crate) struct Partial(pub(crate) PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // it has its final name, or is of no use
    }
}

/// Restores one disk into a new image, which has its name only once it is whole.
pub(crate) async fn restore_disk(
    vault: &Arc<Vault>,
    record: &DiskRecord,
    path: &Path,
    format: ImageFormat,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64> {
    let source = PointDisk::new(Arc::clone(vault), record.map.clone());
    write_image((&record.name, &source), path, format, progress).await
}

/// Copies a disk, by its name, into a new image, which has its name only once it is whole.
pub(crate) async fn write_image(
    (name, source): (&str, &dyn BlockSource),
    path: &Path,
    format: ImageFormat,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64> {
    // Before the image, so that it is dropped after it: on an error, and when the caller gives up.
    let partial = Partial(partial(path));
    let image = Image::create(&partial.0, source.size(), format).await?;
    let options = CopyOptions { sink_is_zero: true, ..CopyOptions::default() };
    let advance = |bytes| progress(Progress::Advance(bytes));
    let copied = block::copy(source, image.sink(), options, &advance);
    let copied = copied.await.doing(|| format!("restore disk {name} to {}", path.display()))?;
    image.finish(&partial.0).await?;
    publish(&partial.0, path)?;
    Ok(copied.data)
}

/// Gives a finished file its name and makes the name durable.
pub(crate) fn publish(partial: &Path, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    rename_without_replacing(partial, path)
        .and_then(|()| std::fs::File::open(folder)?.sync_all())
        .map_err(|e| block::Error::io("name it", e))
        .doing(|| format!("finish {}", path.display()))
}

/// Renames unless the name was taken meanwhile. Where the file system cannot promise that, the check that
/// was made before writing must do.
fn rename_without_replacing(from: &Path, to: &Path) -> std::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(from, to),
        other => Ok(other?),
    }
}

pub(crate) const DESCRIPTION: &str = "machine.json";

/// What the machine was, and which image is which of its disks.
pub(crate) fn write_description(request: &RestoreRequest, disks: &[RestoredDisk]) -> Result<PathBuf> {
    let path = request.folder.join(DESCRIPTION);
    let images = disks.iter().map(|disk| {
        serde_json::json!({ "disk": disk.name, "path": disk.path, "format": disk.format.name(), "size": disk.size })
    });
    let body = serde_json::json!({
        "point": request.point.id,
        "machine_name": request.point.machine_name,
        "instant": request.point.instant,
        "consistency": request.point.consistency,
        "disks": images.collect::<Vec<_>>(),
        "machine": request.point.description,
    });
    let text = serde_json::to_string_pretty(&body).expect("plain data") + "\n";
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let written = std::fs::File::create(&partial).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let written = written
        .map_err(|e| block::Error::io("write it", e))
        .doing(|| format!("write the machine's description {}", path.display()))
        .and_then(|()| publish(&partial, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial); // ours and of no use; the error matters more
    }
    written.map(|()| path)
}

/// A disk's name as a file's: what is not safe in one becomes `_`.
pub(crate) fn file_name(disk: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    disk.chars().map(safe).collect::<String>().trim_start_matches('.').to_owned()
}
