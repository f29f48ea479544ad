//! Checkpoints: libvirt's records of changes, which of them may be believed, and what becomes of them.
//!
//! A checkpoint stands for an instant; libvirt keeps a dirty bitmap per disk from each to the next, and merges
//! them when asked for all changes since one, or when one in between is deleted. So unlike bitmaps of our own
//! an attempt that was not committed needs no folding: deleting its checkpoint does it, and while it is not
//! deleted it does no harm.
//!
//! Ours are `strongroom.<vault>.<point>`. Their description holds, by disk, the image that stood behind it: a
//! bitmap has the checkpoint's name and nothing of its disk's, and images can be swapped.

use super::domain::Disk;
use super::link::Link;
use super::xml;
use crate::{Error, ErrorKind, FreezeRequest, Result, Tracking};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

const PREFIX: &str = "strongroom.";

/// One of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) name: String,
    /// By disk, whether libvirt finds its record, and all later ones, whole.
    pub(super) disks: BTreeMap<String, bool>,
    /// By disk, the image behind it at the checkpoint.
    pub(super) images: BTreeMap<String, String>,
}

/// What is asked of one disk's record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) disk: &'a str,
    /// Whether there can be a record.
    pub(super) keeps_bitmaps: bool,
    /// The image behind it now.
    pub(super) image: &'a str,
    pub(super) size: u64,
    /// The disk's size in the parent; `None` if it was not there.
    pub(super) parent_size: Option<u64>,
    /// Why the caller does not believe it.
    pub(super) distrust: Option<&'a str>,
}

/// The name of a point's checkpoint.
pub(super) fn name(vault: &str, point: &str) -> String {
    format!("{PREFIX}{vault}.{point}")
}

/// All of a vault's begin with this: ids hold no dot.
fn prefix(vault: &str) -> String {
    format!("{PREFIX}{vault}.")
}

/// Decides for one disk. Pure; every doubt reads everything. `parent` is the parent's checkpoint by name, and
/// the checkpoint if it is there; `None` asks for everything.
pub(super) fn decide(wanted: Wanted<'_>, parent: Option<Option<&Checkpoint>>) -> Tracking {
    let full = |reason: &str| Tracking::Full { reason: reason.to_owned() };
    let Some(parent) = parent else { return full("no earlier point to compare with") };
    if let Some(reason) = wanted.distrust {
        return full(reason);
    }
    let Some(parent_size) = wanted.parent_size else { return full("the disk was not in the earlier point") };
    if parent_size != wanted.size {
        return full(&format!("the disk's size changed from {parent_size} to {} bytes", wanted.size));
    }
    if !wanted.keeps_bitmaps {
        return full("libvirt keeps no record of changes for an image that is not qcow2");
    }
    let Some(parent) = parent else {
        return full("libvirt has no record of the changes since the earlier point");
    };
    match (parent.disks.get(wanted.disk), parent.images.get(wanted.disk)) {
        (None, _) => full("libvirt made no record of this disk's changes since the earlier point"),
        (_, image) if image.map(String::as_str) != Some(wanted.image) => {
            full("another image stands behind the disk than at the earlier point")
        }
        (Some(false), _) => full("QEMU ended without closing the image: its record of changes is lost"),
        (Some(true), _) => Tracking::Incremental { bitmap: export_bitmap(wanted.disk) },
    }
}

/// The name under which the changes are exported.
pub(super) fn export_bitmap(disk: &str) -> String {
    format!("changes-{disk}")
}

/// What an image is known by: its place, and the file there if it is one of this host. A record that lies in
/// another file by the same name is none of ours to believe.
pub(super) fn image(disk: &Disk) -> String {
    match std::fs::metadata(&disk.source) {
        Ok(file) if file.is_file() => format!("{}#{}", disk.source, file.ino()),
        _ => disk.source.clone(),
    }
}

/// All of ours, of all vaults, of a machine that runs.
pub(super) async fn read_all(link: &Link) -> Result<Vec<Checkpoint>> {
    let mut checkpoints = Vec::new();
    for name in names(link).await? {
        let arguments = ["--checkpointname", &name, "--no-domain", "--size"];
        // It fails where a disk of the checkpoint is no longer there. Without sizes none is taken for whole.
        let text = match link.ask("checkpoint-dumpxml", &arguments).await {
            Err(error) if error.kind() != ErrorKind::Unreachable => {
                link.ask("checkpoint-dumpxml", &arguments[..3]).await?
            }
            answer => answer?,
        };
        checkpoints.push(parse(&text)?);
    }
    Ok(checkpoints)
}

/// libvirt leaves out the size of a record that is broken, or that is followed by a broken one.
fn parse(text: &str) -> Result<Checkpoint> {
    let document = xml::parse(text)?;
    let root = document.root_element();
    let disks = xml::find(root, &["disks"]);
    let recorded = disks.iter().flat_map(|disks| xml::all(*disks, "disk"));
    let recorded = recorded.filter(|disk| disk.attribute("checkpoint") == Some("bitmap"));
    let state = |disk: roxmltree::Node<'_, '_>| {
        Some((disk.attribute("name")?.to_owned(), disk.attribute("size").is_some()))
    };
    let description = xml::text(root, &["description"]).unwrap_or_default();
    Ok(Checkpoint {
        name: xml::text(root, &["name"]).unwrap_or_default().to_owned(),
        disks: recorded.filter_map(state).collect(),
        images: serde_json::from_str(description).unwrap_or_default(),
    })
}

async fn names(link: &Link) -> Result<Vec<String>> {
    let listed = link.ask("checkpoint-list", &["--name"]).await?;
    let names = listed.lines().map(str::trim).filter(|name| name.starts_with(PREFIX));
    Ok(names.map(str::to_owned).collect())
}

/// Removes what helps nobody before a new one is made: records broken for all disks, and an earlier attempt at
/// this very point. What was done.
pub(super) async fn clean(link: &Link, found: &[Checkpoint], new: &str) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for checkpoint in found {
        let broken = checkpoint.disks.values().all(|whole| !whole);
        if broken || checkpoint.name == new {
            delete(link, &checkpoint.name).await?;
            done.push(format!("removed the checkpoint {}", checkpoint.name));
        }
    }
    Ok(done)
}

/// Removes the parent's checkpoint if a record in it was caught lying: whatever becomes of this run, the next one
/// must not believe it again. The other disks are read whole for it, once.
pub(super) async fn remove_distrusted(
    link: &Link,
    request: &FreezeRequest,
    found: &mut Vec<Checkpoint>,
) -> Result<Vec<String>> {
    let Some(parent) = request.parent.as_ref().map(|parent| name(&request.vault, parent)) else {
        return Ok(Vec::new());
    };
    let lies = |one: &Checkpoint| request.distrusted.keys().any(|disk| one.disks.contains_key(disk));
    let Some(place) = found.iter().position(|one| one.name == parent && lies(one)) else {
        return Ok(Vec::new());
    };
    delete(link, &parent).await?;
    found.remove(place);
    Ok(vec![format!("removed the checkpoint {parent}, which is not to be believed")])
}

/// What to do once the point is committed: of the vault's, the new one alone stays.
pub(super) async fn keep_only(link: &Link, vault: &str, kept: &str) -> Result<()> {
    let prefix = prefix(vault);
    let mut errors = Vec::new();
    for name in names(link).await? {
        if name.starts_with(&prefix) && name != kept {
            errors.extend(delete(link, &name).await.err());
        }
    }
    Error::gather("remove the records of changes of earlier points", errors)
}

/// Deletes one if it is there. libvirt adds what it recorded to the one before it.
pub(super) async fn delete_if_there(link: &Link, name: &str) -> Result<()> {
    if names(link).await?.iter().any(|there| there == name) {
        return delete(link, name).await;
    }
    Ok(())
}

async fn delete(link: &Link, name: &str) -> Result<()> {
    let Err(refused) = link.ask("checkpoint-delete", &["--checkpointname", name]).await else {
        return Ok(());
    };
    if matches!(refused.kind(), ErrorKind::Busy | ErrorKind::Unreachable | ErrorKind::NotFound) {
        return Err(refused);
    }
    // libvirt cannot delete a record that is not in the image, but forget it.
    link.ask("checkpoint-delete", &["--checkpointname", name, "--metadata"]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "<domaincheckpoint><name>strongroom.v.p</name>\
        <description>{&quot;vda&quot;:&quot;/a#1&quot;,&quot;vdb&quot;:&quot;/b#2&quot;,\
        &quot;vdc&quot;:&quot;/c#3&quot;}</description>\
        <disks><disk name='vda' checkpoint='bitmap' bitmap='strongroom.v.p' size='0'/>\
        <disk name='vdb' checkpoint='bitmap' bitmap='strongroom.v.p'/>\
        <disk name='vdc' checkpoint='no'/></disks></domaincheckpoint>";

    #[test]
    fn only_a_record_without_doubt_makes_an_incremental() {
        let parent = parse(PARENT).unwrap();
        assert_eq!(parent.name, name("v", "p"));
        let wanted = Wanted {
            disk: "vda",
            keeps_bitmaps: true,
            image: "/a#1",
            size: 100,
            parent_size: Some(100),
            distrust: None,
        };
        let found = Some(Some(&parent));
        assert_eq!(decide(wanted, found), Tracking::Incremental { bitmap: "changes-vda".to_owned() });
        let table = [
            ("no parent", wanted, None, "no earlier point"),
            ("checkpoint gone", wanted, Some(None), "no record"),
            ("new disk", Wanted { parent_size: None, ..wanted }, found, "was not in"),
            ("grown", Wanted { size: 101, ..wanted }, found, "size changed"),
            ("distrusted", Wanted { distrust: Some("it lied"), ..wanted }, found, "it lied"),
            ("raw", Wanted { keeps_bitmaps: false, ..wanted }, found, "not qcow2"),
            ("another image", Wanted { image: "/a#7", ..wanted }, found, "another image"),
            ("swapped", Wanted { image: "/b#2", ..wanted }, found, "another image"),
            ("broken", Wanted { disk: "vdb", image: "/b#2", ..wanted }, found, "is lost"),
            ("not recorded", Wanted { disk: "vdc", image: "/c#3", ..wanted }, found, "no record of this"),
            ("unknown", Wanted { disk: "vdd", ..wanted }, found, "no record of this"),
        ];
        for (case, wanted, parent, reason) in table {
            match decide(wanted, parent) {
                Tracking::Full { reason: said } => assert!(said.contains(reason), "{case}: {said}"),
                Tracking::Incremental { .. } => panic!("{case}: incremental"),
            }
        }
    }

    #[test]
    fn a_description_that_is_not_ours_proves_no_image() {
        let parent = parse(&PARENT.replace("&quot;", "")).unwrap();
        assert!(parent.images.is_empty());
        assert!(parse("<domaincheckpoint>").is_err());
    }
}
