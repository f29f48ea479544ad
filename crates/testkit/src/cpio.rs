//! The archive format the kernel unpacks as its first file system: cpio, "newc".
//!
//! An entry is a head of 110 bytes (`070701` and 13 numbers of 8 hexadecimal digits), the name with a NUL,
//! the content; name and content are each padded to 4 bytes. An entry named `TRAILER!!!` ends it.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Kinds the guest's tree consists of; devices come from the kernel.
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Writes the tree under `root` as an archive in which root owns everything. The order is by name, so
/// that equal trees give equal archives.
pub(crate) fn write_tree(root: &Path, out: &mut impl Write) -> Result<()> {
    let mut writer = Writer { out, entries: 0 };
    writer.folder(root, "")?;
    writer.entry("TRAILER!!!", 0, &[]).context("cannot end the archive")
}

struct Writer<'a, W> {
    out: &'a mut W,
    entries: u32,
}

impl<W: Write> Writer<'_, W> {
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let list = || format!("cannot list {}", folder.display());
        let mut paths: Vec<_> = fs::read_dir(folder)
            .and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()
            })
            .with_context(list)?;
        paths.sort();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).with_context(list)?;
            let name = if prefix.is_empty() { name.to_string() } else { format!("{prefix}/{name}") };
            self.path(&path, &name).with_context(|| format!("cannot archive {}", path.display()))?;
        }
        Ok(())
    }

    fn path(&mut self, path: &Path, name: &str) -> Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        let rights = metadata.mode() & 0o7777;
        if metadata.is_dir() {
            self.entry(name, FOLDER | rights, &[])?;
            self.folder(path, name)
        } else if metadata.is_symlink() {
            Ok(self.entry(name, LINK | 0o777, fs::read_link(path)?.as_os_str().as_bytes())?)
        } else if metadata.is_file() {
            Ok(self.entry(name, FILE | rights, &fs::read(path)?)?)
        } else {
            bail!("neither file, folder nor link")
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let links = if mode & FOLDER == FOLDER && mode & FILE != FILE { 2 } else { 1 };
        let too_large = |_| io::Error::other("the format holds at most 4 GiB");
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        // inode, mode, uid, gid, links, time, size, device (2), device of a node (2), name's size, check
        let numbers = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = String::from("070701");
        for number in numbers {
            head.push_str(&format!("{number:08X}"));
        }
        self.padded(&[head.as_bytes(), name.as_bytes(), b"\0"].concat())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_heads_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/a"), "hello").unwrap();
        std::os::unix::fs::symlink("etc/a", folder.path().join("link")).unwrap();
        let mut out = Vec::new();
        write_tree(folder.path(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let names: Vec<&str> = text.split("070701").skip(1).map(|entry| &entry[104..]).collect();
        assert!(names[0].starts_with("etc\0"));
        assert!(names[1].starts_with("etc/a\0") && names[1].ends_with("hello\0\0\0"), "{:?}", names[1]);
        assert!(names[2].starts_with("link\0") && names[2].contains("etc/a"));
        assert!(names[3].starts_with("TRAILER!!!\0"));
        assert_eq!(text.len() % 4, 0);
    }
}
