//! Links of NTFS: reparse points of Windows, and the files that Unix programs write in their place.

use crate::disk::field;
use crate::entry::Kind;

/// A reparse point holds 16 KiB at most.
pub(super) const REPARSE_BYTES_MAX: u64 = 16 << 10;
/// A mark, and a target of 4,096 UTF-16 units.
pub(super) const UNIX_BYTES_MAX: u64 = 8 + 2 * 4096;

const SYMBOLIC_LINK: u32 = 0xa000_000c;
const MOUNT_POINT: u32 = 0xa000_0003;
/// Of the Windows subsystem for Linux.
const LINUX_LINK: u32 = 0xa000_001d;

/// The target of a reparse point that is a link.
pub(super) fn target(value: &[u8]) -> Option<Vec<u8>> {
    let data = value.get(8..)?;
    let half = |at: usize| usize::from(u16::from_le_bytes(field(data, at)));
    let names = match u32::from_le_bytes(field(value, 0)) {
        SYMBOLIC_LINK => 12,
        MOUNT_POINT => 8,
        LINUX_LINK => return data.get(4..).map(<[u8]>::to_vec),
        _ => return None,
    };
    // The name for people, else the one for the system.
    let (start, length) = if half(6) > 0 { (half(4), half(6)) } else { (half(0), half(2)) };
    let name = text(data.get(names + start..names + start + length)?);
    let name = name.strip_prefix("\\??\\").unwrap_or(&name);
    Some(name.replace('\\', "/").into_bytes())
}

/// What a file that a Unix program wrote stands for, and the target if it is a link.
pub(super) fn unix(content: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let (mark, rest) = content.split_at_checked(8)?;
    match mark {
        b"IntxLNK\x01" => Some((Kind::Link, text(rest).into_bytes())),
        b"IntxCHR\0" => Some((Kind::Character, Vec::new())),
        b"IntxBLK\0" => Some((Kind::Block, Vec::new())),
        _ => None,
    }
}

/// What a reparse point is for.
pub(super) fn meaning(tag: u32) -> String {
    match tag {
        0x8000_0017 => "compressed by Windows, CompactOS".to_owned(),
        0x8000_0013 => "deduplicated by Windows".to_owned(),
        SYMBOLIC_LINK | MOUNT_POINT | LINUX_LINK => "a link".to_owned(),
        _ if tag & 0xffff_0fff == 0x9000_001a => "kept in a cloud".to_owned(),
        _ => format!("tag {tag:#010x}"),
    }
}

fn text(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units).map(|one| one.unwrap_or('\u{fffd}')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_link_of_windows_has_its_name_for_people() {
        let name: Vec<u8> = "..\\b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut value = SYMBOLIC_LINK.to_le_bytes().to_vec();
        value.extend([0; 4]);
        for half in [0, 8, 8, 8_u16] {
            value.extend(half.to_le_bytes());
        }
        value.extend([1, 0, 0, 0]);
        value.extend(&name);
        value.extend(&name);
        assert_eq!(target(&value), Some(b"../b".to_vec()));
        for cut in 0..value.len() {
            assert!(target(&value[..cut]).is_none() || cut == value.len(), "{cut}");
        }
    }

    #[test]
    fn a_link_of_unix_is_told_by_its_mark() {
        assert_eq!(unix(b"IntxLNK\x01a\0/\0"), Some((Kind::Link, b"a/".to_vec())));
        assert_eq!(unix(b"IntxLNK"), None);
        assert_eq!(unix(b"something else"), None);
    }
}
