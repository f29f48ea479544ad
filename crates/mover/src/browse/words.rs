//! What was read of a point's files, in the words of the API.

use api::files::{FileKind, FilesEntry, FilesRegion, FilesReport, FilesSkipped};
use api::{Code, Problem};
use files::{ErrorKind, Kind, Metadata, Region, Report, shown};

/// Named in a report; the others are counted. With paths of the longest kind they fit a body.
const SKIPPED_MAX: usize = 100;
/// Of a path in a report.
const PATH_CHARS_MAX: usize = 1000;

pub(super) fn region(region: &Region) -> FilesRegion {
    FilesRegion {
        name: region.name.clone(),
        size_bytes: region.size,
        content: region.content.name().to_owned(),
        label: region.label.clone(),
        disks: region.disks.clone(),
        readable: region.content.has_files() && region.refusal.is_none(),
        remark: region.refusal.as_ref().or(region.note.as_ref()).cloned(),
    }
}

pub(super) fn entry(name: String, metadata: &files::Result<Metadata>, points: Option<&[u8]>) -> FilesEntry {
    let known = metadata.as_ref().ok();
    let modified = known.and_then(|one| one.modified);
    FilesEntry {
        name,
        kind: known.map(|one| kind(one.kind)),
        size: known.map(|one| one.size),
        mode: known.map(|one| format!("{:04o}", one.mode)),
        uid: known.map(|one| one.uid),
        gid: known.map(|one| one.gid),
        modified: modified.and_then(|at| jiff::Timestamp::new(at.seconds, at.nanoseconds as i32).ok()),
        target: points.map(shown),
        error: metadata.as_ref().err().map(ToString::to_string),
    }
}

fn kind(kind: Kind) -> FileKind {
    match kind {
        Kind::File => FileKind::File,
        Kind::Folder => FileKind::Folder,
        Kind::Link => FileKind::Link,
        Kind::Block => FileKind::Block,
        Kind::Character => FileKind::Character,
        Kind::Pipe => FileKind::Pipe,
        Kind::Socket => FileKind::Socket,
    }
}

pub(super) fn report(report: &Report) -> FilesReport {
    let skipped = report.skipped.iter().take(SKIPPED_MAX).map(|one| FilesSkipped {
        path: one.path.chars().take(PATH_CHARS_MAX).collect(),
        why: one.why.clone(),
    });
    FilesReport {
        files: report.files,
        folders: report.folders,
        links: report.links,
        bytes: report.bytes,
        skipped: skipped.collect(),
        skipped_count: report.skipped_count,
        failed_count: report.failed_count,
    }
}

/// What an error means for whoever asked.
pub(super) fn problem(error: &files::Error) -> Problem {
    const WHOLE: &str =
        "restore the disk, or serve it (`strongroom rescue nbd serve`), and let a system read it";
    let (code, hint) = match error.kind() {
        ErrorKind::NotFound => (Code::NotFound, "list the volumes, and the folder above it"),
        ErrorKind::Invalid => (Code::Invalid, ""),
        ErrorKind::Refused | ErrorKind::Limit | ErrorKind::Worker => (Code::Conflict, WHOLE),
        ErrorKind::Corrupt => (Code::Conflict, "an older point may be whole"),
        ErrorKind::Io => (Code::Unavailable, "ask again"),
        ErrorKind::Exists => (Code::Exists, ""),
    };
    let problem = Problem::new(code, error.to_string());
    if hint.is_empty() { problem } else { problem.hint(hint) }
}
