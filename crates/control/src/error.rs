//! Errors: problems as the API tells them.

use api::{Code, Problem, Violation};
use std::fmt;

/// Why an act did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Problem>);

/// The result of an act.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    /// There is no such thing.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no {what}"))
    }

    /// What the catalog says of something that should be there.
    pub(crate) fn missing(error: catalog::Error, what: impl fmt::Display) -> Self {
        match error.kind() {
            catalog::ErrorKind::NotFound => Self::not_found(what),
            _ => error.into(),
        }
    }

    /// One field of the request breaks a rule.
    pub fn invalid(pointer: impl Into<String>, rule: impl Into<String>) -> Self {
        let (pointer, rule) = (pointer.into(), rule.into());
        Self::violations(vec![Violation { pointer, rule }])
    }

    /// Several fields of the request break rules; at least one.
    pub fn violations(violations: Vec<Violation>) -> Self {
        let lines: Vec<_> = violations.iter().map(|one| format!("{}: {}", one.pointer, one.rule)).collect();
        let mut problem = Problem::new(Code::Invalid, lines.join("; "));
        problem.violations = violations;
        Self(Box::new(problem))
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self(Box::new(self.0.hint(hint)))
    }

    /// With when to try again at the earliest.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// What kind of error it is.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// As the API tells it.
    pub fn problem(&self) -> &Problem {
        &self.0
    }

    /// As the API tells it.
    pub fn into_problem(self) -> Problem {
        *self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Error {}

/// What a mover says of its work.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        use catalog::ErrorKind;
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::Exists => Code::Exists,
            ErrorKind::Changed => Code::Changed,
            ErrorKind::Invalid => Code::Conflict,
            ErrorKind::Unavailable => Code::Unavailable,
            _ => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<model::policy::Violations> for Error {
    fn from(found: model::policy::Violations) -> Self {
        let of = |one: model::policy::Violation| Violation {
            pointer: format!("/document{}", one.pointer),
            rule: one.rule,
        };
        Self::violations(found.0.into_iter().map(of).collect())
    }
}

impl From<model::protection::Refusal> for Error {
    fn from(refusal: model::protection::Refusal) -> Self {
        use model::protection::Refusal;
        let code = match refusal {
            Refusal::Immutable | Refusal::Pinned => Code::Locked,
            _ => Code::Conflict,
        };
        Self::new(code, refusal.to_string())
    }
}
