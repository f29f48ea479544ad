//! Reads the tar streams that `tar.rs` writes, and no others: whatever is not as we write it is an error.

use super::tar::{BLOCK, NAME_MAX};
use crate::{Error, Kind, Metadata, Result, Time};
use std::io::Read;

/// An extended header: a name and a link's target of the longest kind, and some attributes.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;

/// A member's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Without the slash behind a folder's.
    pub(crate) name: Vec<u8>,
    pub(crate) metadata: Metadata,
    /// What a link says.
    pub(crate) points: Vec<u8>,
}

/// The members of a stream, one after the other.
pub(crate) struct Members<'r> {
    from: &'r mut dyn Read,
    /// Bytes of the member that were not read yet, and what fills its last block.
    left: u64,
    filling: u64,
}

impl<'r> Members<'r> {
    pub(crate) fn new(from: &'r mut dyn Read) -> Self {
        Self { from, left: 0, filling: 0 }
    }

    /// The next member; none at the end that the stream itself marks.
    ///
    /// # Errors
    /// `Corrupt` for a stream that ends without its mark, or is not ours; `Io` if it cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        self.skip()?;
        let mut extended = Vec::new();
        loop {
            let head = self.block()?;
            if head == [0; BLOCK] {
                let second = self.block()?;
                return if second == [0; BLOCK] && extended.is_empty() { Ok(None) } else { Err(strange()) };
            }
            if head[257..263] != *b"ustar\0" || octal(&head[148..156])? != sum(&head) {
                return Err(strange());
            }
            let size = octal(&head[124..136])?;
            if head[156] != b'x' {
                return self.member(&head, size, &extended).map(Some);
            }
            if size > EXTENDED_BYTES_MAX || !extended.is_empty() {
                return Err(strange());
            }
            (self.left, self.filling) = (size, filling(size));
            while self.left > 0 {
                let part = self.bytes()?;
                extended.extend(part);
            }
            self.skip()?;
        }
    }

    fn member(&mut self, head: &[u8; BLOCK], size: u64, extended: &[u8]) -> Result<Member> {
        let kind = match head[156] {
            b'0' => Kind::File,
            b'2' => Kind::Link,
            b'5' => Kind::Folder,
            _ => return Err(strange()),
        };
        let number = |from: usize, to: usize| octal(&head[from..to]).map(|number| number as u32);
        let modified = Time { seconds: octal(&head[136..148])? as i64, nanoseconds: 0 };
        let (mode, uid, gid) = (number(100, 108)? & 0o7777, number(108, 116)?, number(116, 124)?);
        let metadata = Metadata { kind, size, mode, uid, gid, modified: Some(modified) };
        let mut member = Member { name: text(&head[..NAME_MAX]), metadata, points: text(&head[157..257]) };
        let mut rest = extended;
        while !rest.is_empty() {
            let (key, value, behind) = record(rest).ok_or_else(strange)?;
            member.extend(key, value)?;
            rest = behind;
        }
        if kind == Kind::Folder && member.name.last() == Some(&b'/') {
            member.name.pop();
        }
        if kind == Kind::File {
            (self.left, self.filling) = (member.metadata.size, filling(member.metadata.size));
        }
        Ok(member)
    }

    /// Bytes of the member; nothing at its end.
    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.left.min(1 << 20) as usize];
        self.from.read_exact(&mut bytes).map_err(|error| unread(&error))?;
        self.left -= bytes.len() as u64;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<()> {
        while self.left > 0 {
            self.bytes()?;
        }
        let mut filling = vec![0; std::mem::take(&mut self.filling) as usize];
        self.from.read_exact(&mut filling).map_err(|error| unread(&error))
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.from.read_exact(&mut block).map_err(|error| unread(&error))?;
        Ok(block)
    }
}

impl Member {
    /// Takes in a line of the extended header.
    fn extend(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            b"path" => self.name = value.to_vec(),
            b"linkpath" => self.points = value.to_vec(),
            b"size" => self.metadata.size = number().ok_or_else(strange)?,
            b"uid" => self.metadata.uid = number().ok_or_else(strange)? as u32,
            b"gid" => self.metadata.gid = number().ok_or_else(strange)? as u32,
            b"mtime" => self.metadata.modified = Some(time(value).ok_or_else(strange)?),
            _ => return Err(strange()),
        }
        Ok(())
    }
}

/// A line of an extended header: its key, its value, and what stands behind it.
fn record(lines: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = lines.iter().position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&lines[..space]).ok()?.parse().ok()?;
    let line = lines.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = line.iter().position(|&byte| byte == b'=')?;
    Some((&line[..equals], &line[equals + 1..], &lines[length..]))
}

/// Seconds, with a fraction of nine digits or none; behind a `-` it counts the other way.
fn time(value: &[u8]) -> Option<Time> {
    let value = std::str::from_utf8(value).ok()?;
    let (is_before, value) = value.strip_prefix('-').map_or((false, value), |rest| (true, rest));
    let (seconds, fraction) = value.split_once('.').unwrap_or((value, "000000000"));
    if fraction.len() != 9 {
        return None;
    }
    let (seconds, nanoseconds): (i64, u32) = (seconds.parse().ok()?, fraction.parse().ok()?);
    Some(match (is_before, nanoseconds) {
        (false, nanoseconds) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, below) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - below },
    })
}

fn text(field: &[u8]) -> Vec<u8> {
    field.iter().copied().take_while(|&byte| byte != 0).collect()
}

fn octal(field: &[u8]) -> Result<u64> {
    let digits = field.iter().copied().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0_u64, |number, digit| number << 3 | u64::from(digit & 7));
    if field[0].is_ascii_digit() { Ok(number) } else { Err(strange()) }
}

/// Of all bytes, those of the sum itself taken for spaces.
fn sum(head: &[u8; BLOCK]) -> u64 {
    let is_sum = |at: usize| (148..156).contains(&at);
    head.iter().enumerate().map(|(at, &byte)| if is_sum(at) { 32 } else { u64::from(byte) }).sum()
}

fn filling(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn strange() -> Error {
    Error::corrupt("the stream is not one of ours, or was damaged on its way")
}

fn unread(error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::corrupt("the stream ends before its end"),
        _ => Error::new(crate::ErrorKind::Io, format!("read the stream: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stream;
    use super::super::tar::Tar;
    use super::*;

    fn members() -> Vec<Member> {
        let metadata = |kind, size, seconds, nanoseconds| Metadata {
            kind,
            size,
            mode: 0o640,
            uid: 3_000_000_000,
            gid: 7,
            modified: Some(Time { seconds, nanoseconds }),
        };
        let member = |name: &[u8], metadata, points: &[u8]| Member {
            name: name.to_vec(),
            metadata,
            points: points.to_vec(),
        };
        vec![
            member(b"a", metadata(Kind::Folder, 0, 1, 5), b""),
            member(b"a/\xff\n", metadata(Kind::File, 513, -1, 250_000_000), b""),
            member(&[b'n'; 300], metadata(Kind::File, 0, -7, 0), b""),
            member(b"l", metadata(Kind::Link, 0, -7, 1), "../\u{e9}".as_bytes()),
        ]
    }

    fn packed() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut tar = Tar::new(&mut bytes);
        for Member { mut name, metadata, points } in members() {
            match metadata.kind {
                Kind::File => {
                    tar.begin(&name, &metadata).expect("a head");
                    tar.bytes(&vec![b'x'; metadata.size as usize]).expect("bytes");
                    tar.end().expect("an end");
                }
                kind => {
                    name.extend((kind == Kind::Folder).then_some(b'/'));
                    tar.small(&name, &metadata, &points).expect("a head");
                }
            }
        }
        tar.finish().expect("an end");
        bytes
    }

    fn read(mut bytes: &[u8]) -> Result<Vec<Member>> {
        let mut members = Members::new(&mut bytes);
        let mut all = Vec::new();
        while let Some(member) = members.next()? {
            if member.metadata.kind == Kind::File && member.metadata.size > 0 {
                assert_eq!(members.bytes()?, vec![b'x'; 513]);
            }
            all.push(member);
        }
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&packed()).expect("a stream"), members());
    }

    #[test]
    fn a_stream_that_is_cut_off_anywhere_is_an_error() {
        let whole = packed();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "cut at {length}");
        }
    }
}
