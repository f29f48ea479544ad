//! Places by their path: what a listing told, so that a file in a large folder is not looked for again.

use crate::FilePath;
use std::collections::HashMap;

/// Then all is forgotten.
const KNOWN_MAX: usize = 1 << 16;

/// Numbers of files, as a file system means them.
pub(super) struct Known<N>(HashMap<FilePath, N>);

impl<N: Copy> Known<N> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    pub(super) fn get(&self, path: &FilePath) -> Option<N> {
        self.0.get(path).copied()
    }

    /// Remembers a name of a folder; one that no file can have is not.
    pub(super) fn put(&mut self, folder: &FilePath, name: &[u8], node: N) {
        if let Ok(path) = folder.join(name) {
            self.put_path(path, node);
        }
    }

    pub(super) fn put_path(&mut self, path: FilePath, node: N) {
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        self.0.insert(path, node);
    }
}
