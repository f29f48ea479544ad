//! Proof of who began (RFC 7636): a secret that stays with them, and its hash, which goes ahead.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What the RFC allows.
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;
/// Of SHA-256 in base64.
const CHALLENGE_CHARS: usize = 43;

/// A secret that nobody can guess: 256 bits, as letters, digits, `-` and `_`. Good for a verifier, a state, a nonce.
pub fn secret() -> String {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What goes ahead of a verifier, and tells nothing of it (`S256`).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Whether this can be a verifier.
pub fn is_verifier(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    VERIFIER_CHARS.contains(&text.len()) && text.bytes().all(is_good)
}

/// Whether this can be a challenge.
pub fn is_challenge(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    text.len() == CHALLENGE_CHARS && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_the_one_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(is_verifier(verifier) && is_challenge(&challenge(verifier)));
    }

    #[test]
    fn secrets_are_verifiers_and_do_not_repeat() {
        let (one, two) = (secret(), secret());
        assert!(is_verifier(&one) && one != two);
        for wrong in ["", "short", &"a".repeat(129), &format!("{} ", "a".repeat(43))] {
            assert!(!is_verifier(wrong) && !is_challenge(wrong), "{wrong}");
        }
    }
}
