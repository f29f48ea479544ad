//! Brings a file or a folder out into a folder of this host, with owners, modes, times, links and holes.
//!
//! Names come from a hostile guest. Each is made by a call that takes one name in an open folder, fails if the name
//! is there, and follows no link; so nothing is written outside of the target, through a link, or over something.
//! Devices, pipes and sockets are left behind.

use crate::browser::{Browser, Target};
use crate::output::Report;
use crate::walk::{Met, Visitor, gives_up, walk};
use crate::{Error, Kind, Metadata, Result};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The longest file: what ext4 can hold. A larger one is a hole that would take days to read.
pub(crate) const FILE_BYTES_MAX: u64 = 16 << 40;

/// The smallest hole: a block of most file systems.
pub(crate) const HOLE_BYTES: usize = 4096;

/// Brings `target` out into `folder`, which must be empty or not exist; it is made readable for its owner only, as
/// programs that run as somebody else keep that right. A file or link gets its own name there; of a folder, what lies
/// in it.
///
/// # Errors
/// If the target cannot be read at all, or the folder cannot be written. What else fails is in the report.
pub fn extract(browser: &mut Browser, target: &Target, folder: &Path) -> Result<Report> {
    let (target, metadata) = browser.resolve(target, true)?;
    let root = make_target(folder)?;
    let own = rustix::process::geteuid().is_root();
    let mut writer = Writer { folders: vec![root], own, report: Report::default() };
    if metadata.kind == Kind::Folder {
        walk(browser, &target, &mut writer)?;
    } else {
        let name = target.path.name().unwrap_or(b"file").to_vec();
        writer.meet(browser, &target, &[name], &Met::Other(&metadata))?;
    }
    Ok(writer.report)
}

/// The folder to write to: new, or empty.
pub(crate) fn make_target(folder: &Path) -> Result<OwnedFd> {
    let failed = |error: std::io::Error| Error::io(format!("make {}", folder.display()), &error);
    match rustix::fs::mkdir(folder, Mode::RWXU) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            let mut within = std::fs::read_dir(folder).map_err(failed)?;
            if within.next().is_some() {
                let text = format!("{} is not empty: nothing in it would be replaced", folder.display());
                return Err(Error::new(crate::ErrorKind::Exists, text));
            }
        }
        Err(error) => return Err(failed(error.into())),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, folder, flags, Mode::empty()).map_err(|error| failed(error.into()))
}

struct Writer {
    /// The target, and the folders within it down to where the walk is.
    folders: Vec<OwnedFd>,
    /// Whether we may give files away.
    own: bool,
    report: Report,
}

impl Visitor for Writer {
    fn meet(
        &mut self,
        browser: &mut Browser,
        target: &Target,
        names: &[Vec<u8>],
        met: &Met<'_>,
    ) -> Result<()> {
        // A folder that could not be made is not walked into: its names are met with too few folders open.
        let deep = names.len() - usize::from(!matches!(met, Met::Left(_)));
        let Some(name) = names.last().filter(|_| deep < self.folders.len()) else { return Ok(()) };
        match met {
            Met::Folder(_) => match enter(self.folders[deep].as_fd(), name) {
                Ok(folder) => {
                    self.folders.truncate(deep + 1);
                    self.folders.push(folder);
                    self.report.folders += 1;
                    Ok(())
                }
                Err(error) => self.failed(target, error),
            },
            Met::Left(metadata) => {
                let Some(folder) = self.folders.pop().filter(|_| deep == self.folders.len()) else {
                    return Ok(());
                };
                // Last: its mode may forbid writing into it, and writing into it changes its time.
                let done = dress(folder.as_fd(), metadata, self.own);
                done.or_else(|error| self.failed(target, error))
            }
            Met::Other(metadata) => {
                let done = self.write(browser, target, (deep, name), metadata);
                done.or_else(|error| self.failed(target, error))
            }
            Met::Failed(error) => {
                self.report.fail(target, error);
                Ok(())
            }
        }
    }
}

impl Writer {
    /// Notes what failed; no room ends it all.
    fn failed(&mut self, target: &Target, error: Error) -> Result<()> {
        if gives_up(&error) {
            return Err(error.of(target));
        }
        self.report.fail(target, &error);
        Ok(())
    }

    fn write(
        &mut self,
        browser: &mut Browser,
        target: &Target,
        (deep, name): (usize, &[u8]),
        metadata: &Metadata,
    ) -> Result<()> {
        let at = self.folders[deep].as_fd();
        match metadata.kind {
            Kind::File => {
                let file = create(at, name)?;
                let copied = fill(browser, target, metadata, &file);
                let bytes = match copied
                    .and_then(|bytes| dress(file.as_fd(), metadata, self.own).map(|()| bytes))
                {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        // Half a file must not look like one.
                        let removed = rustix::fs::unlinkat(at, name, AtFlags::empty());
                        removed
                            .map_err(|error| Error::io("remove a file that is not whole", &error.into()))?;
                        return Err(error);
                    }
                };
                self.report.files += 1;
                self.report.bytes += bytes;
            }
            Kind::Link => {
                let points = browser.link(target)?;
                link(at, name, &points, metadata, self.own)?;
                self.report.links += 1;
            }
            Kind::Folder => return Err(Error::invalid("it is a folder")),
            Kind::Block | Kind::Character | Kind::Pipe | Kind::Socket => {
                self.report.skip(target, "devices, pipes and sockets are not made anew".to_owned());
            }
        }
        Ok(())
    }
}

/// Makes a folder, and opens it.
pub(crate) fn enter(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let failed = |error: rustix::io::Errno| Error::io("make a folder", &error.into());
    rustix::fs::mkdirat(at, name, Mode::RWXU).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty()).map_err(failed)
}

pub(crate) fn create(at: BorrowedFd<'_>, name: &[u8]) -> Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR);
    opened.map(File::from).map_err(|error| Error::io("make a file", &error.into()))
}

/// Copies a file's content; what is zero becomes a hole.
fn fill(browser: &mut Browser, target: &Target, metadata: &Metadata, file: &File) -> Result<u64> {
    let failed = |error: std::io::Error| Error::new(crate::ErrorKind::Io, format!("write a file: {error}"));
    read_whole(browser, target, metadata, |offset, data| {
        let blocks = (offset..).step_by(HOLE_BYTES).zip(data.chunks(HOLE_BYTES));
        for (offset, block) in blocks.filter(|(_, block)| block.iter().any(|&byte| byte != 0)) {
            file.write_all_at(block, offset).map_err(failed)?;
        }
        Ok(())
    })?;
    file.set_len(metadata.size).map_err(failed)?;
    Ok(metadata.size)
}

/// Writes a part of a file's content as a stream, holes and all; `0..metadata.size` is the whole.
///
/// # Errors
/// If it cannot be read to the part's end, or written.
pub fn copy(
    browser: &mut Browser,
    target: &Target,
    metadata: &Metadata,
    part: Range<u64>,
    to: &mut dyn Write,
) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(crate::ErrorKind::Io, format!("write the file: {error}"));
    let (mut at, end) = (part.start, part.end);
    read_part(browser, target, metadata, part, |offset, data| {
        zeros(to, offset - at).and_then(|()| to.write_all(data)).map_err(failed)?;
        at = offset + data.len() as u64;
        Ok(())
    })?;
    zeros(to, end - at).and_then(|()| to.flush()).map_err(failed)
}

fn zeros(to: &mut dyn Write, count: u64) -> std::io::Result<()> {
    std::io::copy(&mut std::io::repeat(0).take(count), to).map(|_| ())
}

/// Gives a file's bytes with their places, but for zeros; makes sure that there are as many as it says.
pub(crate) fn read_whole(
    browser: &mut Browser,
    target: &Target,
    metadata: &Metadata,
    take: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    read_part(browser, target, metadata, 0..metadata.size, take)
}

/// The same of a part of a file.
fn read_part(
    browser: &mut Browser,
    target: &Target,
    metadata: &Metadata,
    part: Range<u64>,
    mut take: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    if metadata.size > FILE_BYTES_MAX {
        return Err(Error::limit(format!("a file that says to have {} bytes", metadata.size)));
    }
    if part.start > part.end || part.end > metadata.size {
        return Err(Error::invalid(format!("there is no such part of {} bytes", metadata.size)));
    }
    let mut offset = part.start;
    while offset < part.end {
        let (zeros, data) = browser.read(target, offset)?;
        if zeros == 0 && data.is_empty() {
            return Err(Error::corrupt(format!("it ends after {offset} of {} bytes", metadata.size)));
        }
        offset += zeros;
        let data = &data[..data.len().min(part.end.saturating_sub(offset) as usize)];
        if !data.is_empty() {
            take(offset, data)?;
        }
        offset += data.len() as u64;
    }
    Ok(())
}

/// Makes a link. What it points to is the guest's matter: nothing of ours follows it.
pub(crate) fn link(
    at: BorrowedFd<'_>,
    name: &[u8],
    points: &[u8],
    metadata: &Metadata,
    own: bool,
) -> Result<()> {
    let failed = |error: rustix::io::Errno| Error::io("make a link", &error.into());
    rustix::fs::symlinkat(points, at, name).map_err(failed)?;
    if own {
        let (uid, gid) = owner(metadata);
        rustix::fs::chownat(at, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    }
    rustix::fs::utimensat(at, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

/// Owner first: changing it takes away what the mode then gives.
pub(crate) fn dress(file: BorrowedFd<'_>, metadata: &Metadata, own: bool) -> Result<()> {
    let failed = |error: rustix::io::Errno| Error::io("set owner, mode and time", &error.into());
    if own {
        let (uid, gid) = owner(metadata);
        rustix::fs::fchown(file, uid, gid).map_err(failed)?;
    }
    // A program that runs as its owner must not become one that runs as us.
    let mode = if own { metadata.mode } else { metadata.mode & 0o1777 };
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(failed)?;
    rustix::fs::futimens(file, &times(metadata)).map_err(failed)
}

/// The number that means "leave as it is" owns nothing.
fn owner(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    let known = |id: u32| (id != u32::MAX).then_some(id);
    (known(metadata.uid).map(Uid::from_raw), known(metadata.gid).map(Gid::from_raw))
}

fn times(metadata: &Metadata) -> Timestamps {
    const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let modified = metadata
        .modified
        .map_or(OMIT, |time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() });
    Timestamps { last_access: OMIT, last_modification: modified }
}
