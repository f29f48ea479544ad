//! The partition table of old: four primary partitions, and logical ones in a chain of tables within one of them.

use super::Partition;
use crate::Result;
use crate::disk::{Disk, array, field};
use std::collections::HashSet;

/// The table counts in these, whatever the disk's sectors are.
const SECTOR: u64 = 512;
/// Logical partitions; Linux reads 256 minors at most.
const LOGICAL_MAX: u32 = 128;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Says that the real table is a GPT.
const PROTECTIVE: u8 = 0xee;

struct Row {
    kind: u8,
    start: u64,
    length: u64,
}

/// The partitions, or nothing if the first sector holds no table.
///
/// # Errors
/// `Io` if the disk cannot be read.
pub(super) fn read(disk: &dyn Disk) -> Result<Option<Vec<Partition>>> {
    if disk.size() < SECTOR {
        return Ok(None);
    }
    let sector: [u8; 512] = array(disk, 0)?;
    let Some(rows) = rows(&sector).filter(|rows| is_table(&sector, rows, disk.size())) else {
        return Ok(None);
    };
    let mut found = Vec::new();
    let mut extended = None;
    for (number, row) in (1..).zip(&rows) {
        if EXTENDED.contains(&row.kind) {
            extended = extended.or(Some(row.start));
        } else {
            found.extend(partition(disk.size(), number, row.start, row.length));
        }
    }
    if let Some(start) = extended {
        logical(disk, start, &mut found)?;
    }
    Ok(Some(found))
}

/// The four rows of a table; nothing if the sector is not signed as one.
fn rows(sector: &[u8; 512]) -> Option<[Row; 4]> {
    let row = |index: usize| {
        let at = 446 + index * 16;
        let number = |at| u64::from(u32::from_le_bytes(field(sector, at))) * SECTOR;
        Row { kind: sector[at + 4], start: number(at + 8), length: number(at + 12) }
    };
    (sector[510..] == [0x55, 0xaa]).then(|| std::array::from_fn(row))
}

/// The boot sectors of FAT and NTFS carry the same signature, with a program where the table would be.
fn is_table(sector: &[u8; 512], rows: &[Row; 4], size: u64) -> bool {
    let boots = |index: usize| sector[446 + index * 16] & 0x7f == 0;
    let fits =
        |row: &Row| row.kind == 0 || (row.start >= SECTOR && row.start < size && row.kind != PROTECTIVE);
    let some = rows.iter().any(|row| row.kind != 0 && row.length > 0);
    some && (0..4).all(boots) && rows.iter().all(fits)
}

fn partition(size: u64, number: u32, start: u64, length: u64) -> Option<Partition> {
    // A partition that ends beyond the disk was cut: what is left of it is looked at.
    let length = length.min(size.saturating_sub(start));
    (length > 0).then_some(Partition { number, start, length, label: String::new() })
}

/// Follows the chain: each table has a partition, counted from itself, and the next table, counted from the first.
fn logical(disk: &dyn Disk, extended: u64, found: &mut Vec<Partition>) -> Result<()> {
    let mut at = extended;
    let mut seen = HashSet::new();
    for number in 5..5 + LOGICAL_MAX {
        if !seen.insert(at) || at.saturating_add(SECTOR) > disk.size() {
            return Ok(());
        }
        let Some([own, next, ..]) = rows(&array(disk, at)?) else { return Ok(()) };
        if own.kind != 0 && !EXTENDED.contains(&own.kind) {
            found.extend(partition(disk.size(), number, at.saturating_add(own.start), own.length));
        }
        if !EXTENDED.contains(&next.kind) {
            return Ok(());
        }
        at = extended.saturating_add(next.start);
    }
    Ok(())
}
