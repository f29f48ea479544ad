//! What an image file says of itself and of other files, read by our own hand from its first bytes.
//!
//! Images are hostile input: whoever had the machine may have written them. QEMU follows what stands in a header
//! (backing files, data files, `json:` and network drivers), and `qemu-img info` has done so even when asked not to
//! (CVE-2024-4467). So nothing of QEMU looks at an image before this has, and what is found here is all that QEMU is
//! then told: it is given every file of a chain by us and follows no name itself.
//!
//! Parsing is total: every field is read with bounds, nothing is allocated by a length from the file beyond
//! [`HEADER_BYTES`], and what is not understood is refused.

use super::image::Format;
use crate::{Error, ErrorKind, Result};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// What is read of a file's beginning: the largest cluster of a qcow2, in which its header must lie.
pub(super) const HEADER_BYTES: usize = 2 << 20;
/// What is read of a file's end: the footer of a vhd.
pub(super) const FOOTER_BYTES: usize = 512;

/// QEMU's own limit for the name of a backing file.
const NAME_BYTES_MAX: usize = 1023;
/// Header extensions of a qcow2 that are looked at; QEMU writes five at most.
const EXTENSIONS_MAX: usize = 64;
/// Where the text of a vmdk's description may lie: QEMU reads 20 sectors from the second on.
const VMDK_TEXT_BYTES: usize = 64 << 10;

/// A name that stands in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) name: OsString,
    /// The format that the image says the other file has.
    pub(super) format: Option<String>,
}

/// How far beyond the end of the file QEMU may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// The format looks at the file's end itself, or has none of its own.
    Exact,
    /// The last of its units may be cut short and then reads as zeros: this many bytes. Whatever lies further is
    /// missing, and QEMU would read zeros for it without a word.
    Unit(u64),
}

/// A header that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) backing: Option<Reference>,
    pub(super) data_file: Option<Reference>,
    pub(super) encrypted: bool,
    pub(super) tail: Tail,
    pub(super) closed: Closed,
}

/// What an image says of how it was closed, for the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Its format does not tell.
    Untold,
    /// Nothing speaks against it.
    Clean,
    /// Whoever wrote it last did not.
    Dirty,
    /// QEMU found it damaged.
    Corrupt,
}

impl Closed {
    /// Whether what the image says of itself is to be doubted.
    pub(super) fn is_doubtful(self) -> bool {
        matches!(self, Self::Dirty | Self::Corrupt)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Untold => "its format does not tell how it was closed",
            Self::Clean => "its qcow2 dirty flag is not set",
            Self::Dirty => "its qcow2 dirty flag is set: whoever wrote it last did not close it",
            Self::Corrupt => "its qcow2 header says that it is corrupt",
        }
    }
}

/// The beginning and the end of a file.
pub(super) struct Ends<'a> {
    pub(super) first: &'a [u8],
    pub(super) last: &'a [u8],
}

impl Header {
    /// Of a format that refers to nothing.
    fn plain(tail: Tail) -> Self {
        Self { backing: None, data_file: None, encrypted: false, tail, closed: Closed::Untold }
    }

    /// Reads the header that a file of this format must have.
    ///
    /// # Errors
    /// `Invalid` for what is not of the format, or refers to others in a way that is never followed.
    pub(super) fn parse(format: Format, ends: &Ends<'_>) -> Result<Self> {
        match format {
            Format::Raw => Ok(Self::plain(Tail::Exact)),
            Format::Qcow2 => qcow2(ends.first),
            Format::Vmdk => vmdk(ends.first),
            Format::Vpc => vpc(ends),
            Format::Vdi if at(ends.first, 0x40) == Some(0xbeda_107f_u32.to_le_bytes()) => {
                let unit = at(ends.first, 0x178).map_or(0, u32::from_le_bytes);
                Ok(Self::plain(Tail::Unit(unit.into())))
            }
            Format::Vhdx if ends.first.starts_with(b"vhdxfile") => Ok(Self::plain(Tail::Exact)),
            Format::Luks => luks(ends.first),
            Format::Vdi | Format::Vhdx => Err(not_of(format)),
        }
    }
}

fn qcow2(first: &[u8]) -> Result<Header> {
    const DIRTY: u64 = 1;
    const CORRUPT: u64 = 1 << 1;
    const DATA_FILE: u64 = 1 << 2;
    const BACKING_FORMAT: u32 = 0xe279_2aca;
    const DATA_FILE_NAME: u32 = 0x4441_5441;

    let not_qcow2 = || not_of(Format::Qcow2);
    let word = |offset| at(first, offset).map(u32::from_be_bytes).ok_or_else(not_qcow2);
    let long = |offset| at(first, offset).map(u64::from_be_bytes).ok_or_else(not_qcow2);
    if !first.starts_with(b"QFI\xfb") {
        return Err(not_qcow2());
    }
    let version = word(4)?;
    let (features, end) = match version {
        2 => (0, 72),
        3 => (long(72)?, word(100)?),
        _ => return Err(invalid(format!("it is version {version} of qcow2, which is not known"))),
    };
    let cluster_bits = word(20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(invalid(format!("clusters of 2^{cluster_bits} bytes make no sense")));
    }
    let extensions = extensions(first, end as usize);
    let text = |kind| extensions.iter().find(|(found, _)| *found == kind).map(|(_, data)| data.to_vec());
    let format = text(BACKING_FORMAT).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let backing = match (long(8)?, word(16)? as usize) {
        (0, _) | (_, 0) => None,
        (offset, length) => Some(Reference { name: name(first, offset, length)?, format }),
    };
    let data_file = match (features & DATA_FILE != 0, text(DATA_FILE_NAME)) {
        (false, _) => None,
        (true, Some(bytes)) => {
            Some(Reference { name: name(&bytes, 0, bytes.len())?, format: Some("raw".into()) })
        }
        (true, None) => return Err(invalid("its data lies in another file that it does not name")),
    };
    let closed = match features {
        f if f & CORRUPT != 0 => Closed::Corrupt,
        f if f & DIRTY != 0 => Closed::Dirty,
        _ => Closed::Clean,
    };
    let tail = Tail::Unit(1 << cluster_bits);
    Ok(Header { backing, data_file, encrypted: word(32)? != 0, tail, closed })
}

/// Type and content of each.
fn extensions(first: &[u8], mut offset: usize) -> Vec<(u32, &[u8])> {
    let mut found = Vec::new();
    while found.len() < EXTENSIONS_MAX {
        let word = |offset| at(first, offset).map(u32::from_be_bytes);
        let (Some(kind), Some(length)) = (word(offset), word(offset + 4)) else { break };
        let start = offset + 8;
        let Some(data) = first.get(start..start.saturating_add(length as usize)) else { break };
        if kind == 0 {
            break;
        }
        found.push((kind, data));
        offset = start + data.len().next_multiple_of(8);
    }
    found
}

fn name(bytes: &[u8], offset: u64, length: usize) -> Result<OsString> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let found = bytes.get(start..start.saturating_add(length)).filter(|name| name.len() <= NAME_BYTES_MAX);
    let name = found.ok_or_else(|| invalid("the name of another file does not lie in its header"))?;
    let shown = String::from_utf8_lossy(name);
    // QEMU's own rule for what is a protocol: a colon before the first slash.
    let before_slash = name.split(|&byte| byte == b'/').next().unwrap_or_default();
    if before_slash.contains(&b':') {
        return Err(invalid(format!("it refers to {shown:?}: only names of files are followed")));
    }
    if name.contains(&0) {
        return Err(invalid(format!("it refers to {shown:?}, which is no name of a file")));
    }
    Ok(OsString::from_vec(name.to_vec()))
}

fn vmdk(first: &[u8]) -> Result<Header> {
    const FOOTER_AT_END: u64 = u64::MAX;
    if !first.starts_with(b"KDMV") {
        let is_text = first.starts_with(b"# Disk Desc") || first.starts_with(b"COWD");
        let text = "it only describes a disk whose data lies in other files; make one file of it first: \
                    qemu-img convert -f vmdk -O qcow2";
        return Err(if is_text { invalid(text) } else { not_of(Format::Vmdk) });
    }
    let long = |offset| at(first, offset).map(u64::from_le_bytes).ok_or_else(|| not_of(Format::Vmdk));
    // QEMU takes this as the sign to open whatever files the text names.
    if long(12)? == 0 {
        return Err(invalid("its data lies in other files"));
    }
    let text = &first[..first.len().min(VMDK_TEXT_BYTES)];
    if text.windows(b"parentFileNameHint".len()).any(|part| part == b"parentFileNameHint") {
        return Err(invalid("it is the difference to another image; make one file of it first"));
    }
    if long(56)? == FOOTER_AT_END {
        return Ok(Header::plain(Tail::Exact));
    }
    let grain_bytes = long(20)?.saturating_mul(512).min(HEADER_BYTES as u64);
    Ok(Header::plain(Tail::Unit(grain_bytes)))
}

fn vpc(ends: &Ends<'_>) -> Result<Header> {
    const DIFFERENCING: [u8; 4] = 4u32.to_be_bytes();
    let is_footer = |bytes: &[u8]| bytes.starts_with(b"conectix");
    if !is_footer(ends.last) {
        let text = "it does not end as a vhd must: it is none, or was cut short";
        return Err(invalid(text));
    }
    // A dynamic one begins with a copy, which QEMU believes before the footer.
    let copies = [ends.first, ends.last];
    if copies.into_iter().filter(|bytes| is_footer(bytes)).any(|bytes| at(bytes, 60) == Some(DIFFERENCING)) {
        return Err(invalid("it is the difference to another image; make one file of it first"));
    }
    Ok(Header::plain(Tail::Exact))
}

fn luks(first: &[u8]) -> Result<Header> {
    if !first.starts_with(b"LUKS\xba\xbe") {
        return Err(not_of(Format::Luks));
    }
    match at(first, 6).map(u16::from_be_bytes) {
        Some(1) => Ok(Header { encrypted: true, ..Header::plain(Tail::Exact) }),
        _ => Err(invalid(
            "it is LUKS of another version than 1, which QEMU does not read; \
             give format=raw to back it up as it lies, encrypted",
        )),
    }
}

/// The bytes at an offset, as many as the caller's number has.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

fn not_of(format: Format) -> Error {
    invalid(format!("it does not begin as {} must", format.name()))
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qcow2_header(features: u64) -> Vec<u8> {
        let mut bytes = vec![0; 65536];
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        bytes[20..24].copy_from_slice(&16u32.to_be_bytes());
        bytes[72..80].copy_from_slice(&features.to_be_bytes());
        bytes[100..104].copy_from_slice(&104u32.to_be_bytes());
        bytes
    }

    fn with_backing(name: &[u8], offset: u64) -> Vec<u8> {
        let mut bytes = qcow2_header(0);
        bytes[8..16].copy_from_slice(&offset.to_be_bytes());
        bytes[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
        if let Some(place) = bytes.get_mut(offset as usize..).and_then(|rest| rest.get_mut(..name.len())) {
            place.copy_from_slice(name);
        }
        bytes
    }

    fn parse(format: Format, first: &[u8]) -> Result<Header> {
        Header::parse(format, &Ends { first, last: &first[first.len().saturating_sub(FOOTER_BYTES)..] })
    }

    #[test]
    fn names_of_files_are_found_and_others_refused() {
        let found = parse(Format::Qcow2, &with_backing(b"base.qcow2", 4096)).unwrap().backing.unwrap();
        assert_eq!(found.name, "base.qcow2");
        for name in [&b"json:{\"driver\":\"nbd\"}"[..], b"nbd:unix:/x", b"http://host/x", b"file:x", b"a\0b"]
        {
            let refused = parse(Format::Qcow2, &with_backing(name, 4096)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{}", String::from_utf8_lossy(name));
        }
        assert!(parse(Format::Qcow2, &with_backing(b"base", u64::MAX - 1)).is_err());
        assert!(parse(Format::Qcow2, &with_backing(&[b'x'; 2000], 4096)).is_err());
    }

    #[test]
    fn data_elsewhere_must_be_named() {
        let mut bytes = qcow2_header(1 << 2);
        assert!(parse(Format::Qcow2, &bytes).is_err());
        bytes[104..117].copy_from_slice(b"DATA\0\0\0\x05d.raw");
        let found = parse(Format::Qcow2, &bytes).unwrap().data_file.unwrap();
        assert_eq!((found.name.to_str(), found.format.as_deref()), (Some("d.raw"), Some("raw")));
    }

    /// Every header cut short and every byte of it turned: an answer, never a panic.
    #[test]
    fn damaged_headers_are_answered() {
        let mut vmdk = vec![0; 1024];
        vmdk[..4].copy_from_slice(b"KDMV");
        vmdk[12] = 1;
        let mut vpc = vec![0; 512];
        vpc[..8].copy_from_slice(b"conectix");
        let samples = [
            (Format::Qcow2, with_backing(b"base", 200)[..512].to_vec()),
            (Format::Vmdk, vmdk),
            (Format::Vpc, vpc),
            (Format::Luks, b"LUKS\xba\xbe\0\x01".to_vec()),
            (Format::Vhdx, b"vhdxfile".to_vec()),
            (Format::Vdi, vec![0; 600]),
        ];
        for (format, sample) in &samples {
            for length in 0..sample.len() {
                let _ = parse(*format, &sample[..length]);
                for value in [0, 1, 0x7f, 0xff] {
                    let mut turned = sample.clone();
                    turned[length] = value;
                    let _ = parse(*format, &turned);
                }
            }
        }
    }
}
