//! One word a concept: public names keep to docs/glossary.md.

use super::Source;
use anyhow::{Context, Result};
use std::path::Path;

pub(super) fn check(root: &Path, sources: &[Source]) -> Result<Vec<String>> {
    let glossary = std::fs::read_to_string(root.join("docs/glossary.md")).context("read docs/glossary.md")?;
    let banned = banned(&glossary);
    let mut faults = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            let Some(name) = public_name(line.trim_start()) else { continue };
            for (not, word) in banned.iter().filter(|(not, _)| words(name).any(|w| w == *not)) {
                let at = format!("{}:{}", source.path.display(), number + 1);
                faults.push(format!("{at}: {name}: say '{word}', not '{not}' (docs/glossary.md)"));
            }
        }
    }
    Ok(faults)
}

/// From the glossary's table: each word not to be used, and what to say instead.
fn banned(glossary: &str) -> Vec<(String, String)> {
    let mut banned = Vec::new();
    for row in glossary.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if let [word, _, not] = cells[..] {
            let nots = not.split(", ").filter(|not| !not.is_empty() && *not != "-");
            banned.extend(nots.map(|not| (not.to_owned(), word.to_owned())));
        }
    }
    banned
}

/// The name that a line makes public.
fn public_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) "))?;
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    let rest = ["fn ", "struct ", "enum ", "trait ", "type ", "mod ", "const "]
        .iter()
        .find_map(|kind| rest.strip_prefix(kind))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The words a name is made of, in lower case.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        let is_new = c == '_'
            || (c.is_uppercase() && words.last().is_some_and(|word| word.ends_with(char::is_lowercase)));
        if is_new {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("one at least").extend(c.to_lowercase());
        }
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(public_name("pub async fn open_volume<T>(x: T) {"), Some("open_volume"));
        assert_eq!(words("OpenVolume2").collect::<Vec<_>>(), ["open", "volume2"]);
        assert_eq!(words("open_volume").collect::<Vec<_>>(), ["open", "volume"]);
        let table =
            "| word | means | not |\n| --- | --- | --- |\n| disk | a | volume, drive |\n| x | y | - |\n";
        assert_eq!(banned(table), [("volume".into(), "disk".into()), ("drive".into(), "disk".into())]);
    }
}
