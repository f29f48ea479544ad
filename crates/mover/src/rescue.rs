//! Rescue: whatever can be read of a point's disks becomes images, and beside each what is missing.

use crate::error::{Doing, Result};
use crate::image::{Image, ImageFormat};
use crate::progress::Progress;
use crate::restore::{self, Partial, RestoreRequest, RestoredDisk};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use vault::{DiskRecord, Gap, Rescue};

/// One disk of which what could be read was restored.
#[derive(Clone, Debug)]
pub struct RescuedDisk {
    /// The image.
    pub image: RestoredDisk,
    /// What could not be read, and is a hole in the image.
    pub gaps: Vec<Gap>,
    /// The file beside the image that lists it; none if nothing is missing.
    pub missing: Option<PathBuf>,
}

/// Restores what can be read of a point's disks as raw images, one after the other, and puts the machine's
/// description beside them. What is missing of `<disk>.raw` stands in `<disk>.missing`: offset, length and
/// reason, a line each.
///
/// Nothing existing is replaced. The list of what is missing is durable before the image gets its name: an
/// image without one is whole. CRASH: as [`restore`](crate::restore()).
pub async fn rescue(
    rescue: &Rescue,
    request: &RestoreRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<RescuedDisk>> {
    let disks = restore::chosen(request)?;
    let targets = restore::targets(request, &disks)?;
    let mut rescued = Vec::new();
    for (record, path) in disks.iter().zip(targets) {
        let (name, size) = (record.name.clone(), record.map.size);
        progress(Progress::Disk { name, size, tracking: String::new() });
        rescued.push(rescue_disk(rescue, record, path, progress).await?);
        progress(Progress::DiskDone);
    }
    let images: Vec<RestoredDisk> = rescued.iter().map(|disk| disk.image.clone()).collect();
    restore::write_description(request, &images)?;
    Ok(rescued)
}

async fn rescue_disk(
    rescue: &Rescue,
    record: &DiskRecord,
    path: PathBuf,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<RescuedDisk> {
    let partial = Partial(restore::partial(&path));
    let size = record.map.size;
    let image = Image::create(&partial.0, size, ImageFormat::Raw).await?;
    let data_bytes = std::sync::atomic::AtomicU64::new(0);
    let advance = |bytes| {
        data_bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        progress(Progress::Advance(bytes));
    };
    let read = rescue.read_disk(&record.map, image.sink(), &advance).await;
    let gaps = read.doing(|| format!("rescue disk {} to {}", record.name, path.display()))?;
    image.finish(&partial.0).await?;
    let missing = if gaps.is_empty() { None } else { Some(write_missing(&path, &gaps)?) };
    restore::publish(&partial.0, &path)?;
    let (name, data_bytes) = (record.name.clone(), data_bytes.into_inner());
    let image = RestoredDisk { name, path, format: ImageFormat::Raw, size, data_bytes };
    Ok(RescuedDisk { image, gaps, missing })
}

/// Lists what is missing of an image.
fn write_missing(image: &Path, gaps: &[Gap]) -> Result<PathBuf> {
    // What firmware remembers are files of one name and several endings.
    let path = match image.extension().is_some_and(|ending| ending == "raw") {
        true => image.with_extension("missing"),
        false => image.with_added_extension("missing"),
    };
    let mut text = String::new();
    for Gap { offset, length, reason } in gaps {
        writeln!(text, "{offset} {length} {}", reason.replace('\n', " ")).expect("a string takes all");
    }
    let written = std::fs::File::create_new(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written
        .map_err(|e| block::Error::io("write it", e))
        .doing(|| format!("list what is missing in {}", path.display()))?;
    Ok(path)
}
