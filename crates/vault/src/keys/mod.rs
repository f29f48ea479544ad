//! Keys: the keyring in the vault, and the holders outside it that open it.
//!
//! A vault's data keys are random and lie in the vault, sealed in the keyring: an object `keys/<n>`, put
//! create-only; the one with the highest number counts. Who may open it are its holders: a key file, a
//! passphrase, a recovery key kept offline; behind [`KeyProvider`], any one of them is enough.
//!
//! Reading order: `provider.rs` (the seam) → `keyring.rs` (the data keys) → `object.rs` (how they are sealed
//! for every holder at once) → `stored.rs` (reading and putting keyrings) → `holders.rs` (adding, removing,
//! rotating) and `access.rs` (what an open vault has). `file.rs`, `passphrase.rs` and `recovery.rs` are the holders; `lock.rs` is the one way anything
//! here is sealed.
//!
//! Every holder has a secret of its own, which its provider wraps once, when the holder is added. A keyring
//! is sealed under a fresh key, and that key is sealed to each holder's public key. So whoever opens the
//! vault can make the next keyring for all holders, though the recovery key lies in a safe and nobody asks
//! for the passphrase; and who was removed before a rotation has nothing that opens what came after it.
//!
//! INVARIANT: a keyring is put only once every holder at hand has opened it, and reported only once it was
//! read back from the store and opened again.
//!
//! CRASH: a put is whole or absent, so the vault opens with the holders from before or from after, never
//! with others. A put whose answer is lost may have landed: listing the holders tells.

mod access;
mod file;
mod hex;
mod holders;
mod keyring;
mod lock;
mod object;
mod passphrase;
mod provider;
mod recovery;
mod share;
mod stored;
#[cfg(test)]
mod tests;

pub(crate) use access::Access;
pub use file::KeyFile;
pub use holders::{Holders, Removal, Rotation};
pub(crate) use keyring::Keyring;
pub use object::Holder;
pub use passphrase::{HashCost, Passphrase};
pub use provider::{HolderId, HolderSecret, KeyProvider, NewHolder, WrapContext};
pub use recovery::RecoveryKey;
pub(crate) use stored::{copy_newest, create, vault_id};
