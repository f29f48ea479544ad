//! What an ID token must say before anybody is believed to be somebody (OpenID Connect Core, 3.1.3.7).

use crate::keys::Keys;
use crate::{Error, Identity, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Clocks that are kept differ by less.
const LEEWAY: SignedDuration = SignedDuration::from_secs(30);
/// The specification's own limit.
const SUBJECT_CHARS_MAX: usize = 255;

/// What it must say.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client: &'a str,
    /// Of this very sign-in.
    pub(crate) nonce: &'a str,
    pub(crate) now: Timestamp,
}

/// Who the token vouches for.
pub(crate) fn verified(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Identity> {
    let (message, signature) = token.rsplit_once('.').ok_or_else(unreadable)?;
    let (header, claims) = message.split_once('.').ok_or_else(unreadable)?;
    keys.check(&part(header)?, message.as_bytes(), &bytes(signature)?)?;
    let claims: Value = part(claims)?;
    if !claims.is_object() {
        return Err(unreadable());
    }
    for_us(&claims, expected)?;
    good_now(&claims, expected.now)?;
    let subject = claims["sub"].as_str().filter(|subject| is_subject(subject));
    let subject = subject.ok_or_else(|| Error::refused("the ID token does not say whom it is about"))?;
    Ok(Identity { issuer: expected.issuer.to_owned(), subject: subject.to_owned(), claims })
}

fn for_us(claims: &Value, expected: &Expected<'_>) -> Result<()> {
    let is = |name: &str, expected: &str| claims[name].as_str() == Some(expected);
    if !is("iss", expected.issuer) {
        return Err(Error::refused(format!("the ID token is not of the issuer {}", expected.issuer)));
    }
    let (is_for_us, is_for_others) = match &claims["aud"] {
        Value::String(one) => (one == expected.client, false),
        Value::Array(all) => (all.iter().any(|one| one == expected.client), all.len() > 1),
        _ => (false, false),
    };
    // One that others get as well must say that we are the one it was asked for by.
    let is_ours = is("azp", expected.client) || claims["azp"].is_null() && !is_for_others;
    if !is_for_us || !is_ours {
        return Err(Error::refused(format!("the ID token is not for {}", expected.client)));
    }
    if !is("nonce", expected.nonce) {
        return Err(Error::refused("the ID token is of another sign-in than this"));
    }
    Ok(())
}

fn good_now(claims: &Value, now: Timestamp) -> Result<()> {
    let instant = |name: &str| seconds(&claims[name]);
    let (soon, before) = ((now + LEEWAY).as_second(), (now - LEEWAY).as_second());
    let ends =
        instant("exp").ok_or_else(|| Error::refused("the ID token does not say until when it is good"))?;
    if ends <= before {
        return Err(Error::refused("the ID token is no longer good"));
    }
    let made = instant("iat").ok_or_else(|| Error::refused("the ID token does not say when it was made"))?;
    if made > soon || !claims["nbf"].is_null() && instant("nbf").is_none_or(|from| from > soon) {
        return Err(Error::refused("the ID token is not good yet: do the clocks agree?"));
    }
    Ok(())
}

/// Seconds since 1970. A part of one does not matter, and what is beyond 2^63 stays far away.
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))
}

fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn part<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_slice(&bytes(text)?).map_err(|_| unreadable())
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| unreadable())
}

fn unreadable() -> Error {
    Error::refused("the ID token cannot be read")
}
