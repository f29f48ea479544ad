//! The shape of a source file.

use super::Source;

/// A file longer than this, tests left out, no longer tells one story.
const LINES_MAX: usize = 1000;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc", "handler"];
/// What is left open; work belongs in an issue.
const LEFT_OPEN: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

pub(super) fn check(source: &Source) -> Vec<String> {
    let shown = source.path.display();
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") {
        faults.push(format!("{shown}: begin with `//!` and what the file is for"));
    }
    let lines = source.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count();
    if lines > LINES_MAX {
        faults
            .push(format!("{shown}: {lines} lines without tests, at most {LINES_MAX}; split it by subject"));
    }
    for part in source.path.iter().map(|part| part.to_string_lossy()) {
        if EMPTY_NAMES.contains(&part.trim_end_matches(".rs")) {
            faults.push(format!("{shown}: '{part}' says nothing; name it after its subject"));
        }
    }
    let is_tidy_itself = source.path.ends_with("tidy/files.rs");
    for (number, line) in source.text.lines().enumerate().filter(|_| !is_tidy_itself) {
        if let Some(word) =
            LEFT_OPEN.iter().find(|word| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == **word))
        {
            faults.push(format!("{shown}:{}: {word} left open; file an issue instead", number + 1));
        }
    }
    if source.path.ends_with("src/lib.rs") {
        faults.extend(code_in_lib(source));
    }
    faults
}

/// `lib.rs` is a map: docs, modules, what is public.
fn code_in_lib(source: &Source) -> Option<String> {
    let is_code = |line: &&str| {
        ["fn ", "pub fn ", "struct ", "pub struct ", "impl "].iter().any(|s| line.starts_with(s))
    };
    let line = source.text.lines().find(is_code)?;
    Some(format!("{}: holds code ('{line}'); keep to docs, mod and pub use", source.path.display()))
}
