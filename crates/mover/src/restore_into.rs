//! Restore into something that is there: an image, a block device, an NBD server's export.

use crate::differences::Differences;
use crate::error::{Doing, Error, Result};
use crate::image::{ImageFormat, Served};
use crate::progress::Progress;
use block::{BlockSource, Copied, CopyOptions, ErrorKind, ExtentKind};
use futures_util::stream::TryStreamExt;
use nbd::{Address, NbdDisk};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{DiskRecord, Point, PointDisk, Vault};

/// What a disk is restored into.
#[derive(Clone, Debug)]
pub enum Target {
    /// An image or a block device that is there, of the disk's size. Only what differs is written.
    Image {
        /// The file.
        path: PathBuf,
        /// What it is; never guessed.
        format: ImageFormat,
    },
    /// An export that takes writes, at least of the disk's size.
    Nbd {
        /// Its server.
        address: Address,
        /// Its name.
        export: String,
        /// Read it, and write only what differs. Else everything is written, zeros as holes where the server can.
        differences: bool,
    },
}

/// Restores one disk of a point into a target that is there.
///
/// A machine that uses it must be off: QEMU's own lock on an image is respected, of what else uses it nobody can tell.
/// The image's format, and what it stands on, stay as they are; its own records of changes go on.
///
/// Dropped in the middle, or killed, the target is a mixture of two states: beside an image lies `*.restoring` until
/// all is written and durable, and the same call again finishes it.
pub async fn restore_into(
    vault: &Arc<Vault>,
    (point, disk): (&Point, &str),
    target: &Target,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Copied> {
    let record = point.disk(disk).doing(|| "choose the disk to restore".into())?;
    let (name, size) = (record.name.clone(), record.map.size);
    progress(Progress::Disk { name, size, tracking: String::new() });
    let copied = match target {
        Target::Image { path, format } => {
            let doing = || format!("restore disk {disk} into {}", path.display());
            let image = Served::open(path, *format).await.doing(doing)?;
            check_size(image.disk(), record, true).doing(doing)?;
            let mark = Mark::set(path, point, disk)?;
            let copied = copy_differences(vault, record, image.disk(), progress).await.doing(doing)?;
            image.finish().await.doing(doing)?;
            mark.remove()?;
            copied
        }
        Target::Nbd { address, export, differences } => {
            let doing = || format!("restore disk {disk} into the export '{export}' at {address}");
            let sink = NbdDisk::connect(address, &nbd::Options::new(export.as_str())).await.doing(doing)?;
            check_size(&sink, record, false).doing(doing)?;
            let copied = match differences {
                true => copy_differences(vault, record, &sink, progress).await,
                false => {
                    let source = PointDisk::new(Arc::clone(vault), record.map.clone());
                    let advance = |bytes| progress(Progress::Advance(bytes));
                    block::copy(&source, &sink, CopyOptions::default(), &advance).await
                }
            };
            sink.close().await;
            copied.doing(doing)?
        }
    };
    progress(Progress::DiskDone);
    Ok(copied)
}

/// Tells what [`restore_into`] would do, and writes nothing.
pub(crate) async fn plan_into(
    vault: &Arc<Vault>,
    (point, disk): (&Point, &str),
    target: &Target,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Copied> {
    let record = point.disk(disk).doing(|| "choose the disk to restore".into())?;
    let (name, size) = (record.name.clone(), record.map.size);
    progress(Progress::Disk { name, size, tracking: String::new() });
    let counted = match target {
        Target::Image { path, format } => {
            let doing = || format!("compare disk {disk} with {}", path.display());
            let image = Served::open_to_read(path, *format).await.doing(doing)?;
            must_fit(image.disk(), record, true).doing(doing)?;
            count(&Differences::new(vault, &record.map, image.disk()), progress).await.doing(doing)?
        }
        Target::Nbd { address, export, differences } => {
            let doing = || format!("look at the export '{export}' at {address}");
            let there = NbdDisk::connect(address, &nbd::Options::new(export.as_str())).await.doing(doing)?;
            check_size(&there, record, false).doing(doing)?;
            let counted = match differences {
                true => count(&Differences::new(vault, &record.map, &there), progress).await,
                false => count(&PointDisk::new(Arc::clone(vault), record.map.clone()), progress).await,
            };
            there.close().await;
            counted.doing(doing)?
        }
    };
    progress(Progress::DiskDone);
    Ok(counted)
}

/// What a copy of it would do.
async fn count(source: &dyn BlockSource, progress: &(dyn Fn(Progress) + Sync)) -> block::Result<Copied> {
    let options = CopyOptions::default();
    let mut all = block::pieces(source, options.granularity, options.piece_bytes);
    let mut counted = Copied::default();
    while let Some(piece) = all.try_next().await? {
        match piece.kind {
            ExtentKind::Data => counted.data += piece.length,
            ExtentKind::Zero => counted.zero += piece.length,
            ExtentKind::Unchanged => counted.unchanged += piece.length,
        }
        progress(Progress::Advance(piece.length));
    }
    Ok(counted)
}

async fn copy_differences(
    vault: &Arc<Vault>,
    record: &DiskRecord,
    target: &NbdDisk,
    progress: &(dyn Fn(Progress) + Sync),
) -> block::Result<Copied> {
    let source = Differences::new(vault, &record.map, target);
    let advance = |bytes| progress(Progress::Advance(bytes));
    block::copy(&source, target, CopyOptions::default(), &advance).await
}

fn check_size(target: &NbdDisk, record: &DiskRecord, exactly: bool) -> block::Result<()> {
    match target.is_read_only() {
        true => Err(block::Error::new(ErrorKind::Invalid, "the target cannot be written")),
        false => must_fit(target, record, exactly),
    }
}

fn must_fit(target: &NbdDisk, record: &DiskRecord, exactly: bool) -> block::Result<()> {
    let (has, needs) = (block::BlockSink::size(target), record.map.size);
    let fits = if exactly { has == needs } else { has >= needs };
    let text = || format!("the target has {has} bytes, the disk in the point {needs}");
    if fits { Ok(()) } else { Err(block::Error::new(ErrorKind::Invalid, text())) }
}

/// The file beside an image that says that it is between two states; none beside a device.
struct Mark(Option<PathBuf>);

impl Mark {
    fn set(image: &Path, point: &Point, disk: &str) -> Result<Self> {
        if !image.is_file() {
            return Ok(Self(None));
        }
        let path = PathBuf::from(format!("{}.restoring", image.display()));
        let text = json!({ "point": point.id, "disk": disk }).to_string() + "\n";
        let written = fs::File::create(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            sync_folder(&path)
        });
        written.map_err(|e| io("write", &path, e))?;
        Ok(Self(Some(path)))
    }

    fn remove(self) -> Result<()> {
        let Some(path) = self.0 else { return Ok(()) };
        fs::remove_file(&path).and_then(|()| sync_folder(&path)).map_err(|e| io("remove", &path, e))
    }
}

/// Makes names in a file's folder durable.
pub(crate) fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

pub(crate) fn io(verb: &str, path: &Path, error: std::io::Error) -> Error {
    let doing = format!("{verb} {}", path.display());
    Error::Disk(doing, block::Error::io("ask the system", error))
}
