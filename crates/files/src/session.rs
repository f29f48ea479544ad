//! The worker's side: answers questions about disks. All that parses what a guest wrote is called from here.

use crate::disk::{Disk, field};
use crate::entry::{FilePath, Kind};
use crate::fs::{self, FileSystem};
use crate::layout::{self, Found, Named};
use crate::wire::{Answer, ENTRIES_A_PAGE, PIECE_BYTES_MAX, Place, Question, ZEROS_MAX};
use crate::{Entry, Error, Result};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Links followed on the way to a file, as Linux does.
const LINKS_MAX: u32 = 40;
/// File systems that are open at once.
const OPEN_MAX: usize = 8;
/// Names on the way to a file. No system makes deeper folders; cycles are endless.
pub(crate) const DEPTH_MAX: usize = 256;

/// What is known of the disks by now.
pub(crate) struct Session {
    disks: Vec<Named>,
    found: Option<Vec<Found>>,
    open: HashMap<String, Box<dyn FileSystem>>,
    /// The list that was begun last: pages of it follow one another.
    listed: Option<(Place, Vec<Entry>)>,
    /// Places that lead through no link.
    straight: VecDeque<Place>,
}

/// Remembered, so that the files of a folder are not each looked for from the root.
const STRAIGHT_MAX: usize = 64;

impl Session {
    pub(crate) fn new(disks: Vec<(String, Rc<dyn Disk>)>) -> Self {
        let disks = disks.into_iter().map(|(name, disk)| Named { name, disk }).collect();
        Self { disks, found: None, open: HashMap::new(), listed: None, straight: VecDeque::new() }
    }

    /// Answers. A reader that panics becomes an error, and is thrown away.
    pub(crate) fn answer(&mut self, question: &Question) -> (Result<Answer>, Vec<u8>) {
        let mut data = Vec::new();
        let answer = catch_unwind(AssertUnwindSafe(|| self.ask(question, &mut data)));
        let answer = answer.unwrap_or_else(|panic| {
            self.open.clear();
            self.listed = None;
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing");
            Err(Error::corrupt(format!("the reader gave up on what it found ({said})")))
        });
        if answer.is_err() {
            data.clear();
        }
        (answer, data)
    }

    fn ask(&mut self, question: &Question, data: &mut Vec<u8>) -> Result<Answer> {
        match question {
            Question::Volumes => {
                let found = self.found();
                Ok(Answer::Volumes(found.iter().map(|one| one.info.clone()).collect()))
            }
            Question::Resolve { place, follow } => {
                let path = self.resolve(place, *follow)?;
                let metadata = self.volume(&place.volume)?.stat(&path)?;
                Ok(Answer::Resolved { path, metadata })
            }
            Question::List { place, from } => self.page(place, *from as usize),
            Question::Link { place } => {
                let path = self.resolve(place, false)?;
                *data = self.volume(&place.volume)?.link(&path)?;
                Ok(Answer::Link)
            }
            Question::Read { place, offset, length } => {
                let path = self.resolve(place, true)?;
                let length = (*length as usize).min(PIECE_BYTES_MAX);
                read(&mut **self.volume(&place.volume)?, &path, *offset, (length, data))
            }
        }
    }

    fn found(&mut self) -> &mut Vec<Found> {
        let disks = &self.disks;
        self.found.get_or_insert_with(|| {
            let mut found = layout::find(disks);
            for volume in &mut found {
                describe(volume);
            }
            found
        })
    }

    /// The file system of a volume, opened if it is not open.
    fn volume(&mut self, name: &str) -> Result<&mut Box<dyn FileSystem>> {
        if !self.open.contains_key(name) {
            let found = self.found().iter().find(|one| one.info.name == name);
            let found = found.ok_or_else(|| Error::not_found(format!("there is no volume {name}")))?;
            if let Some(why) = &found.info.refusal {
                return Err(Error::refused(why.clone()));
            }
            let content = found.info.content;
            let disk = found.disk.clone();
            let none = || Error::refused(format!("it holds no files that are read ({})", content.name()));
            let volume = fs::open(content, disk.ok_or_else(none)?)?;
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            self.open.insert(name.to_owned(), volume);
        }
        self.open.get_mut(name).ok_or_else(|| Error::not_found(format!("there is no volume {name}")))
    }

    fn page(&mut self, place: &Place, from: usize) -> Result<Answer> {
        let begun = self.listed.as_ref().is_some_and(|(begun, _)| begun == place);
        if from == 0 || !begun {
            let path = self.resolve(place, true)?;
            let mut entries = self.volume(&place.volume)?.list(&path)?;
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            self.listed = Some((place.clone(), entries));
        }
        let entries = self.listed.as_ref().map_or(&[][..], |(_, entries)| entries);
        let end = (from + ENTRIES_A_PAGE).min(entries.len());
        let page = entries.get(from..end).unwrap_or_default().to_vec();
        Ok(Answer::Entries { entries: page, more: end < entries.len() })
    }

    /// Where a path leads, every link on the way followed within the volume; the last one only if wanted.
    fn resolve(&mut self, place: &Place, follow: bool) -> Result<FilePath> {
        if place.path.names().count() > DEPTH_MAX {
            return Err(Error::limit(format!("folders nested deeper than {DEPTH_MAX}")));
        }
        let parent = Place { volume: place.volume.clone(), path: place.path.parent() };
        if !follow && self.straight.contains(&parent) {
            return Ok(place.path.clone());
        }
        let mut rest: VecDeque<Vec<u8>> = place.path.names().map(<[u8]>::to_vec).collect();
        let (mut at, mut links) = (FilePath::default(), 0);
        if self.straight.contains(&parent) && !rest.is_empty() {
            rest.drain(..rest.len() - 1);
            at = parent.path.clone();
        }
        let volume = self.volume(&place.volume)?;
        while let Some(name) = rest.pop_front() {
            if name == b".." {
                at = at.parent();
                continue;
            }
            let next = at.join(&name)?;
            let is_last = rest.is_empty();
            if (is_last && !follow) || volume.stat(&next)?.kind != Kind::Link {
                at = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX || rest.len() > DEPTH_MAX {
                return Err(Error::limit(format!("more than {LINKS_MAX} links lead on from there")));
            }
            let target = volume.link(&next)?;
            if target.first() == Some(&b'/') {
                at = FilePath::default();
            }
            let names = target.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
            for name in names.rev() {
                rest.push_front(name.to_vec());
            }
        }
        if links == 0 && at == place.path {
            self.remember(parent);
        }
        Ok(at)
    }

    fn remember(&mut self, place: Place) {
        if !self.straight.contains(&place) {
            if self.straight.len() >= STRAIGHT_MAX {
                self.straight.pop_front();
            }
            self.straight.push_back(place);
        }
    }
}

/// Reads a piece. Zeros are counted and not sent, and counting goes on as long as there is nothing else.
fn read(
    volume: &mut dyn FileSystem,
    path: &FilePath,
    offset: u64,
    (length, data): (usize, &mut Vec<u8>),
) -> Result<Answer> {
    let mut zeros = 0;
    loop {
        let at = offset.checked_add(zeros).ok_or_else(|| Error::limit("an offset beyond every file"))?;
        data.resize(length, 0);
        let filled = volume.read(path, at, data)?;
        if filled > length {
            return Err(Error::corrupt("a reader gave more than it was asked for"));
        }
        data.truncate(filled);
        if filled == 0 || data.iter().any(|&byte| byte != 0) {
            return Ok(Answer::Piece { zeros });
        }
        zeros += filled as u64;
        if zeros >= ZEROS_MAX {
            data.clear();
            return Ok(Answer::Piece { zeros });
        }
    }
}

/// Labels that stand elsewhere than at a volume's beginning.
fn describe(volume: &mut Found) {
    let Some(disk) = &volume.disk else { return };
    let mut head = [0; 512];
    if volume.info.content == crate::Content::Fat && disk.read(0, &mut head).is_ok() {
        let at = if u16::from_le_bytes(field(&head, 22)) == 0 { 71 } else { 43 };
        let label = String::from_utf8_lossy(&head[at..at + 11]).trim().to_owned();
        if label != "NO NAME" && !label.is_empty() {
            volume.info.label = label;
        }
    }
}
