//! Whether copies of the two disks show one instant: judged by the host's kernel and the file systems'
//! own checkers, so that nothing of the product is trusted.

use crate::{command, host};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `guest-probe seq` is expected to write on each disk: `/data0/seq` and `/data1/seq`.
pub const COUNTER_FILE: &str = "seq";

/// What `guest-probe seq` had written when the disks were fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The counter on data0.
    pub a: u64,
    /// The counter on data1: equal, or one behind.
    pub b: u64,
}

/// Checks raw images of data0 (ext4) and data1 (xfs), which are left untouched: copies are mounted, which
/// replays their journals, the counters are read, and both file systems are checked.
///
/// An error says what is inconsistent. Needs root.
pub fn check(data0: &Path, data1: &Path) -> Result<Counters> {
    host::require_root("checking disk images")?;
    let work = tempfile::tempdir().context("cannot create a temporary folder")?;
    let [image0, image1] = [(data0, "data0"), (data1, "data1")].map(|(image, name)| {
        let copy = work.path().join(name);
        let mut sparse = Command::new("cp");
        let sparse = sparse.arg("--sparse=always").arg(image).arg(&copy);
        command::run(sparse, &format!("copy {}", image.display())).map(|_| copy)
    });
    let (image0, image1) = (image0?, image1?);
    let a = counter(&image0, "ext4", "loop", work.path())?;
    // The copy has the identity of a disk that may be mounted already.
    let b = counter(&image1, "xfs", "loop,nouuid", work.path())?;
    let mut ext4 = host::administration("e2fsck");
    command::run(ext4.arg("-fn").arg(&image0), "find the ext4 of data0 sound")?;
    let mut xfs = host::administration("xfs_repair");
    command::run(xfs.arg("-n").arg(&image1), "find the xfs of data1 sound")?;
    ensure!(
        a == b || a == b + 1,
        "the disks are not of one instant: data0 counts {a}, data1 {b} (wanted: equal, or one more on data0)"
    );
    Ok(Counters { a, b })
}

fn counter(image: &Path, kind: &str, options: &str, work: &Path) -> Result<u64> {
    let mount = Mount::new(image, kind, options, work.join(format!("{kind}-mounted")))?;
    let path = mount.point.join(COUNTER_FILE);
    let mut bytes = [0; 8];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut bytes));
    read.with_context(|| format!("cannot read the counter {COUNTER_FILE} on {}", image.display()))?;
    mount.unmount()?;
    Ok(u64::from_le_bytes(bytes))
}

/// A mounted image; dropped, it is unmounted as well as can be.
struct Mount {
    point: PathBuf,
    mounted: bool,
}

impl Mount {
    fn new(image: &Path, kind: &str, options: &str, point: PathBuf) -> Result<Self> {
        fs::create_dir(&point).with_context(|| format!("cannot create {}", point.display()))?;
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", kind, "-o", options]).arg(image).arg(&point);
        command::run(mount, &format!("mount the {kind} of {}", image.display()))?;
        Ok(Self { point, mounted: true })
    }

    fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        command::run(Command::new("umount").arg(&self.point), "unmount an image").map(drop)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let _ = command::run(Command::new("umount").arg("--lazy").arg(&self.point), "unmount an image");
        }
    }
}
