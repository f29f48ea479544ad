//! Disks in files, browsers over them, and what a tree of files looks like.

use anyhow::{Context, Result, bail, ensure};
use files::{Browser, Disk, Error, ErrorKind, Kind, Program, SharedDisk, Target};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Once};

/// An image as a disk.
pub(crate) struct Image(pub(crate) File);

impl Disk for Image {
    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> files::Result<()> {
        self.0.read_exact_at(buffer, offset).map_err(|error| Error::io("read the image", &error))
    }
}

/// Bytes in memory as a disk.
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> files::Result<()> {
        let start = offset as usize;
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}

/// Installs what the tests call, once.
pub(crate) fn tools() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| testkit::ensure_packages(&|_| {}).expect("the programs that the tests call"));
}

pub(crate) fn program() -> Program {
    Program { path: env!("CARGO_BIN_EXE_files-worker").into(), arguments: Vec::new() }
}

pub(crate) fn browser(images: &[(&str, &Path)]) -> Result<Browser> {
    let mut disks = Vec::new();
    for (name, path) in images {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        disks.push(((*name).to_owned(), Arc::new(Image(file)) as SharedDisk));
    }
    Ok(Browser::new(program(), disks))
}

pub(crate) fn over(bytes: Vec<u8>) -> Browser {
    Browser::new(program(), vec![("vda".to_owned(), Arc::new(Memory(bytes)) as SharedDisk)])
}

/// Runs a program of the super user's; its output is the error.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("env").arg(format!("PATH={path}")).arg(program).args(arguments).output();
    let output = output.with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test")
}

/// A mounted image; unmounted when dropped.
pub(crate) struct Mounted(pub(crate) std::path::PathBuf);

impl Mounted {
    /// Mounts by the kernel, through a loop device.
    pub(crate) fn new(image: &Path, at: &Path, options: &str) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        run("mount", &["-o", &format!("loop,{options}"), text(image), text(at)])?;
        Ok(Self(at.to_owned()))
    }

    /// Mounts NTFS by ntfs-3g, through a loop device.
    pub(crate) fn ntfs(image: &Path, at: &Path, options: &str) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        run("ntfs-3g", &[text(image), text(at), "-o", options])?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        testkit::unmount(&self.0).expect("the test's mount goes away");
    }
}

/// What is compared of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: char,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: (i64, u32),
    /// A hash of the content, or a link's target.
    pub(crate) content: String,
}

pub(crate) type Tree = BTreeMap<Vec<u8>, Seen>;

/// FNV, to compare large contents by a number.
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, data: &[u8]) {
        for chunk in data.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        }
    }

    pub(crate) fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// A tree as the kernel shows it.
pub(crate) fn kernel_tree(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut folders = vec![(root.to_owned(), Vec::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = std::os::unix::ffi::OsStrExt::as_bytes(&*entry.file_name()).to_vec();
            let path = [prefix.as_slice(), b"/", &name].concat();
            let metadata = entry.path().symlink_metadata()?;
            let kind = metadata.mode() & 0o170_000;
            let (letter, content) = match kind {
                0o040_000 => ('d', String::new()),
                0o120_000 => {
                    let target = std::fs::read_link(entry.path())?;
                    ('l', target.to_string_lossy().into_owned())
                }
                0o100_000 => ('-', sum_of(&entry.path())?),
                _ => ('?', String::new()),
            };
            if letter == 'd' {
                folders.push((entry.path(), path.clone()));
            }
            let seen = Seen {
                kind: letter,
                size: metadata.len(),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
                modified: (metadata.mtime(), metadata.mtime_nsec() as u32),
                content,
            };
            tree.insert(path, seen);
        }
    }
    Ok(tree)
}

fn sum_of(path: &Path) -> Result<String> {
    let file = File::open(path)?;
    let (mut sum, mut buffer) = (Sum::new(), vec![0; 1 << 20]);
    let (mut at, size) = (0, file.metadata()?.len());
    while at < size {
        let length = (size - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..length], at)?;
        sum.add(&buffer[..length]);
        at += length as u64;
    }
    Ok(sum.text())
}

/// A tree as we read it.
pub(crate) fn our_tree(browser: &mut Browser, volume: &str) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut folders = vec![browser.target(format!("{volume}:/").as_bytes())?];
    while let Some(folder) = folders.pop() {
        for entry in browser.list(&folder)? {
            let target = folder.join(&entry.name)?;
            let metadata = entry.metadata.with_context(|| format!("look at {target}"))?;
            let (_, again) = browser.resolve(&target, false)?;
            ensure!(again == metadata, "{target}: the list and the file itself differ");
            let (letter, content) = match metadata.kind {
                Kind::Folder => ('d', String::new()),
                Kind::Link => ('l', String::from_utf8_lossy(&browser.link(&target)?).into_owned()),
                Kind::File => ('-', our_sum(browser, &target, metadata.size)?),
                _ => ('?', String::new()),
            };
            if letter == 'd' {
                folders.push(target.clone());
            }
            let modified = metadata.modified.map_or((0, 0), |time| (time.seconds, time.nanoseconds));
            let seen = Seen {
                kind: letter,
                size: metadata.size,
                mode: metadata.mode,
                uid: metadata.uid,
                gid: metadata.gid,
                modified,
                content,
            };
            tree.insert([b"/", target.path.as_bytes()].concat(), seen);
        }
    }
    Ok(tree)
}

/// The same sum, of pieces of a mebibyte whatever we are given.
fn our_sum(browser: &mut Browser, target: &Target, size: u64) -> Result<String> {
    let (mut sum, mut kept) = (Sum::new(), Vec::new());
    let mut at = 0;
    while at < size {
        let (zeros, data) = browser.read(target, at).with_context(|| format!("read {target}"))?;
        ensure!(zeros > 0 || !data.is_empty(), "{target} ends at {at} of {size}");
        kept.extend(std::iter::repeat_n(0, zeros as usize));
        kept.extend(&data);
        at += zeros + data.len() as u64;
        let whole = kept.len() / (1 << 20) * (1 << 20);
        for part in kept[..whole].chunks(1 << 20) {
            sum.add(part);
        }
        kept.drain(..whole);
    }
    sum.add(&kept);
    Ok(sum.text())
}

/// Says of each difference what it is.
pub(crate) fn assert_same(ours: &Tree, theirs: &Tree, less: impl Fn(&mut Seen)) {
    let mut faults = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let plain = |tree: &Tree| {
            tree.get(path).cloned().map(|mut seen| {
                less(&mut seen);
                seen
            })
        };
        if plain(ours) != plain(theirs) {
            let name = String::from_utf8_lossy(path).into_owned();
            faults.push(format!("{name}: ours {:?}\n      theirs {:?}", plain(ours), plain(theirs)));
        }
    }
    let count = faults.len();
    faults.truncate(10);
    assert!(faults.is_empty(), "{count} differences:\n{}", faults.join("\n"));
}

pub(crate) fn kind_of<T: std::fmt::Debug>(result: files::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}
