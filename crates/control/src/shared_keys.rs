//! Keys of vaults where several servers stand on one catalog: sealed in the catalog, under a key that only servers have.
//!
//! That one, the *ring key*, is `DATA/keys/ring.key`. The first server draws it; whoever runs another copies this one file
//! there, once. What the catalog holds opens nothing without it. A key goes by its vault's id into the seal: one that is
//! put in another's place does not open.
//!
//! The catalog's copy is the truth: a server that holds another text takes that over. [`keep`] files a key first and
//! shares it then. CRASH between: whoever does the same again shares it; a new vault's is shared by the next look.
//!
//! [`keep`]: crate::keys::NewKey::keep

use crate::secret::{bytes, hex, random};
use crate::{Control, Error, Result};
use api::Code;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use model::VaultId;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The name of the ring key's file among the keys.
pub(crate) const RING: &str = "ring.key";
const RING_BYTES: usize = 32;
/// What to do about a ring key that is not there, or another's.
const COPY_IT: &str = "copy DATA/keys/ring.key of a server that runs on this catalog";

/// What keys are sealed with.
struct Ring(RandomizedNonceKey);

impl Ring {
    fn new(text: &str) -> Option<Self> {
        let key = Zeroizing::new(bytes(text.trim())?);
        Some(Self(RandomizedNonceKey::new(&AES_256_GCM, &key).ok()?))
    }

    fn seal(&self, vault: VaultId, text: &str) -> String {
        let mut sealed = text.as_bytes().to_vec();
        let about = Aad::from(vault.0.as_bytes());
        let nonce = self.0.seal_in_place_append_tag(about, &mut sealed).expect("a key is short");
        format!("{}{}", hex(nonce.as_ref()), hex(&sealed))
    }

    /// None if it was sealed by another, or for another vault.
    fn open(&self, vault: VaultId, sealed: &str) -> Option<Zeroizing<String>> {
        let mut sealed = bytes(sealed)?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.open_in_place(nonce, Aad::from(vault.0.as_bytes()), text).ok()?;
        Some(Zeroizing::new(std::str::from_utf8(text).ok()?.to_owned()))
    }
}

impl Control {
    /// Whether this server seals as the others do; asked before a vault is made whose key only it would know.
    pub(crate) async fn can_share_keys(&self) -> Result<()> {
        self.ring().await.map(drop)
    }

    /// Puts the text of a vault's key where other servers find it.
    pub(crate) async fn share_key(&self, vault: VaultId, text: &str) -> Result<()> {
        let seen = self.catalog.sealed_key(vault).await?;
        let ring = self.ring().await?;
        if let Some(sealed) = &seen {
            let before = ring.open(vault, sealed).ok_or_else(|| foreign(vault))?;
            if before.as_str() == text {
                return Ok(());
            }
        }
        match self.catalog.share_sealed_key(vault, seen.as_deref(), &ring.seal(vault, text)).await? {
            true => Ok(()),
            false => Err(Error::new(Code::Conflict, "somebody else has shared a key of this vault just now")),
        }
    }

    /// The key of a vault as other servers have shared it, if one has.
    pub(crate) async fn shared_key(&self, vault: VaultId) -> Result<Option<Zeroizing<String>>> {
        let Some(sealed) = self.catalog.sealed_key(vault).await? else { return Ok(None) };
        let text = self.ring().await?.open(vault, &sealed).ok_or_else(|| foreign(vault))?;
        Ok(Some(text))
    }

    /// Shares keys that only this server has, and takes over what others have shared.
    ///
    /// # Errors
    /// The catalog's; a ring key that is not the one of the others.
    pub async fn tick_keys(&self) -> Result<()> {
        for vault in self.catalog.vaults().await? {
            match (self.shared_key(vault.id).await?, self.filed_key(vault.id)?) {
                (None, Some(filed)) => self.share_key(vault.id, &filed).await?,
                (Some(shared), filed) if filed.as_deref() != Some(shared.as_str()) => {
                    self.file_key(vault.id, &shared)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The ring key; drawn if nothing was sealed with another yet.
    async fn ring(&self) -> Result<Ring> {
        let path = self.keys().join(RING);
        let other = self.catalog.any_sealed_key().await?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound && other.is_none() => self.draw_ring(&path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text =
                    format!("{} is not there, and the keys of vaults are sealed with it", path.display());
                return Err(Error::new(Code::Internal, text).hint(COPY_IT));
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let none =
            || Error::new(Code::Internal, format!("{} holds no ring key", path.display())).hint(COPY_IT);
        let ring = Ring::new(&text).ok_or_else(none)?;
        match other {
            Some((vault, sealed)) if ring.open(vault, &sealed).is_none() => Err(foreign(vault)),
            _ => Ok(ring),
        }
    }

    /// CRASH: before the rename, a file that nobody reads and the next draw replaces.
    fn draw_ring(&self, path: &Path) -> Result<Zeroizing<String>> {
        crate::keys::make_folder(&self.keys())?;
        let text = Zeroizing::new(hex(&random::<RING_BYTES>()));
        let part = self.keys().join(format!("{RING}.{}", self.draw()));
        let written =
            File::options().write(true).create_new(true).mode(0o600).open(&part).and_then(|mut file| {
                file.write_all(format!("{}\n", text.as_str()).as_bytes())?;
                file.sync_all()?;
                // Of two that draw at once in one folder, the first one's stays.
                let linked = fs::hard_link(&part, path);
                fs::remove_file(&part)?;
                linked.or_else(|e| if e.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })?;
                File::open(self.keys())?.sync_all()
            });
        written.map_err(|error| unreadable(path, &error))?;
        fs::read_to_string(path).map(Zeroizing::new).map_err(|error| unreadable(path, &error))
    }
}

fn foreign(vault: VaultId) -> Error {
    let text = format!("the key of the vault {vault} was sealed with another ring key than this server's");
    Error::new(Code::Internal, text).hint(COPY_IT)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::Internal, format!("the ring key {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_is_sealed_opens_for_its_vault_and_its_ring_alone() {
        let ring = |byte: u8| Ring::new(&hex(&[byte; RING_BYTES])).expect("a key");
        let [one, other] = [1, 2].map(|n| VaultId(Uuid::from_u128(n)));
        let sealed = ring(7).seal(one, "the text");
        assert_eq!(ring(7).open(one, &sealed).expect("it opens").as_str(), "the text");
        assert!(ring(8).open(one, &sealed).is_none() && ring(7).open(other, &sealed).is_none());
        assert!(ring(7).open(one, &sealed[2..]).is_none() && ring(7).open(one, "").is_none());
        assert_ne!(sealed, ring(7).seal(one, "the text"), "each by a nonce of its own");
        assert!(Ring::new("abcd").is_none() && Ring::new("").is_none());
    }
}
