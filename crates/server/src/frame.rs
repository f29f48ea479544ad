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
            tracing::info!(%id, %method, path = ?path, status, millis, detail = ?problem.detail, "refused");
        }
        None => tracing::debug!(%id, %method, path = ?path, status, millis, "answered"),
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The portal's files say otherwise for themselves.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
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
    problem.status = status.as_u16();
    problem.request_id = Some(id.to_owned());
    let body = serde_json::to_vec(&problem).expect("plain data with names for keys");
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    (Response::from_parts(parts, body.into()), Some(problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::to_bytes;
    use axum::http::StatusCode;
    use axum::routing::get;
    use control::{Control, Settings};
    use model::schedule::Limits;
    use std::sync::Arc;
    use tower::ServiceExt;

    /// Whatever happens below, what goes out is a problem with the request's id, and tells nothing of the inside.
    #[tokio::test]
    async fn panics_and_plain_errors_become_problems() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog::Catalog::open_file(&folder.path().join("catalog.db")).await.unwrap();
        let limits = Limits { per_host: 1, per_store: 1, overall: 1 };
        let settings = Settings { data: folder.path().to_owned(), limits };
        let clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
        let app = App::new(Control::new(catalog, settings, clock, Arc::new(uuid::Uuid::now_v7)));
        let panics = async || -> StatusCode { panic!("the inside") };
        let router = Router::new()
            .route("/panics", get(panics))
            .route("/plain", get(async || (StatusCode::IM_A_TEAPOT, "the inside")))
            .route("/length", get(async || StatusCode::PAYLOAD_TOO_LARGE))
            .layer(axum::middleware::from_fn_with_state(app, frame));
        for (path, status, code) in [
            ("/panics", 500, Code::Internal),
            ("/plain", 418, Code::Invalid),
            ("/length", 413, Code::TooLarge),
        ] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            let Ok(response) = router.clone().oneshot(request).await;
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM);
            let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (problem.code, problem.status, problem.request_id),
                (code, status, Some(id)),
                "{path}"
            );
            assert!(!String::from_utf8_lossy(&body).contains("inside"), "{path}");
        }
    }
}
