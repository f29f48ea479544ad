//! GUID partition tables: the primary one, else the copy at the disk's end.

use super::{PARTITIONS_MAX, Partition};
use crate::Result;
use crate::disk::{Disk, array, field};
use crc::{CRC_32_ISO_HDLC, Crc};

const SIGNATURE: &[u8; 8] = b"EFI PART";
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// An entry has 128 bytes; the standard allows more.
const ENTRY_BYTES_MAX: u32 = 4096;

/// The partitions, or nothing if the disk has no such table.
///
/// # Errors
/// `Io` if the disk cannot be read. A table that is damaged in both places is none.
pub(super) fn read(disk: &dyn Disk) -> Result<Option<Vec<Partition>>> {
    for sector in [512, 4096] {
        for place in [1, (disk.size() / sector).saturating_sub(1)] {
            if (place + 1).saturating_mul(sector) > disk.size() {
                continue;
            }
            if let Some(found) = table(disk, sector, place)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The table whose header lies in one sector, if it is one and whole.
fn table(disk: &dyn Disk, sector: u64, place: u64) -> Result<Option<Vec<Partition>>> {
    let mut header: [u8; 512] = array(disk, place * sector)?;
    let length = u32::from_le_bytes(field(&header, 12)) as usize;
    if &header[..8] != SIGNATURE || !(92..=512).contains(&length) {
        return Ok(None);
    }
    let told = u32::from_le_bytes(field(&header, 16));
    header[16..20].fill(0);
    if CRC.checksum(&header[..length]) != told || u64::from_le_bytes(field(&header, 24)) != place {
        return Ok(None);
    }
    let first = u64::from_le_bytes(field(&header, 72));
    let count = u32::from_le_bytes(field(&header, 80));
    let each = u32::from_le_bytes(field(&header, 84));
    let bytes = u64::from(count) * u64::from(each);
    let fits = (128..=ENTRY_BYTES_MAX).contains(&each) && bytes <= (PARTITIONS_MAX * 4096) as u64;
    let start = first.checked_mul(sector).filter(|start| start.saturating_add(bytes) <= disk.size());
    let (true, Some(start)) = (fits, start) else { return Ok(None) };
    let mut entries = vec![0; bytes as usize];
    disk.read(start, &mut entries)?;
    if CRC.checksum(&entries) != u32::from_le_bytes(field(&header, 88)) {
        return Ok(None);
    }
    let entries = (1..).zip(entries.chunks(each as usize));
    Ok(Some(entries.filter_map(|(number, entry)| partition(disk.size(), sector, number, entry)).collect()))
}

/// One entry; nothing if it is empty or lies outside of the disk.
fn partition(size: u64, sector: u64, number: u32, entry: &[u8]) -> Option<Partition> {
    if entry[..16].iter().all(|&byte| byte == 0) {
        return None;
    }
    let first = u64::from_le_bytes(field(entry, 32));
    let last = u64::from_le_bytes(field(entry, 40));
    let start = first.checked_mul(sector)?;
    let end = last.checked_add(1)?.checked_mul(sector)?;
    let units = entry[56..128].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units = units.take_while(|&unit| unit != 0);
    let label = char::decode_utf16(units).map(|one| one.unwrap_or('\u{fffd}')).collect();
    (first > 0 && start < end && end <= size).then_some(Partition {
        number,
        start,
        length: end - start,
        label,
    })
}
