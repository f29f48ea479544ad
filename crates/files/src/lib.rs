//! Finds partitions, volumes and file systems in a disk, and reads files from them.
//!
//! A [`Browser`] is given disks by name, each a [`Disk`], and answers what is on them, what lies in a folder, what is
//! in a file. [`extract`](fn@extract), [`archive`](fn@archive) and [`search`](fn@search) use one to bring a folder out, as files, as a tar or
//! zip stream, and to find files by name. Callers are `mover`, which makes disks of recovery points, and `cli`.
//!
//! A guest's file system is hostile input, so nothing of it is parsed in the caller's process. The browser starts a
//! **worker** ([`answer_caged`], the hidden command `files-worker`), which has no privileges, no files, no network and
//! limits, and asks for the bytes of the disks over the socket that it was born with. What it answers is checked like
//! any stranger's word.
//!
//! In the order to read: `entry.rs` and `disk.rs`, the values and the one trait; `layout/`, what is on a disk; `fs/`,
//! a file a kind of file system, behind one trait; `session.rs`, which answers questions; `wire.rs`, in which words;
//! `worker.rs` and `cage.rs`, the process; `browser.rs`, the parent; `extract.rs`, `archive/`, `search.rs`; `unpack.rs`, what
//! takes such a stream apart elsewhere; `mount/`, all of it as a folder.
//!
//! It knows nothing of vaults, machines, or where the bytes come from.
//!
//! Invariants:
//! - Never wrong bytes: what a reader is known to read wrongly is refused ([`ErrorKind::Refused`]).
//! - Nothing is written through a link, outside of the target, or over something; no device is ever made.
//! - A worker that crashes, hangs or lies costs an error ([`ErrorKind::Worker`]); the next question gets a new one.
//!
//! Nothing is kept, so a crash leaves nothing but what an extraction had written by then. `docs/files.md` says what
//! can be read and what is refused.

mod archive;
mod browser;
mod cage;
mod disk;
mod entry;
mod error;
mod extract;
mod fs;
mod layout;
mod mount;
mod output;
mod search;
mod session;
mod unpack;
mod walk;
mod wire;
mod worker;

pub use archive::{Format, archive};
pub use browser::{Browser, Program, SharedDisk, Target};
pub use disk::Disk;
pub use entry::{Entry, FilePath, Kind, Metadata, Time, meant, shown};
pub use error::{Error, ErrorKind, Result};
pub use extract::{copy, extract};
pub use layout::{Content, Region};
pub use mount::{Mounted, Questions, mount};
pub use output::{Report, Skipped};
pub use search::{Found, Pattern, search};
pub use unpack::unpack;
pub use worker::answer_caged;
