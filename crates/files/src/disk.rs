//! Bytes by their place: what every layer reads from and, but for the last, gives to the next.

use crate::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

/// Bytes that do not change.
pub trait Disk {
    /// How many.
    fn size(&self) -> u64;

    /// Fills the whole of `buffer` from `offset`.
    ///
    /// # Errors
    /// `Corrupt` for a range outside, `Io` if the bytes cannot be had.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

/// Refuses a range that does not lie within `size` bytes.
pub(crate) fn check(size: u64, offset: u64, length: usize) -> Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::corrupt(format!("{length} bytes at {offset} lie beyond the end at {size}"))),
    }
}

/// Some bytes from a place, as an array.
pub(crate) fn array<const N: usize>(disk: &dyn Disk, offset: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    disk.read(offset, &mut bytes)?;
    Ok(bytes)
}

/// Bytes of a field within what was read; zeros beyond its end.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    if let Some(found) = bytes.get(at..at.saturating_add(N)) {
        field.copy_from_slice(found);
    }
    field
}

/// A part of a disk: a partition.
pub(crate) struct Part {
    pub(crate) disk: Rc<dyn Disk>,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

impl Disk for Part {
    fn size(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        check(self.length, offset, buffer.len())?;
        let place = self.start.checked_add(offset).ok_or_else(|| Error::corrupt("an offset overflows"))?;
        self.disk.read(place, buffer)
    }
}

/// Parts one behind the other: a logical volume.
pub(crate) struct Chain(pub(crate) Vec<Part>);

impl Disk for Chain {
    fn size(&self) -> u64 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(part.length))
    }

    fn read(&self, offset: u64, mut buffer: &mut [u8]) -> Result<()> {
        check(self.size(), offset, buffer.len())?;
        let mut skip = offset;
        for part in &self.0 {
            if skip >= part.length {
                skip -= part.length;
                continue;
            }
            let here = (part.length - skip).min(buffer.len() as u64) as usize;
            let (now, rest) = std::mem::take(&mut buffer).split_at_mut(here);
            part.read(skip, now)?;
            (buffer, skip) = (rest, 0);
            if buffer.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// What is fetched and kept at once: a chunk of a vault, so that none is fetched twice.
const BLOCK_BYTES: u64 = 64 << 10;
/// Half of the blocks that are kept: 32 MiB in all.
const BLOCKS_MAX: usize = 256;
/// Fetched at once if somebody reads on from where the last fetch ended.
const BLOCKS_AHEAD: u64 = 16;

/// A disk that remembers what was read of it.
pub(crate) struct Cached<D> {
    disk: D,
    kept: RefCell<Kept>,
}

/// Two generations: when the young one is full, it becomes the old one, and what was the old one is forgotten. What is
/// used moves to the young one.
#[derive(Default)]
struct Kept {
    young: HashMap<u64, Rc<[u8]>>,
    old: HashMap<u64, Rc<[u8]>>,
    /// The block behind the last that was fetched.
    next: u64,
}

impl Kept {
    fn get(&mut self, block: u64) -> Option<Rc<[u8]>> {
        if let Some(found) = self.young.get(&block) {
            return Some(Rc::clone(found));
        }
        let found = self.old.remove(&block)?;
        self.put(block, Rc::clone(&found));
        Some(found)
    }

    fn put(&mut self, block: u64, bytes: Rc<[u8]>) {
        if self.young.len() >= BLOCKS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(block, bytes);
    }
}

impl<D: Disk> Cached<D> {
    pub(crate) fn new(disk: D) -> Self {
        Self { disk, kept: RefCell::default() }
    }

    fn block(&self, block: u64, wanted_end: u64) -> Result<Rc<[u8]>> {
        if let Some(found) = self.kept.borrow_mut().get(block) {
            return Ok(found);
        }
        let size = self.disk.size();
        let ahead = self.kept.borrow().next == block && block > 0;
        let wanted = wanted_end.max(if ahead { block + BLOCKS_AHEAD } else { block + 1 });
        let end = wanted.min(block + BLOCKS_AHEAD).min(size.div_ceil(BLOCK_BYTES));
        let start = block * BLOCK_BYTES;
        let mut bytes = vec![0; ((end * BLOCK_BYTES).min(size) - start) as usize];
        self.disk.read(start, &mut bytes)?;
        let mut kept = self.kept.borrow_mut();
        kept.next = end;
        for (block, part) in (block..).zip(bytes.chunks(BLOCK_BYTES as usize)) {
            kept.put(block, part.into());
        }
        kept.get(block).ok_or_else(|| Error::new(ErrorKind::Io, "a block was fetched and is not there"))
    }
}

impl<D: Disk> Disk for Cached<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        check(self.size(), offset, buffer.len())?;
        let last = (offset + buffer.len() as u64).div_ceil(BLOCK_BYTES);
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let block = self.block(at / BLOCK_BYTES, last)?;
            let within = (at % BLOCK_BYTES) as usize;
            let length = (block.len() - within).min(buffer.len() - done);
            buffer[done..done + length].copy_from_slice(&block[within..within + length]);
            done += length;
        }
        Ok(())
    }
}

/// A disk with a place to read on from, as some readers want it. Writing is refused.
pub(crate) struct Cursor {
    pub(crate) disk: Rc<dyn Disk>,
    at: u64,
}

impl Cursor {
    pub(crate) fn new(disk: Rc<dyn Disk>) -> Self {
        Self { disk, at: 0 }
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.disk.size().saturating_sub(self.at);
        let length = left.min(buffer.len() as u64) as usize;
        self.disk.read(self.at, &mut buffer[..length]).map_err(io::Error::other)?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.disk.size().checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Write for Cursor {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Bytes that tell their place, and how often they were asked for.
    struct Counted(u64, Rc<Cell<u32>>);

    impl Disk for Counted {
        fn size(&self) -> u64 {
            self.0
        }

        fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
            check(self.0, offset, buffer.len())?;
            self.1.set(self.1.get() + 1);
            for (at, byte) in (offset..).zip(buffer) {
                *byte = (at / 251) as u8 ^ at as u8;
            }
            Ok(())
        }
    }

    fn expected(offset: u64, length: usize) -> Vec<u8> {
        (offset..offset + length as u64).map(|at| (at / 251) as u8 ^ at as u8).collect()
    }

    #[test]
    fn what_is_cached_is_what_is_there() {
        let asked = Rc::new(Cell::new(0));
        let disk = Cached::new(Counted(100 << 20, Rc::clone(&asked)));
        for (offset, length) in
            [(0, 10), (65_530, 12), (1 << 20, 3 << 20), ((100 << 20) - 7, 7), (65_530, 12)]
        {
            let mut buffer = vec![0; length];
            disk.read(offset, &mut buffer).expect("a read");
            assert_eq!(buffer, expected(offset, length), "{length} at {offset}");
        }
        let before = asked.get();
        disk.read(65_530, &mut [0; 12]).expect("a read");
        assert_eq!(asked.get(), before, "read again although it was kept");
        assert!(disk.read((100 << 20) - 3, &mut [0; 4]).is_err());
        assert!(disk.read(u64::MAX, &mut [0; 4]).is_err());
    }

    #[test]
    fn a_chain_goes_on_in_its_next_part() {
        let whole: Rc<dyn Disk> = Rc::new(Counted(1 << 20, Rc::default()));
        let part = |start, length| Part { disk: Rc::clone(&whole), start, length };
        let chain = Chain(vec![part(5000, 100), part(100, 50), part(9000, 1000)]);
        let mut buffer = vec![0; 200];
        chain.read(60, &mut buffer).expect("a read");
        let told = [expected(5060, 40), expected(100, 50), expected(9000, 110)].concat();
        assert_eq!(buffer, told);
        assert!(chain.read(1100, &mut [0; 51]).is_err());
    }
}
