//! The provider's keys (RFC 7517), and whether one of them made a signature (RFC 7515, RFC 7518).

use crate::{Error, Result};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// What may sign an ID token, by its name in the token's header. INVARIANT: all are of two keys, one of which the
/// provider keeps for itself; whoever knows what we know can sign nothing.
const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("RS256", Algorithm::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    ("PS256", Algorithm::Rsa(&RSA_PSS_2048_8192_SHA256)),
    ("ES256", Algorithm::Curve("P-256", 32, &ECDSA_P256_SHA256_FIXED)),
    ("ES384", Algorithm::Curve("P-384", 48, &ECDSA_P384_SHA384_FIXED)),
    ("EdDSA", Algorithm::Edwards),
];

/// How a signature is checked: the key must be of this type.
#[derive(Clone, Copy)]
enum Algorithm {
    Rsa(&'static RsaParameters),
    /// The curve, the bytes of a coordinate, and what checks.
    Curve(&'static str, usize, &'static dyn VerificationAlgorithm),
    Edwards,
}

/// The keys that a provider shows.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Key>);

/// What is needed of one.
#[derive(Debug, Deserialize)]
struct Key {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The document of keys.
#[derive(Deserialize)]
pub(crate) struct KeysDocument {
    keys: Vec<Value>,
}

/// What an ID token's header says of its signature.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    alg: String,
    kid: Option<String>,
    /// Names extensions that must be understood. We know of none.
    crit: Option<Value>,
}

impl From<KeysDocument> for Keys {
    /// A key of a type that we do not know is passed over, as the RFC has it.
    fn from(document: KeysDocument) -> Self {
        let read = |key: Value| serde_json::from_value(key).ok();
        Self(document.keys.into_iter().filter_map(read).collect())
    }
}

impl Keys {
    /// Whether one of these keys made the signature in the way that the header says.
    pub(crate) fn check(&self, header: &Header, message: &[u8], signature: &[u8]) -> Result<()> {
        let alg = &header.alg;
        let algorithm = ALGORITHMS.into_iter().find(|(name, _)| name == alg).map(|(_, algorithm)| algorithm);
        let algorithm = algorithm.ok_or_else(|| {
            let names: Vec<_> = ALGORITHMS.into_iter().map(|(name, _)| name).collect();
            Error::refused(format!(
                "the ID token is signed by {alg:?}, which is none of {}",
                names.join(", ")
            ))
        })?;
        if header.crit.is_some() {
            return Err(Error::refused("the ID token asks for extensions that are not known here"));
        }
        let fits = |key: &&Key| key.is_for(alg, algorithm) && (header.kid.is_none() || key.kid == header.kid);
        let mut fitting = self.0.iter().filter(fits);
        let key = match (fitting.next(), fitting.next()) {
            (Some(key), None) => key,
            (None, _) => {
                let kid = header.kid.as_deref().unwrap_or("without a name");
                return Err(Error::refused(format!("the provider shows no key {kid:?} for {alg}")));
            }
            // Trying them all would do as well; the specification wants the token to name one.
            (Some(_), Some(_)) => {
                return Err(Error::refused("the ID token does not say which of several keys signed it"));
            }
        };
        let is_good = key.made(algorithm, message, signature).is_some();
        is_good.then_some(()).ok_or_else(|| Error::refused("the ID token's signature is wrong"))
    }
}

impl Key {
    fn is_for(&self, alg: &str, algorithm: Algorithm) -> bool {
        let is_type = match algorithm {
            Algorithm::Rsa(_) => self.kty == "RSA",
            Algorithm::Curve(curve, ..) => self.kty == "EC" && self.crv.as_deref() == Some(curve),
            Algorithm::Edwards => self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519"),
        };
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        is_type && signs && self.alg.as_deref().is_none_or(|its| its == alg)
    }

    /// Some if this key made the signature.
    fn made(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        match algorithm {
            Algorithm::Rsa(parameters) => {
                let key = RsaPublicKeyComponents { n: number(&self.n)?, e: number(&self.e)? };
                key.verify(parameters, message, signature).ok()
            }
            Algorithm::Curve(_, bytes, how) => {
                let (x, y) = (decoded(&self.x)?, decoded(&self.y)?);
                if x.len() != bytes || y.len() != bytes {
                    return None;
                }
                // A point that is not compressed (SEC 1).
                let point = [&[4][..], &x, &y].concat();
                UnparsedPublicKey::new(how, point).verify(message, signature).ok()
            }
            Algorithm::Edwards => {
                UnparsedPublicKey::new(&ED25519, decoded(&self.x)?).verify(message, signature).ok()
            }
        }
    }
}

fn decoded(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()
}

/// A number without the zeros that some write ahead of it.
fn number(text: &Option<String>) -> Option<Vec<u8>> {
    let bytes = decoded(text)?;
    let from = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[from..].to_vec())
}
