//! Single sign-on: the client of an OpenID Connect provider, by the authorization code flow with PKCE.
//!
//! **Called by** `control`, which keeps what was begun and decides what an identity may do, and by `cli`, which draws
//! the secret that binds a sign-in to whoever began it. **Calls** the provider over HTTPS, and nothing of ours.
//!
//! Reading order: [`Provider`] (`provider.rs`), where a sign-in begins and is finished → `id_token.rs`, what an ID token
//! must say → `keys.rs`, what it must be signed by → `fetch.rs`, how the provider is asked.
//!
//! Invariants:
//! - an identity comes of an ID token alone that one of the provider's own keys signed, by an algorithm of a short list
//!   that knows neither `none` nor shared secrets; the key's type is the algorithm's, whatever the token says;
//! - that token was made for us, for this very sign-in, and is good now;
//! - who somebody is, is the issuer and the subject. Names, mail addresses and groups are claims, and may change;
//! - nothing is remembered between two sign-ins: keys are asked for each time, so a rotation needs no rule of ours.
//!
//! It knows nothing of users, roles and sessions. Time and secrets are passed in. Errors are [`Error`]; its kind says
//! who has to do something: whoever signs in, the administrator, or nobody but later.
//!
//! Why no library for it: those that do all of this bring a second crypto library and a clock of their own. What a
//! signature is and whether it is good is the crypto library's to say, as everywhere here.
//!
//! Specifications: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, RFC 7515, RFC 7517, RFC 7636, RFC 8252.

mod error;
mod fetch;
mod id_token;
mod identity;
mod keys;
mod pkce;
mod provider;

pub use error::{Error, ErrorKind, Result};
pub use fetch::is_loopback;
pub use identity::Identity;
pub use pkce::{challenge, is_challenge, is_verifier, secret};
pub use provider::{Answer, Provider, Settings, Wish};
