//! Images of every kind with bytes changed where a file system keeps its own: thousands of them neither crash the
//! parent, nor hang, nor make it read elsewhere. `STRONGROOM_MUTATIONS` and `STRONGROOM_SEED` make it longer.

use crate::images::{BTRFS, XFS, made, noise};
use crate::support::{Mounted, program, run, text};
use anyhow::{Context, Result};
use crc::{CRC_32_ISCSI, Crc};
use files::{Browser, Disk, ErrorKind, Kind, SharedDisk, Target};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Mutations of each image in an ordinary run: some seconds.
const MUTATIONS: u64 = 120;
/// What is changed at once.
const BLOCK: usize = 512;
/// Files that one look at an image touches.
const LOOKS_MAX: u32 = 60;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A small tree that has some of everything.
fn plant(root: &Path, links: bool) -> Result<()> {
    std::fs::create_dir_all(root.join("a/b/c"))?;
    for count in 0..40 {
        std::fs::write(root.join(format!("a/file {count}")), noise(count, 3000 * count as usize))?;
    }
    std::fs::write(root.join("a/b/c/deep"), "deep")?;
    if links {
        std::os::unix::fs::symlink("a/b", root.join("link"))?;
        std::os::unix::fs::symlink("x/".repeat(150), root.join("long link"))?;
    }
    Ok(())
}

fn image(folder: &Path, kind: &str) -> Result<Vec<u8>> {
    let at = folder.join(kind);
    let (mkfs, size): (&[&str], u64) = match kind {
        // Without checksums, so that what is changed is parsed.
        "ext4" => (&["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum"], 8 << 20),
        "ext2" => (&["mkfs.ext2", "-q", "-F", "-b", "1024"], 8 << 20),
        "xfs" => (XFS, 300 << 20),
        "btrfs" => (BTRFS, 120 << 20),
        "ntfs" => (&["mkntfs", "-q", "-F", "-Q"], 8 << 20),
        _ => (&["mkfs.vfat"], 8 << 20),
    };
    let path = made(folder, &format!("{kind}.image"), mkfs, size)?;
    match kind {
        "fat" => {
            plant(&at, false)?;
            run("mcopy", &["-s", "-i", text(&path), text(&at.join("a")), "::/"])?;
        }
        "ntfs" => plant(&Mounted::ntfs(&path, &at, "rw")?.0, true)?,
        _ => plant(&Mounted::new(&path, &at, "rw")?.0, true)?,
    }
    std::fs::read(&path).context("read the image")
}

/// A source of chance that is the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// What a worker fetches at once.
const WINDOW: usize = 64 << 10;

/// An image that remembers where it was read.
struct Watched {
    plain: Arc<Vec<u8>>,
    read: Mutex<BTreeSet<usize>>,
}

impl Disk for Watched {
    fn size(&self) -> u64 {
        self.plain.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> files::Result<()> {
        let at = offset as usize;
        self.read.lock().expect("nobody panicked").extend(at / WINDOW..(at + buffer.len()).div_ceil(WINDOW));
        buffer.copy_from_slice(&self.plain[at..at + buffer.len()]);
        Ok(())
    }
}

/// Blocks of 512 bytes that are neither empty nor file content: what a reader parses.
fn parsed(bytes: &[u8]) -> Vec<usize> {
    let is_own = |block: &[u8]| {
        let zeros = block.iter().filter(|&&byte| byte == 0).count();
        zeros < block.len() && zeros > block.len() / 20
    };
    bytes
        .chunks_exact(BLOCK)
        .enumerate()
        .filter(|(_, block)| is_own(block))
        .map(|(at, _)| at * BLOCK)
        .collect()
}

/// An image with some of its blocks changed.
struct Patched {
    plain: Arc<Vec<u8>>,
    blocks: HashMap<usize, Vec<u8>>,
}

impl Patched {
    fn block(&mut self, at: usize) -> &mut Vec<u8> {
        let plain = &self.plain;
        self.blocks.entry(at).or_insert_with(|| plain[at..(at + BLOCK).min(plain.len())].to_vec())
    }

    fn bytes(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = self.plain[at..at + length].to_vec();
        let first = at / BLOCK * BLOCK;
        for block in (first..at + length).step_by(BLOCK) {
            for (place, byte) in
                self.blocks.get(&block).into_iter().flat_map(|changed| (block..).zip(changed))
            {
                if let Some(here) = place.checked_sub(at).and_then(|here| bytes.get_mut(here)) {
                    *here = *byte;
                }
            }
        }
        bytes
    }

    /// Changes some bytes, in one of the ways in which they may be wrong.
    fn mutate(&mut self, places: &[usize], chance: &mut Chance) {
        for _ in 0..1 + chance.below(4) {
            let (place, from) = (places[chance.below(places.len())], places[chance.below(places.len())]);
            let (at, way, byte) = (chance.below(BLOCK), chance.below(5), chance.below(256) as u8);
            let other = self.bytes(from, BLOCK);
            let block = self.block(place);
            let end = (at + 8).min(block.len());
            match way {
                0 => block[at] ^= 1 << (byte & 7),
                1 => block[at] = byte,
                2 => block[at..end].fill(0xff),
                3 => block[at..end].fill(0),
                _ => *block = other,
            }
            self.seal(place);
        }
    }

    /// Puts the checksum right where one would keep the change from being parsed: a guest can do so too.
    fn seal(&mut self, place: usize) {
        const NODE: usize = 16 << 10;
        const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
        let block = self.block(place);
        if block.starts_with(b"IN") {
            block[100..104].fill(0);
            let sum = CRC.checksum(block);
            block[100..104].copy_from_slice(&sum.to_le_bytes());
        }
        let node = place / NODE * NODE;
        let is_node = |bytes: &[u8]| bytes[..4] == CRC.checksum(&bytes[32..]).to_le_bytes();
        if node + NODE <= self.plain.len() && is_node(&self.plain[node..node + NODE]) {
            let sum = CRC.checksum(&self.bytes(node, NODE)[32..]);
            self.block(node)[..4].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

impl Disk for Patched {
    fn size(&self) -> u64 {
        self.plain.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> files::Result<()> {
        buffer.copy_from_slice(&self.bytes(offset as usize, buffer.len()));
        Ok(())
    }
}

/// Looks at everything as a curious user would.
fn look(browser: &mut Browser) -> Vec<files::Error> {
    let mut errors = Vec::new();
    let mut looks = 0;
    let volumes = match browser.volumes() {
        Ok(volumes) => volumes,
        Err(error) => return vec![error],
    };
    let mut folders: Vec<Target> = Vec::new();
    for volume in volumes {
        folders.extend(browser.target(format!("{}:/", volume.name).as_bytes()));
    }
    while let Some(folder) = folders.pop() {
        let entries = match browser.list(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for entry in entries {
            looks += 1;
            if looks > LOOKS_MAX {
                return errors;
            }
            let Ok(target) = folder.join(&entry.name) else { panic!("a name that is none") };
            let looked = match entry.metadata {
                Err(error) => Err(error),
                Ok(metadata) => match metadata.kind {
                    Kind::Folder => {
                        folders.push(target);
                        Ok(())
                    }
                    Kind::Link => browser.link(&target).map(|_| ()),
                    Kind::File => browser
                        .read(&target, 0)
                        .and_then(|_| browser.read(&target, metadata.size / 2))
                        .map(|_| ()),
                    _ => Ok(()),
                },
            };
            errors.extend(looked.err());
        }
    }
    errors
}

fn mutations(kind: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let plain = image(folder.path(), kind)?;
    let plain = Arc::new(plain);
    let watched = Arc::new(Watched { plain: Arc::clone(&plain), read: Mutex::default() });
    let mut browser = Browser::new(program(), vec![("vda".to_owned(), Arc::clone(&watched) as SharedDisk)]);
    assert_eq!(look(&mut browser), [], "the image itself is whole");
    let read = watched.read.lock().expect("nobody panicked");
    let mut places: Vec<usize> =
        parsed(&plain).into_iter().filter(|at| read.contains(&(at / WINDOW))).collect();
    // Inodes are few among what XFS keeps.
    let inodes: Vec<usize> = places.iter().copied().filter(|&at| plain[at..].starts_with(b"IN")).collect();
    places.extend(inodes.iter().cycle().take(places.len() * usize::from(!inodes.is_empty())));
    let (first, count) = (number("STRONGROOM_SEED", 1), number("STRONGROOM_MUTATIONS", MUTATIONS));
    let (mut noticed, mut died) = (0, 0);
    for seed in first..first + count {
        let mut disk = Patched { plain: Arc::clone(&plain), blocks: HashMap::new() };
        disk.mutate(&places, &mut Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        let errors =
            look(&mut Browser::new(program(), vec![("vda".to_owned(), Arc::new(disk) as SharedDisk)]));
        noticed += u64::from(!errors.is_empty());
        // A worker may be killed by its limits; that is what they are for. But no reader may need it often.
        if errors.iter().any(|error| error.kind() == ErrorKind::Worker) {
            eprintln!("{kind}: seed {seed} killed its worker: {errors:?}");
            died += 1;
        }
    }
    eprintln!("{kind}: {count} mutations, {noticed} noticed, {died} workers killed");
    assert!(noticed > 0, "no mutation was noticed: they change nothing that is read");
    assert!(died * 20 <= count, "{died} of {count} workers were killed");
    Ok(())
}

#[test]
fn of_ext4() -> Result<()> {
    mutations("ext4")
}

#[test]
fn of_ext2() -> Result<()> {
    mutations("ext2")
}

#[test]
fn of_xfs() -> Result<()> {
    mutations("xfs")
}

#[test]
fn of_btrfs() -> Result<()> {
    mutations("btrfs")
}

#[test]
fn of_ntfs() -> Result<()> {
    mutations("ntfs")
}

#[test]
fn of_fat() -> Result<()> {
    mutations("fat")
}
