//! Which disks of a machine are backed up.

use serde::{Deserialize, Serialize};

/// Which disks of a machine are backed up. The OS disk always is: a point without it starts no machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "select", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum DiskSelection {
    /// Every disk, also those attached later.
    // Braces, because serde passes over unknown fields of a variant without.
    All {},
    /// The OS disk alone.
    OsOnly {},
    /// The OS disk and those named; disks attached later are left out.
    Include {
        /// Names of data disks.
        disks: Vec<String>,
    },
    /// All but those named; disks attached later are backed up.
    Exclude {
        /// Names of data disks.
        disks: Vec<String>,
    },
}

impl Default for DiskSelection {
    fn default() -> Self {
        Self::All {}
    }
}

/// A machine's disk, as far as choosing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskName<'a> {
    /// Its name, unique in the machine.
    pub name: &'a str,
    /// Whether the machine starts from it.
    pub is_os: bool,
}

/// What a selection makes of one machine's disks; recorded with every point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// Backed up, in the machine's order.
    pub included: Vec<&'a str>,
    /// Left out, in the machine's order.
    pub excluded: Vec<&'a str>,
    /// Named by the selection, but the machine has no such disk: a warning, for it may have been detached.
    pub unknown: Vec<&'a str>,
}

impl DiskSelection {
    /// Chooses among a machine's disks.
    pub fn choose<'a>(&'a self, disks: &[DiskName<'a>]) -> Chosen<'a> {
        let mut chosen = Chosen::default();
        for disk in disks {
            let list =
                if disk.is_os || self.wants(disk.name) { &mut chosen.included } else { &mut chosen.excluded };
            list.push(disk.name);
        }
        let is_known = |name: &&str| disks.iter().any(|disk| disk.name == *name);
        chosen.unknown = self.named().iter().map(String::as_str).filter(|name| !is_known(name)).collect();
        chosen
    }

    /// The disks it names.
    pub fn named(&self) -> &[String] {
        match self {
            Self::All {} | Self::OsOnly {} => &[],
            Self::Include { disks } | Self::Exclude { disks } => disks,
        }
    }

    fn wants(&self, name: &str) -> bool {
        match self {
            Self::All {} => true,
            Self::OsOnly {} => false,
            Self::Include { disks } => disks.iter().any(|disk| disk == name),
            Self::Exclude { disks } => disks.iter().all(|disk| disk != name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_os_disk_is_always_in() {
        let disks =
            [("vda", true), ("vdb", false), ("vdc", false)].map(|(name, is_os)| DiskName { name, is_os });
        let named = || vec!["vdb".to_owned(), "vdx".to_owned()];
        let included = |selection: DiskSelection| selection.choose(&disks).included.join(" ");
        assert_eq!(included(DiskSelection::All {}), "vda vdb vdc");
        assert_eq!(included(DiskSelection::OsOnly {}), "vda");
        assert_eq!(included(DiskSelection::Include { disks: named() }), "vda vdb");
        assert_eq!(included(DiskSelection::Exclude { disks: named() }), "vda vdc");
        assert_eq!(included(DiskSelection::Exclude { disks: vec!["vda".into()] }), "vda vdb vdc");
        let exclude = DiskSelection::Exclude { disks: named() };
        assert_eq!(exclude.choose(&disks).excluded, ["vdb"]);
        assert_eq!(exclude.choose(&disks).unknown, ["vdx"]);
    }
}
