//! Values in columns: ids and documents as text, instants as microseconds since 1970.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::error::Error as StdError;
use std::str::FromStr;

pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A document as it is stored. Ours all have names for keys, so none can fail.
pub(crate) fn document(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data with names for keys")
}

fn unreadable(column: &str, source: impl StdError + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(source) }
}

pub(crate) fn text(row: &AnyRow, column: &str) -> sqlx::Result<String> {
    row.try_get(column)
}

/// An id or a word.
pub(crate) fn parsed<T: FromStr>(row: &AnyRow, column: &str) -> sqlx::Result<T>
where
    T::Err: StdError + Send + Sync + 'static,
{
    text(row, column)?.parse().map_err(|error| unreadable(column, error))
}

/// An id that may be missing.
pub(crate) fn parsed_option<T: FromStr>(row: &AnyRow, column: &str) -> sqlx::Result<Option<T>>
where
    T::Err: StdError + Send + Sync + 'static,
{
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|error| unreadable(column, error))).transpose()
}

/// A document.
pub(crate) fn json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    serde_json::from_str(&text(row, column)?).map_err(|error| unreadable(column, error))
}

/// One word of an enum, as serde spells it.
pub(crate) fn word<T: DeserializeOwned>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    serde_json::from_value(text(row, column)?.into()).map_err(|error| unreadable(column, error))
}

/// The word of an enum without fields, as serde spells it.
pub(crate) fn spelt(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("an enum without fields");
    value.as_str().expect("an enum without fields").to_owned()
}

/// The word that says which variant of a tagged enum a value is; all of ours are tagged `state`.
pub(crate) fn first_word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("plain data with names for keys");
    value["state"].as_str().expect("an enum tagged `state`").to_owned()
}

pub(crate) fn instant(row: &AnyRow, column: &str) -> sqlx::Result<Timestamp> {
    Timestamp::from_microsecond(row.try_get(column)?).map_err(|error| unreadable(column, error))
}

pub(crate) fn instant_option(row: &AnyRow, column: &str) -> sqlx::Result<Option<Timestamp>> {
    let micros: Option<i64> = row.try_get(column)?;
    let instant = |micros| Timestamp::from_microsecond(micros).map_err(|error| unreadable(column, error));
    micros.map(instant).transpose()
}

/// Both databases have it, neither by the same name.
pub(crate) fn flag(row: &AnyRow, column: &str) -> sqlx::Result<bool> {
    row.try_get::<i64, _>(column).map(|value| value != 0)
}

pub(crate) fn number(row: &AnyRow, column: &str) -> sqlx::Result<u64> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|error| unreadable(column, error))
}

/// Counts beyond 2^63 do not occur; one that did would be kept as the largest.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A pattern of people's (`*` is anything, `?` one character) as one of SQL's with `\` as escape, in lower case.
pub(crate) fn like(pattern: &str) -> String {
    let mut like = String::with_capacity(pattern.len());
    for c in pattern.to_lowercase().chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            _ => like.push(c),
        }
    }
    like
}
