//! What is wrong with a request, all of it at once.

use crate::{Error, Result};
use api::Violation;

/// Characters of a name that people give.
const NAME_MAX: usize = 64;

/// Faults of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Violation>);

impl Faults {
    /// One more.
    pub(crate) fn add(&mut self, pointer: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Violation { pointer: pointer.into(), rule: rule.into() });
    }

    /// A name: 1 to 64 characters that can be seen, none at its ends that cannot.
    pub(crate) fn name(&mut self, pointer: &str, name: &str) {
        self.text(pointer, name, NAME_MAX);
        if name.trim() != name {
            self.add(pointer, "must not begin or end with a space");
        }
    }

    /// A text of 1 to `max` characters, none of them a control character.
    pub(crate) fn text(&mut self, pointer: &str, text: &str, max: usize) {
        let length = text.chars().count();
        if !(1..=max).contains(&length) {
            self.add(pointer, format!("must have 1 to {max} characters, has {length}"));
        }
        if text.chars().any(char::is_control) {
            self.add(pointer, "must not hold control characters");
        }
    }

    /// A number within limits, both included.
    pub(crate) fn range(&mut self, pointer: &str, (min, max): (u16, u16), found: u16) {
        if !(min..=max).contains(&found) {
            self.add(pointer, format!("must be {min} to {max}, is {found}"));
        }
    }

    /// How many entries a list has.
    pub(crate) fn entries(&mut self, pointer: &str, (min, max): (usize, usize), found: usize) {
        if !(min..=max).contains(&found) {
            self.add(pointer, format!("must have {min} to {max} entries, has {found}"));
        }
    }

    /// Those that another check found.
    pub(crate) fn extend(&mut self, found: Error) {
        self.0.extend(found.into_problem().violations);
    }

    /// Fails with all of them, if there are any.
    pub(crate) fn none(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::violations(self.0)) }
    }
}
