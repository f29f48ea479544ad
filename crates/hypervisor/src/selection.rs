//! Which of a machine's disks a point is to hold.

use crate::{DiskDescription, Error, ErrorKind, Result, SkippedDrive};

/// A choice of disks, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DiskSelection {
    /// All that can be written to.
    #[default]
    All,
    /// These alone. All of them must be there.
    Include(Vec<String>),
    /// All but these. One that is not there needs no leaving out.
    Exclude(Vec<String>),
    /// The one that the machine boots from.
    OsOnly,
}

impl DiskSelection {
    /// Parts the disks that are to be frozen from the others, with the reason of each. `boot` is the disk the
    /// machine boots from.
    ///
    /// # Errors
    /// `NotFound` for a disk to be included that the machine has not; `Invalid` when none is left.
    pub fn choose(
        &self,
        disks: Vec<DiskDescription>,
        boot: Option<&str>,
    ) -> Result<(Vec<DiskDescription>, Vec<SkippedDrive>)> {
        if let Self::Include(names) = self
            && let Some(missing) = names.iter().find(|name| !disks.iter().any(|disk| disk.id == **name))
        {
            let there: Vec<&str> = disks.iter().map(|disk| disk.id.as_str()).collect();
            let text = format!(
                "choose the disks: the machine has no writable disk {missing}; it has {}",
                there.join(", ")
            );
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let (chosen, others): (Vec<_>, Vec<_>) = disks.into_iter().partition(|disk| match self {
            Self::All => true,
            Self::Include(names) => names.contains(&disk.id),
            Self::Exclude(names) => !names.contains(&disk.id),
            Self::OsOnly => boot == Some(&disk.id),
        });
        if chosen.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "choose the disks: none is left to freeze"));
        }
        let reason = match self {
            Self::All => "", // leaves none out
            Self::Include(_) => "left out: not among the disks to include",
            Self::Exclude(_) => "left out: among the disks to exclude",
            Self::OsOnly => "left out: not the disk that the machine boots from",
        };
        let skip = |disk: DiskDescription| SkippedDrive { id: disk.id, reason: reason.to_owned() };
        Ok((chosen, others.into_iter().map(skip).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(id: &str) -> DiskDescription {
        DiskDescription {
            id: id.to_owned(),
            device: String::new(),
            node: String::new(),
            format: "raw".to_owned(),
            file: String::new(),
            size: 1,
            keeps_bitmaps: false,
        }
    }

    #[test]
    fn every_disk_is_chosen_or_left_out_for_a_reason() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let table = [
            (DiskSelection::All, Some(names(&["a", "b", "c"]))),
            (DiskSelection::Include(names(&["c", "a"])), Some(names(&["a", "c"]))),
            (DiskSelection::Include(names(&["a", "x"])), None),
            (DiskSelection::Exclude(names(&["b", "x"])), Some(names(&["a", "c"]))),
            (DiskSelection::Exclude(names(&["a", "b", "c"])), None),
            (DiskSelection::OsOnly, Some(names(&["b"]))),
        ];
        for (selection, expected) in table {
            let chosen = selection.choose(["a", "b", "c"].map(disk).into(), Some("b"));
            let Some(expected) = expected else {
                assert!(chosen.is_err(), "{selection:?}");
                continue;
            };
            let (chosen, others) = chosen.unwrap();
            assert_eq!(chosen.iter().map(|disk| disk.id.clone()).collect::<Vec<_>>(), expected);
            assert_eq!(chosen.len() + others.len(), 3);
            assert!(others.iter().all(|other| !other.reason.is_empty()));
        }
        assert!(DiskSelection::OsOnly.choose(vec![disk("a")], None).is_err());
    }
}
