//! What a guest says on its console, as far as it is looked at.

use regex::bytes::Regex;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What is searched for a pattern and shown in the end. What a guest said before that is past.
const KEPT_BYTES: usize = 256 << 10;
/// Read in one go: a guest that floods its console must not hold us up.
const READ_BYTES: u64 = 1 << 20;
/// The end of it that goes into the record.
const TAIL_CHARACTERS: usize = 4000;
/// Words of a guest that comes up no more. Waiting would only cost time.
const DEAD: [&str; 5] = [
    "Kernel panic - not syncing",
    "You are in emergency mode",
    "Entering emergency mode",
    "grub rescue>",
    "No bootable device",
];

/// The file that the console is written to.
#[derive(Debug)]
pub(super) struct Console {
    path: PathBuf,
    offset: u64,
    kept: Vec<u8>,
}

impl Console {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0, kept: Vec::new() }
    }

    /// Reads what was said since the last time. A console that cannot be read is silent.
    pub(super) fn listen(&mut self) {
        let Ok(said) = read_from(&self.path, self.offset) else { return };
        self.offset += said.len() as u64;
        self.kept.extend(said);
        let excess = self.kept.len().saturating_sub(KEPT_BYTES);
        self.kept.drain(..excess);
    }

    pub(super) fn shows(&self, pattern: &Regex) -> bool {
        pattern.is_match(&self.kept)
    }

    /// What says that the guest comes up no more, if it says so.
    pub(super) fn dead(&self) -> Option<&'static str> {
        DEAD.into_iter().find(|words| self.kept.windows(words.len()).any(|window| window == words.as_bytes()))
    }

    /// The end of what it said.
    pub(super) fn tail(&self) -> String {
        tail(&self.kept, TAIL_CHARACTERS)
    }
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut said = Vec::new();
    file.take(READ_BYTES).read_to_end(&mut said)?;
    Ok(said)
}

/// The end of what a guest wrote, fit to be kept and shown: nobody there may steer a terminal.
pub(super) fn tail(bytes: &[u8], characters: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let is_shown = |c: &char| *c == '\n' || !c.is_control();
    let shown: String = text.chars().filter(is_shown).collect();
    let excess = shown.chars().count().saturating_sub(characters);
    shown.chars().skip(excess).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_console_is_heard_piece_by_piece() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("console");
        let mut console = Console::new(path.clone());
        console.listen();
        assert_eq!(console.tail(), "");
        let mut file = File::create(&path).expect("made");
        write!(file, "boot\r\n\x1b[31mlog").expect("written");
        console.listen();
        let login = Regex::new(r"login:\s*$").expect("a pattern");
        assert!(!console.shows(&login) && console.dead().is_none());
        write!(file, "in: ").expect("written");
        console.listen();
        assert!(console.shows(&login));
        assert_eq!(console.tail(), "boot\n[31mlogin:");
        file.write_all(&vec![b'x'; KEPT_BYTES]).expect("written");
        write!(file, "Kernel panic - not syncing: VFS").expect("written");
        console.listen();
        assert!(!console.shows(&login) && console.dead() == Some("Kernel panic - not syncing"));
        assert_eq!(console.tail().chars().count(), TAIL_CHARACTERS);
    }
}
