//! The client: one connection to a server, typed by what goes over it.

use crate::{Code, Page, Problem};
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;

/// An answer takes no longer than a claim that waits for work, and some more.
const ANSWER_WITHIN: Duration = Duration::from_secs(crate::work::CLAIM_WAIT_SECONDS_MAX as u64 + 35);
/// A server that is there takes a connection within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Names a place for what is sent, such as `Method::POST`.
pub use reqwest::Method;

/// A server, and who asks it.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://HOST:PORT`.
    pub url: String,
    /// The certificate it must show, or that of who signed it, as PEM; none: what the system trusts.
    pub certificate: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// The server answered with a problem.
    Refused(Box<Problem>),
    /// There was no answer, or none that was one.
    Unreachable {
        /// What was asked.
        doing: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The endpoint makes no sense.
    Endpoint(String),
}

impl Client {
    /// A client of a server.
    ///
    /// # Errors
    /// `Endpoint`: the URL or the certificate cannot be read.
    pub fn new(endpoint: &Endpoint, token: Option<String>) -> Result<Self, ClientError> {
        let wrong = |what: &str, error: &dyn fmt::Display| ClientError::Endpoint(format!("{what}: {error}"));
        let base = Url::parse(&endpoint.url).map_err(|error| wrong(&endpoint.url, &error))?;
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN);
        if let Some(pem) = &endpoint.certificate {
            let certificate = reqwest::Certificate::from_pem(pem.as_bytes());
            let certificate = certificate.map_err(|error| wrong("the server's certificate", &error))?;
            http = http.tls_certs_only([certificate]);
        }
        let http = http.build().map_err(|error| wrong("TLS", &error))?;
        Ok(Self { http, base, token })
    }

    /// Asks for what is at an address, such as `/v1/vaults?limit=10`.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None::<&()>)
            .await
            .map(|found| found.expect("an answer to GET has a body"))
    }

    /// All entries of a list, page by page.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let page: Page<T> = match &after {
                None => self.get(path).await?,
                Some(after) => self.get(&format!("{path}{mark}after={}", escaped(after))).await?,
            };
            all.extend(page.items);
            match page.next {
                None => return Ok(all),
                next => after = next,
            }
        }
    }

    /// Sends something. None if the answer has no body.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn send<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<Option<T>, ClientError> {
        self.ask(method, path, Some(body)).await
    }

    /// Asks for something that needs no body. None if the answer has none.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn act<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<Option<T>, ClientError> {
        self.ask(method, path, None::<&()>).await
    }

    /// The raw answer, for what is read as it comes.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn stream(&self, path: &str) -> Result<reqwest::Response, ClientError> {
        let doing = || format!("GET {path} of {}", self.base);
        let mut request = self.http.get(self.address(path)?).timeout(Duration::from_secs(24 * 3600));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer =
            request.send().await.map_err(|source| ClientError::Unreachable { doing: doing(), source })?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(refused(answer, doing()).await),
        }
    }

    /// Puts bytes to an address. False if they were not taken yet, and are to be sent again.
    ///
    /// # Errors
    /// As [`ClientError`].
    pub async fn put_bytes(&self, path: &str, bytes: Vec<u8>) -> Result<bool, ClientError> {
        let doing = || format!("PUT {path} of {}", self.base);
        let mut request = self.http.put(self.address(path)?).body(bytes);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|source| ClientError::Unreachable { doing: doing(), source })?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(refused(answer, doing()).await),
        }
    }

    async fn ask<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Option<T>, ClientError> {
        let doing = || format!("{method} {path} of {}", self.base);
        let mut request = self.http.request(method.clone(), self.address(path)?);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let lost = |source| ClientError::Unreachable { doing: doing(), source };
        let answer = request.send().await.map_err(lost)?;
        if !answer.status().is_success() {
            return Err(refused(answer, doing()).await);
        }
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        answer.json().await.map(Some).map_err(lost)
    }

    fn address(&self, path: &str) -> Result<Url, ClientError> {
        self.base.join(path).map_err(|error| ClientError::Endpoint(format!("{path}: {error}")))
    }
}

async fn refused(answer: reqwest::Response, doing: String) -> ClientError {
    let status = answer.status();
    match answer.json::<Problem>().await {
        Ok(problem) => ClientError::Refused(Box::new(problem)),
        // Something in between answered.
        Err(_) => {
            let detail = format!("{doing}: answered {status}, not as a Strongroom server does");
            ClientError::Refused(Box::new(Problem::new(Code::Unavailable, detail)))
        }
    }
}

/// A value as a parameter of an address.
pub fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(escape).collect()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.base)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(problem) => f.write_str(&problem.detail),
            Self::Unreachable { doing, .. } => f.write_str(doing),
            Self::Endpoint(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(source),
            Self::Refused(_) | Self::Endpoint(_) => None,
        }
    }
}
