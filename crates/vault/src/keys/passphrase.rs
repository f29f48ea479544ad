//! The passphrase: a holder in somebody's head.
//!
//! Wrap: memory in KiB (4) ‖ passes (4) ‖ lanes (4) ‖ salt (16) ‖ what a symmetric key wraps (`provider.rs`).
//! The key is Argon2id, version 0x13, of the passphrase's bytes as they are, and of the salt.

use super::file::read_secret;
use super::lock::random;
use super::provider::{damaged_wrap, unwrap_with, wrap_with};
use super::{HolderId, HolderSecret, KeyProvider, WrapContext};
use crate::bytes_io::Fields;
use crate::{Error, ErrorKind, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

const WRAP_CONTEXT: &str = "strongroom passphrase v1 wrap";
const SALT_BYTES: usize = 16;
/// Whoever takes the store can guess offline for ever; twelve is where guessing stops to be cheap.
const CHARS_MIN: usize = 12;
/// Longer is no passphrase but a mistaken file.
const BYTES_MAX: usize = 1024;
/// What a wrap may ask for before anything is allocated: a hostile one must not take the machine down.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Together with the memory: about ten seconds of one core.
const PASSES_KIB_MAX: u64 = 8 * 1024 * 1024;
const LANES_MAX: u32 = 16;
/// Hashings at once, so that many openings do not add up to more memory than there is.
static TURNS: Semaphore = Semaphore::const_new(2);

/// A passphrase. Its bytes count: a reader types exactly what was chosen.
pub struct Passphrase {
    text: Arc<Zeroizing<String>>,
    cost: HashCost,
}

/// What guessing a passphrase once costs: memory, and time for passes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes; a guesser may run them side by side, this program does not.
    pub lanes: u32,
}

impl HashCost {
    /// For people who open a vault now and then: a fifth of a second to a second, four times the memory
    /// that RFC 9106 recommends where memory is scarce.
    pub const DEFAULT: Self = Self { memory_kib: 256 * 1024, passes: 3, lanes: 1 };

    fn check(self) -> std::result::Result<Self, String> {
        let Self { memory_kib, passes, lanes } = self;
        let is_sane = memory_kib <= MEMORY_KIB_MAX
            && u64::from(memory_kib) * u64::from(passes) <= PASSES_KIB_MAX
            && (1..=LANES_MAX).contains(&lanes)
            && memory_kib >= 8 * lanes
            && passes >= 1;
        let asked = || format!("it asks for {memory_kib} KiB, {passes} passes and {lanes} lanes");
        is_sane.then_some(self).ok_or_else(asked)
    }
}

impl Passphrase {
    /// Takes a passphrase as it was typed.
    ///
    /// # Errors
    /// `Key` if it is empty or longer than any is.
    pub fn new(text: Zeroizing<String>) -> Result<Self> {
        if text.is_empty() || text.len() > BYTES_MAX {
            let context = format!("a passphrase has 1 to {BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::Key, context));
        }
        Ok(Self { text: Arc::new(text), cost: HashCost::DEFAULT })
    }

    /// Reads the first line of a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_secret(path, "passphrase file")?;
        Self::new(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// The same passphrase, wrapping at another cost. Opening costs what the wrap says.
    ///
    /// # Errors
    /// `Invalid` if no reader would accept the cost.
    pub fn at_cost(mut self, cost: HashCost) -> Result<Self> {
        self.cost = cost.check().map_err(|found| Error::new(ErrorKind::Invalid, found))?;
        Ok(self)
    }

    async fn key(&self, cost: HashCost, salt: [u8; SALT_BYTES]) -> Result<Zeroizing<[u8; 32]>> {
        let _turn = TURNS.acquire().await.expect("it is never closed");
        let text = Arc::clone(&self.text);
        let hashed = tokio::task::spawn_blocking(move || hash(&text, cost, &salt)).await;
        hashed.map_err(|e| Error::caused(ErrorKind::Key, "hash a passphrase", e))?
    }
}

#[async_trait]
impl KeyProvider for Passphrase {
    fn provider(&self) -> &'static str {
        "passphrase"
    }

    /// Nothing that is kept may be derived from a passphrase but at the full cost.
    fn id(&self) -> Option<HolderId> {
        None
    }

    async fn wrap(&self, context: WrapContext, secret: &HolderSecret) -> Result<Vec<u8>> {
        if self.text.chars().count() < CHARS_MIN {
            let found =
                format!("a passphrase of a vault has at least {CHARS_MIN} characters; use several words");
            return Err(Error::new(ErrorKind::Invalid, found));
        }
        let (cost, salt) = (self.cost, random::<SALT_BYTES>());
        let key = self.key(cost, salt).await?;
        let mut wrap = Vec::new();
        for number in [cost.memory_kib, cost.passes, cost.lanes] {
            wrap.extend_from_slice(&number.to_le_bytes());
        }
        wrap.extend_from_slice(&salt);
        wrap.extend_from_slice(&wrap_with(&key, WRAP_CONTEXT, context, secret));
        Ok(wrap)
    }

    async fn unwrap(&self, context: WrapContext, wrap: &[u8]) -> Result<Option<HolderSecret>> {
        let (cost, salt, wrapped) = split(wrap).ok_or_else(|| damaged_wrap(context, "it ends early"))?;
        let cost = cost.check().map_err(|found| damaged_wrap(context, &found))?;
        let key = self.key(cost, salt).await?;
        unwrap_with(&key, WRAP_CONTEXT, context, wrapped)
    }
}

/// What a wrap asks for, its salt, and what is wrapped.
fn split(wrap: &[u8]) -> Option<(HashCost, [u8; SALT_BYTES], &[u8])> {
    let mut fields = Fields(wrap);
    let (memory_kib, passes, lanes) = (fields.u32()?, fields.u32()?, fields.u32()?);
    Some((HashCost { memory_kib, passes, lanes }, fields.array()?, fields.0))
}

fn hash(text: &str, cost: HashCost, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(key.len()));
    let params = params.expect("a checked cost is within Argon2's limits");
    let mut memory = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(params.block_count()).map_err(|e| {
        let context =
            format!("hash a passphrase: there are no {} MiB of memory free", cost.memory_kib / 1024);
        Error::caused(ErrorKind::Key, context, e)
    })?;
    memory.resize(params.block_count(), Block::new());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(text.as_bytes(), salt, key.as_mut_slice(), memory.as_mut_slice())
        .expect("the lengths of key, salt and memory are Argon2's");
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference implementation's own tests.
    #[test]
    fn the_hash_is_argon2id() {
        let at = |memory_kib| HashCost { memory_kib, passes: 2, lanes: 1 };
        let small = hash("password", at(256), b"somesalt").expect("hash");
        assert_eq!(
            super::super::hex::encode(small.as_slice()),
            "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"
        );
        let large = hash("password", at(65536), b"somesalt").expect("hash");
        assert_eq!(
            super::super::hex::encode(large.as_slice()),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
    }

    #[test]
    fn costs_are_bounded() {
        assert!(HashCost::DEFAULT.check().is_ok());
        for (memory_kib, passes, lanes) in [
            (u32::MAX, 1, 1),
            (MEMORY_KIB_MAX + 1, 1, 1),
            (MEMORY_KIB_MAX, 9, 1),
            (64, u32::MAX, 1),
            (64, 0, 1),
            (64, 1, 0),
            (64, 1, 9),
            (64, 1, u32::MAX),
            (0, 1, 1),
        ] {
            let cost = HashCost { memory_kib, passes, lanes };
            assert!(cost.check().is_err(), "{cost:?}");
        }
    }
}
