//! Bodies and parameters: read, or refused by a problem that names the field and the rule.

use crate::answer::Refused;
use api::{Code, Problem, Violation};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// A body that was read as JSON.
pub(crate) struct Body<T>(pub(crate) T);

/// Parameters behind the `?`.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Refused::new(Code::UnsupportedMediaType, "the body must be application/json"));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes =
            bytes.map_err(|_| Refused::new(Code::TooLarge, "the body could not be read, or is too large"))?;
        parsed(&bytes).map(Self)
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut reader);
    let read = read.map_err(|error| violation(pointer(error.path()), error.inner().to_string()))?;
    reader.end().map_err(|error| violation(String::new(), error.to_string()))?;
    Ok(read)
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

fn violation(pointer: String, rule: String) -> Refused {
    let mut problem = Problem::new(Code::Invalid, format!("{pointer}: {rule}"));
    problem.violations = vec![Violation { pointer, rule }];
    problem.into()
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(read)| Self(read)).map_err(|error| violation("?".to_owned(), error.body_text()))
    }
}
