//! Shows volumes as a folder of this host, read-only, through FUSE.
//!
//! The kernel's questions are passed on to the thread that has the [`Browser`], one after the other; the parsing is the
//! caged worker's, as always. A question that the worker cannot answer is an error of that call (mostly `EIO`), and the
//! next one gets a new worker: nobody hangs.
//!
//! The folder is its owner's alone: who may mount may read all of it, whatever the modes say that it shows. Nothing in
//! it can be a device or give rights.

mod tree;

use crate::browser::{Browser, Target};
use crate::{Error, ErrorKind, Kind, Metadata, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, Request,
};
use nix::mount::MntFlags;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tree::Tree;

/// Nothing of a point changes: the kernel may believe for long what it was told.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// Questions that wait: as many as the kernel asks at once by itself.
const WAITING_MAX: usize = 64;

/// A question of the kernel's, with the way back.
type Question = Box<dyn FnOnce(&mut Tree<'_>) + Send>;

/// A folder that is mounted; unmounted when dropped, even if somebody is in it.
pub struct Mounted {
    at: PathBuf,
    session: Option<BackgroundSession>,
}

/// What the kernel asks of a mounted folder.
pub struct Questions {
    questions: Receiver<Question>,
    roots: Vec<(Vec<u8>, Target)>,
}

/// Mounts: each of `roots` is a folder in `at` named like its volume. Nothing is answered before
/// [`Questions::answer`].
///
/// # Errors
/// `NotFound` if there is no such folder; `Io` if it cannot be mounted.
pub fn mount(roots: &[Target], at: &Path) -> Result<(Mounted, Questions)> {
    let failed = |error: std::io::Error| Error::io(format!("mount the files at {}", at.display()), &error);
    let (ask, questions) = sync_channel(WAITING_MAX);
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
        MountOption::FSName("strongroom".to_owned()),
        MountOption::Subtype("strongroom".to_owned()),
    ];
    let at = at.canonicalize().map_err(failed)?;
    let session = fuser::Session::new(Passed(ask), &at, &config).map_err(failed)?;
    let session = session.spawn().map_err(failed)?;
    let roots = roots.iter().map(|root| (folder_of(&root.volume), root.clone())).collect();
    Ok((Mounted { at, session: Some(session) }, Questions { questions, roots }))
}

/// A logical volume is called as the device mapper calls it: `GROUP-VOLUME`.
fn folder_of(volume: &str) -> Vec<u8> {
    match volume.split_once('/') {
        Some((group, volume)) => {
            let double = |name: &str| name.replace('-', "--").replace('/', "-");
            format!("{}-{}", double(group), double(volume)).into_bytes()
        }
        None => volume.as_bytes().to_vec(),
    }
}

impl Questions {
    /// Answers until the folder is unmounted.
    pub fn answer(self, browser: &mut Browser) {
        let mut tree = Tree::new(browser, self.roots);
        while let Ok(question) = self.questions.recv() {
            question(&mut tree);
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: it is gone from the tree at once, and from those who are in it when they leave.
        let detached = nix::mount::umount2(&self.at, MntFlags::MNT_DETACH);
        if detached == Err(nix::errno::Errno::EPERM) {
            let mut program = Command::new("fusermount3");
            program.args(["-u", "-z", "-q", "--"]).arg(&self.at).stdin(Stdio::null()).stderr(Stdio::null());
            let _ = program.status(); // it may be unmounted already
        }
        drop(self.session.take());
    }
}

/// Passes questions on. One that nobody answers any more is answered with `EIO` by its way back being dropped.
struct Passed(SyncSender<Question>);

impl Passed {
    fn ask(&self, question: impl FnOnce(&mut Tree<'_>) + Send + 'static) {
        let _ = self.0.send(Box::new(question));
    }
}

impl Filesystem for Passed {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        self.ask(move |tree| match tree.look_up(parent.0, &name) {
            Ok((node, metadata)) => {
                reply.entry(&BELIEVED, &attributes(node, &metadata), Generation(0));
            }
            Err(error) => reply.error(number(&error)),
        });
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        self.ask(move |tree| tree.forget(node.0, lookups));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.ask(move |tree| match tree.metadata(node.0) {
            Ok(metadata) => reply.attr(&BELIEVED, &attributes(node.0, &metadata)),
            Err(error) => reply.error(number(&error)),
        });
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        self.ask(move |tree| match tree.link(node.0) {
            Ok(points) => reply.data(&points),
            Err(error) => reply.error(number(&error)),
        });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.ask(move |tree| match tree.read(node.0, offset, size as usize) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(number(&error)),
        });
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.ask(move |tree| match tree.open(node.0) {
            Ok(list) => reply.opened(FileHandle(list), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(number(&error)),
        });
    }

    fn readdir(&self, _: &Request, _: INodeNo, list: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.ask(move |tree| {
            for (at, entry) in tree.listed(list.0).iter().enumerate().skip(offset as usize) {
                let kind = entry.metadata.as_ref().map_or(Kind::File, |metadata| metadata.kind);
                let name = OsStr::from_bytes(&entry.name);
                // What it is found under is only settled by looking it up.
                if reply.add(INodeNo(UNKNOWN), at as u64 + 1, file_type(kind), name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, list: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.ask(move |tree| {
            tree.close(list.0);
            reply.ok();
        });
    }
}

/// What FUSE has for a number that is not known.
const UNKNOWN: u64 = 0xffff_ffff;

fn attributes(node: u64, metadata: &Metadata) -> FileAttr {
    let modified = metadata.modified.map_or(UNIX_EPOCH, |time| {
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let from =
            if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        from.and_then(|from: SystemTime| from.checked_add(Duration::from_nanos(time.nanoseconds.into())))
            .unwrap_or(UNIX_EPOCH)
    });
    FileAttr {
        ino: INodeNo(node),
        size: metadata.size,
        blocks: metadata.size.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: file_type(metadata.kind),
        perm: metadata.mode as u16,
        nlink: 1,
        uid: metadata.uid,
        gid: metadata.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Link => FileType::Symlink,
        Kind::Block => FileType::BlockDevice,
        Kind::Character => FileType::CharDevice,
        Kind::Pipe => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

/// What a program is told of an error.
fn number(error: &Error) -> Errno {
    match error.kind() {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::Invalid => Errno::EINVAL,
        ErrorKind::Refused => Errno::EOPNOTSUPP,
        ErrorKind::Limit => Errno::EFBIG,
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Worker | ErrorKind::Exists => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_one_name() {
        let name = |volume| String::from_utf8(folder_of(volume)).expect("text");
        assert_eq!(name("vda1"), "vda1");
        assert_eq!(name("d-disk0"), "d-disk0");
        assert_eq!(name("web-vg/root"), "web--vg-root");
        assert_ne!(name("a-b/c"), name("a/b-c"));
    }
}
