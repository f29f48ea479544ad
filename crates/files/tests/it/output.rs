//! What is brought out is what was there, and nothing else happens.

use crate::images::{EXT4, XFS, blank, filled, made};
use crate::support::{Mounted, Seen, Tree, assert_same, browser, kernel_tree, kind_of, run, text};
use anyhow::Result;
use files::{ErrorKind, Format, Pattern};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// The kernel's view of an image, without what is never made anew.
fn expected(folder: &Path, image: &Path) -> Result<Tree> {
    let mounted = Mounted::new(image, &folder.join("kernel"), "ro")?;
    let mut tree = kernel_tree(&mounted.0)?;
    tree.retain(|_, seen| seen.kind != '?');
    Ok(tree)
}

fn same_folders(seen: &mut Seen) {
    if seen.kind == 'd' {
        seen.size = 0;
    }
}

#[test]
fn a_folder_comes_out_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", XFS, 400 << 20)?;
    let theirs = expected(folder.path(), &image)?;
    let mut browser = browser(&[("vda", &image)])?;
    let root = browser.target(b"/")?;
    let to = folder.path().join("out");
    let report = files::extract(&mut browser, &root, &to)?;
    assert_eq!((report.failed_count, report.skipped_count), (0, 2), "{:?}", report.skipped);
    assert_same(&kernel_tree(&to)?, &theirs, same_folders);
    // Holes stay holes, and nobody else may look.
    assert!(to.join("sparse").metadata()?.blocks() < 500, "{}", to.join("sparse").metadata()?.blocks());
    assert_eq!(to.metadata()?.mode() & 0o777, 0o700);
    // Nothing is replaced, and a file has its name.
    assert_eq!(kind_of(files::extract(&mut browser, &root, &to)), ErrorKind::Exists);
    let link = browser.target(b"/folder link/../../etc/./link")?;
    files::extract(&mut browser, &link, &folder.path().join("one"))?;
    assert_eq!(std::fs::read_to_string(folder.path().join("one/hosts"))?, "127.0.0.1 localhost\n");
    Ok(())
}

#[test]
fn archives_are_read_by_other_programs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", EXT4, 300 << 20)?;
    let theirs = expected(folder.path(), &image)?;
    let mut browser = browser(&[("vda", &image)])?;
    let root = browser.target(b"/")?;
    for (format, name) in [(Format::Tar, "tar"), (Format::Zip, "zip")] {
        let archive = folder.path().join(name);
        let mut to = std::io::BufWriter::new(std::fs::File::create(&archive)?);
        let report = files::archive(&mut browser, &root, format, &mut to)?;
        assert_eq!((report.failed_count, report.skipped_count), (0, 2), "{:?}", report.skipped);
        drop(to);
        let out = folder.path().join(format!("{name}.out"));
        std::fs::create_dir(&out)?;
        match format {
            Format::Tar => {
                run("tar", &["-x", "-p", "--numeric-owner", "-f", text(&archive), "-C", text(&out)])?
            }
            Format::Zip => run("unzip", &["-q", text(&archive), "-d", text(&out)])?,
        };
        assert_same(&kernel_tree(&out)?, &theirs, |seen| {
            same_folders(seen);
            if format == Format::Zip {
                // Bits that give rights are not taken from archives, and it has neither owners nor all of a time.
                (seen.uid, seen.gid, seen.modified) = (0, 0, (0, 0));
                seen.mode &= 0o777;
            }
        });
    }
    Ok(())
}

#[test]
fn a_refused_file_is_left_behind_and_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = made(folder.path(), "image", &["mkntfs", "-q", "-F", "-Q"], 64 << 20)?;
    let mounted = Mounted::ntfs(&image, &folder.path().join("fill"), "compression")?;
    std::fs::create_dir(mounted.0.join("small"))?;
    run("setfattr", &["-n", "system.ntfs_attrib_be", "-v", "0x00000800", text(&mounted.0.join("small"))])?;
    std::fs::write(mounted.0.join("small/text"), "again and again\n".repeat(20_000))?;
    std::fs::write(mounted.0.join("small/beside"), "x")?;
    drop(mounted);
    let mut browser = browser(&[("vda", &image)])?;
    let root = browser.target(b"/")?;
    let out = folder.path().join("out");
    let report = files::extract(&mut browser, &root, &out)?;
    assert!(report.failed_count >= 1 && report.skipped.iter().any(|one| one.path == "vda:/small/text"));
    assert!(!out.join("small/text").exists(), "half a file looks like one");
    Ok(())
}

#[test]
fn names_are_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", EXT4, 300 << 20)?;
    let mut browser = browser(&[("vda", &image)])?;
    let root = browser.target(b"/")?;
    let mut find = |pattern: &Pattern, limit: usize| -> Result<Vec<String>> {
        let mut found = Vec::new();
        files::search(&mut browser, &root, pattern, &mut |one| {
            found.push(one.target.to_string());
            found.len() < limit
        })?;
        Ok(found)
    };
    assert_eq!(find(&Pattern::glob("HOSTS", true)?, 10)?, ["vda:/etc/hosts"]);
    assert_eq!(find(&Pattern::glob("HOSTS", false)?, 10)?, [""; 0]);
    assert_eq!(find(&Pattern::glob("file number *", false)?, usize::MAX)?.len(), 2500 - 358);
    assert_eq!(find(&Pattern::regex("^(turn|loop) [ab]$", false)?, 3)?.len(), 3);
    Ok(())
}

/// A guest that wants out: links to elsewhere, loops, a name that is a link first.
#[test]
fn nothing_is_written_through_a_link() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = made(folder.path(), "image", EXT4, 64 << 20)?;
    let victim = folder.path().join("victim");
    std::fs::create_dir(&victim)?;
    let mounted = Mounted::new(&image, &folder.path().join("fill"), "rw")?;
    symlink(&victim, mounted.0.join("aaaa"))?;
    std::fs::create_dir(mounted.0.join("bbbb"))?;
    std::fs::write(mounted.0.join("bbbb/planted"), "planted")?;
    symlink("/etc/passwd", mounted.0.join("bbbb/passwd"))?;
    drop(mounted);
    // No kernel makes this: two names that are one. The first is a link out, the second a folder with a file.
    let mut bytes = std::fs::read(&image)?;
    let at =
        bytes.windows(12).position(|window| &window[4..] == b"\x0c\0\x04\x02bbbb" || &window[8..] == b"bbbb");
    let at = at.expect("the entry of the folder") + 8;
    bytes[at..at + 4].copy_from_slice(b"aaaa");
    // Without checksums of folders the change is believed.
    let twins = blank(folder.path(), "twins", 64 << 20)?;
    std::fs::write(&twins, &bytes)?;
    for image in [&image, &twins] {
        let mut browser = browser(&[("vda", image)])?;
        let root = browser.target(b"/")?;
        let out = tempfile::tempdir_in(folder.path())?;
        let done = files::extract(&mut browser, &root, out.path());
        assert!(std::fs::read_dir(&victim)?.next().is_none(), "escaped: {done:?}");
        // A link that leads out leads nowhere but within its volume.
        let through = browser.target(b"/bbbb/passwd")?;
        if image.ends_with("image") {
            assert_eq!(kind_of(browser.resolve(&through, true)), ErrorKind::NotFound);
            let own = browser.target(b"/aaaa/x")?;
            assert_eq!(kind_of(browser.resolve(&own, true)), ErrorKind::NotFound);
        }
    }
    Ok(())
}
