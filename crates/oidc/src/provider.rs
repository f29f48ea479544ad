//! A provider: where a sign-in begins, and where it is finished.

use crate::fetch::{address, answer, document, form, form_value, http};
use crate::id_token::{Expected, verified};
use crate::keys::{Keys, KeysDocument};
use crate::{Error, Identity, Result};
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;
use zeroize::Zeroizing;

/// What the administrator says of a provider.
#[derive(Clone)]
pub struct Settings {
    /// Its address: what it calls itself, letter for letter.
    pub issuer: String,
    /// What it knows us as.
    pub client: String,
    /// What we show it; none: we are a public client, and PKCE is all there is.
    pub secret: Option<Zeroizing<String>>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Claims that are needed: one that the ID token lacks is asked for at the provider's userinfo.
    pub claims: Vec<String>,
    /// PEM of who signed its certificate, where the system does not know them.
    pub certificate: Option<String>,
}

/// A provider of OpenID Connect.
#[derive(Clone)]
pub struct Provider {
    settings: Settings,
    http: reqwest::Client,
}

/// What a sign-in begins with. All of it is drawn by who begins, or for them.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Where the provider sends the browser back to.
    pub redirect: &'a str,
    /// Comes back with the browser.
    pub state: &'a str,
    /// Comes back in the ID token.
    pub nonce: &'a str,
    /// Of the verifier that finishes it.
    pub challenge: &'a str,
}

/// What a sign-in is finished with.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// What the browser came back with.
    pub code: &'a str,
    /// Where to: as it began.
    pub redirect: &'a str,
    /// As it began.
    pub nonce: &'a str,
    /// What the challenge was made of.
    pub verifier: &'a str,
}

/// What the provider says of itself (OpenID Connect Discovery).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// What a code was exchanged for.
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
}

/// Why it was not (RFC 6749, 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl Provider {
    /// By its settings. Nobody is asked yet.
    ///
    /// # Errors
    /// `Settings`.
    pub fn new(settings: Settings) -> Result<Self> {
        let issuer = address(&settings.issuer)?;
        if issuer.query().is_some() || issuer.fragment().is_some() {
            return Err(Error::settings(format!("{:?}: an issuer has no ? and no #", settings.issuer)));
        }
        let http = http(settings.certificate.as_deref())?;
        Ok(Self { settings, http })
    }

    /// Whether the provider is there, and is the one that the settings say.
    ///
    /// # Errors
    /// `Unavailable`; `Settings`.
    pub async fn check(&self) -> Result<()> {
        self.metadata().await.map(drop)
    }

    /// The address at which somebody signs in.
    ///
    /// # Errors
    /// `Unavailable`; `Settings`.
    pub async fn begin(&self, wish: &Wish<'_>) -> Result<String> {
        let metadata = self.metadata().await?;
        let mut url = address(&metadata.authorization_endpoint)?;
        let scopes: Vec<_> =
            ["openid"].into_iter().chain(self.settings.scopes.iter().map(String::as_str)).collect();
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.settings.client),
            ("scope", &scopes.join(" ")),
            ("redirect_uri", wish.redirect),
            ("state", wish.state),
            ("nonce", wish.nonce),
            ("code_challenge", wish.challenge),
            ("code_challenge_method", "S256"),
        ]);
        Ok(url.into())
    }

    /// Who signed in.
    ///
    /// # Errors
    /// `Refused`: the code is not good, or what it was exchanged for proves nothing; `Unavailable`; `Settings`.
    pub async fn finish(&self, answer: &Answer<'_>, now: Timestamp) -> Result<Identity> {
        let metadata = self.metadata().await?;
        let tokens = self.exchange(&metadata, answer).await?;
        let token = tokens.id_token.as_deref();
        let token =
            token.ok_or_else(|| Error::settings("the provider gives no ID token for the scope openid"))?;
        // Asked for after the token was made, and so with the key that signed it.
        let url = address(&metadata.jwks_uri)?;
        let keys: KeysDocument = document(self.http.get(url.clone()), &url).await?;
        let Settings { issuer, client, .. } = &self.settings;
        let expected = Expected { issuer, client, nonce: answer.nonce, now };
        let mut identity = verified(token, &Keys::from(keys), &expected)?;
        let lacks = self.settings.claims.iter().any(|claim| identity.claim(claim).is_none());
        if let (true, Some(url), Some(token)) = (lacks, metadata.userinfo_endpoint, tokens.access_token) {
            identity.add(self.told_of(&address(&url)?, &token, &identity.subject).await?);
        }
        Ok(identity)
    }

    /// What the provider says of itself, now.
    async fn metadata(&self) -> Result<Metadata> {
        let issuer = &self.settings.issuer;
        let url = address(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))?;
        let metadata: Metadata = document(self.http.get(url.clone()), &url).await?;
        if metadata.issuer != *issuer {
            let text =
                format!("the provider calls itself {:?}, not {issuer:?}: say it as it does", metadata.issuer);
            return Err(Error::settings(text));
        }
        Ok(metadata)
    }

    async fn exchange(&self, metadata: &Metadata, wish: &Answer<'_>) -> Result<Tokens> {
        let url = address(&metadata.token_endpoint)?;
        let client = self.settings.client.as_str();
        let mut values = vec![
            ("grant_type", "authorization_code"),
            ("code", wish.code),
            ("redirect_uri", wish.redirect),
            ("code_verifier", wish.verifier),
        ];
        let mut request =
            self.http.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match (&self.settings.secret, metadata.takes_basic()) {
            (Some(secret), true) => {
                request = request.basic_auth(form_value(client), Some(form_value(secret)));
            }
            (Some(secret), false) => {
                values.extend([("client_id", client), ("client_secret", secret.as_str())]);
            }
            (None, _) => values.push(("client_id", client)),
        }
        let (status, body) = answer(request.body(form(&values)), &url).await?;
        if status.is_success() {
            let read = serde_json::from_slice(&body);
            return read.map_err(|error| Error::settings(format!("{url} gives what is no token: {error}")));
        }
        Err(refusal(&url, status, &body))
    }

    /// What userinfo says of the one whom the token is about.
    async fn told_of(&self, url: &Url, token: &str, subject: &str) -> Result<Map<String, Value>> {
        let told: Map<String, Value> = document(self.http.get(url.clone()).bearer_auth(token), url).await?;
        // The specification: without this, somebody else's claims could be taken for theirs.
        let is_about = told.get("sub").and_then(Value::as_str) == Some(subject);
        is_about
            .then_some(told)
            .ok_or_else(|| Error::refused("the provider's userinfo is about somebody else"))
    }
}

impl Metadata {
    /// Whether the secret is shown in a header, as is taken for granted where nothing is said; else in the body.
    fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        methods.is_none_or(|methods| methods.iter().any(|one| one == "client_secret_basic"))
    }
}

fn refusal(url: &Url, status: StatusCode, body: &[u8]) -> Error {
    let Ok(Refusal { error, error_description }) = serde_json::from_slice(body) else {
        return Error::unavailable(format!("{url} answers {status}"));
    };
    let why = error_description.map(|text| format!(": {text}")).unwrap_or_default();
    match error.as_str() {
        "invalid_grant" => Error::refused(format!("the provider does not take the code{why}")),
        _ => Error::settings(format!("the provider refuses to exchange a code: {error}{why}")),
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({}, {})", self.issuer, self.client)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.settings.issuer)
    }
}
