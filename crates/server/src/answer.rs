//! Answers: JSON, or a problem.

use api::{Code, Problem};
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};

/// What problems are sent as.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// A problem as an answer.
#[derive(Debug)]
pub(crate) struct Refused(Box<Problem>);

/// What a handler gives.
pub(crate) type Answer<T> = std::result::Result<Json<T>, Refused>;

impl Refused {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self(Box::new(self.0.hint(hint)))
    }

    /// With when to try again at the earliest.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }
}

impl From<control::Error> for Refused {
    fn from(error: control::Error) -> Self {
        Self(Box::new(error.into_problem()))
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for Refused {
    /// The problem goes along as an extension: `frame.rs` adds the request's id.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).expect("codes have statuses that exist");
        let mut response = (status, Json(&*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code == Code::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(*self.0);
        response
    }
}
