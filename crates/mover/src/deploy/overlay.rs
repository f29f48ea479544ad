//! An empty qcow2 overlay, by our own hand: hundreds of them are made at once, each of a few pages.
//!
//! | cluster of 64 KiB | holds |
//! | --- | --- |
//! | 0 | the header of version 3, the backing file's format, the backing file's name |
//! | 1 | the refcount table: one entry |
//! | 2 | the refcount block: a 1 for each cluster of this table |
//! | 3.. | the L1 table, all zero: a hole |
//!
//! By QEMU's `docs/interop/qcow2.txt`. What is not written is a hole, so an overlay takes 12 KiB of a file system with
//! pages of 4 KiB, whatever its disk's size.

use block::{Error, ErrorKind, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// An entry of the L1 table stands for a cluster of entries, each for a cluster of the disk: 512 MiB.
const L1_ENTRY_BYTES: u64 = CLUSTER_BYTES * (CLUSTER_BYTES / 8);
/// QEMU takes an L1 table of 32 MiB.
const DISK_BYTES_MAX: u64 = (32 << 20) / 8 * L1_ENTRY_BYTES;
/// As QEMU has it.
const BACKING_BYTES_MAX: usize = 1023;
const HEADER_BYTES: u32 = 104;
const BACKING_FORMAT: u32 = 0xe279_2aca;
const TABLE: u64 = CLUSTER_BYTES;
const BLOCK: u64 = 2 * CLUSTER_BYTES;
const L1: u64 = 3 * CLUSTER_BYTES;

/// What lies beneath an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backing {
    /// A path, or `json:` and a node.
    pub(super) name: String,
    /// `raw` or `qcow2`: never guessed from what a guest wrote.
    pub(super) format: &'static str,
}

/// Makes an overlay of `size` bytes. Nothing is replaced; it is durable once its file system was synced.
///
/// CRASH: leaves nothing, or a file that may be short.
pub(super) fn create(path: &Path, size: u64, backing: &Backing) -> Result<()> {
    let (header, refcounts) = (header(size, backing)?, refcounts(size));
    let written = File::create_new(path).and_then(|file| {
        file.set_len(L1 + l1_clusters(size) * CLUSTER_BYTES)?;
        file.write_all_at(&header, 0)?;
        file.write_all_at(&BLOCK.to_be_bytes(), TABLE)?;
        file.write_all_at(&refcounts, BLOCK)
    });
    written.map_err(|e| Error::io(format!("make the overlay {}", path.display()), e))
}

fn l1_clusters(size: u64) -> u64 {
    (size.div_ceil(L1_ENTRY_BYTES).max(1) * 8).div_ceil(CLUSTER_BYTES)
}

fn header(size: u64, backing: &Backing) -> Result<Vec<u8>> {
    let invalid = |why: String| Error::new(ErrorKind::Invalid, why);
    if size > DISK_BYTES_MAX || !size.is_multiple_of(512) {
        return Err(invalid(format!("a disk of {size} bytes cannot have an overlay")));
    }
    if backing.name.len() > BACKING_BYTES_MAX {
        return Err(invalid(format!("the path {} is too long for an overlay", backing.name)));
    }
    let format = backing.format.as_bytes();
    let mut extensions = Vec::new();
    extensions.extend(BACKING_FORMAT.to_be_bytes());
    extensions.extend((format.len() as u32).to_be_bytes());
    extensions.extend(format);
    extensions.resize(extensions.len().next_multiple_of(8), 0);
    extensions.extend([0; 8]); // the end of them
    let name_at = u64::from(HEADER_BYTES) + extensions.len() as u64;

    let mut bytes = Vec::with_capacity(4096);
    bytes.extend(b"QFI\xfb");
    bytes.extend(3_u32.to_be_bytes());
    bytes.extend(name_at.to_be_bytes());
    bytes.extend((backing.name.len() as u32).to_be_bytes());
    bytes.extend(CLUSTER_BITS.to_be_bytes());
    bytes.extend(size.to_be_bytes());
    bytes.extend(0_u32.to_be_bytes()); // not encrypted
    bytes.extend((size.div_ceil(L1_ENTRY_BYTES).max(1) as u32).to_be_bytes());
    bytes.extend(L1.to_be_bytes());
    bytes.extend(TABLE.to_be_bytes());
    bytes.extend(1_u32.to_be_bytes()); // clusters of the refcount table
    bytes.extend([0; 12]); // no snapshots
    bytes.extend([0; 24]); // no features
    bytes.extend(4_u32.to_be_bytes()); // refcounts of 16 bits
    bytes.extend(HEADER_BYTES.to_be_bytes());
    debug_assert_eq!(bytes.len(), HEADER_BYTES as usize);
    bytes.extend(extensions);
    bytes.extend(backing.name.as_bytes());
    Ok(bytes)
}

fn refcounts(size: u64) -> Vec<u8> {
    (0..L1 / CLUSTER_BYTES + l1_clusters(size)).flat_map(|_| 1_u16.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    fn run(program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().expect("qemu-utils are installed");
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn qemu_takes_it_for_its_own() {
        let folder = tempfile::tempdir().expect("tempdir");
        let (base, overlay) = (folder.path().join("base.raw"), folder.path().join("a.qcow2"));
        for size in [1 << 20, (1 << 30) + 512, 8 << 40] {
            let file = File::create(&base).expect("made");
            file.set_len(size).expect("sized");
            file.write_all_at(b"beneath", size - 512).expect("written");
            let backing = Backing { name: base.display().to_string(), format: "raw" };
            create(&overlay, size, &backing).expect("an overlay");
            assert!(std::fs::metadata(&overlay).expect("made").blocks() * 512 <= 32 << 10);
            let path = overlay.display().to_string();
            run("qemu-img", &["check", "-q", "-f", "qcow2", &path]);
            let told: serde_json::Value =
                serde_json::from_str(&run("qemu-img", &["info", "--output=json", "-f", "qcow2", &path]))
                    .expect("JSON");
            assert_eq!(told["virtual-size"], size);
            assert_eq!(told["backing-filename"], backing.name.as_str());
            assert_eq!(told["backing-filename-format"], "raw");
            let write = format!("write -P 7 {} 64k", (size / 2).next_multiple_of(65_536));
            run("qemu-io", &["-f", "qcow2", "-c", &write, &path]);
            let said = run("qemu-io", &["-f", "qcow2", "-c", &format!("read -v {} 512", size - 512), &path]);
            assert!(said.contains("62 65 6e 65 61 74 68"), "{said}");
            run("qemu-img", &["check", "-q", "-f", "qcow2", &path]);
            assert!(create(&overlay, size, &backing).is_err(), "nothing is replaced");
            std::fs::remove_file(&overlay).expect("removed");
        }
    }

    #[test]
    fn what_no_overlay_can_be_is_refused() {
        let backing = |length: usize| Backing { name: "x".repeat(length), format: "raw" };
        assert!(header(512, &backing(1023)).is_ok() && header(512, &backing(1024)).is_err());
        assert!(header(513, &backing(1)).is_err() && header(DISK_BYTES_MAX + 512, &backing(1)).is_err());
    }
}
