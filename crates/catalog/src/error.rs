//! The one error of this crate.

use std::fmt;

/// What went wrong, coarse enough that each kind asks for a different act of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such row.
    NotFound,
    /// The name, or the one place there is, is taken.
    Exists,
    /// Somebody else changed it meanwhile: read it again and decide anew.
    Changed,
    /// What is asked makes no sense, or something still refers to it.
    Invalid,
    /// What stands in the database cannot be read as what it should be.
    Corrupt,
    /// The database is of a newer version of the program.
    Newer,
    /// The database does not answer, or is busy. Retrying later helps.
    Unavailable,
}

/// Why the catalog could not be read or changed.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of asking the catalog.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without a deeper cause.
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// An error of the database, its kind read off the error itself. `context` names the verb and the object.
    pub(crate) fn sql(context: impl Into<String>, source: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind as Sql;
        let kind = match &source {
            sqlx::Error::RowNotFound => ErrorKind::NotFound,
            sqlx::Error::Database(refused) => match refused.kind() {
                Sql::UniqueViolation => ErrorKind::Exists,
                Sql::ForeignKeyViolation | Sql::NotNullViolation | Sql::CheckViolation => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
            sqlx::Error::Migrate(_) => ErrorKind::Newer,
            _ => ErrorKind::Unavailable,
        };
        Self { kind, context: context.into(), source: Some(Box::new(source)) }
    }

    /// What the caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
