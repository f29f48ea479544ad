//! What is around every request: an id, a time limit, a net below panics, headers, a line in the log.

use crate::answer::{PROBLEM, Refused};
use crate::app::App;
use api::{Code, Problem};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Of a request: the longest are policies and bulk acts of some hundred KiB, and a host's inventory.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Of an answer's beginning: a mover waits 25 s for work, and a database in trouble is given up after 10 s. Streams go on
/// behind it.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(60);

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The frame.
pub(crate) async fn frame(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = app.control.draw().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = app.control.now();
    let answered =
        tokio::time::timeout(ANSWER_WITHIN, AssertUnwindSafe(next.run(request)).catch_unwind()).await;
    let response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Refused::new(Code::Internal, "the server has a defect here").into_response(),
        Err(_) => {
            let detail = format!("no answer within {} s; it may yet be done", ANSWER_WITHIN.as_secs());
            Refused::new(Code::Unavailable, detail).into_response()
        }
    };
    let (mut response, problem) = explained(response, &id);
    let millis = began.duration_until(app.control.now()).as_millis();
    let status = response.status().as_u16();
    // What came in stands in the log escaped, so that nobody writes lines of their own.
    match problem {
        Some(problem) if status >= 500 => {
            tracing::error!(%id, %method, path = ?path, status, millis, detail = ?problem.detail, "failed");
        }
        Some(problem) => {
            tracing::info!(%id, %method, path = ?path, status, millis, detail = ?problem.detail, "refused")
        }
        None => tracing::debug!(%id, %method, path = ?path, status, millis, "answered"),
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.insert(REQUEST_ID.clone(), HeaderValue::from_str(&id).expect("a uuid is a header's value"));
    response
}

/// With the request's id in the problem, if it is one. An error that something below us made becomes one.
fn explained(mut response: Response, id: &str) -> (Response, Option<Problem>) {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return (response, None);
    }
    let problem = response.extensions_mut().remove::<Problem>();
    let mut problem = problem.unwrap_or_else(|| {
        let code = Code::ALL.into_iter().find(|code| code.status() == status.as_u16());
        let general = if status.is_server_error() { Code::Internal } else { Code::Invalid };
        Problem::new(
            code.unwrap_or(general),
            status.canonical_reason().unwrap_or("the request cannot be answered"),
        )
    });
    problem.request_id = Some(id.to_owned());
    let body = serde_json::to_vec(&problem).expect("plain data with names for keys");
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    (Response::from_parts(parts, body.into()), Some(problem))
}
