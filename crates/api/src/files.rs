//! Files in a point: sessions, what their callers see, and what a server and a mover say to each other about them.
//!
//! ```text
//! caller                        server                          mover
//!   open a session ────────────►  ◄──────── has somebody opened one? (waits)
//!   list, read, archive, find ─►  ◄──────── what is asked? (waits)
//!                    ◄──────────  ◄──────── an answer; of a stream its pieces, one by one, and how it ended
//! ```
//! **Names** are bytes that a guest chose. Here they are texts in which a backslash is `\\`, bytes that are no UTF-8 are
//! `\xNN`, and control characters `\n`, `\t`, `\u{1b}`: what is shown is what is asked for. A **place** is
//! `VOLUME:/PATH`; the path alone if only one volume has files.

use crate::Problem;
use crate::work::VaultAccess;
use jiff::Timestamp;
use model::{PointId, VaultId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The largest piece of a stream: as much as a server reads of a body.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// How long the server lets a mover wait for a session, or for a question, at most, in seconds.
pub const FILES_WAIT_SECONDS_MAX: u32 = 25;
/// A mover that says nothing for so long is taken for gone, in seconds.
pub const FILES_SILENCE_SECONDS: u32 = 60;
/// A place: the longest path that Linux takes, each byte of it escaped.
pub const PLACE_BYTES_MAX: usize = 16 << 10;

/// A wish to look into the files of a point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenFiles {
    /// The mover that reads the point; the one that backed the machine up if not said.
    #[serde(default)]
    pub mover: Option<String>,
    /// Read it out of the vault's second store, which may have it although the vault has not, or is gone.
    #[serde(default)]
    pub from_copy: bool,
}

/// A look into the files of a point, for who has opened it alone. It lives in one server's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesSession {
    /// Its id.
    pub id: Uuid,
    /// The vault.
    pub vault: VaultId,
    /// The item.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
    /// The mover that reads the point.
    pub mover: String,
    /// Whether it is read out of the vault's second store.
    #[serde(default)]
    pub from_copy: bool,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub opened: Timestamp,
    /// Until when at most.
    #[schema(value_type = String, format = DateTime)]
    pub ends: Timestamp,
    /// Unused for so long, it is closed.
    pub idle_seconds: u32,
}

/// A partition, a logical volume, or a disk without either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesRegion {
    /// What places begin with.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// `ext`, `xfs`, `lvm`...
    pub content: String,
    /// The label of what it holds.
    pub label: String,
    /// The disks it lies on.
    pub disks: Vec<String>,
    /// Whether it has files that can be read.
    pub readable: bool,
    /// Why not, or what is to be known of what is read.
    pub remark: Option<String>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Bytes.
    File,
    /// Names.
    Folder,
    /// The name of something else.
    Link,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
}

/// A name in a folder, or a place that a search found, and what stands behind it as far as that can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesEntry {
    /// The name; of a search, the place.
    pub name: String,
    /// What it stands for. None if that cannot be read, as everything below.
    pub kind: Option<FileKind>,
    /// Bytes of content.
    pub size: Option<u64>,
    /// The twelve permission bits, in octal.
    pub mode: Option<String>,
    /// The owner's number.
    pub uid: Option<u32>,
    /// The group's number.
    pub gid: Option<u32>,
    /// When the content changed last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub modified: Option<Timestamp>,
    /// Where a link points.
    pub target: Option<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// What a folder comes as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveFormat {
    /// A tar stream: owners, modes, times, links.
    Tar,
    /// A zip stream, which Windows opens.
    Zip,
}

/// What came of a download: asked for when its bytes are there, it says whether they are all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesDownload {
    /// Its number within the session, as the header `Strongroom-Download` told.
    pub number: u64,
    /// How far it is.
    pub state: FilesDownloadState,
    /// Bytes of the stream so far; of a complete one all that there are.
    pub bytes: u64,
    /// What was brought out, of a complete one.
    pub report: Option<FilesReport>,
    /// Why it failed.
    pub problem: Option<Problem>,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilesDownloadState {
    /// Bytes are still coming.
    UnderWay,
    /// They came to their end.
    Complete,
    /// They did not, and will not.
    Failed,
}

/// What was brought out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesReport {
    /// Files with their whole content; of a search, what was found.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Links.
    pub links: u64,
    /// Bytes of content, holes included.
    pub bytes: u64,
    /// What was left behind, the first few by name.
    pub skipped: Vec<FilesSkipped>,
    /// How much was left behind.
    pub skipped_count: u64,
    /// Of these, what should have been there: all but devices, pipes and sockets.
    pub failed_count: u64,
}

/// Something that was left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesSkipped {
    /// Where it lies in the point.
    pub path: String,
    /// Why it was left behind.
    pub why: String,
}

/// A mover's wish for a session, or for a question of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesWait {
    /// How long to wait if there is none, in seconds.
    #[schema(maximum = 25)]
    pub wait_seconds: u32,
}

/// A session that a mover is to answer. It tells of itself at least three times in `FILES_SILENCE_SECONDS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesOrder {
    /// The session.
    pub session: Uuid,
    /// The vault.
    pub vault: VaultAccess,
    /// The item: what the machine's points are kept under.
    pub item: Uuid,
    /// The point.
    pub point: PointId,
}

/// A question, and its number in the session. One is asked at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilesAsked {
    /// Goes with the answer.
    pub number: u64,
    /// What is asked.
    pub question: FilesQuestion,
}

/// What is asked of the files of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum FilesQuestion {
    /// What is on the disks.
    Regions {},
    /// What lies in a folder, by name.
    Entries {
        /// The folder.
        place: String,
        /// How many to pass over.
        from: u32,
        /// How many at most.
        limit: u32,
    },
    /// A file's bytes.
    Content {
        /// The file.
        place: String,
        /// The first byte that is wanted.
        from: u64,
        /// How many at most; none: to the end.
        length: Option<u64>,
    },
    /// A file, or a folder with all that lies in it.
    Archive {
        /// The file or folder.
        place: String,
        /// As what.
        format: ArchiveFormat,
    },
    /// Files by name: a line of JSON for each.
    Matches {
        /// Beneath this folder; none: everywhere.
        place: Option<String>,
        /// What names are looked for.
        pattern: NamePattern,
        /// Capitals and small letters are the same.
        ignore_case: bool,
        /// How many at most.
        limit: u32,
    },
}

/// What names are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamePattern {
    /// `*`, `?` and `[...]` as in a shell; about the whole name.
    Glob(String),
    /// A regular expression that is found in the name.
    Regex(String),
}

/// What a mover says of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "said", rename_all = "snake_case", deny_unknown_fields)]
pub enum FilesSaid {
    /// What is on the disks. Nothing follows.
    Regions {
        /// All of it.
        regions: Vec<FilesRegion>,
    },
    /// What lies in the folder: a page of it. Nothing follows.
    Entries {
        /// Fewer than were asked for if they are long.
        entries: Vec<FilesEntry>,
        /// How many to pass over for the next page; none: there is none.
        next: Option<u32>,
    },
    /// A stream begins: its pieces follow, and how it ended.
    Begins {
        /// What to call it.
        name: String,
        /// How many bytes will come, if that is known.
        length: Option<u64>,
        /// Of a file: how many it has.
        size: Option<u64>,
    },
    /// The stream is whole.
    Ended {
        /// What was brought out.
        report: FilesReport,
    },
    /// There is no answer, or the stream ends before its end.
    Failed {
        /// Why.
        problem: Problem,
    },
}
