//! Attaching to a store, before something is written: is it still what it was when the vault was created? A vault may
//! have been moved, mounted or put behind another gateway since, and one that gives names twice loses points.
//!
//! That a store passed is noted in the cache, so that it is not asked again every time: a file
//! `<vault id>-<hash of what messages call the store>.probed`, which holds when.

use crate::vault::Vault;
use crate::{Error, ErrorKind, Result};
use jiff::{SignedDuration, Timestamp};
use std::path::{Path, PathBuf};

/// How long a store is trusted to stay what it was: gateways are replaced now and then, without a word.
const PROBE_AGE: SignedDuration = SignedDuration::from_hours(24 * 30);

impl Vault {
    /// Makes sure that many may write to the store, unless a note in `cache` says that it was so lately.
    ///
    /// # Errors
    /// `Invalid` if it is unfit. A note that cannot be written is no error but trouble:
    /// [`index_trouble`](Vault::index_trouble) tells of it.
    pub async fn attach(&self, cache: &Path, now: Timestamp) -> Result<()> {
        let note = self.probe_note(cache);
        if is_fresh(&note, now) {
            return Ok(());
        }
        self.store().probe(self.ids().draw(), now).await?.require_shared(self.store())?;
        let written = std::fs::create_dir_all(cache).and_then(|()| std::fs::write(&note, now.to_string()));
        if let Err(error) = written {
            let context = format!("note in {} that the store is fit", note.display());
            self.shelf().complain(Error::caused(ErrorKind::Invalid, context, error));
        }
        Ok(())
    }

    fn probe_note(&self, cache: &Path) -> PathBuf {
        let hash = blake3::hash(self.store().shown().as_bytes()).to_hex();
        cache.join(format!("{}-{}.probed", self.id(), &hash[..16]))
    }
}

/// Whether a note says that the store passed lately. One that cannot be read, or is of the future, says nothing.
fn is_fresh(note: &Path, now: Timestamp) -> bool {
    let passed = std::fs::read_to_string(note).ok().and_then(|text| text.parse::<Timestamp>().ok());
    passed.is_some_and(|passed| (SignedDuration::ZERO..PROBE_AGE).contains(&now.duration_since(passed)))
}
