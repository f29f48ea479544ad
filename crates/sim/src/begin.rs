//! The vault that every simulation begins with: empty, and always the same.
//!
//! Ids of chunks come from the vault's id key, which is drawn from the operating system: with another key,
//! index runs and map nodes would have other bytes and lengths in every run. What lies in `crates/sim/begin`
//! was made once and stays.

use bytes::Bytes;
use std::path::Path;
use vault::KeyFile;

const OBJECTS: [(&str, &str); 2] = [
    ("vault.json", include_str!("../begin/vault.json")),
    ("keys/00000001", include_str!("../begin/keys/00000001")),
];

/// The vault's first objects, and the key to it.
pub(crate) struct Beginning {
    pub(crate) key: KeyFile,
}

impl Beginning {
    pub(crate) fn read() -> vault::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("begin/vault.key");
        Ok(Self { key: KeyFile::read(&path)? })
    }

    pub(crate) fn objects() -> impl Iterator<Item = (String, Bytes)> {
        OBJECTS.into_iter().map(|(name, text)| (name.to_owned(), Bytes::from_static(text.as_bytes())))
    }
}
