//! Cuts a byte stream into lines, losing nothing when the wait is given up.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A reply longer than this is not one. The largest honest ones are a schema (0.5 MB) and a file read
/// through the agent, which asks for far less.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Reads lines; safe to drop between bytes and to resume, for `select!` and timeouts.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    searched: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), searched: 0 }
    }

    /// The next line without its end; `None` when the other side has closed.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    line.pop();
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
            }
            // Cancel-safe: bytes go straight into our own buffer.
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}
