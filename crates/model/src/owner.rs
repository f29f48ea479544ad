//! Who decides how long a point stays.
//!
//! A point's place in its vault says it: the name that its machine's points are kept under begins with the owner's
//! word. So a vault that is all that is left still tells a snapshot from a backup, and nothing that plans retention
//! ever meets a point that no policy owns.

use std::fmt;

/// Snapshots of one disk in one vault at most, as in Azure: whoever needs more wants a policy. Those that were deleted
/// and can be brought back count.
pub const SNAPSHOTS_OF_A_DISK_MAX: u64 = 500;

/// Between an owner's word and the id of what it is of. Two in a row, so that no machine's own name or uuid looks so
/// by chance.
const MARK: &str = "--";

/// Whose a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A policy's, or that of whoever asked for it on demand: it expires.
    Policy,
    /// Nobody's: a snapshot stays until somebody deletes it.
    Snapshot,
    /// Nobody's: machines are made from it. An image stays until somebody deletes it.
    Image,
}

impl Owner {
    /// The name under which points of `of` are kept in a vault; `of` is an id, or a name that is safe there.
    pub fn key(self, of: impl fmt::Display) -> String {
        match self.word() {
            None => of.to_string(),
            Some(word) => format!("{word}{MARK}{of}"),
        }
    }

    /// Whose the points are that are kept under a name.
    pub fn of_key(key: &str) -> Self {
        Self::split(key).0
    }

    /// The same, and what they are of.
    pub fn split(key: &str) -> (Self, &str) {
        let found = key.split_once(MARK).and_then(|(word, of)| {
            let owner = [Self::Snapshot, Self::Image].into_iter().find(|owner| owner.word() == Some(word))?;
            Some((owner, of))
        });
        found.unwrap_or((Self::Policy, key))
    }

    /// Whether retention has a say.
    pub fn expires(self) -> bool {
        self == Self::Policy
    }

    fn word(self) -> Option<&'static str> {
        match self {
            Self::Policy => None,
            Self::Snapshot => Some("snapshot"),
            Self::Image => Some("image"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_owner() {
        for owner in [Owner::Policy, Owner::Snapshot, Owner::Image] {
            for of in ["019ca7a4-0000-7000-8000-000000000000", "web"] {
                assert_eq!(Owner::split(&owner.key(of)), (owner, of));
            }
        }
        for own in ["snapshot", "image-7", "snapshot-1", "a--b", "snapshots--x", "--x", ""] {
            assert_eq!(Owner::of_key(own), Owner::Policy, "{own}: a machine's own name");
        }
        assert!(Owner::Policy.expires() && !Owner::Snapshot.expires() && !Owner::Image.expires());
    }
}
