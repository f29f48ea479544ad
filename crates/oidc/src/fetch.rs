//! How the provider is asked: over TLS, within some seconds, and never led elsewhere.

use crate::{Error, Result};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A provider that is there takes a connection within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// And answers within this: a sign-in asks four times, and the one who waits for it a minute at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Documents, keys and tokens are some KiB; hundreds of groups are some tens.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How a provider is reached. `certificate` is PEM of who signed its own, where the system does not know them.
pub(crate) fn http(certificate: Option<&str>) -> Result<reqwest::Client> {
    let wrong = |error: reqwest::Error| Error::settings(format!("the provider's certificate: {error}"));
    let mut http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN);
    if let Some(pem) = certificate {
        http = http.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(wrong)?);
    }
    // Secrets go where the settings say, not where an answer says.
    http.redirect(reqwest::redirect::Policy::none()).build().map_err(wrong)
}

/// The status of an answer and its body, which is no longer than it should be.
pub(crate) async fn answer(request: RequestBuilder, of: &Url) -> Result<(StatusCode, Vec<u8>)> {
    let lost = |error: reqwest::Error| Error::unavailable(format!("{of} does not answer: {}", causes(error)));
    let mut answer = request.send().await.map_err(lost)?;
    let mut body = Vec::new();
    while let Some(more) = answer.chunk().await.map_err(lost)? {
        if body.len() + more.len() > ANSWER_BYTES_MAX {
            return Err(Error::unavailable(format!("{of} answers with more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&more);
    }
    Ok((answer.status(), body))
}

/// An error with what caused it, and without the address, which stands ahead of it.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

/// A document that must be there.
pub(crate) async fn document<T: DeserializeOwned>(request: RequestBuilder, of: &Url) -> Result<T> {
    let (status, body) = answer(request, of).await?;
    if !status.is_success() {
        return Err(Error::unavailable(format!("{of} answers {status}")));
    }
    let read = serde_json::from_slice(&body);
    read.map_err(|error| {
        Error::settings(format!("{of} does not answer as a provider of OpenID Connect does: {error}"))
    })
}

/// An address that secrets may be sent to: over TLS, or without leaving this host.
pub(crate) fn address(text: &str) -> Result<Url> {
    let wrong = |why: String| Error::settings(format!("{text:?}: {why}"));
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    let is_secret = url.scheme() == "https" || stays_here(&url);
    is_secret.then_some(url).ok_or_else(|| wrong("it must begin with https://".to_owned()))
}

/// Whether an address stays on the host that opens it: a literal one of the loopback, since names can be led elsewhere.
fn stays_here(url: &Url) -> bool {
    url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "[::1]"))
}

/// Whether a program that signs somebody in can be sent a code at this address (RFC 8252, 7.3): plain HTTP to a port of
/// the host that the browser runs on, and nothing in it that a code could be confused with.
pub fn is_loopback(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_plain = url.username().is_empty() && url.password().is_none();
    stays_here(&url) && url.port().is_some() && is_plain && url.query().is_none() && url.fragment().is_none()
}

/// Values as forms are sent.
pub(crate) fn form(values: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").expect("a plain address");
    url.query_pairs_mut().extend_pairs(values);
    url.query().unwrap_or_default().to_owned()
}

/// One value as it stands in a form.
pub(crate) fn form_value(value: &str) -> String {
    let text = form(&[("", value)]);
    text.trim_start_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_sent_over_tls_or_stay_here() {
        for good in ["https://id.example/realms/a", "http://127.0.0.1:99/", "http://[::1]:99/x"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example/",
            "http://localhost/",
            "http://127.0.0.1.example/",
            "ftp://127.0.0.1/",
            "id",
            "",
        ] {
            assert_eq!(address(bad).unwrap_err().kind(), crate::ErrorKind::Settings, "{bad}");
        }
    }

    #[test]
    fn a_code_is_sent_to_the_loopback() {
        for good in ["http://127.0.0.1:4000/", "http://[::1]:4000/back"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1/",
            "https://127.0.0.1:4000/",
            "http://localhost:4000/",
            "http://127.0.0.1.example:4000/",
            "http://127.0.0.1:4000@example/",
            "http://a@127.0.0.1:4000/",
            "http://127.0.0.1:4000/?code=x",
            "http://127.0.0.1:4000/#x",
            "",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(form(&[("a b", "c&d=ü"), ("e", "")]), "a+b=c%26d%3D%C3%BC&e=");
        assert_eq!((form_value("=x:y/z"), form_value("")), ("%3Dx%3Ay%2Fz".to_owned(), String::new()));
    }
}
