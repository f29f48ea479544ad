//! A point's files by number, as a kernel asks for them.

use crate::browser::{Browser, Target};
use crate::{Entry, Error, Kind, Metadata, Result};
use std::collections::HashMap;

/// The number of the folder that is mounted.
const ROOT: u64 = 1;
/// Lists that are open at once; whoever opens more is refused.
const LISTS_MAX: usize = 1024;

/// What the kernel knows by now.
pub(super) struct Tree<'b> {
    browser: &'b mut Browser,
    /// What lies in the root: folders by name, each a volume.
    roots: Vec<(Vec<u8>, Target)>,
    nodes: HashMap<u64, Node>,
    numbers: HashMap<Target, u64>,
    next: u64,
    lists: HashMap<u64, Vec<Entry>>,
    /// What was read last: the kernel asks for less than we are given.
    piece: Option<Piece>,
}

/// Something that the kernel has looked up, and not forgotten.
struct Node {
    target: Target,
    metadata: Metadata,
    lookups: u64,
}

/// So many zeros, then these bytes.
struct Piece {
    node: u64,
    offset: u64,
    zeros: u64,
    data: Vec<u8>,
}

impl<'b> Tree<'b> {
    pub(super) fn new(browser: &'b mut Browser, roots: Vec<(Vec<u8>, Target)>) -> Self {
        let (nodes, numbers, lists) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { browser, roots, nodes, numbers, next: ROOT + 1, lists, piece: None }
    }

    /// A name in a folder. Counts until it is forgotten.
    pub(super) fn look_up(&mut self, folder: u64, name: &[u8]) -> Result<(u64, Metadata)> {
        let target = match folder {
            ROOT => self.roots.iter().find(|(root, _)| root == name).map(|(_, target)| target.clone()),
            _ => Some(self.node(folder)?.target.join(name)?),
        };
        let target = target.ok_or_else(|| Error::not_found("there is no such volume"))?;
        let (_, metadata) = self.browser.resolve(&target, false)?;
        let number = *self.numbers.entry(target.clone()).or_insert(self.next);
        self.next = self.next.max(number + 1);
        let node = self.nodes.entry(number).or_insert(Node { target, metadata, lookups: 0 });
        node.lookups += 1;
        Ok((number, metadata))
    }

    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&number) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0
            && let Some(node) = self.nodes.remove(&number)
        {
            self.numbers.remove(&node.target);
        }
    }

    pub(super) fn metadata(&self, number: u64) -> Result<Metadata> {
        if number == ROOT {
            let (kind, mode) = (Kind::Folder, 0o755);
            return Ok(Metadata { kind, size: 0, mode, uid: 0, gid: 0, modified: None });
        }
        Ok(self.node(number)?.metadata)
    }

    pub(super) fn link(&mut self, number: u64) -> Result<Vec<u8>> {
        let target = self.node(number)?.target.clone();
        self.browser.link(&target)
    }

    /// Lists a folder. Gives the list's number.
    pub(super) fn open(&mut self, number: u64) -> Result<u64> {
        if self.lists.len() >= LISTS_MAX {
            return Err(Error::limit(format!("more than {LISTS_MAX} folders are open")));
        }
        let mut entries = Vec::new();
        for name in [b".", &b".."[..]] {
            entries.push(Entry { name: name.to_vec(), metadata: self.metadata(ROOT) });
        }
        if number == ROOT {
            let folder = self.metadata(ROOT)?;
            let roots = self.roots.iter();
            entries.extend(roots.map(|(name, _)| Entry { name: name.clone(), metadata: Ok(folder) }));
        } else {
            let target = self.node(number)?.target.clone();
            entries.extend(self.browser.list(&target)?);
        }
        let list = self.next;
        self.next += 1;
        self.lists.insert(list, entries);
        Ok(list)
    }

    pub(super) fn listed(&self, list: u64) -> &[Entry] {
        self.lists.get(&list).map_or(&[], Vec::as_slice)
    }

    pub(super) fn close(&mut self, list: u64) {
        self.lists.remove(&list);
    }

    /// As many bytes as are asked for, or up to the file's end.
    pub(super) fn read(&mut self, number: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        let Node { target, metadata, .. } = self.node(number)?;
        let (target, size) = (target.clone(), metadata.size);
        let end = offset.saturating_add(length as u64).min(size);
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        while offset + (bytes.len() as u64) < end {
            let at = offset + bytes.len() as u64;
            let left = (end - at) as usize;
            if !self.piece.as_ref().is_some_and(|piece| piece.node == number && piece.has(at)) {
                let (zeros, data) = self.browser.read(&target, at)?;
                if zeros == 0 && data.is_empty() {
                    return Err(Error::corrupt(format!("it ends after {at} of {size} bytes")).of(&target));
                }
                self.piece = Some(Piece { node: number, offset: at, zeros, data });
            }
            let Some(piece) = &self.piece else { break };
            piece.append(at, left, &mut bytes);
        }
        Ok(bytes)
    }

    fn node(&self, number: u64) -> Result<&Node> {
        self.nodes.get(&number).ok_or_else(|| Error::not_found("the kernel asks for what it forgot"))
    }
}

impl Piece {
    fn has(&self, at: u64) -> bool {
        at >= self.offset && at - self.offset < self.zeros + self.data.len() as u64
    }

    /// Adds what there is from `at` on, `most` bytes of it.
    fn append(&self, at: u64, most: usize, bytes: &mut Vec<u8>) {
        let within = at - self.offset;
        let zeros = self.zeros.saturating_sub(within).min(most as u64) as usize;
        bytes.resize(bytes.len() + zeros, 0);
        if zeros < most {
            let from = (within.max(self.zeros) - self.zeros) as usize;
            let to = self.data.len().min(from + most - zeros);
            bytes.extend_from_slice(&self.data[from..to]);
        }
    }
}
