//! Pages of a list: by the place where the last one ended, so that they cost the same at any depth and rows that
//! come or go meanwhile neither shift nor repeat the others.

use crate::row::micros;
use crate::{Error, ErrorKind, Result};
use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;

/// Rows of a page at most.
pub const PAGE_MAX: u32 = 1000;

/// Some rows, and where the next ones begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the list's order.
    pub rows: Vec<T>,
    /// `None` at the end.
    pub next: Option<Cursor>,
}

/// Where a page ended: the sort key and the id of its last row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) key: String,
    pub(crate) id: String,
}

/// Stands in no id and, as text, ends the key.
const SEPARATOR: char = '~';

/// Behind every id.
const LAST: &str = "~";

impl Cursor {
    /// The sort key and the id of the last row.
    pub fn key_and_id(&self) -> (&str, &str) {
        (&self.key, &self.id)
    }

    /// Of a list by time, newest first.
    pub(crate) fn of_time(at: Timestamp, id: impl fmt::Display) -> Self {
        Self { key: micros(at).to_string(), id: id.to_string() }
    }

    /// What rows of such a list must lie before; the beginning without a cursor.
    pub(crate) fn time_and_id(cursor: Option<&Self>) -> Result<(i64, &str)> {
        let Some(cursor) = cursor else { return Ok((i64::MAX, LAST)) };
        match cursor.key.parse() {
            Ok(time) => Ok((time, &cursor.id)),
            Err(_) => Err(not_ours()),
        }
    }
}

fn not_ours() -> Error {
    Error::new(ErrorKind::Invalid, "read the place in a list: it is not one of ours")
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.id, self.key)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(SEPARATOR) {
            Some((id, key)) => Ok(Self { key: key.to_owned(), id: id.to_owned() }),
            None => Err(not_ours()),
        }
    }
}

impl<T> Page<T> {
    /// Of rows, one more of which was asked for than `limit`.
    pub(crate) fn of(mut rows: Vec<T>, limit: u32, place: impl Fn(&T) -> Cursor) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(place);
        Self { rows, next }
    }
}

/// How many rows to ask of the database for a page.
pub(crate) fn with_one_more(limit: u32) -> i64 {
    i64::from(limit.clamp(1, PAGE_MAX)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_being_text_whatever_the_key() {
        let place = Cursor { key: "db~1 %".to_owned(), id: "0199".to_owned() };
        assert_eq!(place.to_string().parse::<Cursor>().unwrap(), place);
        assert_eq!("nothing".parse::<Cursor>().unwrap_err().kind(), ErrorKind::Invalid);
    }
}
