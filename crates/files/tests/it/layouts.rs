//! Partitions, logical volumes, and what is refused by its name.

use crate::images::{EXT4, blank, made, noise};
use crate::support::{Mounted, browser, kind_of, run, text};
use anyhow::{Context, Result, ensure};
use files::{Content, ErrorKind};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Writes a table with sfdisk.
fn partition(image: &Path, script: &str) -> Result<()> {
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH")?);
    let mut sfdisk =
        Command::new("sfdisk").env("PATH", path).args(["-q", text(image)]).stdin(Stdio::piped()).spawn()?;
    sfdisk.stdin.take().context("its input")?.write_all(script.as_bytes())?;
    ensure!(sfdisk.wait()?.success(), "sfdisk {script}");
    Ok(())
}

/// Puts a file system with one file into a disk at some mebibyte.
fn place(folder: &Path, disk: &Path, mebibyte: u64, says: &str) -> Result<()> {
    let small = made(folder, "small", EXT4, 16 << 20)?;
    let mounted = Mounted::new(&small, &folder.join("small.at"), "rw")?;
    std::fs::write(mounted.0.join("says"), says)?;
    drop(mounted);
    OpenOptions::new().write(true).open(disk)?.write_all_at(&std::fs::read(&small)?, mebibyte << 20)?;
    Ok(())
}

fn says(browser: &mut files::Browser, place: &str) -> Result<String> {
    let target = browser.target(place.as_bytes())?;
    Ok(String::from_utf8(browser.read(&target, 0)?.1)?)
}

#[test]
fn gpt_and_its_copy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = blank(folder.path(), "disk", 64 << 20)?;
    partition(&disk, "label: gpt\nstart=1MiB, size=20MiB, name=\"first one\"\nstart=30MiB, size=20MiB\n")?;
    place(folder.path(), &disk, 1, "first")?;
    place(folder.path(), &disk, 30, "second")?;
    for damaged in [false, true] {
        if damaged {
            OpenOptions::new().write(true).open(&disk)?.write_all_at(&[0xff; 16], 512 + 40)?;
        }
        let mut browser = browser(&[("vda", &disk), ("disk1", &disk)])?;
        let names: Vec<String> = browser.volumes()?.into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["vda1", "vda2", "disk1p1", "disk1p2"], "damaged: {damaged}");
        assert_eq!(browser.volumes()?[0].label, "first one");
        assert_eq!(says(&mut browser, "vda1:/says")?, "first");
        assert_eq!(says(&mut browser, "disk1p2:/says")?, "second");
        assert_eq!(kind_of(browser.target(b"/says")), ErrorKind::Invalid);
        assert_eq!(kind_of(browser.target(b"vda3:/says")), ErrorKind::NotFound);
    }
    Ok(())
}

#[test]
fn mbr_with_logical_partitions() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = blank(folder.path(), "disk", 128 << 20)?;
    partition(
        &disk,
        "label: dos\nstart=1MiB, size=20MiB, type=83\nstart=22MiB, type=5\n\
         start=24MiB, size=20MiB, type=83\nstart=50MiB, size=20MiB, type=83\n",
    )?;
    for (mebibyte, text) in [(1, "primary"), (24, "logical"), (50, "another")] {
        place(folder.path(), &disk, mebibyte, text)?;
    }
    let mut browser = browser(&[("sda", &disk)])?;
    let names: Vec<String> = browser.volumes()?.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["sda1", "sda5", "sda6"]);
    for (name, text) in [("sda1", "primary"), ("sda5", "logical"), ("sda6", "another")] {
        assert_eq!(says(&mut browser, &format!("{name}:/says"))?, text);
    }
    Ok(())
}

/// A loop device; given back when dropped.
struct Loop(String);

impl Loop {
    fn new(image: &Path) -> Result<Self> {
        Ok(Self(run("losetup", &["-f", "--show", text(image)])?.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["-d", &self.0]).expect("the test's loop device goes away");
    }
}

const EXTENT: u64 = 4 << 20;
const FIRST: u64 = 1 << 20;

/// A group over two disks, written by LVM's own tools: no kernel needs to know it.
fn group(folder: &Path) -> Result<[PathBuf; 2]> {
    let disks = [blank(folder, "pv0", 64 << 20)?, blank(folder, "pv1", 64 << 20)?];
    let loops = [Loop::new(&disks[0])?, Loop::new(&disks[1])?];
    let config = format!(
        "devices {{ global_filter=[\"a|^{}$|\",\"a|^{}$|\",\"r|.*|\"] use_devicesfile=0 }} \
         activation {{ udev_sync=0 udev_rules=0 }}",
        loops[0].0, loops[1].0
    );
    let described = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/group.conf");
    for (device, id) in
        loops.iter().zip(["bbbbbb-bbbb-bbbb-bbbb-bbbb-bbbb-bbbbbb", "cccccc-cccc-cccc-cccc-cccc-cccc-cccccc"])
    {
        let restored = ["-ff", "-y", "-u", id, "--restorefile", described, device.0.as_str()];
        run("pvcreate", &[&["--config", config.as_str()], &restored[..]].concat())?;
    }
    run("vgcfgrestore", &["--config", &config, "-f", described, "group"])?;
    Ok(disks)
}

#[test]
fn a_linear_volume_over_two_disks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disks = group(folder.path())?;
    // Ten extents on the first disk from its third on, five on the second from its second on.
    let system = made(folder.path(), "system", EXT4, 15 * EXTENT)?;
    let mounted = Mounted::new(&system, &folder.path().join("at"), "rw")?;
    std::fs::write(mounted.0.join("large"), noise(5, 45 << 20))?;
    drop(mounted);
    let bytes = std::fs::read(&system)?;
    let (front, rest) = bytes.split_at((10 * EXTENT) as usize);
    for (disk, part, extent) in [(&disks[0], front, 2), (&disks[1], rest, 1)] {
        OpenOptions::new().write(true).open(disk)?.write_all_at(part, FIRST + extent * EXTENT)?;
    }
    let mut both = browser(&[("vda", &disks[0]), ("vdb", &disks[1])])?;
    let volumes = both.volumes()?;
    let root = volumes.iter().find(|one| one.name == "group/root").context("the volume")?;
    assert_eq!(
        (root.content, root.disks.as_slice()),
        (Content::Ext, &["vda".to_owned(), "vdb".to_owned()][..])
    );
    let target = both.target(b"group/root:/")?;
    let report = files::extract(&mut both, &target, &folder.path().join("out"))?;
    assert_eq!((report.files, report.failed_count), (1, 0));
    assert!(std::fs::read(folder.path().join("out/large"))? == noise(5, 45 << 20), "other bytes");
    // What is not linear says so, and so does what is not all there.
    let fast = volumes.iter().find(|one| one.name == "group/fast").context("the striped volume")?;
    assert!(fast.refusal.as_ref().is_some_and(|why| why.contains("striped over 2")), "{fast:?}");
    let mut one = browser(&[("vda", &disks[0])])?;
    let root = one.volumes()?.into_iter().find(|one| one.name == "group/root").context("the volume")?;
    assert!(root.refusal.as_ref().is_some_and(|why| why.contains("not among the disks")), "{root:?}");
    Ok(())
}

#[test]
fn what_is_encrypted_or_unknown_is_refused_by_its_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let luks = blank(folder.path(), "luks", 32 << 20)?;
    let key = folder.path().join("key");
    std::fs::write(&key, "secret")?;
    let format = ["luksFormat", "-q", "--type", "luks1", "--iter-time", "10", text(&luks), text(&key)];
    run("cryptsetup", &format)?;
    let swap = made(folder.path(), "swap", &["mkswap"], 8 << 20)?;
    let empty = blank(folder.path(), "empty", 8 << 20)?;
    let two = blank(folder.path(), "two", 200 << 20)?;
    let three = blank(folder.path(), "three", 200 << 20)?;
    let loops = [Loop::new(&two)?, Loop::new(&three)?];
    run("mkfs.btrfs", &["-q", "-f", "-d", "single", &loops[0].0, &loops[1].0])?;
    drop(loops);
    let raid = made(folder.path(), "raid", EXT4, 32 << 20)?;
    // A RAID of level 0 whose mark lies at the end: the first part looks like the file system.
    let mut mark = 0xa92b_4efc_u32.to_le_bytes().to_vec();
    mark.extend(1_u32.to_le_bytes());
    mark.resize(256, 0);
    OpenOptions::new().write(true).open(&raid)?.write_all_at(&mark, (32 << 20) - 8192)?;
    let disks = [("a", &luks), ("b", &swap), ("c", &empty), ("d", &two), ("e", &raid)];
    let disks: Vec<(&str, &Path)> = disks.iter().map(|(name, path)| (*name, path.as_path())).collect();
    let mut browser = browser(&disks)?;
    let found: Vec<_> = browser.volumes()?.into_iter().map(|one| (one.content, one.refusal)).collect();
    let says = |at: usize, word: &str| found[at].1.as_ref().is_some_and(|why: &String| why.contains(word));
    assert!(found[0].0 == Content::Encrypted && says(0, "LUKS"), "{found:?}");
    assert_eq!((found[1].0, found[2].0), (Content::Swap, Content::Unknown));
    assert!(found[3].0 == Content::Btrfs && says(3, "2 devices"), "{found:?}");
    assert!(found[4].0 == Content::Raid && says(4, "level 0"), "{found:?}");
    for volume in ["a", "b", "c", "d", "e"] {
        let target = browser.target(format!("{volume}:/").as_bytes())?;
        assert_eq!(kind_of(browser.list(&target)), ErrorKind::Refused, "{volume}");
    }
    Ok(())
}
