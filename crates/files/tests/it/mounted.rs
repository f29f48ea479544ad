//! A mounted point is what the kernel shows of the same disk, and nobody hangs in it.

use crate::images::{EXT4, XFS, filled};
use crate::support::{Image, Mounted, assert_same, kernel_tree, program, run, text, tools};
use anyhow::{Context, Result, ensure};
use files::{Browser, SharedDisk};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

const NOT_SUPPORTED: i32 = 95;
const INPUT_OUTPUT: i32 = 5;

/// An image that is mounted by us.
struct Ours {
    at: PathBuf,
    mounted: Option<files::Mounted>,
    answering: JoinHandle<()>,
    /// The thread whose children are workers.
    thread: i32,
}

impl Ours {
    fn new(image: &Path, at: &Path) -> Result<Self> {
        tools();
        std::fs::create_dir_all(at)?;
        let disk: SharedDisk = Arc::new(Image(File::open(image)?));
        let (told, ready) = sync_channel(1);
        let folder = at.to_owned();
        let answering = std::thread::spawn(move || {
            let mut browser = Browser::new(program(), vec![("vda".to_owned(), disk)]);
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            let mounted = browser.target(b"vda:/").and_then(|root| files::mount(&[root], &folder));
            let (mounted, questions) = match mounted {
                Ok((mounted, questions)) => (Ok(mounted), Some(questions)),
                Err(error) => (Err(error), None),
            };
            told.send((mounted, thread)).expect("the test waits");
            if let Some(questions) = questions {
                questions.answer(&mut browser);
            }
        });
        let (mounted, thread) = ready.recv()?;
        Ok(Self { at: at.to_owned(), mounted: Some(mounted?), answering, thread })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.at.join("vda").join(path)
    }

    fn kill_worker(&self) -> Result<()> {
        let children = std::fs::read_to_string(format!("/proc/self/task/{}/children", self.thread))?;
        let worker = children.split_whitespace().next().context("a worker runs")?;
        run("kill", &["-KILL", worker]).map(drop)
    }

    fn end(mut self) -> Result<()> {
        self.mounted.take();
        self.answering.join().map_err(|_| anyhow::anyhow!("the thread that answers panicked"))?;
        ensure!(std::fs::read_dir(&self.at)?.next().is_none(), "it is still mounted");
        Ok(())
    }
}

fn compare(mkfs: &[&str], bytes: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", mkfs, bytes)?;
    let ours = Ours::new(&image, &folder.path().join("ours"))?;
    let names: Vec<_> =
        std::fs::read_dir(&ours.at)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    assert_eq!(names, ["vda"]);
    let copy = folder.path().join("copy");
    std::fs::copy(&image, &copy)?;
    let theirs = Mounted::new(&copy, &folder.path().join("kernel"), "ro")?;
    let theirs = kernel_tree(&theirs.0)?;
    assert!(theirs.len() > 2000, "the image is not filled");
    assert_same(&kernel_tree(&ours.path(""))?, &theirs, |seen| {
        if seen.kind == 'd' {
            seen.size = 0;
        }
    });
    // Nothing can be changed, and nothing gives rights.
    let refused = File::create(ours.path("new")).expect_err("it is read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let options = run("findmnt", &["-n", "-o", "OPTIONS", text(&ours.at)])?;
    assert!(
        ["ro", "nosuid", "nodev"].iter().all(|one| options.split([',', '\n']).any(|other| other == *one)),
        "{options}"
    );
    ours.end()
}

#[test]
fn xfs() -> Result<()> {
    compare(XFS, 400 << 20)
}

#[test]
fn ext4() -> Result<()> {
    compare(EXT4, 300 << 20)
}

#[test]
fn a_worker_that_dies_is_an_error_and_the_next_one_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = filled(folder.path(), "image", &["mkfs.ext3", "-q", "-F"], 300 << 20)?;
    let ours = Ours::new(&image, &folder.path().join("ours"))?;
    let hosts = std::fs::read(ours.path("etc/hosts"))?;
    assert_eq!(hosts, b"127.0.0.1 localhost\n");
    ours.kill_worker()?;
    let failed = std::fs::symlink_metadata(ours.path("sparse")).expect_err("nobody is there to answer");
    assert_eq!(failed.raw_os_error(), Some(INPUT_OUTPUT));
    // What its reader cannot be trusted with is refused, as everywhere.
    let refused = std::fs::read(ours.path("sparse")).expect_err("holes in a map of blocks");
    assert!(matches!(refused.raw_os_error(), Some(NOT_SUPPORTED | INPUT_OUTPUT)), "{refused}");
    let again = run("umount", &[text(&ours.at)]);
    assert!(again.is_ok(), "anybody may unmount it who may: {again:?}");
    ours.end()
}
