//! What came of bringing files out: how much, and what was left behind and why.

use crate::Error;
use serde::Serialize;

/// What was brought out.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Files with their whole content.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Links.
    pub links: u64,
    /// Bytes of content, holes included.
    pub bytes: u64,
    /// What was left behind, the first few by name.
    pub skipped: Vec<Skipped>,
    /// How much was left behind.
    pub skipped_count: u64,
    /// Of these, what should have been there: all but devices, pipes and sockets.
    pub failed_count: u64,
}

/// Something that was left behind.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// Where it lies in the point.
    pub path: String,
    /// Why it was left behind.
    pub why: String,
}

/// Names in a report; the others are counted.
const SKIPPED_MAX: usize = 1000;

impl Report {
    /// Something that should be there and is not.
    pub(crate) fn fail(&mut self, path: &impl ToString, error: &Error) {
        self.failed_count += 1;
        self.skip(path, error.to_string());
    }

    /// Something that is left behind on purpose.
    pub(crate) fn skip(&mut self, path: &impl ToString, why: String) {
        self.skipped_count += 1;
        if self.skipped.len() < SKIPPED_MAX {
            self.skipped.push(Skipped { path: path.to_string(), why });
        }
    }
}
