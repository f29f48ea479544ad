//! Finds files by name.

use crate::browser::{Browser, Target};
use crate::walk::{Met, Visitor, walk};
use crate::{Error, Metadata, Result};
use regex::bytes::{Regex, RegexBuilder};

/// A pattern's size once it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What names are looked for.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// A pattern as shells have it: `*`, `?` and `[...]`; it is about the whole name.
    ///
    /// # Errors
    /// `Invalid` if it is no pattern.
    pub fn glob(text: &str, ignore_case: bool) -> Result<Self> {
        let mut pattern = String::from("^(?s-u:");
        let mut within = false;
        for one in text.chars() {
            match (one, within) {
                ('*', false) => pattern.push_str(".*"),
                ('?', false) => pattern.push_str("(?u:.)"),
                ('[', false) => {
                    within = true;
                    pattern.push_str("(?u:[");
                }
                (']', true) => {
                    within = false;
                    pattern.push_str("])");
                }
                ('!', true) if pattern.ends_with('[') => pattern.push('^'),
                ('-', true) => pattern.push('-'),
                _ => pattern.push_str(&regex::escape(&one.to_string())),
            }
        }
        pattern.push_str(")$");
        Self::build(&pattern, ignore_case)
    }

    /// A regular expression that is found somewhere in the name.
    ///
    /// # Errors
    /// `Invalid` if it is none, or too large.
    pub fn regex(text: &str, ignore_case: bool) -> Result<Self> {
        Self::build(text, ignore_case)
    }

    fn build(text: &str, ignore_case: bool) -> Result<Self> {
        let mut builder = RegexBuilder::new(text);
        let built = builder.case_insensitive(ignore_case).size_limit(PATTERN_BYTES_MAX).build();
        built.map(Self).map_err(|error| Error::invalid(format!("read the pattern: {error}")))
    }
}

/// A file whose name fits.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub target: Target,
    /// What it is.
    pub metadata: Metadata,
}

/// Looks beneath a folder and gives each find at once; `take` says whether to go on. Gives how many folders and files
/// could not be read.
///
/// # Errors
/// If the folder itself cannot be listed.
pub fn search(
    browser: &mut Browser,
    beneath: &Target,
    pattern: &Pattern,
    take: &mut dyn FnMut(Found) -> bool,
) -> Result<u64> {
    let mut searcher = Searcher { pattern, take, unread: 0, stopped: false };
    match walk(browser, beneath, &mut searcher) {
        Err(_) if searcher.stopped => Ok(searcher.unread),
        other => other.map(|()| searcher.unread),
    }
}

struct Searcher<'s> {
    pattern: &'s Pattern,
    take: &'s mut dyn FnMut(Found) -> bool,
    unread: u64,
    stopped: bool,
}

impl Visitor for Searcher<'_> {
    fn meet(&mut self, _: &mut Browser, target: &Target, names: &[Vec<u8>], met: &Met<'_>) -> Result<()> {
        let metadata = match met {
            Met::Folder(metadata) | Met::Other(metadata) => **metadata,
            Met::Left(_) => return Ok(()),
            Met::Failed(_) => {
                self.unread += 1;
                return Ok(());
            }
        };
        let fits = names.last().is_some_and(|name| self.pattern.0.is_match(name));
        if fits && !(self.take)(Found { target: target.clone(), metadata }) {
            self.stopped = true;
            return Err(Error::limit("enough was found"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_about_the_whole_name() {
        let fits = |glob: &str, name: &[u8]| Pattern::glob(glob, false).expect("a glob").0.is_match(name);
        assert!(fits("*.conf", b"a.conf"));
        assert!(!fits("*.conf", b"a.conf.old"));
        assert!(!fits("a.c", b"abc"));
        assert!(fits("[!x]?z", "a\u{f6}z".as_bytes()));
        assert!(!fits("[!x]?z", b"xyz"));
        assert!(fits("*", b"\xff\n"));
        assert!(fits("[a-c]*", b"b\xff"));
        assert!(Pattern::glob("[a", false).is_err());
        assert!(Pattern::regex("(", false).is_err());
    }
}
