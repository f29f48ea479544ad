//! A provider of OpenID Connect on the loopback, with real keys over real HTTP, that does as it is told wrong.
//!
//! It is written from the specifications and with nothing of the product. Whoever opens its authorization address is
//! signed in at once, as the person that was set; what it gives out can be changed before it is signed.
//!
//! Reading order: [`IdentityProvider`] → `signing.rs`, its keys → `http.rs`, which also has a browser → `another.rs`, a
//! provider that is not ours.

mod another;
mod http;
mod signing;

pub use another::AnotherProvider;
pub use http::browse;
pub use signing::Signing;

use crate::base64;
use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use http::{Answered, Asked};
use serde_json::{Value, json};
use signing::KeyRing;
use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

/// An ID token before it is signed.
#[derive(Clone, Debug)]
pub struct IdToken {
    /// `alg` and `kid`; what signs it sets `alg` unless it is taken out and set by hand.
    pub header: Value,
    /// What it says.
    pub claims: Value,
    /// What signs it.
    pub signing: Signing,
}

/// Changes an ID token before it is signed.
type Twist = Box<dyn FnMut(&mut IdToken) + Send>;

/// The provider. It listens until the process ends; nobody knows its port once this is dropped.
pub struct IdentityProvider {
    issuer: String,
    state: Arc<Mutex<State>>,
}

struct State {
    issuer: String,
    client: String,
    secret: Option<String>,
    clock: Box<dyn Fn() -> i64 + Send>,
    keys: KeyRing,
    person: Value,
    /// Claims that only userinfo tells.
    userinfo: Value,
    codes: HashMap<String, Value>,
    tokens: HashMap<String, Value>,
    twist: Option<Twist>,
    /// Members of the discovery document that are replaced.
    metadata: Value,
    drawn: u64,
}

impl IdentityProvider {
    /// For one client, with a secret or without. `clock` gives seconds since 1970.
    pub fn start(
        client: &str,
        secret: Option<&str>,
        clock: impl Fn() -> i64 + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen as a provider")?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let state = State {
            issuer: issuer.clone(),
            client: client.to_owned(),
            secret: secret.map(str::to_owned),
            clock: Box::new(clock),
            keys: KeyRing::new()?,
            person: json!({ "sub": "nobody" }),
            userinfo: json!({}),
            codes: HashMap::new(),
            tokens: HashMap::new(),
            twist: None,
            metadata: json!({}),
            drawn: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let answering = Arc::clone(&state);
        std::thread::spawn(move || http::serve(&listener, |asked| locked(&answering).answer(asked)));
        Ok(Self { issuer, state })
    }

    /// Its address.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whoever comes from now on is this: `sub` and other claims.
    pub fn sign_in_as(&self, person: Value) {
        locked(&self.state).person = person;
    }

    /// Claims of whoever comes that only its userinfo tells.
    pub fn tell_at_userinfo(&self, claims: Value) {
        locked(&self.state).userinfo = claims;
    }

    /// Changes every ID token from now on before it is signed.
    pub fn twist(&self, twist: impl FnMut(&mut IdToken) + Send + 'static) {
        locked(&self.state).twist = Some(Box::new(twist));
    }

    /// Gives out what is right again.
    pub fn straighten(&self) {
        let mut state = locked(&self.state);
        (state.twist, state.metadata) = (None, json!({}));
    }

    /// Says this of itself instead of what is so.
    pub fn claim_to_be(&self, metadata: Value) {
        locked(&self.state).metadata = metadata;
    }

    /// Signs with new keys from now on, and shows the old ones no longer.
    pub fn rotate_keys(&self) -> Result<()> {
        let keys = KeyRing::new()?;
        locked(&self.state).keys = keys;
        Ok(())
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics while holding it")
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Answered {
        match asked.path.as_str() {
            "/.well-known/openid-configuration" => Answered::json(200, &self.metadata()),
            "/keys" => Answered::json(200, &self.keys.shown()),
            "/authorize" => self.authorize(asked),
            "/token" => self
                .exchange(asked)
                .unwrap_or_else(|refused| Answered::json(400, &json!({ "error": refused }))),
            "/userinfo" => self.userinfo(asked),
            _ => Answered::json(404, &json!({})),
        }
    }

    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let mut metadata = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "userinfo_endpoint": at("/userinfo"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        for (name, value) in self.metadata.as_object().into_iter().flatten() {
            metadata[name] = value.clone();
        }
        metadata
    }

    /// Sends the browser back with a code, if all is there that should be.
    fn authorize(&mut self, asked: &Asked) -> Answered {
        let value = |name: &str| asked.values.get(name).map(String::as_str).unwrap_or_default();
        let is_right = value("client_id") == self.client
            && value("response_type") == "code"
            && value("code_challenge_method") == "S256"
            && value("scope").split(' ').any(|scope| scope == "openid")
            && ["state", "nonce", "code_challenge"].into_iter().all(|name| !value(name).is_empty());
        if !is_right {
            return Answered::json(400, &json!({ "error": "invalid_request" }));
        }
        let code = self.draw("code");
        let mut begun = json!(asked.values);
        begun["person"] = self.person.clone();
        self.codes.insert(code.clone(), begun);
        let back = [("code", code.as_str()), ("state", value("state"))];
        Answered::redirect(&format!("{}?{}", value("redirect_uri"), http::form(&back)))
    }

    fn exchange(&mut self, asked: &Asked) -> Result<Answered, &'static str> {
        let value = |name: &str| asked.values.get(name).map(String::as_str).unwrap_or_default();
        if let Some(secret) = &self.secret {
            let in_header = shown(&asked.authorization) == Some((self.client.clone(), secret.clone()));
            let in_body = value("client_id") == self.client && value("client_secret") == secret;
            if !in_header && !in_body {
                return Err("invalid_client");
            }
        } else if value("client_id") != self.client {
            return Err("invalid_client");
        }
        // Once, whatever comes of it.
        let begun = self.codes.remove(value("code")).ok_or("invalid_grant")?;
        let challenge = base64::encode_for_urls(digest(&SHA256, value("code_verifier").as_bytes()).as_ref());
        let is_same =
            begun["redirect_uri"] == value("redirect_uri") && begun["code_challenge"] == challenge.as_str();
        if value("grant_type") != "authorization_code" || !is_same {
            return Err("invalid_grant");
        }
        let access = self.draw("access");
        let mut told = self.userinfo.clone();
        told["sub"] = begun["person"]["sub"].clone();
        self.tokens.insert(access.clone(), told);
        let token = self.id_token(&begun).map_err(|_| "server_error")?;
        Ok(Answered::json(200, &json!({ "access_token": access, "token_type": "Bearer", "id_token": token })))
    }

    fn id_token(&mut self, begun: &Value) -> Result<String> {
        let now = (self.clock)();
        let mut claims = json!({
            "iss": self.issuer, "aud": self.client, "iat": now, "exp": now + 300, "nonce": begun["nonce"],
        });
        for (name, value) in begun["person"].as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let mut token = IdToken { header: json!({}), claims, signing: Signing::Rsa };
        if let Some(twist) = &mut self.twist {
            twist(&mut token);
        }
        self.keys.signed(&token)
    }

    fn userinfo(&self, asked: &Asked) -> Answered {
        let token = asked.authorization.strip_prefix("Bearer ").unwrap_or_default();
        match self.tokens.get(token) {
            Some(told) => Answered::json(200, told),
            None => Answered::json(401, &json!({})),
        }
    }

    fn draw(&mut self, what: &str) -> String {
        self.drawn += 1;
        format!("{what}/{}+{}", self.drawn, uuid::Uuid::new_v4())
    }
}

/// A name and a secret out of a header; both are escaped as in a form (RFC 6749, 2.3.1).
fn shown(authorization: &str) -> Option<(String, String)> {
    let text = String::from_utf8(base64::decode(authorization.strip_prefix("Basic ")?)?).ok()?;
    let (name, secret) = text.split_once(':')?;
    Some((http::unescaped(name), http::unescaped(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_signs_in_once_by_a_code() -> Result<()> {
        let provider = IdentityProvider::start("us", None, || 1000)?;
        provider.sign_in_as(json!({ "sub": "1" }));
        let verifier = "a".repeat(43);
        let challenge = base64::encode_for_urls(digest(&SHA256, verifier.as_bytes()).as_ref());
        let wish = [
            ("client_id", "us"),
            ("response_type", "code"),
            ("scope", "openid"),
            ("state", "s"),
            ("nonce", "n"),
            ("redirect_uri", "http://nowhere.invalid/"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let back = browse(&format!("{}/authorize?{}", provider.issuer(), http::form(&wish)))?;
        assert!(back.starts_with("http://nowhere.invalid/?code=") && back.ends_with("&state=s"), "{back}");
        let code = back.split(['=', '&']).nth(1).unwrap().to_owned();
        let mut asked = Asked { path: "/token".to_owned(), ..Asked::default() };
        let values =
            [("client_id", "us"), ("grant_type", "authorization_code"), ("code_verifier", &verifier)];
        asked.values = values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        asked.values.insert("redirect_uri".to_owned(), "http://nowhere.invalid/".to_owned());
        asked.values.insert("code".to_owned(), http::read_form(&format!("code={code}"))["code"].clone());
        let answers = [(); 2].map(|()| locked(&provider.state).answer(&asked).status());
        assert_eq!(answers, [200, 400]);
        Ok(())
    }
}
