//! The parent's side: starts a worker, asks it, gives it the bytes it asks for, and believes nothing it says.

use crate::disk::{self, Disk};
use crate::entry::{Entry, FilePath, Metadata, TARGET_BYTES_MAX, check_name};
use crate::fs::ENTRIES_MAX;
use crate::layout::VOLUMES_MAX;
use crate::wire::{self, Answer, FromReader, Limits, PIECE_BYTES_MAX, Place, Question, ToReader, ZEROS_MAX};
use crate::{Error, Region, Result};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A disk that several threads may read.
pub type SharedDisk = Arc<dyn Disk + Send + Sync>;

/// Address space of a worker: caches of 32 MiB a disk, a journal, the list of a folder of a million names.
const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Processor time for looking around, and what reading takes on slow processors.
const LOOKING_SECONDS_MAX: u64 = 600;
const BYTES_A_SECOND_MIN: u64 = 4 << 20;
/// The worker's own time for one question, without what fetching its bytes takes us.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes that it may fetch for one question: no folder or journal needs more.
const FETCHED_BYTES_MAX: u64 = 64 << 30;
/// Workers that may die before we give up on a machine.
const WORKERS_MAX: u32 = 64;
/// The first of the users that own nothing: above what systems hand out, and beside that of other cages of ours.
const USER_BASE: u32 = 1_950_000_000;

/// How a worker is started: a program that calls [`answer_caged`](crate::answer_caged).
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What it is told.
    pub arguments: Vec<String>,
}

/// A file, folder or link in one of the volumes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The volume's name.
    pub volume: String,
    /// The place in it.
    pub path: FilePath,
}

impl Target {
    /// The place of a name in this folder.
    ///
    /// # Errors
    /// `Invalid` for what is no name.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        Ok(Self { volume: self.volume.clone(), path: self.path.join(name)? })
    }

    fn place(&self) -> Place {
        Place { volume: self.volume.clone(), path: self.path.clone() }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.volume, self.path)
    }
}

/// Looks into disks through a worker. Its calls wait; the worker dies with the thread that first called.
pub struct Browser {
    program: Program,
    disks: Vec<(String, SharedDisk)>,
    worker: Option<Worker>,
    started: u32,
    volumes: Option<Vec<Region>>,
    patience: Duration,
}

impl Browser {
    /// Over disks by their names. Nothing is started or read yet.
    pub fn new(program: Program, disks: Vec<(String, SharedDisk)>) -> Self {
        Self { program, disks, worker: None, started: 0, volumes: None, patience: QUESTION_TIME_MAX }
    }

    /// With another limit to the worker's own time for one question.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What is on the disks.
    pub fn volumes(&mut self) -> Result<Vec<Region>> {
        if let Some(known) = &self.volumes {
            return Ok(known.clone());
        }
        let (Answer::Volumes(mut volumes), _) = self.ask(&Question::Volumes)? else {
            return Err(self.nonsense());
        };
        let is_name = |text: &str| {
            !text.is_empty() && text.len() < 300 && !text.chars().any(|one| one.is_control() || one == ':')
        };
        if volumes.len() > VOLUMES_MAX {
            return Err(self.nonsense());
        }
        volumes.retain(|volume| is_name(&volume.name));
        for volume in &mut volumes {
            volume.label = clean(&volume.label);
            volume.refusal = volume.refusal.as_deref().map(clean);
            volume.note = volume.note.as_deref().map(clean);
        }
        self.volumes = Some(volumes.clone());
        Ok(volumes)
    }

    /// Reads what a person typed: `VOLUME:/PATH`, or a path alone if only one volume has files.
    ///
    /// # Errors
    /// `NotFound` for a volume that is not there, `Invalid` if none is named and there are several.
    pub fn target(&mut self, text: &[u8]) -> Result<Target> {
        let volumes = self.volumes()?;
        let colon = text.iter().position(|&byte| byte == b':').filter(|_| text.first() != Some(&b'/'));
        if let Some(colon) = colon {
            let name = String::from_utf8_lossy(&text[..colon]).into_owned();
            if !volumes.iter().any(|volume| volume.name == name) {
                return Err(Error::not_found(format!("there is no volume {}", clean(&name))));
            }
            return Ok(Target { volume: name, path: FilePath::parse(&text[colon + 1..])? });
        }
        let mut with_files = volumes.iter().filter(|one| one.content.has_files() && one.refusal.is_none());
        match (with_files.next(), with_files.next()) {
            (Some(only), None) => Ok(Target { volume: only.name.clone(), path: FilePath::parse(text)? }),
            (None, _) => Err(Error::not_found("no volume on these disks has files that can be read")),
            _ => Err(Error::invalid("several volumes have files: say which, as VOLUME:/PATH")),
        }
    }

    /// Where a path leads, with every link followed within its volume; `follow` is about its last name.
    pub fn resolve(&mut self, target: &Target, follow: bool) -> Result<(Target, Metadata)> {
        let asked = self.ask(&Question::Resolve { place: target.place(), follow });
        let (Answer::Resolved { path, metadata }, _) = asked.map_err(|error| error.of(target))? else {
            return Err(self.nonsense());
        };
        Ok((Target { volume: target.volume.clone(), path }, sound(metadata)))
    }

    /// What lies in a folder, by name.
    pub fn list(&mut self, target: &Target) -> Result<Vec<Entry>> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let asked = self.ask(&Question::List { place: target.place(), from: all.len() as u32 });
            let (Answer::Entries { entries, more }, _) = asked.map_err(|error| error.of(target))? else {
                return Err(self.nonsense());
            };
            let bad = entries.len() > wire::ENTRIES_A_PAGE
                || (more && entries.is_empty())
                || entries.iter().any(|entry| check_name(&entry.name).is_err())
                || all.len() + entries.len() > ENTRIES_MAX;
            if bad {
                return Err(self.nonsense());
            }
            all.extend(entries.into_iter().map(|entry| Entry {
                name: entry.name,
                metadata: entry.metadata.map(sound).map_err(Error::cleaned),
            }));
            if !more {
                return Ok(all);
            }
        }
    }

    /// Where a link points, whatever that means to whom.
    pub fn link(&mut self, target: &Target) -> Result<Vec<u8>> {
        let asked = self.ask(&Question::Link { place: target.place() });
        let (Answer::Link, data) = asked.map_err(|error| error.of(target))? else {
            return Err(self.nonsense());
        };
        if data.is_empty() || data.len() > TARGET_BYTES_MAX || data.contains(&0) {
            return Err(Error::corrupt("a link that points nowhere").of(target));
        }
        Ok(data)
    }

    /// A piece of a file: so many zeros, then these bytes. Nothing of either is the file's end.
    pub fn read(&mut self, target: &Target, offset: u64) -> Result<(u64, Vec<u8>)> {
        let length = PIECE_BYTES_MAX as u32;
        let asked = self.ask(&Question::Read { place: target.place(), offset, length });
        let (Answer::Piece { zeros }, data) = asked.map_err(|error| error.of(target))? else {
            return Err(self.nonsense());
        };
        if zeros > ZEROS_MAX + PIECE_BYTES_MAX as u64 {
            return Err(self.nonsense());
        }
        Ok((zeros, data))
    }

    /// Asks the worker, a new one if there is none. One that does not answer well is ended.
    fn ask(&mut self, question: &Question) -> Result<(Answer, Vec<u8>)> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        let (answer, data) = worker.ask(question, &self.disks, self.patience)?;
        self.worker = Some(worker);
        answer.map(|answer| (answer, data)).map_err(Error::cleaned)
    }

    fn start(&mut self) -> Result<Worker> {
        if self.started >= WORKERS_MAX {
            return Err(Error::not_answered(format!(
                "{WORKERS_MAX} workers died reading these disks: no more are started"
            )));
        }
        self.started += 1;
        Worker::start(&self.program, &self.disks)
    }

    /// The worker said what does not fit the question: it is ended.
    fn nonsense(&mut self) -> Error {
        self.worker = None;
        Error::not_answered("the worker that reads the disks answered nonsense, and was ended")
    }
}

/// Times and modes within their bounds.
fn sound(mut metadata: Metadata) -> Metadata {
    metadata.mode &= 0o7777;
    if let Some(time) = &mut metadata.modified {
        time.nanoseconds = time.nanoseconds.min(999_999_999);
    }
    metadata
}

fn clean(text: &str) -> String {
    Error::invalid(text).cleaned().to_string()
}

/// A running worker; ends when dropped.
struct Worker {
    child: Child,
    socket: UnixStream,
}

impl Worker {
    fn start(program: &Program, disks: &[(String, SharedDisk)]) -> Result<Self> {
        let failed = |error| Error::not_answered(format!("start the worker that reads the disks: {error}"));
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut worker = Self { child, socket };
        let bytes = disks.iter().fold(0_u64, |sum, (_, disk)| sum.saturating_add(disk.size()));
        let limits = Limits {
            memory_bytes: MEMORY_BYTES_MAX,
            cpu_seconds: LOOKING_SECONDS_MAX + bytes / BYTES_A_SECOND_MIN,
            // Another for each process of ours, so that their workers cannot disturb each other.
            user: USER_BASE + std::process::id(),
        };
        let disks = disks.iter().map(|(name, disk)| (name.clone(), disk.size())).collect();
        let until = Instant::now() + QUESTION_TIME_MAX;
        let mut stream = Timed { socket: &worker.socket, until };
        let greeted = wire::send(&mut stream, &ToReader::Hello { disks, limits }, &[])
            .and_then(|()| wire::receive::<FromReader>(&mut stream));
        match greeted {
            Ok((FromReader::Ready(_), _)) => Ok(worker),
            Ok(_) => {
                Err(Error::not_answered("the worker that reads the disks answered nonsense, and was ended"))
            }
            Err(error) => Err(worker.gone(error)),
        }
    }

    /// Asks, and serves the bytes that are needed for the answer.
    fn ask(
        &mut self,
        question: &Question,
        disks: &[(String, SharedDisk)],
        patience: Duration,
    ) -> Result<(Result<Answer>, Vec<u8>)> {
        let mut left = patience;
        let mut fetched = 0_u64;
        let mut next = (ToReader::Ask(question.clone()), Vec::new());
        loop {
            let begun = Instant::now();
            let mut stream = Timed { socket: &self.socket, until: begun + left };
            let heard = wire::send(&mut stream, &next.0, &next.1).and_then(|()| wire::receive(&mut stream));
            left = left.saturating_sub(begun.elapsed());
            match heard {
                Ok((FromReader::Answer(answer), data)) => return Ok((answer, data)),
                Ok((FromReader::Fetch { disk, offset, length }, _)) => {
                    fetched += u64::from(length);
                    if fetched > FETCHED_BYTES_MAX {
                        return Err(Error::limit("more had to be read for this than any file system needs"));
                    }
                    next = fetch(disks, disk, offset, length)?;
                }
                Ok(_) => {
                    return Err(Error::not_answered(
                        "the worker that reads the disks talked nonsense, and was ended",
                    ));
                }
                Err(error) => return Err(self.gone(error)),
            }
        }
    }

    /// Why there is no answer.
    fn gone(&mut self, error: Error) -> Error {
        let _ = self.child.kill(); // dead already
        let ended = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        error.of(format!("the worker that reads the disks did not answer ({ended})"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill(); // dead already
        let _ = self.child.wait();
    }
}

/// Bytes for a worker. What it may not ask for ends it; what cannot be had is told.
fn fetch(disks: &[(String, SharedDisk)], disk: u32, offset: u64, length: u32) -> Result<(ToReader, Vec<u8>)> {
    let within = |disk: &SharedDisk| {
        length as usize <= PIECE_BYTES_MAX && disk::check(disk.size(), offset, length as usize).is_ok()
    };
    let Some((_, disk)) = disks.get(disk as usize).filter(|(_, disk)| within(disk)) else {
        return Err(Error::not_answered(
            "the worker that reads the disks asked for what is not there, and was ended",
        ));
    };
    let mut data = vec![0; length as usize];
    let had = disk.read(offset, &mut data);
    if had.is_err() {
        data.clear();
    }
    Ok((ToReader::Bytes(had), data))
}

/// A socket until a moment: who sends a byte a minute does not keep us.
struct Timed<'s> {
    socket: &'s UnixStream,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
