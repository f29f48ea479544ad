//! The documents tell the truth about what there is: every crate is on the map, and every path and every
//! item that a document names exists.

use anyhow::{Context, Result};
use std::path::Path;

/// Documents whose paths are checked.
const PAPERS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "docs/format.md", "docs/glossary.md", "docs/cli.md"];

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let map = read(root, "ARCHITECTURE.md")?;
    for entry in std::fs::read_dir(root.join("crates")).context("list the crates")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !map.contains(&format!("`{name}`")) {
            faults.push(format!("ARCHITECTURE.md: the crate `{name}` is not on the map"));
        }
    }
    for paper in PAPERS {
        let text = read(root, paper)?;
        let folder = root.join(paper).parent().map(Path::to_owned).unwrap_or_default();
        for path in linked(&text).filter(|path| !folder.join(path).exists() && !root.join(path).exists()) {
            faults.push(format!("{paper}: there is no {path}"));
        }
    }
    Ok(faults)
}

fn read(root: &Path, paper: &str) -> Result<String> {
    std::fs::read_to_string(root.join(paper)).with_context(|| format!("read {paper}"))
}

/// Targets of links within the project, and code spans that are paths of source files.
fn linked(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let links = links.filter(|target| !target.is_empty() && !target.contains("://"));
    let spans = text.split('`').skip(1).step_by(2);
    let paths = spans.filter(|span| span.starts_with("crates/") && !span.contains(['<', '*', ' ']));
    links.chain(paths)
}
