//! `cargo xtask tidy`: what the compiler cannot check. Every rule says what to do.

mod edges;
mod files;
mod papers;
mod words;

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// A source file and its text.
pub(crate) struct Source {
    /// Relative to the workspace.
    path: PathBuf,
    text: String,
}

/// Checks everything; prints what is wrong.
pub(crate) fn run() -> Result<()> {
    let root = crate::workspace();
    let sources = sources(&root)?;
    let mut faults = edges::check(&root)?;
    faults.extend(sources.iter().flat_map(files::check));
    faults.extend(words::check(&root, &sources)?);
    faults.extend(papers::check(&root)?);
    for fault in &faults {
        eprintln!("{fault}");
    }
    ensure!(faults.is_empty(), "{} faults", faults.len());
    Ok(())
}

/// All Rust files of the workspace.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut waiting = vec![root.join("crates")];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text =
                    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                let path = path.strip_prefix(root).expect("found beneath it").to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}
