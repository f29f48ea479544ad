//! A Unix socket that speaks one JSON value a line: QEMU's monitor and the guest agent.

use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// QEMU reads at once or is broken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer longer than this is not one. guest-exec returns up to 16 MiB, in base64.
const LINE_BYTES_MAX: usize = 64 << 20;

pub(crate) struct LineSocket {
    path: PathBuf,
    stream: UnixStream,
    unread: Vec<u8>,
}

impl LineSocket {
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(path).with_context(|| format!("cannot connect to {}", path.display()))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT)).context("cannot set a socket's time limit")?;
        Ok(Self { path: path.into(), stream, unread: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).with_context(|| format!("cannot write to {}", self.path.display()))
    }

    /// The next line without its end, or `None` if none comes by the deadline.
    pub(crate) fn line(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let context = || format!("cannot read from {}", self.path.display());
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.truncate(end);
                return Ok(Some(line));
            }
            if self.unread.len() > LINE_BYTES_MAX {
                bail!("{}: a line of more than {LINE_BYTES_MAX} bytes", self.path.display());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left)).with_context(context)?;
            let mut piece = [0; 8192];
            match self.stream.read(&mut piece) {
                Ok(0) => bail!("{} was closed by QEMU", self.path.display()),
                Ok(length) => self.unread.extend_from_slice(&piece[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(context),
            }
        }
    }
}
