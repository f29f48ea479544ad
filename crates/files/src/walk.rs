//! A folder and all beneath it, in the order of a tree.

use crate::browser::{Browser, Target};
use crate::session::DEPTH_MAX;
use crate::{Entry, Error, ErrorKind, Kind, Metadata, Result};

/// Names that one walk meets. A cycle of folders is endless, and a tree can be made of few blocks.
const NAMES_MAX: u64 = 20_000_000;

/// What a walk meets.
pub(crate) enum Met<'w> {
    /// A folder, before what lies in it.
    Folder(&'w Metadata),
    /// A folder, after what lies in it.
    Left(&'w Metadata),
    /// Anything else.
    Other(&'w Metadata),
    /// Something that cannot be read.
    Failed(&'w Error),
}

/// Somebody who is led through a tree.
pub(crate) trait Visitor {
    /// Something was met: where in the volume, and its names from the folder where the walk began. An error ends the
    /// walk; it is about the place that is written to, not about what is read.
    fn meet(
        &mut self,
        browser: &mut Browser,
        target: &Target,
        names: &[Vec<u8>],
        met: &Met<'_>,
    ) -> Result<()>;
}

/// A folder whose names are being gone through.
struct Open {
    target: Target,
    metadata: Metadata,
    entries: std::vec::IntoIter<Entry>,
}

/// Leads through everything beneath a folder; not the folder itself. Links are met, never followed.
///
/// # Errors
/// If the folder itself cannot be listed, or the visitor's.
pub(crate) fn walk(browser: &mut Browser, root: &Target, visitor: &mut dyn Visitor) -> Result<()> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let (root, metadata) = browser.resolve(root, true)?;
    let entries = browser.list(&root)?.into_iter();
    let mut open = vec![Open { target: root, metadata, entries }];
    let mut met = 0;
    while let Some(folder) = open.last_mut() {
        let Some(entry) = folder.entries.next() else {
            let Some(done) = open.pop() else { break };
            if !open.is_empty() {
                visitor.meet(browser, &done.target, &names, &Met::Left(&done.metadata))?;
            }
            names.pop();
            continue;
        };
        met += 1;
        if met > NAMES_MAX {
            return Err(Error::limit(format!("more than {NAMES_MAX} names lie beneath that folder")));
        }
        let target = folder.target.join(&entry.name)?;
        names.push(entry.name);
        match entry.metadata {
            Ok(metadata) if metadata.kind == Kind::Folder => match enter(browser, &target, open.len()) {
                Ok(entries) => {
                    visitor.meet(browser, &target, &names, &Met::Folder(&metadata))?;
                    open.push(Open { target, metadata, entries });
                    continue;
                }
                Err(error) if gives_up(&error) => return Err(error),
                Err(error) => visitor.meet(browser, &target, &names, &Met::Failed(&error))?,
            },
            Ok(metadata) => visitor.meet(browser, &target, &names, &Met::Other(&metadata))?,
            Err(error) => visitor.meet(browser, &target, &names, &Met::Failed(&error))?,
        }
        names.pop();
    }
    Ok(())
}

fn enter(browser: &mut Browser, target: &Target, depth: usize) -> Result<std::vec::IntoIter<Entry>> {
    if depth >= DEPTH_MAX {
        return Err(Error::limit(format!("folders nested deeper than {DEPTH_MAX}")));
    }
    Ok(browser.list(target)?.into_iter())
}

/// What no other file would go better with.
pub(crate) fn gives_up(error: &Error) -> bool {
    error.kind() == ErrorKind::Io
}
