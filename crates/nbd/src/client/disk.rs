//! A remote export as a disk.

use super::Options;
use super::connection::Connection;
use super::coverage::Coverage;
use super::handshake::{Agreed, open};
use super::replies::{Answer, Status, Target, Wanted};
use super::status::runs;
use crate::address::Address;
use crate::wire::{REQUEST_BYTES_MAX, Request, STATUS_EXTENTS_MAX, command, command_flag, export_flag};
use async_trait::async_trait;
use block::{BlockSink, BlockSource, Error, ErrorKind, Extent, ExtentKind, Result, check_range};
use futures_util::future::try_join_all;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests that carry no bytes (zeroing, block status) cover at most this much: a multiple of every
/// block size, well within the 32 bits of a length, and no server is busy with one for long.
const BARE_REQUEST_BYTES_MAX: u64 = 1 << 30;
/// Reads are cut into requests of this size. Measured with QEMU 7.2 on a warm file: 512 KiB and below
/// run twice as fast as 1 MiB and above, for which it maps and clears fresh memory every time.
const READ_BYTES: usize = 512 << 10;
/// More connections than this only cost the server memory.
const CONNECTIONS_MAX: usize = 16;
/// Most extents told of one range (48 MiB of them): 1 GiB in which every 512 bytes differ.
const EXTENTS_MAX: usize = 2 * STATUS_EXTENTS_MAX;

/// A server's export as a [`BlockSource`] and, if the server lets us write, a [`BlockSink`].
///
/// Dropping it closes its connections some time later; [`close`](Self::close) waits for that.
/// A reply may take as long as it takes: whoever wants a limit puts one around the call.
pub struct NbdDisk {
    agreed: Agreed,
    /// Never empty.
    connections: Vec<Connection>,
    /// One BLOCK_STATUS at a time.
    status_turn: Arc<Semaphore>,
}

impl NbdDisk {
    /// Opens an export.
    ///
    /// # Errors
    /// `NotFound` if there is no such export or no such dirty bitmap in it; `Unreachable` if no server
    /// answers within ten seconds; `Invalid` for names no server can have.
    pub async fn connect(address: &Address, options: &Options) -> Result<Self> {
        options.check()?;
        let (reader, writer, agreed) = open(address, options).await?;
        let mut connections = vec![Connection::start(reader, writer, agreed.contexts)];
        if agreed.flags & export_flag::CAN_MULTI_CONN != 0 {
            let more = options.connections.clamp(1, CONNECTIONS_MAX) - 1;
            for (reader, writer, also) in try_join_all((0..more).map(|_| open(address, options))).await? {
                if also != agreed {
                    let context =
                        format!("open export '{}' at {address}: it changed meanwhile", options.export);
                    return Err(Error::new(ErrorKind::Io, context));
                }
                connections.push(Connection::start(reader, writer, also.contexts));
            }
        }
        Ok(Self { agreed, connections, status_turn: Arc::new(Semaphore::new(1)) })
    }

    /// True if the server refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.has(export_flag::READ_ONLY)
    }

    /// Offsets and lengths of writes must be multiples of this many bytes. Reads need not.
    pub fn block_bytes(&self) -> u32 {
        self.agreed.blocks.minimum
    }

    /// Connections in use.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Writes `data` and returns when it is durable.
    pub async fn write_durably(&self, offset: u64, data: Vec<u8>) -> Result<Vec<u8>> {
        if self.has(export_flag::SEND_FUA) {
            return self.write_pieces(offset, data, command_flag::FUA).await;
        }
        let data = self.write_pieces(offset, data, 0).await?;
        self.flush().await?;
        Ok(data)
    }

    /// Gives up a range's space. What it reads as afterwards is the server's choice.
    /// Does nothing where the server cannot.
    pub async fn trim(&self, offset: u64, length: u64) -> Result<()> {
        self.check_write(offset, length)?;
        if self.has(export_flag::SEND_TRIM) {
            self.bare(command::TRIM, offset, length).await?;
        }
        Ok(())
    }

    /// Says goodbye to the server and returns when all connections are closed. Writes that shall
    /// survive must have been flushed.
    pub async fn close(self) {
        for connection in self.connections {
            connection.close().await;
        }
    }

    fn has(&self, flag: u16) -> bool {
        self.agreed.flags & flag != 0
    }

    /// The connection with the fewest requests under way.
    fn idlest(&self) -> &Connection {
        self.connections.iter().max_by_key(|connection| connection.free_slots()).expect("never empty")
    }

    /// Most bytes of one READ or WRITE: a multiple of the block size.
    fn request_bytes_max(&self) -> usize {
        let blocks = self.agreed.blocks;
        let most = blocks.maximum.min(REQUEST_BYTES_MAX);
        (most - most % blocks.minimum) as usize
    }

    fn check_write(&self, offset: u64, length: u64) -> Result<()> {
        check_range(self.agreed.size, offset, length)?;
        let block = u64::from(self.agreed.blocks.minimum);
        if self.is_read_only() {
            Err(Error::new(ErrorKind::Invalid, "write to an export that is read-only"))
        } else if offset.is_multiple_of(block) && length.is_multiple_of(block) {
            Ok(())
        } else {
            let context = format!("write {length} bytes at {offset} to an export with blocks of {block}");
            Err(Error::new(ErrorKind::Invalid, context))
        }
    }

    /// Fills `buffer` with as many requests as it takes; the range must be whole blocks.
    async fn read_pieces(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        let (length, step) = (buffer.len(), self.request_bytes_max().min(READ_BYTES));
        for start in (0..length).step_by(step) {
            let range = start..length.min(start + step);
            let request = request(command::READ, 0, offset + start as u64, range.len());
            let target = Target { buffer, range, offset: request.offset, covered: Coverage::default() };
            match self.idlest().call(request, Wanted::Bytes(target), None).await? {
                Answer::Bytes(filled) => buffer = filled,
                _ => unreachable!("a read is answered with bytes or an error"),
            }
        }
        Ok(buffer)
    }

    async fn write_pieces(&self, offset: u64, mut data: Vec<u8>, flags: u16) -> Result<Vec<u8>> {
        self.check_write(offset, data.len() as u64)?;
        let (length, step) = (data.len(), self.request_bytes_max());
        for start in (0..length).step_by(step) {
            let range = start..length.min(start + step);
            let request = request(command::WRITE, flags, offset + start as u64, range.len());
            data = self.idlest().write(request, data, range).await?;
        }
        Ok(data)
    }

    /// Sends requests that carry no bytes and want none.
    async fn bare(&self, command: u16, offset: u64, length: u64) -> Result<()> {
        for start in (0..length).step_by(BARE_REQUEST_BYTES_MAX as usize) {
            let piece = BARE_REQUEST_BYTES_MAX.min(length - start) as usize;
            self.idlest().call(request(command, 0, offset + start, piece), Wanted::Done, None).await?;
        }
        Ok(())
    }

    /// Lengths and kinds from `offset`: at least one, perhaps not all that was asked for, perhaps more.
    async fn status(&self, offset: u64, length: u64) -> Result<Vec<(u64, ExtentKind)>> {
        let turn = Arc::clone(&self.status_turn).acquire_owned().await.expect("the turn is never closed");
        let request = request(command::BLOCK_STATUS, 0, offset, length as usize);
        match self.idlest().call(request, Wanted::Status(Status::default()), Some(turn)).await? {
            Answer::Status(status) => Ok(runs(self.agreed.contexts, &status)),
            _ => unreachable!("block status is answered with extents or an error"),
        }
    }

    /// The smallest range of whole blocks around a range.
    fn widen(&self, offset: u64, length: u64) -> (u64, u64) {
        let block = u64::from(self.agreed.blocks.minimum);
        let start = offset / block * block;
        (start, (offset + length).next_multiple_of(block) - start)
    }
}

fn request(command: u16, flags: u16, offset: u64, length: usize) -> Request {
    let length = u32::try_from(length).expect("callers cut to at most 1 GiB");
    Request { flags, command, cookie: 0, offset, length }
}

#[async_trait]
impl BlockSource for NbdDisk {
    fn size(&self) -> u64 {
        self.agreed.size
    }

    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        check_range(self.agreed.size, offset, length)?;
        let contexts = self.agreed.contexts;
        if contexts.allocation.is_none() && contexts.bitmap.is_none() {
            return Ok(vec![Extent::new(offset, length, ExtentKind::Data)]);
        }
        let end = offset + length;
        let mut extents: Vec<Extent> = Vec::new();
        let (mut at, _) = self.widen(offset, length);
        while at < end {
            let (_, ask) = self.widen(at, (end - at).min(BARE_REQUEST_BYTES_MAX));
            let before = at;
            for (run, kind) in self.status(at, ask).await? {
                let (start, stop) = (at.max(offset), (at + run).min(end));
                match extents.last_mut() {
                    _ if start >= stop => {}
                    Some(last) if last.kind == kind => last.length += stop - start,
                    _ => extents.push(Extent::new(start, stop - start, kind)),
                }
                at = (at + run).min(end);
            }
            if at == before || extents.len() > EXTENTS_MAX {
                let context = format!("ask for extents at {offset}: the server tells nothing, or too much");
                return Err(Error::new(ErrorKind::Io, context));
            }
        }
        Ok(extents)
    }

    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        check_range(self.agreed.size, offset, buffer.len() as u64)?;
        let wanted = buffer.len();
        let (start, length) = self.widen(offset, wanted as u64);
        if length == wanted as u64 {
            return self.read_pieces(offset, buffer).await;
        }
        let wide = self.read_pieces(start, vec![0; length as usize]).await?;
        let skip = (offset - start) as usize;
        buffer.copy_from_slice(&wide[skip..][..wanted]);
        Ok(buffer)
    }
}

#[async_trait]
impl BlockSink for NbdDisk {
    fn size(&self) -> u64 {
        self.agreed.size
    }

    async fn write(&self, offset: u64, data: Vec<u8>) -> Result<Vec<u8>> {
        self.write_pieces(offset, data, 0).await
    }

    async fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.check_write(offset, length)?;
        if self.has(export_flag::SEND_WRITE_ZEROES) {
            return self.bare(command::WRITE_ZEROES, offset, length).await;
        }
        let step = (1 << 20).min(self.request_bytes_max() as u64);
        let mut zeros = vec![0; step.min(length) as usize];
        for start in (0..length).step_by(step as usize) {
            zeros.truncate((length - start).min(step) as usize);
            zeros = self.write_pieces(offset + start, zeros, 0).await?;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        // A server without FLUSH says that what it has answered is durable. With several connections
        // one FLUSH does for all: that is what CAN_MULTI_CONN promises.
        if self.has(export_flag::SEND_FLUSH) {
            self.idlest().call(request(command::FLUSH, 0, 0, 0), Wanted::Done, None).await?;
        }
        Ok(())
    }
}
