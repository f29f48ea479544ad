//! Answers: JSON, or a problem.

use api::{Code, Problem};
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};

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
    fn into_response(self) -> Response {
        if self.0.code == Code::Internal {
            tracing::error!(detail = self.0.detail, "the server failed");
        }
        let status = StatusCode::from_u16(self.0.status).expect("codes have statuses that exist");
        let mut response = (status, Json(&*self.0)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
