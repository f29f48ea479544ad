//! Errors: problem details as of RFC 9457, with a code to decide by and a hint for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong. Sent as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URL that tells more of the code: `/docs/errors#CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words; always the same for a code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What programs decide by.
    pub code: Code,
    /// What went wrong this time.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Everything that is wrong with the request's body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// When to try again at the earliest, in seconds: as the `Retry-After` header says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// Names this request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// Where: a JSON pointer into the body, or the name of a parameter.
    pub pointer: String,
    /// What must be the case there, and what was found.
    pub rule: String,
}

/// What a caller can tell errors apart by: one for each thing to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request makes no sense: its violations say where.
    Invalid,
    /// Nobody is signed in, or the token is no longer good.
    Unauthenticated,
    /// Signed in, but without the role for it.
    Forbidden,
    /// There is no such thing, or it may not be seen.
    NotFound,
    /// The method is not one of this address.
    MethodNotAllowed,
    /// The name is taken.
    Exists,
    /// It is not in a state for that; the detail says in which.
    Conflict,
    /// Somebody changed it meanwhile: read it again.
    Changed,
    /// The vault's rules forbid it: immutability, a pin, a lock.
    Locked,
    /// The idempotency key was used for another request.
    KeyReused,
    /// The first request with this idempotency key is still being answered.
    UnderWay,
    /// The body is larger than is read.
    TooLarge,
    /// The body is of a type that is not read.
    UnsupportedMediaType,
    /// Too many requests; `Retry-After` says when to try again.
    TooManyRequests,
    /// The server has a defect, or its catalog fails: its log says more.
    Internal,
    /// A vault, store or host does not answer.
    Unavailable,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Exists,
        Self::Conflict,
        Self::Changed,
        Self::Locked,
        Self::KeyReused,
        Self::UnderWay,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The HTTP status it goes with.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Exists | Self::Conflict | Self::Locked | Self::UnderWay => 409,
            Self::Changed => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::KeyReused => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Invalid => "The request is not valid",
            Self::Unauthenticated => "Nobody is signed in",
            Self::Forbidden => "The role for it is missing",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "The method is not one of this address",
            Self::Exists => "The name is taken",
            Self::Conflict => "It is not in a state for that",
            Self::Changed => "It was changed meanwhile",
            Self::Locked => "The vault's rules forbid it",
            Self::KeyReused => "The idempotency key belongs to another request",
            Self::UnderWay => "The same request is under way",
            Self::TooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body is not JSON",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "The server failed",
            Self::Unavailable => "Something that is needed does not answer",
        }
    }
}

impl Problem {
    /// A problem with this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let word = serde_json::to_value(code).expect("a word");
        Self {
            kind: format!("/docs/errors#{}", word.as_str().expect("a word")),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            hint: None,
            violations: Vec::new(),
            retry_after_seconds: None,
            request_id: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
