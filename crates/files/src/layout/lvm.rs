//! LVM: the logical volumes of the groups whose physical volumes are all there, as far as they are linear.

use super::lvm_text::{self, Group, Value};
use super::{Content, Found, Region, examine};
use crate::disk::{Chain, Disk, Part, array, field};
use crate::{Error, Result};
use std::collections::HashMap;
use std::rc::Rc;

const SECTOR: u64 = 512;
/// The text of a group with a thousand volumes has half of this.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Segments of one volume.
const SEGMENTS_MAX: u64 = 4096;

/// A physical volume that is there.
struct Physical {
    disk: Rc<dyn Disk>,
    on: String,
}

/// A group as its newest metadata tells.
struct Newest {
    name: String,
    group: Group,
}

/// The logical volumes on these physical volumes, each with the name of the disk that it lies on.
pub(super) fn find(on: &[(Rc<dyn Disk>, String)]) -> Vec<Found> {
    let mut physical: HashMap<String, Physical> = HashMap::new();
    let mut newest: HashMap<String, Newest> = HashMap::new();
    let mut found = Vec::new();
    for (disk, name) in on {
        match member(&**disk) {
            Ok((id, one)) => {
                physical.entry(id).or_insert_with(|| Physical { disk: Rc::clone(disk), on: name.clone() });
                let Some(one) = one else { continue };
                let id = one.group.text("id").unwrap_or_default().to_owned();
                let is_newer = |known: &Newest| known.group.number("seqno") < one.group.number("seqno");
                if newest.get(&id).is_none_or(is_newer) {
                    newest.insert(id, one);
                }
            }
            Err(error) => found.push(refused(format!("{name}-lvm"), vec![name.clone()], error.to_string())),
        }
    }
    let mut groups: Vec<Newest> = newest.into_values().collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    for one in &groups {
        // What others are built of is not shown: images of mirrors, the parts of a pool.
        let visible = |volume: &Group| {
            let is = |value: &Value| matches!(value, Value::Text(text) if text == "VISIBLE");
            volume.list("status").iter().any(is)
        };
        for (name, volume) in one.group.groups("logical_volumes").filter(|(_, volume)| visible(volume)) {
            found.push(logical(one, &format!("{}/{name}", one.name), volume, &physical));
        }
    }
    found
}

fn refused(name: String, disks: Vec<String>, why: String) -> Found {
    let info = Region {
        name,
        disks,
        size: 0,
        content: Content::Unknown,
        label: String::new(),
        refusal: Some(why),
        note: None,
    };
    Found { info, disk: None }
}

fn logical(group: &Newest, name: &str, volume: &Group, physical: &HashMap<String, Physical>) -> Found {
    match segments(&group.group, volume, physical) {
        Ok((parts, disks)) => examine(name.to_owned(), disks, Rc::new(Chain(parts))),
        Err(error) => refused(name.to_owned(), Vec::new(), error.to_string()),
    }
}

/// Where the bytes of a volume lie, in order, and the disks.
fn segments(
    group: &Group,
    volume: &Group,
    physical: &HashMap<String, Physical>,
) -> Result<(Vec<Part>, Vec<String>)> {
    let extent = number(group, "extent_size")?.checked_mul(SECTOR).ok_or_else(overflow)?;
    let count = number(volume, "segment_count")?;
    if count > SEGMENTS_MAX {
        return Err(Error::limit(format!("it has {count} segments")));
    }
    let (mut parts, mut disks) = (Vec::new(), Vec::new());
    let mut next = 0;
    for index in 1..=count {
        let Some(Value::Group(segment)) = volume.get(&format!("segment{index}")) else {
            return Err(wrong("lacks a segment"));
        };
        check_linear(segment)?;
        if number(segment, "start_extent")? != next {
            return Err(wrong("has segments with a gap"));
        }
        let extents = number(segment, "extent_count")?;
        next = next.checked_add(extents).ok_or_else(overflow)?;
        let [Value::Text(member), Value::Number(from)] = segment.list("stripes") else {
            return Err(wrong("has a segment that lies nowhere"));
        };
        let (_, described) = group
            .groups("physical_volumes")
            .find(|(name, _)| name == member)
            .ok_or_else(|| wrong("names a physical volume that it does not have"))?;
        let id = described.text("id").unwrap_or_default().replace('-', "");
        let Some(there) = physical.get(&id) else {
            let why =
                format!("a part of it lies on the physical volume {member}, which is not among the disks");
            return Err(Error::refused(why));
        };
        let start = number(described, "pe_start")?.checked_mul(SECTOR);
        let start = start.zip(from.checked_mul(extent)).and_then(|(a, b)| a.checked_add(b));
        let length = extents.checked_mul(extent);
        let (Some(start), Some(length)) = (start, length) else { return Err(overflow()) };
        if start.checked_add(length).is_none_or(|end| end > there.disk.size()) {
            return Err(wrong("places a segment beyond the end of its disk"));
        }
        parts.push(Part { disk: Rc::clone(&there.disk), start, length });
        if !disks.contains(&there.on) {
            disks.push(there.on.clone());
        }
    }
    if parts.is_empty() { Err(wrong("has a volume without segments")) } else { Ok((parts, disks)) }
}

/// What does what we do not.
const ACTIVATE: &str = "`vgchange -ay` finds it, where the disks are served";

/// Anything but one stripe is refused by its name: its bytes lie elsewhere than we would look.
fn check_linear(segment: &Group) -> Result<()> {
    let kind = segment.text("type").unwrap_or("unknown");
    match (kind, segment.number("stripe_count")) {
        ("striped", Some(1)) => Ok(()),
        ("striped", count) => {
            let count = count.unwrap_or_default();
            let why = format!("it is striped over {count} physical volumes, which is not read: {ACTIVATE}");
            Err(Error::refused(why))
        }
        (other, _) => {
            Err(Error::refused(format!("it is of LVM's type \"{other}\", which is not read: {ACTIVATE}")))
        }
    }
}

fn number(group: &Group, name: &str) -> Result<u64> {
    group.number(name).ok_or_else(|| wrong(&format!("lacks {name}")))
}

fn wrong(how: &str) -> Error {
    Error::corrupt(format!("the metadata of its LVM group {how}"))
}

fn overflow() -> Error {
    wrong("has a number that is too large")
}

/// The id of a physical volume, and what its metadata says of its group; it may have none.
fn member(disk: &dyn Disk) -> Result<(String, Option<Newest>)> {
    let label = label(disk)?;
    let header = u32::from_le_bytes(field(&label, 20)) as usize;
    let id = String::from_utf8_lossy(&field::<32>(&label, header)).into_owned();
    // Behind id and size stand two lists of places, of data and of metadata, each ended by zeros.
    let place =
        |at: usize| (u64::from_le_bytes(field(&label, at)), u64::from_le_bytes(field(&label, at + 8)));
    let mut at = header.saturating_add(40);
    while at < label.len() && place(at).0 != 0 {
        at += 16;
    }
    at += 16;
    let mut last = None;
    while at < label.len() && place(at).0 != 0 {
        match metadata(disk, place(at)) {
            Ok(Some(found)) => return Ok((id, Some(found))),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        at += 16;
    }
    last.map_or(Ok((id, None)), Err)
}

/// The label lies in one of the first four sectors.
fn label(disk: &dyn Disk) -> Result<[u8; 512]> {
    for sector in 0..4 {
        let bytes: [u8; 512] = array(disk, sector * SECTOR)?;
        if &bytes[..8] == b"LABELONE" && u64::from_le_bytes(field(&bytes, 8)) == sector {
            if checksum(&bytes[20..]) != u32::from_le_bytes(field(&bytes, 16)) {
                return Err(Error::corrupt("the label of an LVM physical volume is damaged"));
            }
            return Ok(bytes);
        }
    }
    Err(Error::corrupt("an LVM physical volume has no label"))
}

/// The text in an area of metadata: a ring, in which the newest text may go round the end.
fn metadata(disk: &dyn Disk, (start, size): (u64, u64)) -> Result<Option<Newest>> {
    let header: [u8; 512] = array(disk, start)?;
    let is_ours = &header[4..20] == b" LVM2 x[5A%r0N*>" && u64::from_le_bytes(field(&header, 24)) == start;
    if !is_ours || checksum(&header[4..]) != u32::from_le_bytes(field(&header, 0)) {
        return Err(wrong("has a damaged header"));
    }
    let area = u64::from_le_bytes(field(&header, 32));
    let (offset, length) = (u64::from_le_bytes(field(&header, 40)), u64::from_le_bytes(field(&header, 48)));
    let ignored = u32::from_le_bytes(field(&header, 60)) & 1 == 1;
    if length == 0 || ignored {
        return Ok(None);
    }
    let within = area <= size && offset >= SECTOR && offset < area && length <= area - SECTOR;
    if !within || length > TEXT_BYTES_MAX {
        return Err(wrong("lies outside of its area"));
    }
    let mut text = vec![0; length as usize];
    let first = length.min(area - offset) as usize;
    let (front, rest) = text.split_at_mut(first);
    disk.read(start.checked_add(offset).ok_or_else(overflow)?, front)?;
    disk.read(start.checked_add(SECTOR).ok_or_else(overflow)?, rest)?;
    if checksum(&text) != u32::from_le_bytes(field(&header, 56)) {
        return Err(wrong("is damaged"));
    }
    let text = String::from_utf8(text).map_err(|_| wrong("is no text"))?;
    let root = lvm_text::parse(&text)?;
    // Beside the group stand a few words about the text itself.
    let group = root.0.into_iter().find_map(|(name, value)| match value {
        Value::Group(group) => Some(Newest { name, group }),
        _ => None,
    });
    group.map(Some).ok_or_else(|| wrong("has no group"))
}

/// CRC-32 with a start of LVM's own and without the last inversion.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    bytes.iter().fold(0xf597_a6cf, step)
}
