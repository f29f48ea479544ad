//! Pages of lists, as the API gives them.

use crate::{Error, Result};
use api::Page;
use catalog::{Cursor, PAGE_MAX};

/// Entries of a page if nobody says.
const PAGE: u32 = 100;
/// A place in a list is an id and a name, and no longer than both.
const PLACE_BYTES_MAX: usize = 2048;

/// Which page of a list.
#[derive(Clone, Debug, Default)]
pub struct Paging {
    /// Where the last one ended: its `next`.
    pub after: Option<String>,
    /// How many entries: 1 to 1000; 100 if not said.
    pub limit: Option<u32>,
}

impl Paging {
    /// Where it begins, and how many entries it has.
    pub(crate) fn place(&self) -> Result<(Option<Cursor>, u32)> {
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Error::invalid("limit", format!("must be 1 to {PAGE_MAX}, is {limit}")));
        }
        Ok((self.after.as_deref().map(cursor).transpose()?, limit))
    }

    /// The same for a list by time.
    pub(crate) fn place_in_time(&self) -> Result<(Option<Cursor>, u32)> {
        let time = self.after.as_deref().and_then(|after| after.split_once('~')).map(|(_, time)| time);
        if time.is_some_and(|time| time.parse::<i64>().is_err()) {
            return Err(not_ours());
        }
        self.place()
    }

    /// A page of a list that is at hand, sorted by `key`, then by id.
    pub(crate) fn of<T>(&self, all: Vec<T>, place: impl Fn(&T) -> (String, String)) -> Result<Page<T>> {
        let (after, limit) = self.place()?;
        let is_behind = |one: &T| {
            let (key, id) = place(one);
            after.as_ref().is_none_or(|after| (key.as_str(), id.as_str()) > after.key_and_id())
        };
        let mut items: Vec<T> = all.into_iter().filter(is_behind).collect();
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| {
            let (key, id) = place(last);
            format!("{id}~{key}")
        });
        Ok(Page { items, next })
    }
}

fn cursor(after: &str) -> Result<Cursor> {
    if after.len() > PLACE_BYTES_MAX || after.chars().any(char::is_control) {
        return Err(not_ours());
    }
    after.parse().map_err(|_| not_ours())
}

fn not_ours() -> Error {
    Error::invalid("after", "must be the `next` of the page before")
}
