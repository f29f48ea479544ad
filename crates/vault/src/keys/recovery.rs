//! The recovery key: a holder on paper.
//!
//! 60 characters in twelve groups of five: `SR`, then 256 bits and four zero bits in 52 characters, then a
//! checksum of six. The alphabet is Crockford's base 32, which has no I, L, O and U; a reader takes them for
//! 1, 1, 0 and V, in either case, and passes over whatever parts the groups. The checksum is that of Bech32m
//! (BIP 350) without a prefix: up to four wrong characters never pass, and a single one is told where it is.

use super::file::read_secret;
use super::lock::random;
use super::provider::{unwrap_with, wrap_with};
use super::{HolderId, HolderSecret, KeyProvider, WrapContext};
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const ID_CONTEXT: &str = "strongroom recovery key v1 key id";
const WRAP_CONTEXT: &str = "strongroom recovery key v1 wrap";
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HEAD: [u8; 2] = [25, 24]; // S, R
const KEY_SYMBOLS: usize = 52;
const CHECK_SYMBOLS: usize = 6;
const SYMBOLS: usize = HEAD.len() + KEY_SYMBOLS + CHECK_SYMBOLS;
const GROUP: usize = 5;
const BECH32M: u32 = 0x2BC8_30A3;
const GENERATORS: [u32; 5] = [0x3B6A_57B2, 0x2650_8E6D, 0x1EA1_19FA, 0x3D42_33DD, 0x2A14_62B3];

type Symbols = Zeroizing<[u8; SYMBOLS]>;

/// 256 random bits that a person can write down.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey {
    key: [u8; 32],
}

impl RecoveryKey {
    /// A new random key.
    pub fn generate() -> Self {
        Self { key: random() }
    }

    /// Reads what a person typed.
    ///
    /// # Errors
    /// `Key` if it is mistyped, saying where if that can be told, and never what was typed.
    pub fn parse(text: &str) -> Result<Self> {
        let symbols = symbols_of(text)?;
        if checksum(symbols.as_slice()) != BECH32M {
            return Err(match mistyped_at(&symbols) {
                Some(at) => {
                    bad(format!("character {} of group {} is mistyped", at % GROUP + 1, at / GROUP + 1))
                }
                None => bad("more than one character is mistyped"),
            });
        }
        let Some(key) = symbols.strip_prefix(&HEAD).and_then(|rest| unpack(&rest[..KEY_SYMBOLS])) else {
            return Err(bad("it is the recovery key of something else"));
        };
        Ok(Self { key: *key })
    }

    /// Reads a file that holds one; lines that begin with `#` are comments.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_secret(path, "recovery key file")?;
        let mut typed = Zeroizing::new(String::with_capacity(text.len()));
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            typed.push_str(line);
            typed.push('\n');
        }
        Self::parse(&typed).map_err(|error| {
            Error::caused(ErrorKind::Key, format!("read the recovery key file {}", path.display()), error)
        })
    }

    /// What a person writes down.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut symbols: Symbols = Zeroizing::new([0; SYMBOLS]);
        symbols[..HEAD.len()].copy_from_slice(&HEAD);
        let (mut bits, mut count, mut at) = (0u32, 0, HEAD.len());
        for byte in self.key.iter().chain(&[0]) {
            (bits, count) = (bits << 8 | u32::from(*byte), count + 8);
            while count >= 5 && at < HEAD.len() + KEY_SYMBOLS {
                count -= 5;
                symbols[at] = (bits >> count & 31) as u8;
                at += 1;
            }
        }
        let check = checksum(symbols.as_slice()) ^ BECH32M;
        for (place, symbol) in symbols[SYMBOLS - CHECK_SYMBOLS..].iter_mut().enumerate() {
            *symbol = (check >> (5 * (CHECK_SYMBOLS - 1 - place)) & 31) as u8;
        }
        // With its final capacity at once: growing would leave a copy of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(SYMBOLS + SYMBOLS / GROUP));
        for group in symbols.chunks(GROUP) {
            if !text.is_empty() {
                text.push('-');
            }
            text.extend(group.iter().map(|symbol| char::from(ALPHABET[usize::from(*symbol)])));
        }
        text
    }
}

#[async_trait]
impl KeyProvider for RecoveryKey {
    fn provider(&self) -> &'static str {
        "recovery-key"
    }

    fn id(&self) -> Option<HolderId> {
        Some(HolderId::of_key(ID_CONTEXT, &self.key))
    }

    async fn wrap(&self, context: WrapContext, secret: &HolderSecret) -> Result<Vec<u8>> {
        Ok(wrap_with(&self.key, WRAP_CONTEXT, context, secret))
    }

    async fn unwrap(&self, context: WrapContext, wrap: &[u8]) -> Result<Option<HolderSecret>> {
        unwrap_with(&self.key, WRAP_CONTEXT, context, wrap)
    }
}

/// The characters that count, as numbers.
fn symbols_of(text: &str) -> Result<Symbols> {
    let mut symbols: Symbols = Zeroizing::new([0; SYMBOLS]);
    let mut count = 0;
    for c in text.chars().filter(|c| c.is_alphanumeric()) {
        let symbol = symbol_of(c).ok_or_else(|| {
            bad(format!(
                "character {} of group {} is not one it can have",
                count % GROUP + 1,
                count / GROUP + 1
            ))
        })?;
        if let Some(place) = symbols.get_mut(count) {
            *place = symbol;
        }
        count += 1;
    }
    if count != SYMBOLS {
        let groups = text.split(|c: char| !c.is_alphanumeric()).filter(|group| !group.is_empty());
        let odd = groups.enumerate().find(|(_, group)| group.chars().count() != GROUP);
        let hint = odd.map(|(at, _)| format!(": look at group {}", at + 1)).unwrap_or_default();
        return Err(bad(format!("it has {count} characters where {SYMBOLS} belong{hint}")));
    }
    Ok(symbols)
}

fn symbol_of(c: char) -> Option<u8> {
    let meant = match c.to_ascii_uppercase() {
        'I' | 'L' => '1',
        'O' => '0',
        'U' => 'V',
        other => other,
    };
    ALPHABET.iter().position(|letter| char::from(*letter) == meant).and_then(|at| u8::try_from(at).ok())
}

/// The bytes in 52 symbols; `None` if the four bits left over are not zero.
fn unpack(symbols: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let (mut bits, mut count, mut at) = (0u32, 0, 0);
    for symbol in symbols {
        (bits, count) = (bits << 5 | u32::from(*symbol), count + 5);
        if count >= 8 {
            count -= 8;
            *key.get_mut(at)? = (bits >> count) as u8;
            at += 1;
        }
    }
    (at == 32 && bits & 0b1111 == 0).then_some(key)
}

/// The remainder that Bech32m compares with its constant.
fn checksum(symbols: &[u8]) -> u32 {
    symbols.iter().fold(1, |sum: u32, symbol| {
        let shifted = (sum & 0x1FF_FFFF) << 5 ^ u32::from(*symbol);
        let carried = GENERATORS.iter().enumerate().filter(|(bit, _)| sum >> (25 + bit) & 1 == 1);
        carried.fold(shifted, |sum, (_, generator)| sum ^ generator)
    })
}

/// Where the one wrong character is: the checksum tells single ones apart.
fn mistyped_at(symbols: &Symbols) -> Option<usize> {
    let mut tried = symbols.clone();
    (0..SYMBOLS).find(|&at| {
        let typed = tried[at];
        let mends = (0..32).any(|symbol| {
            tried[at] = symbol;
            checksum(tried.as_slice()) == BECH32M
        });
        tried[at] = typed;
        mends
    })
}

fn bad(found: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Key, format!("this is not the recovery key as it was printed: {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> std::result::Result<[u8; 32], String> {
        RecoveryKey::parse(text).map(|key| key.key).map_err(|error| error.to_string())
    }

    /// `A1LQFN3A` of BIP 350: the checksum is what others call Bech32m.
    #[test]
    fn the_checksum_is_bech32m() {
        assert_eq!(checksum(&[3, 0, 1, 31, 0, 9, 19, 17, 29]), BECH32M);
    }

    /// Keys on paper outlive programs.
    #[test]
    fn an_old_key_is_read() {
        let key = RecoveryKey { key: std::array::from_fn(|at| at as u8) };
        let text = "SR000-G40R4-0M30E-20918-5GR38-E1W81-24GK2-GAHC5-RR34D-1P70X-3RFGP-HN50Q";
        assert_eq!(key.to_text().as_str(), text);
        assert_eq!(parsed(text), Ok(key.key));
    }

    #[test]
    fn reading_is_forgiving() {
        let key = RecoveryKey::generate();
        let text = key.to_text();
        assert_eq!(text.len(), 71);
        let confused = text.replace('0', "o").replace('1', "l").replace('V', "u");
        for typed in [
            text.to_lowercase(),
            text.replace('-', " "),
            text.replace('-', ""),
            text.replace('-', "\n  \u{2013} "),
            text.replace('1', "I"),
            confused,
        ] {
            assert_eq!(parsed(&typed), Ok(key.key), "{typed}");
        }
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("sheet");
        std::fs::write(&path, format!("# Recovery key\n{}\n{}\n", &text[..36], &text[36..])).expect("write");
        assert!(RecoveryKey::read(&path).expect("reads").key == key.key);
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        let text = RecoveryKey { key: [0x5A; 32] }.to_text();
        let typed =
            |at: usize, c: &str| parsed(&format!("{}{c}{}", &text[..at], &text[at + 1..])).expect_err("typo");
        let other = |at: usize| if &text[at..=at] == "7" { "8" } else { "7" };
        assert!(typed(0, "7").contains("character 1 of group 1 is mistyped"));
        assert!(
            typed(14, other(14)).contains("character 3 of group 3 is mistyped"),
            "{}",
            typed(14, other(14))
        );
        assert!(typed(20, "\u{e9}").contains("character 3 of group 4 is not one"));
        assert!(typed(20, "").contains("59 characters where 60 belong: look at group 4"));
        assert!(typed(20, "77").contains("61 characters where 60 belong: look at group 4"));
        assert!(parsed("").expect_err("nothing").contains("0 characters"));
    }

    proptest! {
        #[test]
        fn any_key_round_trips(key: [u8; 32]) {
            prop_assert_eq!(parsed(&RecoveryKey { key }.to_text()), Ok(key));
        }

        #[test]
        fn up_to_four_wrong_characters_are_found(
            key: [u8; 32],
            wrong in prop::collection::btree_map(0..SYMBOLS, 1u8..32, 1..5),
        ) {
            let text: String = RecoveryKey { key }.to_text().replace('-', "");
            let typed: String = text.chars().enumerate().map(|(at, c)| {
                let symbol = symbol_of(c).expect("of the alphabet");
                char::from(ALPHABET[usize::from(symbol ^ wrong.get(&at).copied().unwrap_or(0))])
            }).collect();
            let error = parsed(&typed).expect_err("mistyped");
            if let (1, Some(at)) = (wrong.len(), wrong.keys().next()) {
                let place = format!("character {} of group {}", at % 5 + 1, at / 5 + 1);
                prop_assert!(error.contains(&place), "{} in {}", place, error);
            }
        }

        #[test]
        fn whatever_is_typed_is_an_error_or_a_key(text in "\\PC{0,90}|[0-9A-Za-z -]{55,75}") {
            let _ = RecoveryKey::parse(&text);
        }
    }
}
