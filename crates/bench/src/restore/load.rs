//! A client of NBD that only loads a server: random reads of a page, so many at a time, over one connection.
//!
//! It shares nothing with our own client, and costs as little as it can.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a read.
pub(super) const PAGE: u64 = 4096;
/// Reads under way.
const DEPTH: usize = 16;
/// What lies between the server and us, as much as arrives at once.
const BUFFER_BYTES: usize = 256 << 10;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const OPTION_GO: u32 = 7;
const OPTION_ACK: u32 = 1;

/// A connection to an export.
pub(super) struct Load {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Load {
    /// Opens the default export.
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let writer = UnixStream::connect(socket).with_context(|| format!("connect {}", socket.display()))?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, writer.try_clone()?);
        let mut load = Self { reader, writer };
        load.handshake().context("shake hands")?;
        Ok(load)
    }

    fn handshake(&mut self) -> Result<()> {
        self.reader.read_exact(&mut [0; 18])?;
        // Fixed newstyle, no zeroes; GO, of an empty name, asking for nothing.
        let mut hello = 3u32.to_be_bytes().to_vec();
        hello.extend(OPTION_MAGIC.to_be_bytes());
        hello.extend([OPTION_GO, 6, 0].map(u32::to_be_bytes).as_flattened());
        hello.extend([0, 0]);
        self.writer.write_all(&hello)?;
        loop {
            let mut head = [0; 20];
            self.reader.read_exact(&mut head)?;
            let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
            let (kind, length) = (word(12), word(16));
            let mut rest = vec![0; length as usize];
            self.reader.read_exact(&mut rest)?;
            match kind {
                OPTION_ACK => return Ok(()),
                error if error >> 31 == 1 => bail!("refused: {error:#x}"),
                _ => {}
            }
        }
    }

    /// Reads pages at offsets that `next` gives, for so long; gives how many a second. All pages are as `check` says.
    pub(super) fn run(&mut self, limit: Duration, mut next: impl FnMut() -> u64) -> Result<f64> {
        let (mut sent, mut waiting) = (Vec::new(), 0);
        let mut page = vec![0; 16 + PAGE as usize];
        let (began, mut done) = (Instant::now(), 0u64);
        for _ in 0..DEPTH {
            push(&mut sent, next());
        }
        while began.elapsed() < limit || waiting > 0 {
            if !sent.is_empty() {
                waiting += sent.len() / 28;
                self.writer.write_all(&sent)?;
                sent.clear();
            }
            // All that has arrived, and then as many anew.
            loop {
                self.reader.read_exact(&mut page)?;
                ensure!(page[..4] == REPLY_MAGIC.to_be_bytes() && page[4..8] == [0; 4], "a read failed");
                (done, waiting) = (done + 1, waiting - 1);
                if began.elapsed() < limit {
                    push(&mut sent, next());
                }
                if waiting == 0 || self.reader.buffer().len() < page.len() {
                    break;
                }
            }
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }
}

fn push(sent: &mut Vec<u8>, offset: u64) {
    sent.extend(REQUEST_MAGIC.to_be_bytes());
    sent.extend([0; 4]); // flags; command READ
    sent.extend(offset.to_be_bytes()); // the cookie
    sent.extend(offset.to_be_bytes());
    sent.extend((PAGE as u32).to_be_bytes());
}
