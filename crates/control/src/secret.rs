//! Secrets: tokens and passwords, and what is kept of them.
//!
//! They are the one thing drawn from the system's own randomness rather than from what is passed in: a test that
//! repeats its ids must not make a service whose tokens can be guessed.

use crate::{Error, Result};
use api::Code;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// What OWASP recommends at least: 19 MiB and two passes, some 30 ms of one core.
const COST: Cost = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
/// Hashings at once: people who sign in together wait for each other rather than for memory.
static TURNS: Semaphore = Semaphore::const_new(2);
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// A hash that no password has, as costly to compare with as a real one: an unknown name takes as long as a wrong
/// password.
const NOBODY: &str = "argon2id$19456$2$1$00000000000000000000000000000000$\
    0000000000000000000000000000000000000000000000000000000000000000";
/// Without letters and digits that look alike: 32 of them, so that every byte's low five bits choose one evenly.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Whose token it is; a reader of a log or a scanner of leaked secrets sees it by the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Of a person who signed in.
    Session,
    /// Of a service.
    Token,
    /// Of a mover.
    Mover,
    /// What a mover joins with, once.
    Join,
}

impl TokenKind {
    /// As it is stored.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Token => "token",
            Self::Mover => "mover",
            Self::Join => "join",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Session => "sr_s_",
            Self::Token => "sr_t_",
            Self::Mover => "sr_m_",
            Self::Join => "sr_j_",
        }
    }
}

/// A fresh token: 256 bits that nobody can guess.
pub(crate) fn token(kind: TokenKind) -> String {
    format!("{}{}", kind.prefix(), hex(&random::<32>()))
}

/// SHA-256 of a token, in hex: what the catalog knows of it. Tokens are random, so nobody can guess back.
pub fn token_hash(token: &str) -> String {
    hex(digest(&SHA256, token.as_bytes()).as_ref())
}

/// A password for somebody who will choose a better one: 100 bits, in four groups.
pub(crate) fn password() -> Zeroizing<String> {
    let letters: Vec<_> =
        random::<20>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    let groups: Vec<String> = letters.chunks(5).map(|group| group.iter().collect()).collect();
    Zeroizing::new(groups.join("-"))
}

/// What is kept of a password.
pub(crate) async fn hash_password(password: &str) -> Result<String> {
    let salt = random::<SALT_BYTES>();
    let hash = hashed(password, COST, salt.to_vec()).await?;
    let Cost { memory_kib, passes, lanes } = COST;
    Ok(format!("argon2id${memory_kib}${passes}${lanes}${}${}", hex(&salt), hex(hash.as_slice())))
}

/// Whether this is the password that `kept` was made of. Without one it is not, and that takes as long to say.
pub(crate) async fn is_password(password: &str, kept: Option<&str>) -> Result<bool> {
    let unreadable = || Error::new(Code::Internal, "a password's hash in the catalog cannot be read");
    let (cost, salt, expected) = split(kept.unwrap_or(NOBODY)).ok_or_else(unreadable)?;
    let hash = hashed(password, cost, salt).await?;
    Ok(verify_slices_are_equal(hash.as_slice(), &expected).is_ok() && kept.is_some())
}

/// What guessing once costs. It stands with every hash, so that it can be raised.
#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

fn split(kept: &str) -> Option<(Cost, Vec<u8>, Vec<u8>)> {
    let parts: Vec<_> = kept.split('$').collect();
    let ["argon2id", memory_kib, passes, lanes, salt, hash] = parts[..] else { return None };
    let number = |text: &str| text.parse().ok();
    let cost = Cost { memory_kib: number(memory_kib)?, passes: number(passes)?, lanes: number(lanes)? };
    Some((cost, bytes(salt)?, bytes(hash)?))
}

async fn hashed(password: &str, cost: Cost, salt: Vec<u8>) -> Result<Zeroizing<[u8; HASH_BYTES]>> {
    let _turn = TURNS.acquire().await.expect("it is never closed");
    let password = Zeroizing::new(password.to_owned());
    let failed = |why: String| Error::new(Code::Internal, format!("hash a password: {why}"));
    let hash = move || {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(HASH_BYTES))?;
        let mut hash = Zeroizing::new([0; HASH_BYTES]);
        let mut memory = Zeroizing::new(vec![Block::new(); params.block_count()]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let (text, hash_bytes, memory) = (password.as_bytes(), hash.as_mut_slice(), memory.as_mut_slice());
        argon.hash_password_into_with_memory(text, &salt, hash_bytes, memory).map(|()| hash)
    };
    let hashed = tokio::task::spawn_blocking(hash).await.map_err(|error| failed(error.to_string()))?;
    hashed.map_err(|error| failed(error.to_string()))
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hex as it is written by [`hex`]; none if it is not.
pub(crate) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() -> Result<()> {
        let kept = hash_password("correct horse").await?;
        assert!(is_password("correct horse", Some(&kept)).await?);
        assert!(!is_password("correct horsf", Some(&kept)).await?);
        assert!(!is_password("correct horse", None).await?);
        assert_ne!(kept, hash_password("correct horse").await?, "each has its own salt");
        assert_eq!(is_password("x", Some("md5$x")).await.unwrap_err().code(), Code::Internal);
        Ok(())
    }

    /// An unknown name is compared with a hash of the same cost as a real one.
    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let (cost, salt, hash) = split(NOBODY).unwrap();
        assert_eq!((cost.memory_kib, cost.passes, cost.lanes), (COST.memory_kib, COST.passes, COST.lanes));
        assert_eq!((salt.len(), hash.len()), (SALT_BYTES, HASH_BYTES));
    }

    #[test]
    fn secrets_do_not_repeat_and_say_what_they_are() {
        let (one, two) = (token(TokenKind::Session), token(TokenKind::Session));
        assert!(one.starts_with("sr_s_") && one.len() == 5 + 64 && one != two);
        assert_eq!(token_hash(&one), token_hash(&one));
        assert_eq!(password().len(), 23);
        assert_ne!(password(), password());
    }
}
