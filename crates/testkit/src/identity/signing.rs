//! Keys, and what is signed by them; also in ways that nobody should believe.

use super::IdToken;
use crate::base64::encode_for_urls;
use anyhow::{Context, Result, anyhow};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding,
};
use serde_json::{Value, json};

/// What signs an ID token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// `RS256`, as nearly all do.
    Rsa,
    /// `PS256`.
    RsaPss,
    /// `ES256`.
    Curve,
    /// `EdDSA`.
    Edwards,
    /// As `RS256`, by a key that is not shown, under the name of the one that is.
    Stranger,
    /// `HS256`, by the public key that everybody knows: the classic of confused algorithms.
    SharedSecret,
    /// `none`.
    Nothing,
}

/// The keys that are shown, and one that is not.
pub(super) struct KeyRing {
    name: String,
    rsa: RsaKeyPair,
    stranger: RsaKeyPair,
    curve: EcdsaKeyPair,
    edwards: Ed25519KeyPair,
}

impl KeyRing {
    pub(super) fn new() -> Result<Self> {
        let failed = |_| anyhow!("make keys");
        Ok(Self {
            name: uuid::Uuid::new_v4().to_string(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?,
            stranger: RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?,
            curve: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?,
            edwards: Ed25519KeyPair::generate().map_err(failed)?,
        })
    }

    /// The document of keys. One is of a type that nobody knows.
    pub(super) fn shown(&self) -> Value {
        let text = |bytes: &[u8]| encode_for_urls(bytes);
        let (n, e) = self.numbers();
        // 4, x, y (SEC 1).
        let point = self.curve.public_key().as_ref();
        json!({ "keys": [
            { "kty": "RSA", "use": "sig", "kid": self.named("rsa"), "n": text(n), "e": text(e) },
            { "kty": "EC", "crv": "P-256", "kid": self.named("curve"), "x": text(&point[1..33]), "y": text(&point[33..]) },
            { "kty": "OKP", "crv": "Ed25519", "kid": self.named("edwards"), "x": text(self.edwards.public_key().as_ref()) },
            { "kty": "new", "kid": 7 },
        ] })
    }

    fn named(&self, kind: &str) -> String {
        format!("{kind} of {}", self.name)
    }

    /// The modulus and the exponent, out of the key's DER (PKCS #1): a sequence of two integers.
    fn numbers(&self) -> (&[u8], &[u8]) {
        let (_, inside) = element(self.rsa.public_key().as_ref()).1;
        let (rest, (_, n)) = element(inside);
        let (_, (_, e)) = element(rest);
        (n, e)
    }

    /// The token, signed as it wants to be.
    pub(super) fn signed(&self, token: &IdToken) -> Result<String> {
        let (alg, kind) = match token.signing {
            Signing::Rsa | Signing::Stranger => ("RS256", "rsa"),
            Signing::RsaPss => ("PS256", "rsa"),
            Signing::Curve => ("ES256", "curve"),
            Signing::Edwards => ("EdDSA", "edwards"),
            Signing::SharedSecret => ("HS256", "rsa"),
            Signing::Nothing => ("none", "rsa"),
        };
        let mut header = token.header.clone();
        for (name, value) in [("alg", alg.to_owned()), ("kid", self.named(kind))] {
            if header[name].is_null() {
                header[name] = json!(value);
            }
        }
        let part = |value: &Value| encode_for_urls(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&header), part(&token.claims));
        let signature = self.signature(token.signing, message.as_bytes())?;
        Ok(format!("{message}.{}", encode_for_urls(&signature)))
    }

    fn signature(&self, signing: Signing, message: &[u8]) -> Result<Vec<u8>> {
        Ok(match signing {
            Signing::Rsa => by_rsa(&self.rsa, &RSA_PKCS1_SHA256, message)?,
            Signing::RsaPss => by_rsa(&self.rsa, &RSA_PSS_SHA256, message)?,
            Signing::Stranger => by_rsa(&self.stranger, &RSA_PKCS1_SHA256, message)?,
            Signing::Curve => {
                let signed = self.curve.sign(&SystemRandom::new(), message);
                signed.ok().context("sign by a curve")?.as_ref().to_vec()
            }
            Signing::Edwards => self.edwards.sign(message).as_ref().to_vec(),
            Signing::SharedSecret => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.rsa.public_key().as_ref());
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Signing::Nothing => Vec::new(),
        })
    }
}

fn by_rsa(key: &RsaKeyPair, how: &'static dyn RsaEncoding, message: &[u8]) -> Result<Vec<u8>> {
    let mut signature = vec![0; key.public_modulus_len()];
    let signed = key.sign(how, &SystemRandom::new(), message, &mut signature);
    signed.ok().context("sign by RSA")?;
    Ok(signature)
}

/// What lies behind an element of DER; its tag and what is in it.
fn element(der: &[u8]) -> (&[u8], (u8, &[u8])) {
    let (tag, first) = (der[0], usize::from(der[1]));
    let long = first.saturating_sub(128);
    let length = match long {
        0 => first,
        _ => der[2..2 + long].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
    };
    let (inside, rest) = der[2 + long..].split_at(length);
    (rest, (tag, inside))
}
