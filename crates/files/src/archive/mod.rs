//! A file or a folder as one stream: tar, which keeps everything that a folder does, or zip, which Windows opens.

mod tar;
pub(crate) mod untar;
mod zip;

use crate::browser::{Browser, Target};
use crate::output::Report;
use crate::walk::{Met, Visitor, walk};
use crate::{Error, ErrorKind, Kind, Metadata, Result};
use std::io::Write;

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// POSIX tar with extended headers: owners, modes, times to the nanosecond, links.
    Tar,
    /// Zip, uncompressed, with Unix modes and links, times to two seconds, and no owners.
    Zip,
}

/// Writes `target` as a stream. A file or link is its only member; of a folder, what lies in it.
///
/// # Errors
/// If the target cannot be read at all, or the stream cannot be written. A file that cannot be read to its end ends
/// the stream too: its head, with its length, is out by then. What else fails is in the report.
pub fn archive(browser: &mut Browser, target: &Target, format: Format, to: &mut dyn Write) -> Result<Report> {
    let (target, metadata) = browser.resolve(target, true)?;
    let stream: Box<dyn Stream + '_> = match format {
        Format::Tar => Box::new(tar::Tar::new(to)),
        Format::Zip => Box::new(zip::Zip::new(to)),
    };
    let mut packer = Packer { stream, report: Report::default() };
    if metadata.kind == Kind::Folder {
        walk(browser, &target, &mut packer)?;
    } else {
        let name = target.path.name().unwrap_or(b"file").to_vec();
        packer.meet(browser, &target, &[name], &Met::Other(&metadata))?;
    }
    packer.stream.finish().map_err(|error| written(&error))?;
    Ok(packer.report)
}

/// A stream of members.
trait Stream {
    /// A folder, or a link with what it says.
    fn small(&mut self, name: &[u8], metadata: &Metadata, points: &[u8]) -> std::io::Result<()>;
    /// A file; exactly as many bytes as its size follow.
    fn begin(&mut self, name: &[u8], metadata: &Metadata) -> std::io::Result<()>;
    /// Bytes of the file.
    fn bytes(&mut self, data: &[u8]) -> std::io::Result<()>;
    /// The file is whole.
    fn end(&mut self) -> std::io::Result<()>;
    /// Nothing follows.
    fn finish(&mut self) -> std::io::Result<()>;
}

struct Packer<'s> {
    stream: Box<dyn Stream + 's>,
    report: Report,
}

impl Visitor for Packer<'_> {
    fn meet(
        &mut self,
        browser: &mut Browser,
        target: &Target,
        names: &[Vec<u8>],
        met: &Met<'_>,
    ) -> Result<()> {
        let mut name = names.join(&b'/');
        match met {
            Met::Folder(metadata) => {
                name.push(b'/');
                self.stream.small(&name, metadata, &[]).map_err(|error| written(&error))?;
                self.report.folders += 1;
            }
            Met::Left(_) => {}
            Met::Other(metadata) => match metadata.kind {
                Kind::File => return self.file(browser, target, &name, metadata),
                Kind::Link => match browser.link(target) {
                    Ok(points) => {
                        self.stream.small(&name, metadata, &points).map_err(|error| written(&error))?;
                        self.report.links += 1;
                    }
                    Err(error) => self.report.fail(target, &error),
                },
                _ => self.report.skip(target, "devices, pipes and sockets are not made anew".to_owned()),
            },
            Met::Failed(error) => self.report.fail(target, error),
        }
        Ok(())
    }
}

impl Packer<'_> {
    fn file(
        &mut self,
        browser: &mut Browser,
        target: &Target,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<()> {
        // What is refused says so with its first bytes, while it can still be left out.
        if metadata.size > 0
            && let Err(error) = browser.read(target, 0)
        {
            self.report.fail(target, &error);
            return Ok(());
        }
        if metadata.size > crate::extract::FILE_BYTES_MAX {
            self.report
                .fail(target, &Error::limit(format!("a file that says to have {} bytes", metadata.size)));
            return Ok(());
        }
        self.stream.begin(name, metadata).map_err(|error| written(&error))?;
        let mut at = 0;
        let stream = &mut self.stream;
        let read = crate::extract::read_whole(browser, target, metadata, |offset, data| {
            zeros(&mut **stream, offset - at)?;
            at = offset + data.len() as u64;
            stream.bytes(data).map_err(|error| written(&error))
        });
        read.map_err(|error| error.of(format!("{target} cannot be read to its end, so the stream ends")))?;
        zeros(&mut *self.stream, metadata.size - at)?;
        self.stream.end().map_err(|error| written(&error))?;
        self.report.files += 1;
        self.report.bytes += metadata.size;
        Ok(())
    }
}

fn zeros(stream: &mut dyn Stream, mut count: u64) -> Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while count > 0 {
        let now = count.min(ZEROS.len() as u64);
        stream.bytes(&ZEROS[..now as usize]).map_err(|error| written(&error))?;
        count -= now;
    }
    Ok(())
}

fn written(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("write the stream: {error}"))
}
