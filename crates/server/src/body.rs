//! Bodies and parameters: read, or refused by a problem that names the field and the rule.

use crate::answer::Refused;
use api::{Code, Problem, Violation};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use serde::Deserialize;
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

/// Refuses addresses that hold a null: PostgreSQL can keep none in a text, and nothing of ours is named so.
pub(crate) async fn no_null(request: Request, next: Next) -> Result<Response, Refused> {
    let is_in = |text: &str| text.contains("%00");
    match is_in(request.uri().path()) || request.uri().query().is_some_and(is_in) {
        true => Err(violation("address".to_owned(), "it must not hold a null character".to_owned())),
        false => Ok(next.run(request).await),
    }
}

/// The same for bodies: a JSON string can hold one only as this escape.
fn has_null(bytes: &[u8]) -> bool {
    fn holds(value: &serde_json::Value) -> bool {
        use serde_json::Value;
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(values) => values.iter().any(holds),
            Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || holds(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    let is_escaped = bytes.windows(6).any(|six| six == br"\u0000");
    is_escaped && serde_json::from_slice(bytes).is_ok_and(|value| holds(&value))
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    if has_null(bytes) {
        return Err(violation(String::new(), "no text may hold a null character".to_owned()));
    }
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
        read.map(|Query(read)| Self(read)).map_err(|error| {
            let text = error.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            match text.split_once(": ").filter(|(name, _)| !name.contains(' ')) {
                Some((name, rule)) => violation(name.to_owned(), rule.to_owned()),
                None => violation("?".to_owned(), text.to_owned()),
            }
        })
    }
}

/// Parameters in the address: `At(vault)`, or `At((vault, user))`.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(read)| Self(read)).map_err(|error| violation("path".to_owned(), error.body_text()))
    }
}

/// How many entries of a list: 1 to 1000, and 100 if nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Limit(u32);

impl Limit {
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u32> for Limit {
    type Error = &'static str;

    fn try_from(limit: u32) -> Result<Self, Self::Error> {
        (1..=catalog::PAGE_MAX).contains(&limit).then_some(Self(limit)).ok_or("1 to 1000")
    }
}
