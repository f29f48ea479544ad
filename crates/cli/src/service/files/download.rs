//! What a mover streams: taken to its end, and compared with what the server says of it.
//!
//! A stream that is cut off is an error of the connection. Should something between us and the server hide that, the
//! count of bytes tells: no command here ends well before the server has said that the download is complete, and how
//! long it was.

use anyhow::{Context as _, Result, ensure};
use api::client::{Client, ClientError};
use api::files::{FilesDownload, FilesDownloadState, FilesEntry, FilesReport};
use reqwest::Response;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Pieces that wait to be written.
const PIECES_WAITING: usize = 4;
/// A line of a search: a place with each of its bytes escaped, and numbers.
const LINE_BYTES_MAX: usize = 128 << 10;

/// A stream that has begun.
pub(super) struct Download<'c> {
    client: &'c Client,
    session: &'c str,
    number: u64,
    response: Response,
    bytes: u64,
}

impl<'c> Download<'c> {
    pub(super) async fn begin(client: &'c Client, session: &'c str, what: &str) -> Result<Self> {
        let response = client.stream(&format!("{session}/{what}")).await?;
        let number = response.headers().get("strongroom-download");
        let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
        let number = number.context("the server does not say which download it is")?;
        Ok(Self { client, session, number, response, bytes: 0 })
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        match self.response.chunk().await {
            Ok(Some(bytes)) => {
                self.bytes += bytes.len() as u64;
                Ok(Some(bytes.into()))
            }
            Ok(None) => Ok(None),
            Err(source) => {
                let broken =
                    ClientError::Unreachable { doing: "read the stream to its end".to_owned(), source };
                Err(self.why().await.unwrap_or_else(|| broken.into()))
            }
        }
    }

    fn address(&self) -> String {
        format!("{}/downloads/{}", self.session, self.number)
    }

    /// Why the mover could not go on, if it said so.
    async fn why(&self) -> Option<anyhow::Error> {
        let problem = match self.client.get::<FilesDownload>(&self.address()).await {
            Ok(told) => told.problem?,
            // The session itself has ended, and why is told.
            Err(ClientError::Refused(problem)) => *problem,
            Err(_) => return None,
        };
        Some(anyhow::Error::new(ClientError::Refused(Box::new(problem))).context("bring the files here"))
    }

    /// Makes sure that it is whole.
    async fn whole(self) -> Result<FilesReport> {
        let told: FilesDownload = self.client.get(&self.address()).await?;
        ensure!(
            told.state == FilesDownloadState::Complete && told.bytes == self.bytes,
            "the stream was cut off on its way: {} bytes of {} came",
            self.bytes,
            told.bytes
        );
        Ok(told.report.unwrap_or_default())
    }

    /// Writes it somewhere.
    pub(super) async fn copy(mut self, to: &mut impl Write) -> Result<FilesReport> {
        while let Some(bytes) = self.next().await? {
            match to.write_all(&bytes) {
                // Whoever reads us has seen enough, as `head` does.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(FilesReport::default()),
                written => written.context("write the stream")?,
            }
        }
        to.flush().context("write the stream")?;
        self.whole().await
    }

    /// Writes it into a new file, which has its name only when it is whole.
    pub(super) async fn save(self, path: &Path) -> Result<FilesReport> {
        let partial = Partial::new(path)?;
        let report = self.copy(&mut &partial.file).await?;
        partial.finish(path)?;
        Ok(report)
    }

    /// Takes the tar stream apart into a folder.
    pub(super) async fn unpack(mut self, folder: &Path) -> Result<FilesReport> {
        let folder = folder.to_owned();
        let (pieces, waiting) = mpsc::channel(PIECES_WAITING);
        let unpacking = tokio::task::spawn_blocking(move || {
            ::files::unpack(&mut Pieces { waiting, piece: Vec::new(), at: 0 }, &folder)
        });
        let mut failed = None;
        loop {
            match self.next().await {
                // Whoever takes it apart may have given up: why is told below.
                Ok(Some(bytes)) => match pieces.send(bytes).await {
                    Ok(()) => {}
                    Err(_) => break,
                },
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(pieces);
        let unpacked = unpacking.await.context("take the stream apart")?;
        // Why it broke off says more than that it did.
        if let Some(error) = failed {
            return Err(error);
        }
        unpacked?;
        self.whole().await
    }

    /// Gives each line of a search.
    pub(super) async fn lines(mut self, mut take: impl FnMut(FilesEntry)) -> Result<FilesReport> {
        let mut waiting = Vec::new();
        while let Some(bytes) = self.next().await? {
            waiting.extend(bytes);
            let end = waiting.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            for line in waiting[..end].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                take(serde_json::from_slice(line).context("read what was found")?);
            }
            waiting.drain(..end);
            ensure!(waiting.len() <= LINE_BYTES_MAX, "read what was found: a line is too long");
        }
        self.whole().await
    }
}

/// A file that is not whole yet: it goes away unless it is finished.
struct Partial {
    path: PathBuf,
    file: File,
    is_finished: bool,
}

impl Partial {
    fn new(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        if path.symlink_metadata().is_ok() {
            let error = io::Error::from(ErrorKind::AlreadyExists);
            return Err(error).with_context(|| format!("make {}", path.display()));
        }
        let partial = PathBuf::from(name);
        let made = File::create_new(&partial);
        let file = made.with_context(|| format!("make {}", partial.display()))?;
        Ok(Self { path: partial, file, is_finished: false })
    }

    fn finish(mut self, path: &Path) -> Result<()> {
        // Unlike a renaming, it replaces nothing that came meanwhile.
        std::fs::hard_link(&self.path, path).with_context(|| format!("make {}", path.display()))?;
        self.is_finished = true;
        std::fs::remove_file(&self.path).with_context(|| format!("remove {}", self.path.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = std::fs::remove_file(&self.path); // half a stream is of no use
        }
    }
}

/// Pieces as they come, for who waits for them on a thread of its own.
struct Pieces {
    waiting: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.waiting.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
