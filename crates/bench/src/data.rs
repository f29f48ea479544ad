//! The data: a used disk, the same a day later, its sibling, and noise.

use crate::timed::sh;
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where things lie.
pub(crate) struct Data {
    /// A 20 GiB sparse disk with about 4 GiB of a real Debian on ext4.
    pub(crate) used: PathBuf,
    /// The same a day later: packages updated, logs written, a database at work.
    pub(crate) day: PathBuf,
    /// What changed: lines of offset and length, in units of 64 KiB.
    pub(crate) changes: PathBuf,
    /// A clone of the first that went its own way for a day.
    pub(crate) sibling: PathBuf,
    /// 4 GiB that nothing can compress.
    pub(crate) noise: PathBuf,
}

const CHUNK: usize = 64 << 10;

impl Data {
    /// Makes what is not there yet. Needs root (it mounts images) and 16 GiB of room.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let at = |name: &str| folder.join(name);
        let data = Self {
            used: at("used.raw"),
            day: at("day.raw"),
            changes: at("day.changes"),
            sibling: at("sibling.raw"),
            noise: at("noise.raw"),
        };
        if !data.changes.exists() {
            eprintln!("making the data in {} (a minute or two, once)", folder.display());
            data.make_disks(folder)?;
            write_noise(&data.noise, 4 << 30)?;
            write_changes(&data.used, &data.day, &data.changes)?;
        }
        Ok(data)
    }

    fn make_disks(&self, folder: &Path) -> Result<()> {
        let (used, day, sibling) = (self.used.display(), self.day.display(), self.sibling.display());
        let mount = folder.join("mnt");
        let mnt = mount.display();
        // Parts of the running system: real files in their real mixture, about 4 GiB.
        sh(&format!(
            "rm -f {used}; truncate -s 20G {used}; mkfs.ext4 -q -F {used}; mkdir -p {mnt}; mount -o loop {used} {mnt}
             mkdir -p {mnt}/usr/lib {mnt}/data
             for d in /usr/bin /usr/sbin /usr/share /usr/include /usr/lib/*; do
               left=$((3600000 - $(du -sk {mnt} | cut -f1))); size=$(du -sk $d | cut -f1)
               if [ $size -lt $left ]; then cp -a $d {mnt}/$(dirname $d)/; fi
             done
             umount {mnt}"
        ))?;
        self.grow_database(&used.to_string(), &mnt.to_string(), 1)?;
        for (image, seed, part) in [(day, 2, "share/doc"), (sibling, 3, "include")] {
            sh(&format!(
                "cp --sparse=always {used} {image}; mount -o loop {image} {mnt}
                 if [ -d {mnt}/usr/{part} ]; then cp -a {mnt}/usr/{part} {mnt}/usr/new; rm -r {mnt}/usr/{part}; fi
                 head -c 60000000 /usr/bin/git | cat - /usr/bin/git /usr/bin/git > {mnt}/data/upgraded || true
                 umount {mnt}"
            ))?;
            self.grow_database(&image.to_string(), &mnt.to_string(), seed)?;
        }
        Ok(())
    }

    /// A file of 300 MiB whose pages change at random, as a database's do.
    fn grow_database(&self, image: &str, mnt: &str, seed: u64) -> Result<()> {
        sh(&format!("mount -o loop {image} {mnt}"))?;
        let path = Path::new(mnt).join("data/base");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context("open the database")?;
        let mut random = Random(seed);
        let (all, few) = (38_400u64, 3_000u64);
        let pages: Vec<u64> =
            if seed == 1 { (0..all).collect() } else { (0..few).map(|_| random.next() % all).collect() };
        for number in pages {
            file.write_all_at(&page(&mut random, number), number * 8192).context("write a page")?;
        }
        file.sync_all().context("sync the database")?;
        drop(file);
        sh(&format!("umount {mnt}"))
    }
}

/// A page as databases have them: a head, rows of text and numbers, room at the end.
fn page(random: &mut Random, number: u64) -> Vec<u8> {
    let mut page = number.to_le_bytes().to_vec();
    while page.len() < 6500 {
        let row = format!(
            "{:08}|customer-{:06}|{:016x}|",
            random.next() % 100_000_000,
            random.next() % 1_000_000,
            random.next()
        );
        page.extend_from_slice(row.as_bytes());
    }
    page.resize(8192, 0);
    page
}

fn write_noise(path: &Path, length: u64) -> Result<()> {
    let file = File::create(path).context("make noise")?;
    let mut random = Random(9);
    let mut buffer = vec![0; 1 << 20];
    for offset in (0..length).step_by(1 << 20) {
        buffer.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.next().to_le_bytes()));
        file.write_all_at(&buffer, offset).context("make noise")?;
    }
    Ok(())
}

/// Compares two images chunk by chunk.
fn write_changes(old: &Path, new: &Path, list: &Path) -> Result<()> {
    let (old, new) = (File::open(old)?, File::open(new)?);
    let size = new.metadata()?.len();
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut lines = String::new();
    let mut run: Option<(u64, u64)> = None;
    for offset in (0..size).step_by(CHUNK) {
        old.read_exact_at(&mut a, offset)?;
        new.read_exact_at(&mut b, offset)?;
        match (&mut run, a == b) {
            (Some((_, length)), false) => *length += CHUNK as u64,
            (None, false) => run = Some((offset, CHUNK as u64)),
            (_, true) => lines.extend(run.take().map(|(offset, length)| format!("{offset} {length}\n"))),
        }
    }
    lines.extend(run.map(|(offset, length)| format!("{offset} {length}\n")));
    std::fs::write(list, lines).context("write the list of changes")
}

/// xorshift64: enough for bytes that do not compress, the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
