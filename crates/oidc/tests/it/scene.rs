//! A provider, and somebody who signs in there.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use oidc::{Answer, Error, Identity, Provider, Settings, Wish, challenge, secret};
use serde_json::json;
use testkit::{IdentityProvider, browse};

pub(crate) const CLIENT: &str = "strongroom";
/// Nobody listens there: the browser ends with this address.
pub(crate) const REDIRECT: &str = "https://portal.invalid/back";

pub(crate) struct Scene {
    pub(crate) theirs: IdentityProvider,
    pub(crate) ours: Provider,
}

/// What somebody who has been at the provider comes back with.
#[derive(Clone)]
pub(crate) struct Came {
    pub(crate) code: String,
    pub(crate) nonce: String,
    pub(crate) verifier: String,
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("an instant")
}

pub(crate) fn settings(issuer: &str, secret: Option<&str>) -> Settings {
    Settings {
        issuer: issuer.to_owned(),
        client: CLIENT.to_owned(),
        secret: secret.map(|secret| secret.to_owned().into()),
        scopes: vec!["profile".to_owned()],
        claims: vec!["preferred_username".to_owned()],
        certificate: None,
    }
}

impl Scene {
    /// Alice is at the keyboard.
    pub(crate) fn new(secret: Option<&str>) -> Result<Self> {
        let theirs = IdentityProvider::start(CLIENT, secret, || now().as_second())?;
        theirs.sign_in_as(json!({ "sub": "4711", "preferred_username": "alice" }));
        let ours = Provider::new(settings(theirs.issuer(), secret))?;
        Ok(Self { theirs, ours })
    }

    /// Somebody has been at the provider.
    pub(crate) async fn come(&self) -> Result<Came> {
        let (state, nonce, verifier) = (secret(), secret(), secret());
        let challenge = challenge(&verifier);
        let wish = Wish { redirect: REDIRECT, state: &state, nonce: &nonce, challenge: &challenge };
        let address = self.ours.begin(&wish).await?;
        let back = browse(&address)?;
        let back = reqwest::Url::parse(&back)?;
        let value =
            |name: &str| back.query_pairs().find(|(its, _)| its == name).map(|(_, value)| value.into_owned());
        let (code, came) = (value("code").context("a code")?, value("state").context("a state")?);
        assert_eq!(came, state);
        Ok(Came { code, nonce, verifier })
    }

    pub(crate) async fn finish(&self, came: &Came, after: SignedDuration) -> Result<Identity, Error> {
        let Came { code, nonce, verifier, .. } = came;
        self.ours.finish(&Answer { code, redirect: REDIRECT, nonce, verifier }, now() + after).await
    }

    /// All of it.
    pub(crate) async fn sign_in(&self) -> Result<Result<Identity, Error>> {
        Ok(self.finish(&self.come().await?, SignedDuration::ZERO).await)
    }
}
