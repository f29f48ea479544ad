//! What is on the disks: partitions, logical volumes, and in each a file system or something else.

mod content;
mod gpt;
mod lvm;
mod lvm_text;
mod mbr;

pub use content::Content;

use crate::Result;
use crate::disk::{Disk, Part};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// Partitions of one disk that are looked at; GPT has room for 128.
const PARTITIONS_MAX: usize = 256;
/// Volumes of all disks together.
pub(crate) const VOLUMES_MAX: usize = 1024;

/// Something on the disks that files may lie in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// What it is called in paths: `vda1` the first partition of disk `vda`, `vda` the whole of it if it has none,
    /// `group/volume` of LVM.
    pub name: String,
    /// The disks it lies on.
    pub disks: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// What it holds.
    pub content: Content,
    /// What its users call it, if it has a label.
    pub label: String,
    /// Why its files cannot be read, if so.
    pub refusal: Option<String>,
    /// What one should know about the files' state.
    pub note: Option<String>,
}

/// A volume that was found, and its bytes unless it is refused.
pub(crate) struct Found {
    pub(crate) info: Region,
    pub(crate) disk: Option<Rc<dyn Disk>>,
}

/// A partition as a table has it, in bytes.
pub(crate) struct Partition {
    pub(crate) number: u32,
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// What the table calls it; seldom anything.
    pub(crate) label: String,
}

/// A disk of the machine under its name.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) disk: Rc<dyn Disk>,
}

/// Finds all there is. A disk that cannot be read does not hide the others.
pub(crate) fn find(disks: &[Named]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut physical = Vec::new();
    for one in disks {
        match partitions(&*one.disk) {
            Ok(Some(partitions)) => {
                for partition in partitions.into_iter().take(PARTITIONS_MAX) {
                    let part =
                        Part { disk: Rc::clone(&one.disk), start: partition.start, length: partition.length };
                    let mut volume = volume(partition_name(&one.name, partition.number), one, Rc::new(part));
                    if volume.info.label.is_empty() {
                        volume.info.label = partition.label;
                    }
                    found.push(volume);
                }
            }
            Ok(None) => found.push(volume(one.name.clone(), one, Rc::clone(&one.disk))),
            Err(error) => {
                let mut volume = volume(one.name.clone(), one, Rc::clone(&one.disk));
                volume.refuse(format!("its partition table cannot be read: {error}"));
                found.push(volume);
            }
        }
    }
    for volume in &found {
        if let (Content::LvmMember, Some(disk)) = (volume.info.content, &volume.disk) {
            physical.push((Rc::clone(disk), volume.info.disks[0].clone()));
        }
    }
    for volume in &mut found {
        // Its bytes are used through the group only.
        if !volume.info.content.has_files() {
            volume.disk = None;
        }
    }
    found.extend(lvm::find(&physical));
    found.truncate(VOLUMES_MAX);
    name_apart(&mut found);
    found
}

/// The partitions of a disk; nothing if it has no table.
fn partitions(disk: &dyn Disk) -> Result<Option<Vec<Partition>>> {
    if let Some(found) = gpt::read(disk)? {
        return Ok(Some(found));
    }
    mbr::read(disk)
}

/// As Linux does it: a name that ends in a digit gets a `p` before the number.
fn partition_name(disk: &str, number: u32) -> String {
    let between = if disk.ends_with(|one: char| one.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

fn volume(name: String, on: &Named, disk: Rc<dyn Disk>) -> Found {
    examine(name, vec![on.name.clone()], disk)
}

/// Looks at what a volume holds.
pub(crate) fn examine(name: String, disks: Vec<String>, disk: Rc<dyn Disk>) -> Found {
    let looked = content::look(&*disk);
    let info = Region {
        name,
        disks,
        size: disk.size(),
        content: looked.content,
        label: looked.label,
        refusal: looked.refusal,
        note: looked.note,
    };
    let disk = info.refusal.is_none().then_some(disk);
    Found { info, disk }
}

impl Found {
    pub(crate) fn refuse(&mut self, why: String) {
        self.disk = None;
        self.info.refusal = Some(why);
    }
}

/// Two volumes never have one name: copies of a disk in one machine have equal groups.
fn name_apart(found: &mut [Found]) {
    let mut taken = std::collections::HashSet::new();
    for volume in found {
        let plain = volume.info.name.clone();
        let mut next = 2;
        while !taken.insert(volume.info.name.clone()) {
            volume.info.name = format!("{plain}#{next}");
            next += 1;
        }
    }
}
