//! What a volume holds, by the marks that each format puts in a place of its own.

use crate::Result;
use crate::disk::{Disk, field};
use serde::{Deserialize, Serialize};

/// What a volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// NTFS.
    Ntfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// Swapped-out memory.
    Swap,
    /// A disk of an LVM volume group.
    #[serde(rename = "lvm2")]
    LvmMember,
    /// Encrypted: LUKS, BitLocker.
    Encrypted,
    /// A disk of a software RAID.
    Raid,
    /// Something that we know by name and do not read.
    Other,
    /// Nothing that we know.
    Unknown,
}

impl Content {
    /// Whether we read its files.
    pub fn has_files(self) -> bool {
        matches!(self, Self::Ext | Self::Xfs | Self::Btrfs | Self::Ntfs | Self::Fat)
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext => "ext",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Ntfs => "ntfs",
            Self::Fat => "fat",
            Self::Swap => "swap",
            Self::LvmMember => "lvm2",
            Self::Encrypted => "encrypted",
            Self::Raid => "raid",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// What a look at a volume's first bytes told.
pub(super) struct Looked {
    pub(super) content: Content,
    pub(super) label: String,
    pub(super) refusal: Option<String>,
    pub(super) note: Option<String>,
}

impl Looked {
    fn new(content: Content) -> Self {
        Self { content, label: String::new(), refusal: None, note: None }
    }

    fn labelled(content: Content, bytes: &[u8]) -> Self {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let label = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
        Self { label, ..Self::new(content) }
    }

    fn refused(content: Content, why: &str) -> Self {
        Self { refusal: Some(why.to_owned()), ..Self::new(content) }
    }
}

/// Looks. Never fails: what cannot be read is refused.
pub(super) fn look(disk: &dyn Disk) -> Looked {
    look_at(disk).unwrap_or_else(|error| Looked::refused(Content::Unknown, &error.to_string()))
}

/// The head reaches behind the mark of Btrfs, which lies farthest in.
const HEAD_BYTES: u64 = 72 << 10;

fn look_at(disk: &dyn Disk) -> Result<Looked> {
    let mut head = vec![0; HEAD_BYTES.min(disk.size()) as usize];
    disk.read(0, &mut head)?;
    let has = |at: usize, mark: &[u8]| head.get(at..at + mark.len()) == Some(mark);
    // Before the file systems: what lies on the parts of a RAID may look like one, and is only a part of it.
    if let Some(level) = raid_level(disk, &head)? {
        let why = format!(
            "a disk of a Linux software RAID ({level}) is not read: `mdadm --assemble --readonly` does, where the disks are served"
        );
        return Ok(Looked::refused(Content::Raid, &why));
    }
    if has(0, b"LUKS\xba\xbe") {
        return Ok(Looked::refused(
            Content::Encrypted,
            "it is encrypted (LUKS): `cryptsetup open --readonly` opens it, where the disk is served",
        ));
    }
    if has(3, b"-FVE-FS-") {
        return Ok(Looked::refused(
            Content::Encrypted,
            "it is encrypted (BitLocker): `cryptsetup open --type bitlk --readonly` opens it, where the disk is served",
        ));
    }
    if (0..4).any(|sector| has(sector * 512, b"LABELONE") && has(sector * 512 + 24, b"LVM2 001")) {
        return Ok(Looked::new(Content::LvmMember));
    }
    if has(0, b"XFSB") {
        return Ok(Looked::labelled(Content::Xfs, &head[108..120]));
    }
    if has(0x10040, b"_BHRfS_M") {
        return Ok(btrfs(&head));
    }
    if has(3, b"NTFS    ") {
        return Ok(Looked::new(Content::Ntfs));
    }
    if has(1024 + 56, &[0x53, 0xef]) {
        return Ok(Looked::labelled(Content::Ext, &head[1024 + 120..1024 + 136]));
    }
    if has(4086, b"SWAPSPACE2") || has(65_526, b"SWAPSPACE2") {
        return Ok(Looked::labelled(Content::Swap, &head[1052..1068]));
    }
    if is_fat(&head) {
        return Ok(Looked::new(Content::Fat));
    }
    let other = OTHERS.iter().find(|(at, mark, _)| has(*at, mark));
    Ok(other.map_or_else(
        || Looked::new(Content::Unknown),
        |(_, _, name)| {
            Looked::refused(Content::Other, &format!("{name} is not read: mount it where the disk is served"))
        },
    ))
}

/// What we know by name: where its mark lies, the mark, the name.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (3, b"EXFAT   ", "exFAT"),
    (3, b"\0\0\0\0\0ReFS", "ReFS"),
    (3, b"ReFS\0\0\0\0", "ReFS"),
    (0, b"hsqs", "SquashFS"),
    (32_769, b"CD001", "a CD's ISO 9660"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (65_600, b"ReIsEr", "ReiserFS"),
    (32_768, b"JFS1", "JFS"),
    (0, b"VMFS", "VMFS"),
];

/// What a device's superblock tells beyond its label.
fn btrfs(head: &[u8]) -> Looked {
    const SUPERBLOCK: usize = 0x10000;
    let number = |at: usize| u64::from_le_bytes(field(head, SUPERBLOCK + at));
    let mut looked = Looked::labelled(Content::Btrfs, &head[SUPERBLOCK + 0x12b..SUPERBLOCK + 0x22b]);
    let devices = number(0x88);
    if devices != 1 {
        let why = format!("a Btrfs of {devices} devices is not read: mount it where all of them are served");
        looked.refusal = Some(why);
    }
    // The log tree holds what was flushed since the last commit; we read that commit.
    if number(0x60) != 0 {
        looked.note = Some(
            "it was in use: what was written in the last 30 seconds before the point may be missing"
                .to_owned(),
        );
    }
    looked
}

/// FAT has no mark that holds: its boot sector must make sense.
fn is_fat(head: &[u8]) -> bool {
    let Some(boot) = head.get(..512) else { return false };
    let sector = u16::from_le_bytes(field(boot, 11));
    let jumps = boot[0] == 0xeb || boot[0] == 0xe9;
    jumps
        && boot[510..] == [0x55, 0xaa]
        && [512, 1024, 2048, 4096].contains(&sector)
        && boot[13].is_power_of_two()
        && (1..=2).contains(&boot[16])
        && u16::from_le_bytes(field(boot, 14)) > 0
        && (boot[21] == 0xf0 || boot[21] >= 0xf8)
}

/// The level of the Linux RAID that the volume is a part of. A mirror whose mark lies at its end can be read like a
/// plain volume, and is.
fn raid_level(disk: &dyn Disk, head: &[u8]) -> Result<Option<String>> {
    const MARK: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
    const MIRROR: i32 = 1;
    let level = |bytes: &[u8], at: usize| i32::from_le_bytes(field(bytes, at));
    for at in [0, 4096] {
        if head.get(at..at + 4) == Some(&MARK) && head.get(at + 4) == Some(&1) {
            return Ok(Some(format!("level {}", level(head, at + 72))));
        }
    }
    let size = disk.size();
    let at_end =
        [(((size / 512).saturating_sub(16)) & !7, 72, 1), (((size / 512) & !127).saturating_sub(128), 28, 0)];
    for (sector, place, major) in at_end {
        let mut bytes = [0; 256];
        if size < 256 << 10 || disk.read(sector * 512, &mut bytes).is_err() {
            continue;
        }
        let found = bytes[..4] == MARK && u32::from_le_bytes(field(&bytes, 4)) == major;
        if found && level(&bytes, place) != MIRROR {
            return Ok(Some(format!("level {}", level(&bytes, place))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Marked(usize, &'static [u8]);

    impl Disk for Marked {
        fn size(&self) -> u64 {
            1 << 20
        }

        fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
            for (at, byte) in (offset..).zip(buffer) {
                let within = (at as usize).checked_sub(self.0).and_then(|within| self.1.get(within));
                *byte = within.copied().unwrap_or_default();
            }
            Ok(())
        }
    }

    #[test]
    fn what_is_refused_names_a_way_out() {
        let mut marks = vec![
            (0, &b"LUKS\xba\xbe"[..], "cryptsetup open"),
            (3, b"-FVE-FS-", "bitlk"),
            (4096, b"\xfc\x4e\x2b\xa9\x01", "mdadm"),
            (0x10040, b"_BHRfS_M", "mount it"),
        ];
        marks.extend(OTHERS.iter().map(|(at, mark, _)| (*at, *mark, "mount it")));
        for (at, mark, way) in marks {
            let refusal = look(&Marked(at, mark)).refusal.unwrap_or_default();
            assert!(refusal.contains(way) && refusal.contains("served"), "{mark:?}: {refusal}");
        }
    }
}
