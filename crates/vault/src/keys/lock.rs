//! A lock: the one way in which anything of a keyring is sealed.
//!
//! Key (32) ‖ commitment (32) are derived from a context and from material that is used once. Locked bytes are
//!
//! | bytes | field |
//! |---|---|
//! | 0..32 | commitment: tells another key from damage |
//! | 32..n-16 | ciphertext, AES-256-GCM, nonce zero |
//! | n-16..n | tag |
//!
//! INVARIANT: material holds something random drawn for this one sealing, so no key meets its nonce twice.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes that locking adds.
const LOCK_BYTES: usize = 32 + 16;

/// Seals or opens once.
pub(super) struct Lock {
    key: LessSafeKey,
    commitment: [u8; 32],
}

/// What came of opening.
pub(super) enum Unlocked {
    /// What was locked.
    Plain(Zeroizing<Vec<u8>>),
    /// It was locked with another key.
    OtherKey,
    /// It was locked with this key and is no longer what it was.
    Damaged,
}

impl Unlocked {
    /// What was locked, where a lock that does not open can only be damage.
    pub(super) fn plain(self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Plain(plain) => Some(plain),
            Self::OtherKey | Self::Damaged => None,
        }
    }
}

impl Lock {
    /// The lock of this material. Its parts have fixed lengths, so their sequence has one meaning.
    pub(super) fn new(context: &str, material: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in material {
            hasher.update(part);
        }
        let mut derived = Zeroizing::new([0; 64]);
        hasher.finalize_xof().fill(&mut *derived);
        let unbound = UnboundKey::new(&AES_256_GCM, &derived[..32]).expect("32 bytes are an AES-256 key");
        let commitment = derived[32..].try_into().expect("the other 32 bytes");
        Self { key: LessSafeKey::new(unbound), commitment }
    }

    /// Locks bytes. Consumes the lock: its nonce is spent.
    pub(super) fn seal(self, plain: &[u8]) -> Vec<u8> {
        // With its final capacity at once: growing would leave a copy of the plaintext behind.
        let mut locked = Vec::with_capacity(plain.len() + LOCK_BYTES);
        locked.extend_from_slice(&self.commitment);
        locked.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(zero_nonce(), Aad::empty(), &mut locked[32..])
            .expect("far below the length limit of AES-GCM");
        locked.extend_from_slice(tag.as_ref());
        locked
    }

    /// Opens what was locked.
    pub(super) fn open(self, locked: &[u8]) -> Unlocked {
        let Some((commitment, sealed)) = locked.split_at_checked(32) else { return Unlocked::Damaged };
        if commitment != self.commitment {
            return Unlocked::OtherKey;
        }
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let Ok(plain) = self.key.open_in_place(zero_nonce(), Aad::empty(), &mut bytes) else {
            return Unlocked::Damaged;
        };
        let length = plain.len();
        bytes.truncate(length);
        Unlocked::Plain(bytes)
    }
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Keys come from the operating system, never from a seed that is passed in.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
