//! What we read is what the kernel, ntfs-3g and mtools read.

use crate::images::{BTRFS, EXT4, XFS, blank, fill, filled, made};
use crate::support::{Mounted, assert_same, browser, kernel_tree, our_tree, run, text};
use anyhow::Result;
use std::path::Path;

/// Compares an image with the kernel's view of it.
fn compare(folder: &Path, image: &Path, options: &str) -> Result<()> {
    let ours = our_tree(&mut browser(&[("vda", image)])?, "vda")?;
    // The kernel may write (replay a journal), so it gets a copy.
    let copy = folder.join("copy");
    std::fs::copy(image, &copy)?;
    let mounted = Mounted::new(&copy, &folder.join("kernel"), options)?;
    let theirs = kernel_tree(&mounted.0)?;
    assert!(theirs.len() > 2000, "the image is not filled");
    // The length of a folder is each system's own matter.
    assert_same(&ours, &theirs, |seen| {
        if seen.kind == 'd' {
            seen.size = 0;
        }
    });
    Ok(())
}

fn compare_made(mkfs: &[&str], bytes: u64, options: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", mkfs, bytes)?;
    compare(folder.path(), &image, options)
}

#[test]
fn ext4() -> Result<()> {
    compare_made(EXT4, 300 << 20, "ro")
}

#[test]
fn ext4_of_small_blocks_without_64_bits() -> Result<()> {
    compare_made(
        &[EXT4, &["-b", "1024", "-O", "^64bit,^metadata_csum,^has_journal"]].concat(),
        200 << 20,
        "ro",
    )
}

#[test]
fn ext2() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = made(folder.path(), "image", &["mkfs.ext2", "-q", "-F"], 300 << 20)?;
    let mounted = Mounted::new(&image, &folder.path().join("fill"), "rw")?;
    fill(&mounted.0, true)?;
    // Holes in a map of blocks are refused: see `holes_that_the_reader_cannot_follow_are_refused`.
    std::fs::remove_file(mounted.0.join("sparse"))?;
    std::fs::remove_file(mounted.0.join("hole"))?;
    drop(mounted);
    compare(folder.path(), &image, "ro")
}

#[test]
fn holes_that_the_reader_cannot_follow_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", &["mkfs.ext3", "-q", "-F"], 300 << 20)?;
    let mut browser = browser(&[("vda", &image)])?;
    let target = browser.target(b"/sparse")?;
    let mut at = 0;
    // Either it reads to its end, or it says that it cannot.
    let ended = loop {
        match browser.read(&target, at) {
            Ok((0, data)) if data.is_empty() => break Ok(at),
            Ok((zeros, data)) => at += zeros + data.len() as u64,
            Err(error) => break Err(error),
        }
    };
    assert!(matches!(&ended, Ok(size) if *size == 64 << 20) || ended.is_err(), "{ended:?}");
    Ok(())
}

#[test]
fn xfs() -> Result<()> {
    compare_made(XFS, 400 << 20, "ro")
}

#[test]
fn xfs_of_large_counts_and_small_blocks() -> Result<()> {
    compare_made(&[XFS, &["-i", "nrext64=1", "-b", "size=1024", "-n", "size=8192"]].concat(), 400 << 20, "ro")
}

#[test]
fn btrfs() -> Result<()> {
    compare_made(BTRFS, 400 << 20, "ro")
}

#[test]
fn btrfs_compressed() -> Result<()> {
    for method in ["zstd", "zlib", "lzo"] {
        let folder = tempfile::tempdir()?;
        let image = made(folder.path(), "image", BTRFS, 400 << 20)?;
        let option = format!("compress-force={method}");
        let mounted = Mounted::new(&image, &folder.path().join("fill"), &option)?;
        fill(&mounted.0, true)?;
        run("btrfs", &["subvolume", "create", text(&mounted.0.join("within"))])?;
        std::fs::write(mounted.0.join("within/text"), "again and again\n".repeat(10_000))?;
        drop(mounted);
        compare(folder.path(), &image, "ro")?;
    }
    Ok(())
}

/// Copied while it is mounted and written: what the kernel makes of the journal is what we read.
fn compare_in_use(mkfs: &[&str], sync: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", mkfs, 400 << 20)?;
    let used = folder.path().join("used");
    let mounted = Mounted::new(&image, &folder.path().join("use"), "rw")?;
    for number in 0..300 {
        std::fs::write(mounted.0.join(format!("many/new {number:05}")), format!("new {number}"))?;
    }
    for number in (1..700).step_by(7) {
        std::fs::remove_file(mounted.0.join(format!("many/file number {number:05}")))?;
    }
    std::fs::rename(mounted.0.join("large"), mounted.0.join("etc/renamed"))?;
    run("chown", &["12345:54321", text(&mounted.0.join("4096"))])?;
    run("sync", &[sync, text(&mounted.0)].into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>())?;
    std::fs::copy(&image, &used)?;
    drop(mounted);
    compare(folder.path(), &used, "rw")
}

#[test]
fn ext4_in_use() -> Result<()> {
    compare_in_use(EXT4, "-f")
}

#[test]
fn xfs_in_use() -> Result<()> {
    compare_in_use(XFS, "")
}

#[test]
fn btrfs_in_use() -> Result<()> {
    compare_in_use(BTRFS, "-f")
}

#[test]
fn ntfs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = made(folder.path(), "image", &["mkntfs", "-q", "-F", "-Q"], 300 << 20)?;
    let mounted = Mounted::ntfs(&image, &folder.path().join("fill"), "big_writes")?;
    fill(&mounted.0, false)?;
    std::os::unix::fs::symlink("hosts", mounted.0.join("etc/link"))?;
    let sparse = std::fs::File::create(mounted.0.join("sparse"))?;
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"behind a hole", 30 << 20)?;
    drop((sparse, mounted));
    let ours = our_tree(&mut browser(&[("vda", &image)])?, "vda")?;
    let mounted = Mounted::ntfs(&image, &folder.path().join("theirs"), "ro")?;
    let theirs = kernel_tree(&mounted.0)?;
    assert!(theirs.len() > 2000);
    // It has no owners and modes but those that a mount makes up.
    assert_same(&ours, &theirs, |seen| {
        (seen.mode, seen.uid, seen.gid) = (0, 0, 0);
        if seen.kind != '-' {
            seen.size = 0;
        }
    });
    Ok(())
}

#[test]
fn what_ntfs_compresses_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = made(folder.path(), "image", &["mkntfs", "-q", "-F", "-Q"], 64 << 20)?;
    let mounted = Mounted::ntfs(&image, &folder.path().join("fill"), "compression")?;
    std::fs::create_dir(mounted.0.join("small"))?;
    // The attribute of a folder that says: what is made here is compressed.
    run("setfattr", &["-n", "system.ntfs_attrib_be", "-v", "0x00000800", text(&mounted.0.join("small"))])?;
    std::fs::write(mounted.0.join("small/text"), "again and again\n".repeat(20_000))?;
    std::fs::write(mounted.0.join("plain"), "again and again\n".repeat(20_000))?;
    drop(mounted);
    let mut browser = browser(&[("vda", &image)])?;
    let plain = browser.target(b"/plain")?;
    assert_eq!(browser.read(&plain, 0)?.1.len(), 320_000);
    let small = browser.target(b"/small/text")?;
    let error = browser.read(&small, 0).expect_err("compressed data was read as if it were plain");
    assert_eq!(error.kind(), files::ErrorKind::Refused, "{error}");
    Ok(())
}

#[test]
fn fat() -> Result<()> {
    for (bits, bytes) in [("12", 8 << 20), ("16", 60 << 20), ("32", 300 << 20)] {
        let folder = tempfile::tempdir()?;
        let image = blank(folder.path(), "image", bytes)?;
        run("mkfs.vfat", &["-F", bits, "-n", "LABELLED", text(&image)])?;
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("Deep/er folder"))?;
        std::fs::write(source.join("Deep/er folder/Größe.txt"), "grüße")?;
        std::fs::write(source.join("SHORT.TXT"), "short")?;
        std::fs::write(source.join("empty"), "")?;
        std::fs::write(source.join("some megabytes"), crate::images::noise(3, 3 << 20))?;
        std::fs::create_dir(source.join("many"))?;
        for number in 0..300 {
            std::fs::write(source.join(format!("many/file number {number:05}")), format!("{number}"))?;
        }
        run("touch", &["-d", "2020-02-29T12:34:56Z", text(&source.join("SHORT.TXT"))])?;
        for entry in std::fs::read_dir(&source)? {
            // Times are local there: mtools counts in the zone that it is told.
            run("env", &["TZ=UTC", "mcopy", "-s", "-m", "-i", text(&image), text(&entry?.path()), "::/"])?;
        }
        let mut browser = browser(&[("vda", &image)])?;
        assert_eq!(browser.volumes()?[0].label, "LABELLED");
        let ours = our_tree(&mut browser, "vda")?;
        let theirs = kernel_tree(&source)?;
        assert_same(&ours, &theirs, |seen| {
            (seen.mode, seen.uid, seen.gid) = (0, 0, 0);
            seen.modified = (seen.modified.0 / 2, 0);
            if seen.kind == 'd' {
                (seen.size, seen.modified) = (0, (0, 0));
            }
        });
    }
    Ok(())
}
