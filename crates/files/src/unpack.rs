//! Takes a tar stream of ours apart into a folder of this host: what [`extract`](fn@crate::extract) does where the disks are, at
//! the other end of a network.
//!
//! The stream comes from a server, its names from a guest: they are made by the same calls, under the same rules.

use crate::archive::untar::{Member, Members};
use crate::entry::check_name;
use crate::extract::{HOLE_BYTES, create, dress, enter, link, make_target};
use crate::output::Report;
use crate::session::DEPTH_MAX;
use crate::{Error, Kind, Metadata, Result};
use rustix::fs::AtFlags;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Takes a stream apart into `folder`, which must be empty or not exist.
///
/// # Errors
/// `Corrupt` if the stream ends before its end or is not one of ours; `Exists`; `Io` if the folder cannot be written.
/// What was written by then stays.
pub fn unpack(from: &mut dyn Read, folder: &Path) -> Result<Report> {
    let root = Open { name: Vec::new(), folder: make_target(folder)?, metadata: None };
    let own = rustix::process::geteuid().is_root();
    let mut unpacker = Unpacker { open: vec![root], own, report: Report::default() };
    let mut members = Members::new(from);
    while let Some(member) = members.next()? {
        unpacker.take(&member, &mut members).map_err(|error| error.of(crate::shown(&member.name)))?;
    }
    unpacker.leave(1)?;
    Ok(unpacker.report)
}

/// A folder that is being filled; the first is the target, which keeps its mode.
struct Open {
    name: Vec<u8>,
    folder: OwnedFd,
    metadata: Option<Metadata>,
}

struct Unpacker {
    /// From the target down to where the stream is.
    open: Vec<Open>,
    own: bool,
    report: Report,
}

impl Unpacker {
    fn take(&mut self, member: &Member, members: &mut Members<'_>) -> Result<()> {
        let names: Vec<&[u8]> = member.name.split(|&byte| byte == b'/').collect();
        let (name, above) = names.split_last().expect("a split has a part");
        names.iter().try_for_each(|name| check_name(name))?;
        if above.len() >= DEPTH_MAX {
            return Err(Error::limit(format!("folders nested deeper than {DEPTH_MAX}")));
        }
        // A folder's own member comes before what lies in it, and nothing of it comes after another's.
        let is_open = |(open, name): (&Open, &&[u8])| open.name == *name;
        let deep = self.open[1..].iter().zip(above).take_while(|both| is_open(*both)).count();
        if deep < above.len() {
            return Err(Error::corrupt("the stream brings it before its folder"));
        }
        self.leave(deep + 1)?;
        let at = self.open[deep].folder.as_fd();
        let metadata = &member.metadata;
        match metadata.kind {
            Kind::Folder => {
                let folder = enter(at, name)?;
                self.open.push(Open { name: name.to_vec(), folder, metadata: Some(*metadata) });
                self.report.folders += 1;
            }
            Kind::Link => {
                link(at, name, &member.points, metadata, self.own)?;
                self.report.links += 1;
            }
            _ => {
                let file = create(at, name)?;
                let filled = fill(&file, metadata.size, members);
                if let Err(error) = filled.and_then(|()| dress(file.as_fd(), metadata, self.own)) {
                    // Half a file must not look like one.
                    let removed = rustix::fs::unlinkat(at, *name, AtFlags::empty());
                    removed.map_err(|error| Error::io("remove a file that is not whole", &error.into()))?;
                    return Err(error);
                }
                self.report.files += 1;
                self.report.bytes += metadata.size;
            }
        }
        Ok(())
    }

    /// Leaves folders until so many are open. Their modes come last: they may forbid writing.
    fn leave(&mut self, open: usize) -> Result<()> {
        for left in self.open.drain(open..).rev() {
            if let Some(metadata) = &left.metadata {
                dress(left.folder.as_fd(), metadata, self.own)?;
            }
        }
        Ok(())
    }
}

/// Writes a file's bytes; what is zero becomes a hole.
fn fill(file: &File, size: u64, members: &mut Members<'_>) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(crate::ErrorKind::Io, format!("write a file: {error}"));
    let mut at = 0;
    loop {
        let data = members.bytes()?;
        if data.is_empty() {
            return file.set_len(size).map_err(failed);
        }
        for (offset, block) in (at..).step_by(HOLE_BYTES).zip(data.chunks(HOLE_BYTES)) {
            if block.iter().any(|&byte| byte != 0) {
                file.write_all_at(block, offset).map_err(failed)?;
            }
        }
        at += data.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// A stream of one file, or of one link, by a name as nobody of ours writes it.
    fn stream(name: &str, kind: u8) -> Vec<u8> {
        let mut head = [0; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        for (at, field) in
            [(100, "0000644"), (108, "0000000"), (116, "0000000"), (124, "00000000000"), (136, "00000000000")]
        {
            head[at..at + field.len()].copy_from_slice(field.as_bytes());
        }
        head[148..156].copy_from_slice(b"        ");
        head[156] = kind;
        head[157..161].copy_from_slice(b"/etc");
        head[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        [&head[..], &[0; 1024]].concat()
    }

    #[test]
    fn nothing_is_made_outside_of_the_folder() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path();
        let tried = |bytes: &[u8], to: &str| {
            unpack(&mut &*bytes, &folder.join(to)).map(|report| report.files + report.links)
        };
        for name in ["../evil", "/evil", "a/../../evil", "./evil", "a//b", ""] {
            let kind = tried(&stream(name, b'0'), "out").map_err(|error| error.kind());
            assert!(matches!(kind, Err(ErrorKind::Invalid)), "{name}: {kind:?}");
            std::fs::remove_dir_all(folder.join("out")).expect("the target alone was made");
        }
        assert_eq!(tried(&stream("in", b'0'), "file").map_err(|error| error.kind()), Ok(1));
        // A link, and then something through it: the folder is not open, whatever the name leads to.
        let through = [&stream("l", b'2')[..512], &stream("l/evil", b'0')[..]].concat();
        assert_eq!(tried(&through, "link").map_err(|error| error.kind()), Err(ErrorKind::Corrupt));
        // Over what is there.
        let twice = [&stream("f", b'0')[..512], &stream("f", b'0')[..]].concat();
        assert_eq!(tried(&twice, "twice").map_err(|error| error.kind()), Err(ErrorKind::Exists));
        for kind in *b"13467" {
            assert_eq!(
                tried(&stream("device", kind), &format!("{kind}")).map_err(|error| error.kind()),
                Err(ErrorKind::Corrupt)
            );
        }
        let names = std::fs::read_dir(folder).expect("the folder").count();
        assert_eq!(names, 8, "file, link, twice, and five of devices");
    }
}
