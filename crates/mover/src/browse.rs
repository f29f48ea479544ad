//! Answers what a server's callers ask about the files of a point, in the words of the API.
//!
//! Texts go out such that nothing of them steers a terminal or breaks out of a line: see [`files::shown`]; and what
//! comes in is read back by [`files::meant`]. A stream is said to be whole only when all of it was brought.

mod words;

use api::files::{
    ArchiveFormat, FilesEntry, FilesQuestion, FilesReport, FilesSaid, NamePattern, PIECE_BYTES_MAX,
};
use files::{Browser, Entry, Format, Kind, Pattern, Result, Target, meant, shown};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use words::{entry, problem, region, report};

/// Of a page as JSON: half of what a server reads of a body.
const PAGE_BYTES_MAX: usize = 512 << 10;
/// What was found is sent after so long at the latest, so that whoever waits sees it.
const FOUND_WITHIN: Duration = Duration::from_millis(500);
/// Links in one page whose target is looked up.
const TARGETS_SHOWN: usize = 1000;

/// Whoever asked: takes the answer. False if nobody wants it any more.
pub(crate) trait Asker {
    /// Says something of the question.
    fn say(&mut self, said: &FilesSaid) -> bool;
    /// Brings the next piece of a stream, of [`PIECE_BYTES_MAX`] at most.
    fn bring(&mut self, bytes: &[u8]) -> bool;
}

/// The folder that was listed last: pages of it follow one another.
pub(crate) type Listed = Option<(Target, Vec<Entry>)>;

/// Answers a question.
pub(crate) fn answer(
    browser: &mut Browser,
    listed: &mut Listed,
    question: &FilesQuestion,
    asker: &mut dyn Asker,
) {
    let said = match question {
        FilesQuestion::Regions {} => {
            browser.volumes().map(|all| FilesSaid::Regions { regions: all.iter().map(region).collect() })
        }
        FilesQuestion::Entries { place, from, limit } => {
            page(browser, listed, place, (*from as usize, *limit as usize))
        }
        FilesQuestion::Content { place, from, length } => content(browser, place, (*from, *length), asker),
        FilesQuestion::Archive { place, format } => archive(browser, place, *format, asker),
        FilesQuestion::Matches { place, pattern, ignore_case, limit } => {
            let beneath = place.as_deref();
            pattern_of(pattern, *ignore_case)
                .and_then(|pattern| matches(browser, beneath, (&pattern, u64::from(*limit)), asker))
        }
    };
    // If nobody waits for it any more, the next question tells.
    let _ = asker.say(&said.unwrap_or_else(|error| FilesSaid::Failed { problem: problem(&error) }));
}

fn target(browser: &mut Browser, place: &str) -> Result<Target> {
    browser.target(&meant(place)?)
}

fn page(
    browser: &mut Browser,
    listed: &mut Listed,
    place: &str,
    (from, limit): (usize, usize),
) -> Result<FilesSaid> {
    let target = target(browser, place)?;
    let (folder, metadata) = browser.resolve(&target, true)?;
    let is_known = from > 0 && listed.as_ref().is_some_and(|(known, _)| *known == folder);
    if !is_known {
        let entries = match metadata.kind {
            Kind::Folder => browser.list(&folder)?,
            // A file's list is the file, as `ls` has it.
            _ => {
                vec![Entry { name: folder.path.name().unwrap_or_default().to_vec(), metadata: Ok(metadata) }]
            }
        };
        *listed = Some((folder.clone(), entries));
    }
    let all = listed.as_ref().map_or(&[][..], |(_, entries)| entries);
    let (mut entries, mut bytes, mut links) = (Vec::new(), 0, 0);
    for one in all.iter().skip(from).take(limit) {
        let is_link = one.metadata.as_ref().is_ok_and(|metadata| metadata.kind == Kind::Link);
        links += usize::from(is_link);
        let points = match is_link && links <= TARGETS_SHOWN && metadata.kind == Kind::Folder {
            true => browser.link(&folder.join(&one.name)?).ok(),
            false => None,
        };
        let shown = entry(shown(&one.name), &one.metadata, points.as_deref());
        bytes += json(&shown).len();
        if bytes > PAGE_BYTES_MAX && !entries.is_empty() {
            break;
        }
        entries.push(shown);
    }
    let end = from + entries.len();
    let next = (end < all.len() && !entries.is_empty()).then_some(end as u32);
    Ok(FilesSaid::Entries { entries, next })
}

fn content(
    browser: &mut Browser,
    place: &str,
    (from, length): (u64, Option<u64>),
    asker: &mut dyn Asker,
) -> Result<FilesSaid> {
    let target = target(browser, place)?;
    let (target, metadata) = browser.resolve(&target, true)?;
    if metadata.kind != Kind::File {
        return Err(files::Error::new(files::ErrorKind::Invalid, format!("{target} is not a file")));
    }
    let size = metadata.size;
    if from > size {
        let text = format!("{target} has {size} bytes: none of them is number {from}");
        return Err(files::Error::new(files::ErrorKind::Invalid, text));
    }
    let end = length.and_then(|length| from.checked_add(length)).map_or(size, |end| end.min(size));
    if from < end {
        // What is refused says so with its first bytes, while that can still be told.
        browser.read(&target, from)?;
    }
    let name = shown(target.path.name().unwrap_or(b"file"));
    let begins = FilesSaid::Begins { name, length: Some(end - from), size: Some(size) };
    let mut stream = Stream::begin(asker, &begins)?;
    files::copy(browser, &target, &metadata, from..end, &mut stream)?;
    stream.finish()?;
    Ok(FilesSaid::Ended { report: FilesReport { files: 1, bytes: end - from, ..FilesReport::default() } })
}

fn archive(
    browser: &mut Browser,
    place: &str,
    format: ArchiveFormat,
    asker: &mut dyn Asker,
) -> Result<FilesSaid> {
    let target = target(browser, place)?;
    let (target, metadata) = browser.resolve(&target, true)?;
    if metadata.kind == Kind::Folder {
        // A folder that cannot be listed says so while that can still be told.
        browser.list(&target)?;
    }
    let (format, ending) = match format {
        ArchiveFormat::Tar => (Format::Tar, "tar"),
        ArchiveFormat::Zip => (Format::Zip, "zip"),
    };
    let name = target.path.name().unwrap_or(target.volume.as_bytes());
    let begins = FilesSaid::Begins { name: format!("{}.{ending}", shown(name)), length: None, size: None };
    let mut stream = Stream::begin(asker, &begins)?;
    let done = files::archive(browser, &target, format, &mut stream)?;
    stream.finish()?;
    Ok(FilesSaid::Ended { report: report(&done) })
}

fn pattern_of(pattern: &NamePattern, ignore_case: bool) -> Result<Pattern> {
    match pattern {
        NamePattern::Glob(text) => Pattern::glob(text, ignore_case),
        NamePattern::Regex(text) => Pattern::regex(text, ignore_case),
    }
}

fn matches(
    browser: &mut Browser,
    beneath: Option<&str>,
    (pattern, limit): (&Pattern, u64),
    asker: &mut dyn Asker,
) -> Result<FilesSaid> {
    let roots = match beneath {
        Some(place) => vec![target(browser, place)?],
        None => crate::files::roots(browser)?,
    };
    for root in &roots {
        browser.resolve(root, true)?;
    }
    let begins = FilesSaid::Begins { name: "found.ndjson".to_owned(), length: None, size: None };
    let mut stream = Stream::begin(asker, &begins)?;
    let mut came_of_it = FilesReport::default();
    let mut broken = None;
    for root in &roots {
        let mut take = |found: files::Found| {
            came_of_it.files += 1;
            let line = entry(found.target.to_string(), &Ok(found.metadata), None);
            let written = stream.write_all(&[&json(&line)[..], b"\n"].concat());
            broken = written.and_then(|()| stream.flush_seldom()).err();
            broken.is_none() && came_of_it.files < limit
        };
        came_of_it.failed_count += files::search(browser, root, pattern, &mut take)?;
        if broken.is_some() || came_of_it.files >= limit {
            break;
        }
    }
    match broken {
        Some(error) => return Err(files::Error::io("send what was found", &error)),
        None => stream.finish()?,
    }
    Ok(FilesSaid::Ended { report: came_of_it })
}

fn json(entry: &FilesEntry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("plain data with names for keys")
}

/// A stream to whoever asked, in pieces.
struct Stream<'a> {
    asker: &'a mut dyn Asker,
    waiting: Vec<u8>,
    sent: Instant,
}

impl<'a> Stream<'a> {
    fn begin(asker: &'a mut dyn Asker, begins: &FilesSaid) -> Result<Self> {
        if !asker.say(begins) {
            return Err(files::Error::io("begin to send", &nobody()));
        }
        Ok(Self { asker, waiting: Vec::with_capacity(PIECE_BYTES_MAX), sent: Instant::now() })
    }

    /// Sends what is left.
    fn finish(mut self) -> Result<()> {
        self.send().map_err(|error| files::Error::io("send the last piece", &error))
    }

    /// Sends what waits if that has waited long enough.
    fn flush_seldom(&mut self) -> io::Result<()> {
        if self.sent.elapsed() < FOUND_WITHIN { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            if !self.asker.bring(&self.waiting) {
                return Err(nobody());
            }
            self.waiting.clear();
        }
        self.sent = Instant::now();
        Ok(())
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() >= PIECE_BYTES_MAX {
            self.send()?;
        }
        let taken = bytes.len().min(PIECE_BYTES_MAX - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Pieces are full but for the last: only [`finish`](Self::finish) sends what is left.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nobody() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it any more")
}
