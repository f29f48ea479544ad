//! Tar as POSIX has it since 2001: what does not fit the old header stands in an extended one before it.

use super::Stream;
use crate::{Kind, Metadata};
use std::io::{Result, Write};

pub(super) const BLOCK: usize = 512;
/// The old header's places: name, mode, owner, group, size, time, sum, kind, target, mark.
pub(super) const NAME_MAX: usize = 100;
const OCTAL_MAX: u64 = 0o7_777_777;
const SIZE_MAX: u64 = 0o77_777_777_777;

pub(super) struct Tar<'w> {
    to: &'w mut dyn Write,
    /// Bytes of the member so far.
    length: u64,
}

impl<'w> Tar<'w> {
    pub(super) fn new(to: &'w mut dyn Write) -> Self {
        Self { to, length: 0 }
    }

    fn head(&mut self, name: &[u8], metadata: &Metadata, points: &[u8]) -> Result<()> {
        let size = if metadata.kind == Kind::File { metadata.size } else { 0 };
        let seconds = metadata.modified.map_or(0, |time| time.seconds);
        let mut extended = Vec::new();
        if let Some(time) = metadata.modified.filter(|time| time.nanoseconds > 0 || time.seconds < 0) {
            let fraction = format!("{:09}", time.nanoseconds);
            // Behind a negative number the fraction counts the other way.
            let value = match (time.seconds, time.nanoseconds) {
                (seconds, 0) => seconds.to_string(),
                (-1, below) => format!("-0.{:09}", 1_000_000_000 - below),
                (seconds, below) if seconds < 0 => format!("{}.{:09}", seconds + 1, 1_000_000_000 - below),
                (seconds, _) => format!("{seconds}.{fraction}"),
            };
            record(&mut extended, "mtime", value.as_bytes());
        }
        if name.len() > NAME_MAX || !name.is_ascii() {
            record(&mut extended, "path", name);
        }
        if points.len() > NAME_MAX || !points.is_ascii() {
            record(&mut extended, "linkpath", points);
        }
        for (key, id) in [("uid", metadata.uid), ("gid", metadata.gid)] {
            if u64::from(id) > OCTAL_MAX {
                record(&mut extended, key, id.to_string().as_bytes());
            }
        }
        if size > SIZE_MAX {
            record(&mut extended, "size", size.to_string().as_bytes());
        }
        if !extended.is_empty() {
            let about = Metadata { size: extended.len() as u64, mode: 0o644, uid: 0, gid: 0, ..*metadata };
            self.to.write_all(&header(b"././@PaxHeader", &about, (b'x', &[], about.size, seconds)))?;
            self.to.write_all(&extended)?;
            self.pad(extended.len() as u64)?;
        }
        let kind = match metadata.kind {
            Kind::Folder => b'5',
            Kind::Link => b'2',
            _ => b'0',
        };
        self.to.write_all(&header(name, metadata, (kind, points, size, seconds)))
    }

    fn pad(&mut self, length: u64) -> Result<()> {
        let over = (length % BLOCK as u64) as usize;
        if over > 0 { self.to.write_all(&[0; BLOCK][over..]) } else { Ok(()) }
    }
}

/// A line of an extended header: its own length, a key, a value.
fn record(to: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    to.extend(format!("{length} {key}=").bytes());
    to.extend(value);
    to.push(b'\n');
}

/// The old header, with what fits of it.
fn header(
    name: &[u8],
    metadata: &Metadata,
    (kind, points, size, seconds): (u8, &[u8], u64, i64),
) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    let mut put = |at: usize, most: usize, text: &[u8]| {
        let length = text.len().min(most);
        bytes[at..at + length].copy_from_slice(&text[..length]);
    };
    let octal = |value: u64, width: usize| format!("{value:0width$o}\0").into_bytes();
    put(0, NAME_MAX, name);
    put(100, 8, &octal(metadata.mode.into(), 7));
    put(108, 8, &octal(u64::from(metadata.uid).min(OCTAL_MAX), 7));
    put(116, 8, &octal(u64::from(metadata.gid).min(OCTAL_MAX), 7));
    put(124, 12, &octal(size.min(SIZE_MAX), 11));
    put(136, 12, &octal((seconds.max(0) as u64).min(SIZE_MAX), 11));
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, NAME_MAX, points);
    put(257, 8, b"ustar\x0000");
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

impl Stream for Tar<'_> {
    fn small(&mut self, name: &[u8], metadata: &Metadata, points: &[u8]) -> Result<()> {
        self.head(name, metadata, points)
    }

    fn begin(&mut self, name: &[u8], metadata: &Metadata) -> Result<()> {
        self.length = 0;
        self.head(name, metadata, &[])
    }

    fn bytes(&mut self, data: &[u8]) -> Result<()> {
        self.length += data.len() as u64;
        self.to.write_all(data)
    }

    fn end(&mut self) -> Result<()> {
        self.pad(self.length)
    }

    fn finish(&mut self) -> Result<()> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()
    }
}
