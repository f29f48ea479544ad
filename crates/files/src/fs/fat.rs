//! FAT12, FAT16 and FAT32, by `fatfs`. It has no owners, modes or zones: times are taken for UTC.

use super::{FileSystem, not_a_file, not_a_link, push};
use crate::disk::{Cursor, Disk};
use crate::entry::{Entry, FilePath, Kind, Metadata, Time};
use crate::{Error, ErrorKind, Result};
use fatfs::{DateTime, DirEntry, FsOptions};
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;

pub(super) struct Fat {
    fs: fatfs::FileSystem<Cursor>,
}

impl Fat {
    pub(super) fn open(disk: Rc<dyn Disk>) -> Result<Self> {
        let fs =
            fatfs::FileSystem::new(Cursor::new(disk), FsOptions::new()).map_err(|failed| error(&failed))?;
        Ok(Self { fs })
    }

    /// The entry of a path; the root has none.
    fn entry(&self, path: &FilePath) -> Result<Option<DirEntry<'_, Cursor>>> {
        let (folder, Some(name)) = (path.parent(), path.name()) else { return Ok(None) };
        let name = text(name)?;
        let mut folded = None;
        for entry in self.folder(&folder)?.iter().take(super::ENTRIES_MAX) {
            let entry = entry.map_err(|failed| error(&failed))?;
            let found = entry.file_name();
            if found == name {
                return Ok(Some(entry));
            }
            if folded.is_none() && found.to_lowercase() == name.to_lowercase() {
                folded = Some(entry);
            }
        }
        folded.map(Some).ok_or_else(|| Error::not_found("there is no such file"))
    }

    fn folder(&self, path: &FilePath) -> Result<fatfs::Dir<'_, Cursor>> {
        let root = self.fs.root_dir();
        if path.as_bytes().is_empty() {
            return Ok(root);
        }
        root.open_dir(text(path.as_bytes())?).map_err(|failed| error(&failed))
    }
}

impl FileSystem for Fat {
    fn list(&mut self, path: &FilePath) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in self.folder(path)?.iter() {
            let entry = entry.map_err(|failed| error(&failed))?;
            push(&mut entries, entry.file_name().into_bytes(), Ok(metadata(&entry)))?;
        }
        Ok(entries)
    }

    fn stat(&mut self, path: &FilePath) -> Result<Metadata> {
        let root = Metadata { kind: Kind::Folder, size: 0, mode: 0o755, uid: 0, gid: 0, modified: None };
        Ok(self.entry(path)?.map_or(root, |entry| metadata(&entry)))
    }

    fn read(&mut self, path: &FilePath, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let entry = self.entry(path)?.filter(DirEntry::is_file).ok_or_else(not_a_file)?;
        if offset >= entry.len() {
            return Ok(0);
        }
        let mut file = entry.to_file();
        file.seek(SeekFrom::Start(offset)).map_err(|failed| error(&failed))?;
        let wanted = (entry.len() - offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            match file.read(&mut buffer[done..wanted]).map_err(|failed| error(&failed))? {
                0 => return Err(Error::corrupt("a file ends before its length")),
                length => done += length,
            }
        }
        Ok(done)
    }

    fn link(&mut self, _: &FilePath) -> Result<Vec<u8>> {
        Err(not_a_link())
    }
}

fn text(name: &[u8]) -> Result<&str> {
    std::str::from_utf8(name).map_err(|_| Error::not_found("there is no such file"))
}

fn metadata(entry: &DirEntry<'_, Cursor>) -> Metadata {
    let (kind, mode) = if entry.is_dir() { (Kind::Folder, 0o755) } else { (Kind::File, 0o644) };
    let read_only = entry.attributes().contains(fatfs::FileAttributes::READ_ONLY);
    let mode = if read_only { mode & !0o222 } else { mode };
    Metadata { kind, size: entry.len(), mode, uid: 0, gid: 0, modified: Some(time(entry.modified())) }
}

/// Days of the civil calendar, as Howard Hinnant counts them.
fn time(told: DateTime) -> Time {
    let (year, month, day) =
        (i64::from(told.date.year), i64::from(told.date.month), i64::from(told.date.day));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let within = i64::from(told.time.hour) * 3600 + i64::from(told.time.min) * 60 + i64::from(told.time.sec);
    Time { seconds: days * 86_400 + within, nanoseconds: u32::from(told.time.millis).min(999) * 1_000_000 }
}

fn error(error: &std::io::Error) -> Error {
    use std::io::ErrorKind as Os;
    if let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return own.clone();
    }
    let kind = match error.kind() {
        Os::NotFound => ErrorKind::NotFound,
        // What it says when a path goes through a file.
        Os::Other => ErrorKind::Invalid,
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        let at = |year, month, day| {
            let date = fatfs::Date { year, month, day };
            time(DateTime { date, time: fatfs::Time { hour: 0, min: 0, sec: 1, millis: 0 } }).seconds
        };
        assert_eq!(at(1980, 1, 1), 315_532_801);
        assert_eq!(at(2000, 2, 29), 951_782_401);
        assert_eq!(at(2000, 3, 1), 951_868_801);
        assert_eq!(at(2099, 12, 31), 4_102_358_401);
    }
}
