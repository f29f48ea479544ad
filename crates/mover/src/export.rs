//! One disk of a point as a file in a format that others read, VHD among them.
//!
//! **VHD** (QEMU calls it `vpc`) tells a disk's size twice: in bytes, and as cylinders, heads and sectors, of which not
//! every size can be made. Left to itself `qemu-img` rounds the size up to the next such geometry, so that the disk grows
//! on every way out and in again. With `force_size` the bytes count, as they do for Hyper-V and Azure. Azure takes fixed
//! VHDs of whole MiB alone, so a fixed one is rounded up to these; what is behind the disk's end is zero.

use crate::error::{Doing, Result};
use crate::image::{Driver, Image, ImageFormat};
use crate::progress::Progress;
use crate::restore::{Partial, partial, publish, restore_disk};
use block::{CopyOptions, Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::{DiskRecord, PointDisk, Vault};

/// The largest disk that a VHD holds: 32 bits of sectors, less what QEMU and Hyper-V keep back.
const VHD_BYTES_MAX: u64 = 2040 << 30;
/// What the size of a fixed VHD is a multiple of.
const VHD_FIXED_STEP: u64 = 1 << 20;
/// And of a dynamic one: a sector.
const SECTOR: u64 = 512;

const VHD_FIXED: Driver = Driver { name: "vpc", options: "subformat=fixed,force_size=on" };
const VHD_DYNAMIC: Driver = Driver { name: "vpc", options: "subformat=dynamic,force_size=on" };

/// What an exported disk is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// The bytes themselves, sparse.
    Raw,
    /// QEMU's own.
    Qcow2,
    /// A fixed VHD, as Azure takes it.
    VhdFixed,
    /// A VHD that holds data alone.
    VhdDynamic,
}

/// A disk that was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// The size that the disk has in it: its own, or a little more.
    pub disk_bytes: u64,
    /// Bytes of data written; the rest is zero.
    pub data_bytes: u64,
}

impl ExportFormat {
    /// The size that a disk of `size` bytes has in it.
    ///
    /// # Errors
    /// `Invalid` if it cannot hold that much.
    pub fn size_of(self, size: u64) -> Result<u64> {
        let step = match self {
            Self::Raw | Self::Qcow2 => return Ok(size),
            Self::VhdFixed => VHD_FIXED_STEP,
            Self::VhdDynamic => SECTOR,
        };
        let rounded = size.next_multiple_of(step);
        if rounded <= VHD_BYTES_MAX {
            return Ok(rounded);
        }
        let text = format!("a VHD holds 2040 GiB at most, and the disk has {size} bytes: use raw or qcow2");
        Err(Error::new(ErrorKind::Invalid, text)).doing(|| "choose the format".into())
    }
}

/// Writes a disk of a point into a new file, which has its name only once it is whole.
///
/// CRASH: leaves a `*.partial` file at most.
pub async fn export(
    vault: &Arc<Vault>,
    record: &DiskRecord,
    path: &Path,
    format: ExportFormat,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Exported> {
    let disk_bytes = format.size_of(record.map.size)?;
    for taken in [path.to_owned(), partial(path)] {
        if taken.exists() {
            return Err(crate::Error::Taken(format!("export disk {}", record.name), taken));
        }
    }
    let (name, size) = (record.name.clone(), record.map.size);
    progress(Progress::Disk { name, size, tracking: String::new() });
    let data_bytes = match format {
        ExportFormat::Raw => restore_disk(vault, record, path, ImageFormat::Raw, progress).await?,
        ExportFormat::Qcow2 => restore_disk(vault, record, path, ImageFormat::Qcow2, progress).await?,
        ExportFormat::VhdFixed => by_qemu(vault, record, (path, disk_bytes), VHD_FIXED, progress).await?,
        ExportFormat::VhdDynamic => by_qemu(vault, record, (path, disk_bytes), VHD_DYNAMIC, progress).await?,
    };
    progress(Progress::DiskDone);
    Ok(Exported { path: path.to_owned(), disk_bytes, data_bytes })
}

async fn by_qemu(
    vault: &Arc<Vault>,
    record: &DiskRecord,
    (path, size): (&Path, u64),
    driver: Driver,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<u64> {
    // Before the image, so that it is dropped after it: on an error, and when the caller gives up.
    let partial = Partial(partial(path));
    let source = PointDisk::new(Arc::clone(vault), record.map.clone());
    let image = Image::create_by_qemu(&partial.0, size, driver).await?;
    let options = CopyOptions { sink_is_zero: true, ..CopyOptions::default() };
    let advance = |bytes| progress(Progress::Advance(bytes));
    let copied = block::copy(&source, image.sink(), options, &advance);
    let copied = copied.await.doing(|| format!("export disk {} to {}", record.name, path.display()))?;
    image.finish(&partial.0).await?;
    publish(&partial.0, path)?;
    Ok(copied.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_where_the_format_wants_it() {
        let size = |format: ExportFormat, size| format.size_of(size).ok();
        assert_eq!(size(ExportFormat::Raw, 1000), Some(1000));
        assert_eq!(size(ExportFormat::Qcow2, 1000), Some(1000));
        assert_eq!(size(ExportFormat::VhdDynamic, 1000), Some(1024));
        assert_eq!(size(ExportFormat::VhdFixed, 1 << 20), Some(1 << 20));
        assert_eq!(size(ExportFormat::VhdFixed, (1 << 20) + 512), Some(2 << 20));
        assert_eq!(size(ExportFormat::VhdFixed, VHD_BYTES_MAX), Some(VHD_BYTES_MAX));
        assert_eq!(size(ExportFormat::VhdDynamic, VHD_BYTES_MAX + 1), None);
        assert_eq!(size(ExportFormat::Qcow2, VHD_BYTES_MAX + 1), Some(VHD_BYTES_MAX + 1));
    }
}
