//! Values as people read them.

use crate::output;
use jiff::Timestamp;
use serde::Serialize;

/// A value of an enumeration, as it is written in JSON, with spaces.
pub(super) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("plain data");
    value.as_str().map_or_else(|| value.to_string(), |word| word.replace('_', " "))
}

/// An instant, or `-`.
pub(super) fn when(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), output::instant)
}

/// A text, or `-`.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// `1 point`, `2 points`.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_by_people() {
        assert_eq!(word(&api::ItemState::AwaitsFirst), "awaits first");
        assert_eq!((count(1, "point").as_str(), count(0, "point").as_str()), ("1 point", "0 points"));
        assert_eq!(
            (or_dash(None), or_dash(Some(String::new())), when(None)),
            ("-".into(), "-".into(), "-".into())
        );
    }
}
