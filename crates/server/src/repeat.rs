//! Requests that change something: done to their end, and done once if they carry an `Idempotency-Key`.
//!
//! A caller that lost the answer sends the request again with the same key and gets the answer that it missed. What is
//! kept of an answer is sealed by the caller's own token, for answers may hold secrets that are shown once: whoever
//! reads the catalog reads none of them.
//!
//! **When a server dies in the middle** nobody knows whether the request was done. That is told, not tried again: the
//! caller looks, and decides.

use crate::answer::Refused;
use crate::app::App;
use crate::frame::{ANSWER_WITHIN, BODY_BYTES_MAX};
use crate::guard::{Caller, shown};
use api::{Code, Problem, Violation};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256, digest};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use catalog::Repetition;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whoever repeats a request does so within minutes; a day covers a job of the night. `start.rs` forgets older ones.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3600);
const KEY_BYTES_MAX: usize = 200;
static KEY: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What is kept of an answer.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    kind: Option<String>,
    body: String,
}

/// What a key is good for: one request of one caller.
struct Once {
    app: App,
    caller: String,
    key: String,
    seal: [u8; 32],
}

/// Does a request, or gives the answer that it had.
pub(crate) async fn once(
    app: App,
    caller: Caller,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let Some(key) = key(request.headers())? else { return Ok(to_its_end(next.run(request)).await) };
    let seal = seal_key(shown(&request).unwrap_or_default(), &key);
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body =
        body.map_err(|_| Refused::new(Code::TooLarge, "the body could not be read, or is too large"))?;
    let said = said(&parts, &body);
    let once = Once { caller: caller.user.to_string(), key, seal, app };
    let (catalog, now) = (once.app.control.catalog(), once.app.control.now());
    let known =
        catalog.begin_request(&once.caller, &once.key, &said, now).await.map_err(control::Error::from)?;
    match known {
        Repetition::First => {
            let request = Request::from_parts(parts, Body::from(body));
            let run = async move { once.keep(next.run(request).await).await };
            to_its_end(run).await
        }
        Repetition::Different => {
            Err(Refused::new(Code::KeyReused, format!("the key {} was used for another request", once.key)))
        }
        Repetition::Answered(kept) => once.again(&kept),
        Repetition::UnderWay { since } if since.duration_until(now).unsigned_abs() < 2 * ANSWER_WITHIN => {
            Err(Refused::new(Code::UnderWay, "the first request with this key is under way").retry_after(1))
        }
        Repetition::UnderWay { .. } => {
            let detail = "the server was stopped while it did the first request with this key: \
                          nobody knows whether it was done";
            Err(Refused::new(Code::Conflict, detail)
                .hint("look whether it was done; if not, send it with a new key"))
        }
    }
}

/// Runs on though the caller goes away: an act that began is done.
async fn to_its_end<T: Send + 'static>(run: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(run).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Once {
    /// Keeps an answer, unless it says that the server failed: then the caller may try again.
    async fn keep(self, response: Response) -> Result<Response, Refused> {
        let failed = |_| Refused::new(Code::Internal, "the answer could not be read");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.map_err(failed)?;
        let catalog = self.app.control.catalog();
        let kept = if parts.status.is_server_error() {
            catalog.forget_request(&self.caller, &self.key).await
        } else {
            let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
            let kept = Kept {
                status: parts.status.as_u16(),
                kind,
                body: String::from_utf8_lossy(&body).into_owned(),
            };
            catalog.answer_request(&self.caller, &self.key, &sealed(&self.seal, &kept)).await
        };
        // The act is done: its answer goes out even if it could not be kept.
        if let Err(error) = kept {
            tracing::error!(%error, "an answer could not be kept for a repeated request");
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    fn again(self, kept: &str) -> Result<Response, Refused> {
        let Some(kept) = opened(&self.seal, kept) else {
            let detail = "the first request with this key was answered, to another token of yours";
            return Err(Refused::new(Code::Conflict, detail).hint("look at what it did"));
        };
        let status = StatusCode::from_u16(kept.status).expect("it was a status when it was kept");
        let mut response = (status, Bytes::from(kept.body.clone())).into_response();
        match kept.kind.and_then(|kind| HeaderValue::from_str(&kind).ok()) {
            Some(kind) => response.headers_mut().insert(CONTENT_TYPE, kind),
            None => response.headers_mut().remove(CONTENT_TYPE),
        };
        if let Ok(problem) = serde_json::from_str::<Problem>(&kept.body) {
            response.extensions_mut().insert(problem);
        }
        response.headers_mut().insert(REPLAYED.clone(), HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// The key that a request carries.
fn key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(&KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    let is_good = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good && values.next().is_none() {
        return Ok(Some(key.to_owned()));
    }
    let rule = format!("one key of 1 to {KEY_BYTES_MAX} visible ASCII characters");
    let mut problem = Problem::new(Code::Invalid, format!("Idempotency-Key: {rule}"));
    problem.violations = vec![Violation { pointer: "Idempotency-Key".to_owned(), rule }];
    Err(problem.into())
}

/// A hash of all that a request says.
fn said(parts: &Parts, body: &[u8]) -> String {
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let mut hash = Context::new(&SHA256);
    for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), kind, body] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(hash.finish().as_ref())
}

fn seal_key(token: &str, key: &str) -> [u8; 32] {
    let text = format!("strongroom kept answer 1\n{token}\n{key}");
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key"))
}

/// Nonce ‖ ciphertext, in hex. Each nonce is drawn: a key that was forgotten after a failure seals again.
fn sealed(key: &[u8; 32], kept: &Kept) -> String {
    let mut text = serde_json::to_vec(kept).expect("plain data with names for keys");
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).expect("the system gives random bytes");
    let seal =
        cipher(key).seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text);
    seal.expect("an answer is shorter than AES-GCM's limit");
    hex(&nonce) + &hex(&text)
}

fn opened(key: &[u8; 32], sealed: &str) -> Option<Kept> {
    let pairs = sealed.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let mut bytes = bytes.collect::<Option<Vec<u8>>>()?;
    let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let text = cipher(key).open_in_place(nonce, Aad::empty(), text).ok()?;
    serde_json::from_slice(text).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_opens_by_the_token_and_key_that_asked() {
        let kept = Kept { status: 201, kind: None, body: r#"{"token":"sr_t_1"}"#.to_owned() };
        let seal = seal_key("sr_s_1", "k");
        let text = sealed(&seal, &kept);
        assert_eq!(opened(&seal, &text).unwrap().body, kept.body);
        assert!(
            opened(&seal_key("sr_s_2", "k"), &text).is_none()
                && opened(&seal_key("sr_s_1", "l"), &text).is_none()
        );
        assert!(opened(&seal, "00").is_none() && opened(&seal, "x").is_none());
    }

    #[tokio::test]
    async fn an_act_whose_caller_went_away_is_done() {
        use futures_util::FutureExt;
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let mut act = Box::pin(to_its_end(async move {
            wait.await.unwrap();
            done.send(()).unwrap();
        }));
        assert!(act.as_mut().now_or_never().is_none(), "it has begun, and waits");
        drop(act);
        go.send(()).unwrap();
        is_done.await.unwrap();
    }
}
