//! Sealing a keyring's key to a holder who is not there.
//!
//! A holder's secret is an X25519 private key. Its public key stands in the sealed body of the keyring and
//! nowhere else: whoever opens the vault can seal to every holder, and whoever only sees the store lacks the
//! public keys, so a machine that breaks X25519 still does not open what it took from there.
//!
//! A share is an ephemeral public key (32) ‖ the keyring's key, locked (`lock.rs`).

use super::HolderSecret;
use super::lock::{Lock, random};
use crate::VaultId;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use zeroize::Zeroizing;

const CONTEXT: &str = "strongroom keyring v1 share";

/// A holder's public key.
pub(super) type Public = [u8; 32];

/// Which keyring of which vault: nothing sealed for one opens in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyringName {
    pub(super) vault: VaultId,
    pub(super) number: u32,
}

/// A fresh secret for a holder.
pub(super) fn secret() -> HolderSecret {
    Zeroizing::new(random())
}

/// The public key of a holder's secret.
pub(super) fn public_of(secret: &HolderSecret) -> Public {
    let public = private(secret).compute_public_key().expect("every private key has a public one");
    public.as_ref().try_into().expect("X25519 keys have 32 bytes")
}

/// Seals the key of a keyring to a holder. `None` if `holder` is no public key.
pub(super) fn seal(key: &[u8; 32], holder: &Public, keyring: KeyringName) -> Option<Vec<u8>> {
    let once = secret();
    let once_public = public_of(&once);
    let lock = shared_lock(&once, holder, [&once_public, holder], keyring)?;
    Some([&once_public[..], &lock.seal(key)].concat())
}

/// Opens a share with the holder's secret.
pub(super) fn open(share: &[u8], secret: &HolderSecret, keyring: KeyringName) -> Option<Zeroizing<[u8; 32]>> {
    let (once_public, locked) = share.split_at_checked(32)?;
    let once_public: Public = once_public.try_into().ok()?;
    let holder = public_of(secret);
    let lock = shared_lock(secret, &once_public, [&once_public, &holder], keyring)?;
    let key = lock.open(locked).plain()?;
    Some(Zeroizing::new(key.as_slice().try_into().ok()?))
}

fn private(secret: &HolderSecret) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, secret.as_slice()).expect("any 32 bytes are an X25519 key")
}

/// What both sides arrive at, bound to both public keys (the one used once first) and to the keyring.
fn shared_lock(
    ours: &HolderSecret,
    theirs: &Public,
    publics: [&Public; 2],
    keyring: KeyringName,
) -> Option<Lock> {
    let (vault, number) = (keyring.vault.0, keyring.number.to_le_bytes());
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    agree(&private(ours), theirs, (), |shared| {
        Ok(Lock::new(CONTEXT, &[shared, publics[0], publics[1], vault.as_bytes(), &number]))
    })
    .ok()
}
