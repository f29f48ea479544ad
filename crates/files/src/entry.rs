//! What is known of a file: kind, size, owner, times. Everything here was written by a guest.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest name we believe: 255 UTF-16 units of NTFS are 765 bytes at most.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// The longest target of a link; Linux allows 4,096, NTFS 16 KiB of UTF-16.
pub(crate) const TARGET_BYTES_MAX: usize = 48 << 10;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bytes.
    File,
    /// Names.
    Folder,
    /// The name of something else.
    Link,
    /// A block device, which is never made anew.
    Block,
    /// A character device, which is never made anew.
    Character,
    /// A named pipe, which is never made anew.
    Pipe,
    /// A socket, which is never made anew.
    Socket,
}

impl Kind {
    /// Of a mode as Unix has it; none of the kinds is taken for a socket, which nobody reads.
    pub(crate) fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Folder,
            0o120_000 => Self::Link,
            0o060_000 => Self::Block,
            0o020_000 => Self::Character,
            0o010_000 => Self::Pipe,
            _ => Self::Socket,
        }
    }

    /// The letter that `ls -l` shows.
    pub fn letter(self) -> char {
        match self {
            Self::File => '-',
            Self::Folder => 'd',
            Self::Link => 'l',
            Self::Block => 'b',
            Self::Character => 'c',
            Self::Pipe => 'p',
            Self::Socket => 's',
        }
    }
}

/// Seconds since 1970 in UTC, and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Below a thousand million.
    pub nanoseconds: u32,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Bytes of content.
    pub size: u64,
    /// The twelve permission bits; made up where the file system has none.
    pub mode: u32,
    /// The owner's number; 0 where the file system has none.
    pub uid: u32,
    /// The group's number; 0 where the file system has none.
    pub gid: u32,
    /// When the content changed last, if that is known.
    pub modified: Option<Time>,
}

/// A name in a folder, and what stands behind it as far as that can be read: one damaged file must not hide the
/// others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As it is on the disk: without `/` and NUL, neither `.` nor `..`; rarely not UTF-8.
    pub name: Vec<u8>,
    /// What stands behind it.
    pub metadata: Result<Metadata>,
}

/// A place in a volume: names without `.`, `..`, NUL and empty ones. The root has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct FilePath(Vec<u8>);

impl TryFrom<Vec<u8>> for FilePath {
    type Error = Error;

    /// What came over a wire is a path as we write it, or nothing.
    fn try_from(bytes: Vec<u8>) -> Result<Self> {
        let path = Self::parse(&bytes)?;
        if path.0 == bytes { Ok(path) } else { Err(Error::invalid("it is no path")) }
    }
}

impl From<FilePath> for Vec<u8> {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl FilePath {
    /// Reads what a person typed, or what stands in a link that begins at the root. `..` goes up, at most to the root.
    ///
    /// # Errors
    /// `Invalid` for names that no file can have.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let mut path = Self::default();
        for name in text.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => path = path.parent(),
                name => path = path.join(name)?,
            }
        }
        Ok(path)
    }

    /// The place of a name in this folder.
    ///
    /// # Errors
    /// `Invalid` for what is no name.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        check_name(name)?;
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Ok(Self(bytes))
    }

    /// The folder it lies in; the root lies in itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Self(self.0[..end].to_vec())
    }

    /// Its names, from the root on.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// Its last name; the root has none.
    pub fn name(&self) -> Option<&[u8]> {
        self.names().last()
    }

    /// With a `/` between names, and none before the first.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for FilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", shown(&self.0))
    }
}

/// A name as it may be shown: what could steer a terminal is escaped.
pub fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    for part in name.utf8_chunks() {
        for one in part.valid().chars() {
            match one {
                '\\' => text.push_str("\\\\"),
                _ if one.is_control() => text.extend(one.escape_default()),
                _ => text.push(one),
            }
        }
        text.extend(part.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// What [`shown`] made a text of: the name itself.
///
/// # Errors
/// `Invalid` for a text with a `\\` that begins no escape.
pub fn meant(text: &str) -> Result<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        name.extend_from_slice(&rest.as_bytes()[..at]);
        let (bytes, behind) = escape(&rest[at + 1..]).ok_or_else(|| {
            Error::invalid(format!(
                "\"{}\" holds a \\ that begins no escape: a \\ itself is \\\\",
                shown(text.as_bytes())
            ))
        })?;
        name.extend(bytes);
        rest = behind;
    }
    name.extend_from_slice(rest.as_bytes());
    Ok(name)
}

/// The bytes of an escape without its `\\`, and what stands behind it.
fn escape(text: &str) -> Option<(Vec<u8>, &str)> {
    let first = text.chars().next()?;
    let behind = &text[first.len_utf8()..];
    let plain = |byte: u8| Some((vec![byte], behind));
    match first {
        '\\' => plain(b'\\'),
        'n' => plain(b'\n'),
        'r' => plain(b'\r'),
        't' => plain(b'\t'),
        'x' => {
            let byte = u8::from_str_radix(behind.get(..2)?, 16).ok()?;
            Some((vec![byte], &behind[2..]))
        }
        'u' => {
            let (number, behind) = behind.strip_prefix('{')?.split_once('}')?;
            let one = char::from_u32(u32::from_str_radix(number, 16).ok()?)?;
            Some((one.to_string().into_bytes(), behind))
        }
        _ => None,
    }
}

/// Refuses what could mean another place than a name in its folder.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    let bad = name.is_empty()
        || name == b"."
        || name == b".."
        || name.len() > NAME_BYTES_MAX
        || name.iter().any(|&byte| byte == 0 || byte == b'/');
    if bad { Err(Error::invalid(format!("\"{}\" is no name of a file", shown(name)))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leads_above_its_root() {
        let path = |text: &str| FilePath::parse(text.as_bytes()).expect("a path").to_string();
        assert_eq!(path("/etc/../../../passwd"), "/passwd");
        assert_eq!(path("a//b/./c/.."), "/a/b");
        assert_eq!(path("/.."), "/");
        assert!(FilePath::parse(b"a\0b").is_err());
    }

    #[test]
    fn names_that_mean_another_place_are_none() {
        for name in ["", ".", "..", "a/b", "a\0"] {
            assert!(check_name(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(check_name("..a".as_bytes()).is_ok());
    }

    #[test]
    fn a_name_cannot_steer_a_terminal() {
        assert_eq!(shown(b"a\x1b[31m\xff\n"), "a\\u{1b}[31m\\xff\\n");
    }

    #[test]
    fn what_is_shown_is_what_is_meant() {
        for name in [
            &b"plain"[..],
            b"a\x1b[31m\xff\n",
            b"C:\\x41\\",
            b"\xc3\x28 \xf0\x9f\x98",
            "\u{85}\u{1f600}\t\r".as_bytes(),
        ] {
            assert_eq!(meant(&shown(name)).as_deref(), Ok(name));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(meant(&shown(&all)), Ok(all));
        for text in ["\\", "\\q", "\\x4", "\\u{110000}", "\\u41", "\\x\u{e9}"] {
            assert!(meant(text).is_err(), "{text}");
        }
    }
}
