//! What a server offers under a name.

use crate::wire::{TEXT_BYTES_MAX, export_flag};
use block::{BlockSink, BlockSource, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A disk that can be read and written: whatever is both source and sink.
pub trait BlockDevice: BlockSource + BlockSink {}

impl<T: BlockSource + BlockSink> BlockDevice for T {}

/// A disk as clients may use it.
#[derive(Clone)]
pub struct Export {
    source: Arc<dyn BlockSource>,
    tells_status: bool,
    sink: Option<Arc<dyn BlockSink>>,
}

impl Export {
    /// Clients may read.
    pub fn read_only(source: Arc<dyn BlockSource>) -> Self {
        Self { source, tells_status: true, sink: None }
    }

    /// Clients may read and write.
    pub fn writable<D: BlockDevice + 'static>(device: Arc<D>) -> Self {
        Self { source: device.clone(), tells_status: true, sink: Some(device) }
    }

    /// Clients may not ask for block status: they take all of it for data. Large reads still tell of holes.
    ///
    /// For a client that takes a question which fails for an answer, as QEMU's copy-on-read filter does: see
    /// `docs/instant.md`.
    pub fn without_status(self) -> Self {
        Self { tells_status: false, ..self }
    }

    pub(super) fn source(&self) -> &dyn BlockSource {
        &*self.source
    }

    pub(super) fn tells_status(&self) -> bool {
        self.tells_status
    }

    pub(super) fn sink(&self) -> Option<&dyn BlockSink> {
        self.sink.as_deref()
    }

    pub(super) fn size(&self) -> u64 {
        self.source.size()
    }

    /// What clients are told it can do. All of them use the same source and sink, so each sees what
    /// another wrote and one's FLUSH covers all: several connections are safe.
    pub(super) fn flags(&self, structured: bool) -> u16 {
        use export_flag::{
            CAN_MULTI_CONN, HAS_FLAGS, READ_ONLY, SEND_CACHE, SEND_DF, SEND_FLUSH, SEND_FUA, SEND_TRIM,
            SEND_WRITE_ZEROES,
        };
        let always = HAS_FLAGS | CAN_MULTI_CONN | SEND_CACHE | SEND_FLUSH;
        let access = match self.sink {
            Some(_) => SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES,
            None => READ_ONLY,
        };
        always | access | if structured { SEND_DF } else { 0 }
    }
}

/// All that a server offers.
#[derive(Clone, Default)]
pub(super) struct Exports {
    by_name: BTreeMap<String, Export>,
}

impl Exports {
    /// Adds an export under a name that can be sent and is free.
    pub(super) fn add(&mut self, name: String, export: Export) -> Result<()> {
        if name.len() > TEXT_BYTES_MAX as usize || name.contains('\0') {
            let context = "add an export: the name is too long or contains NUL";
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        if self.by_name.contains_key(&name) {
            return Err(Error::new(ErrorKind::Invalid, format!("add export '{name}': there is one already")));
        }
        self.by_name.insert(name, export);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Export> {
        self.by_name.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.by_name.keys()
    }
}
