//! NTFS, by `ntfs`. What that reader takes for plain bytes and is none is refused here: compressed and encrypted
//! data, and files whose data lies behind a reparse point. What was allocated and never written reads as zeros.

use super::known::Known;
use super::ntfs_link::{self, REPARSE_BYTES_MAX};
use super::{FileSystem, not_a_file, not_a_link, push};
use crate::disk::{Cursor, Disk, array, field};
use crate::entry::{Entry, FilePath, Kind, Metadata, Time};
use crate::{Error, ErrorKind, Result};
use ::ntfs::indexes::NtfsFileNameIndex;
use ::ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileName, NtfsFileNamespace};
use ::ntfs::{
    KnownNtfsFileRecordNumber, NtfsAttribute, NtfsAttributeFlags, NtfsAttributeType, NtfsError, NtfsFile,
    NtfsIndexEntries, NtfsReadSeek,
};
use std::io::SeekFrom;
use std::rc::Rc;

/// Records below this are the file system's own, and lie in the root under names that begin with a dollar sign.
const OWN_RECORDS: u64 = 24;

pub(super) struct Ntfs {
    ntfs: ::ntfs::Ntfs,
    cursor: Cursor,
    known: Known<u64>,
}

impl Ntfs {
    pub(super) fn open(disk: Rc<dyn Disk>) -> Result<Self> {
        let mut cursor = Cursor::new(disk);
        let ntfs = ::ntfs::Ntfs::new(&mut cursor).map_err(|failed| error(&failed))?;
        Ok(Self { ntfs, cursor, known: Known::new() })
    }

    /// The record of a path's file. Names are compared exactly first, then without regard to case.
    fn record(&mut self, path: &FilePath) -> Result<u64> {
        let Some(name) = path.name() else { return Ok(KnownNtfsFileRecordNumber::RootDirectory as u64) };
        if let Some(record) = self.known.get(path) {
            return Ok(record);
        }
        let names = self.names(&path.parent())?;
        let folded = String::from_utf8_lossy(name).to_lowercase();
        let exact = names.iter().find(|(one, _)| one.as_bytes() == name);
        let found = exact.or_else(|| names.iter().find(|(one, _)| one.to_lowercase() == folded));
        let record = found.ok_or_else(|| Error::not_found("there is no such file"))?.1;
        self.known.put_path(path.clone(), record);
        Ok(record)
    }

    /// The names in a folder with their records; the short ones of old programs are left out.
    fn names(&mut self, folder: &FilePath) -> Result<Vec<(String, u64)>> {
        let record = self.record(folder)?;
        let failed = |failed: NtfsError| error(&failed);
        let file = self.ntfs.file(&mut self.cursor, record).map_err(failed)?;
        let index = file.directory_index(&mut self.cursor).map_err(failed)?;
        let mut entries: NtfsIndexEntries<'_, '_, '_, NtfsFileNameIndex> = index.entries();
        let mut names = Vec::new();
        while let Some(entry) = entries.next(&mut self.cursor) {
            let entry = entry.map_err(failed)?;
            let Some(key) = entry.key() else { continue };
            let key: NtfsFileName = key.map_err(failed)?;
            let record = entry.file_reference().file_record_number();
            let name = key.name().to_string_lossy();
            let own = record < OWN_RECORDS && (name.starts_with('$') || name == ".");
            if key.namespace() == NtfsFileNamespace::Dos || own {
                continue;
            }
            if names.len() >= super::ENTRIES_MAX {
                return Err(Error::limit(format!("a folder of more than {} names", super::ENTRIES_MAX)));
            }
            names.push((name, record));
        }
        Ok(names)
    }

    fn metadata(&mut self, record: u64) -> Result<Metadata> {
        let failed = |failed: NtfsError| error(&failed);
        let file = self.ntfs.file(&mut self.cursor, record).map_err(failed)?;
        let info = file.info().map_err(failed)?;
        let size = match file.data(&mut self.cursor, "") {
            Some(data) => data.map_err(failed)?.to_attribute().map_err(failed)?.value_length(),
            None => 0,
        };
        let flags = info.file_attributes();
        let kind = kind(&mut self.cursor, &file, flags, size)?;
        let mode = if kind == Kind::Folder { 0o755 } else { 0o644 };
        let mode = if flags.contains(NtfsFileAttributeFlags::READ_ONLY) { mode & !0o222 } else { mode };
        let modified = Some(time(info.modification_time().nt_timestamp()));
        Ok(Metadata { kind, size, mode, uid: 0, gid: 0, modified })
    }
}

/// What a record is: links are reparse points, or small files that Unix programs wrote.
fn kind(cursor: &mut Cursor, file: &NtfsFile<'_>, flags: NtfsFileAttributeFlags, size: u64) -> Result<Kind> {
    let tag = reparse(cursor, file, flags)?;
    if tag.is_some_and(|(_, value)| ntfs_link::target(&value).is_some()) {
        return Ok(Kind::Link);
    }
    if file.is_directory() {
        return Ok(Kind::Folder);
    }
    let maybe_link = flags.contains(NtfsFileAttributeFlags::SYSTEM) && size <= ntfs_link::UNIX_BYTES_MAX;
    if maybe_link {
        let mut content = vec![0; size as usize];
        read_data(cursor, file, 0, &mut content)?;
        return Ok(ntfs_link::unix(&content).map_or(Kind::File, |(kind, _)| kind));
    }
    Ok(Kind::File)
}

/// A reparse point's tag and value, if the file is one.
fn reparse(
    cursor: &mut Cursor,
    file: &NtfsFile<'_>,
    flags: NtfsFileAttributeFlags,
) -> Result<Option<(u32, Vec<u8>)>> {
    if !flags.contains(NtfsFileAttributeFlags::REPARSE_POINT) {
        return Ok(None);
    }
    let failed = |failed: NtfsError| error(&failed);
    let mut attributes = file.attributes();
    while let Some(item) = attributes.next(cursor) {
        let item = item.map_err(failed)?;
        let attribute = item.to_attribute().map_err(failed)?;
        if attribute.ty().map_err(failed)? != NtfsAttributeType::ReparsePoint {
            continue;
        }
        let length = attribute.value_length();
        if length > REPARSE_BYTES_MAX {
            return Err(Error::corrupt("a reparse point is larger than any can be"));
        }
        let mut value = vec![0; length as usize];
        attribute.value(cursor).map_err(failed)?.read_exact(cursor, &mut value).map_err(failed)?;
        return Ok(Some((u32::from_le_bytes(field(&value, 0)), value)));
    }
    Ok(None)
}

/// Reads the unnamed stream from an offset: fills the buffer, or stops at its end.
fn read_data(cursor: &mut Cursor, file: &NtfsFile<'_>, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let failed = |failed: NtfsError| error(&failed);
    let Some(data) = file.data(cursor, "") else { return Ok(0) };
    let data = data.map_err(failed)?;
    let attribute = data.to_attribute().map_err(failed)?;
    if attribute.flags().contains(NtfsAttributeFlags::COMPRESSED) {
        return Err(Error::refused(
            "it is compressed by NTFS, which is not read: ntfs-3g does, where the disk is served",
        ));
    }
    if attribute.flags().contains(NtfsAttributeFlags::ENCRYPTED) {
        return Err(Error::refused("it is encrypted (EFS): its key is in the guest only"));
    }
    let size = attribute.value_length();
    let wanted = size.saturating_sub(offset).min(buffer.len() as u64) as usize;
    let buffer = &mut buffer[..wanted];
    let written = written(cursor, &attribute)?.saturating_sub(offset).min(wanted as u64) as usize;
    let (front, rest) = buffer.split_at_mut(written);
    rest.fill(0);
    if !front.is_empty() {
        let mut value = attribute.value(cursor).map_err(failed)?;
        value.seek(cursor, SeekFrom::Start(offset)).map_err(failed)?;
        value.read_exact(cursor, front).map_err(failed)?;
    }
    Ok(wanted)
}

/// How much of a stream was ever written: what lies behind is somebody else's old data, and reads as zeros. The reader
/// does not tell, so the field is read where the reader found the attribute.
fn written(cursor: &Cursor, attribute: &NtfsAttribute<'_, '_>) -> Result<u64> {
    const DATA: u32 = 0x80;
    const SIZES: u64 = 48;
    let size = attribute.value_length();
    if attribute.is_resident() {
        return Ok(size);
    }
    let strange = || Error::corrupt("a file's sizes are not where they should be");
    let at = attribute.position().value().ok_or_else(strange)?.get();
    let head: [u8; 4] = array(&*cursor.disk, at)?;
    let sizes: [u8; 16] = array(&*cursor.disk, at.saturating_add(SIZES))?;
    // The last two bytes of a sector are kept elsewhere. They are the topmost of a size, which never is so large.
    let number = |from: usize| {
        let mut bytes: [u8; 8] = field(&sizes, from);
        if (at + SIZES + from as u64 + 8).is_multiple_of(512) {
            bytes[6..].fill(0);
        }
        u64::from_le_bytes(bytes)
    };
    if u32::from_le_bytes(head) != DATA || number(0) != size || number(8) > size {
        return Err(strange());
    }
    Ok(number(8))
}

/// From tenths of microseconds since 1601.
fn time(since: u64) -> Time {
    const FROM_1601: i64 = 11_644_473_600;
    let seconds = (since / 10_000_000) as i64 - FROM_1601;
    Time { seconds, nanoseconds: (since % 10_000_000) as u32 * 100 }
}

impl FileSystem for Ntfs {
    fn list(&mut self, path: &FilePath) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (name, record) in self.names(path)? {
            self.known.put(path, name.as_bytes(), record);
            let metadata = self.metadata(record);
            push(&mut entries, name.into_bytes(), metadata)?;
        }
        Ok(entries)
    }

    fn stat(&mut self, path: &FilePath) -> Result<Metadata> {
        let record = self.record(path)?;
        self.metadata(record)
    }

    fn read(&mut self, path: &FilePath, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let record = self.record(path)?;
        let file = self.ntfs.file(&mut self.cursor, record).map_err(|failed| error(&failed))?;
        if file.is_directory() {
            return Err(not_a_file());
        }
        let flags = file.info().map_err(|failed| error(&failed))?.file_attributes();
        if let Some((tag, _)) = reparse(&mut self.cursor, &file, flags)? {
            let what = ntfs_link::meaning(tag);
            return Err(Error::refused(format!(
                "its data lies behind a reparse point ({what}), which is not read"
            )));
        }
        read_data(&mut self.cursor, &file, offset, buffer)
    }

    fn link(&mut self, path: &FilePath) -> Result<Vec<u8>> {
        let record = self.record(path)?;
        let file = self.ntfs.file(&mut self.cursor, record).map_err(|failed| error(&failed))?;
        let flags = file.info().map_err(|failed| error(&failed))?.file_attributes();
        if let Some((_, value)) = reparse(&mut self.cursor, &file, flags)? {
            return ntfs_link::target(&value).ok_or_else(not_a_link);
        }
        let mut content = vec![0; ntfs_link::UNIX_BYTES_MAX as usize];
        let length = read_data(&mut self.cursor, &file, 0, &mut content)?;
        match ntfs_link::unix(&content[..length]) {
            Some((Kind::Link, target)) => Ok(target),
            _ => Err(not_a_link()),
        }
    }
}

fn error(error: &NtfsError) -> Error {
    if let NtfsError::Io(inner) = error
        && let Some(own) = inner.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
    {
        return own.clone();
    }
    let kind = match error {
        NtfsError::NotADirectory { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, error.to_string())
}
