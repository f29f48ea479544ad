//! Images of stopped machines: hostile ones, ones in use, ones that change.

use crate::guest::{VAULT, pull, run};
use anyhow::{Context, Result, ensure};
use block::{BlockSource, ExtentKind};
use hypervisor::offline::{Format, Image, OfflineMachine};
use hypervisor::{ErrorKind, FreezeRequest, FrozenDisk, FrozenMachine, Level, Machine, Outcome, Tracking};
use nbd::{NbdDisk, Options};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with images and a scratch folder.
struct Shelf(tempfile::TempDir);

impl Shelf {
    fn new() -> Result<Self> {
        let shelf = Self(tempfile::tempdir()?);
        std::fs::create_dir(shelf.path("scratch"))?;
        std::fs::create_dir(shelf.path("images"))?;
        Ok(shelf)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self, name: &str) -> PathBuf {
        self.path("images").join(name)
    }

    /// A qcow2 image with 3 MiB of data at 1 MiB.
    fn qcow2(&self, name: &str, options: &[&str]) -> Result<PathBuf> {
        let path = self.image(name);
        let mut create = Command::new("qemu-img");
        run(create.args(["create", "-q", "-f", "qcow2"]).args(options).arg(&path).arg("16M"))?;
        write(&path, "qcow2", "write -P 7 1M 3M")?;
        Ok(path)
    }

    async fn freeze(&self, image: Image) -> hypervisor::Result<FrozenMachine> {
        let machine = OfflineMachine::new("m", None, vec![image])?;
        machine.freeze(self.request()).await
    }

    fn request(&self) -> FreezeRequest {
        FreezeRequest::new("point-1", VAULT, self.path("scratch"))
    }

    /// That it is refused for what is `said`, and nothing stays.
    async fn assert_refused(&self, image: Image, said: &str) -> Result<()> {
        let error = self.freeze(image).await.err().context("it should be refused")?;
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        ensure!(text.contains(said), "it should say {said:?}: {text}");
        ensure!(error.kind() != ErrorKind::Unreachable, "QEMU died or hung: {text}");
        self.assert_tidy()
    }

    fn assert_tidy(&self) -> Result<()> {
        ensure!(std::fs::read_dir(self.path("scratch"))?.count() == 0, "the scratch folder is not empty");
        Ok(())
    }
}

fn image(path: &Path, format: Format) -> Image {
    Image { name: "d0".into(), path: path.to_owned(), format, key_file: None, may_reach_outside: false }
}

fn write(path: &Path, format: &str, command: &str) -> Result<()> {
    run(Command::new("qemu-io").args(["-f", format, "-c", command]).arg(path))
}

/// Puts bytes into a file, as somebody who forges a header would.
fn forge(path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    Ok(file.write_all_at(bytes, offset)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_outside_is_refused() -> Result<()> {
    let shelf = Shelf::new()?;
    let secret = shelf.path("secret");
    std::fs::write(&secret, [b's'; 1 << 20])?;
    let named = |name: &str, backing: &str| -> Result<PathBuf> {
        let path = shelf.image(name);
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", backing]);
        run(create.arg(&path).arg("16M"))?;
        Ok(path)
    };
    let secret_name = secret.display().to_string();
    for (backing, said) in [
        (secret_name.as_str(), "outside of its own folder"),
        ("../secret", "outside of its own folder"),
        ("json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}", "only names of files are followed"),
        ("nbd:unix:/run/nowhere.sock", "only names of files are followed"),
        ("http://127.0.0.1/x", "only names of files are followed"),
        ("nowhere.raw", "nowhere.raw"),
    ] {
        let path = named("backed.qcow2", backing)?;
        shelf.assert_refused(image(&path, Format::Qcow2), said).await?;
    }
    // The same in a link's clothes.
    std::os::unix::fs::symlink(&secret, shelf.image("link.raw"))?;
    let path = named("backed.qcow2", "link.raw")?;
    shelf.assert_refused(image(&path, Format::Qcow2), "outside of its own folder").await?;
    // Where it is allowed it is followed.
    let frozen = shelf.freeze(Image { may_reach_outside: true, ..image(&path, Format::Qcow2) }).await?;
    pull(&frozen.disks()[0], &shelf.path("copy.raw"))?;
    ensure!(std::fs::read(shelf.path("copy.raw"))?[..1 << 20] == [b's'; 1 << 20]);
    frozen.release(Outcome::Committed).await?;
    // Data elsewhere, by the file's own extension.
    let data = format!("data_file={}", shelf.path("data.raw").display());
    let path = shelf.qcow2("split.qcow2", &["-o", &data])?;
    shelf.assert_refused(image(&path, Format::Qcow2), "outside of its own folder").await?;
    // A description that names other files.
    let text =
        "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n";
    std::fs::write(shelf.image("text.vmdk"), text)?;
    shelf.assert_refused(image(&shelf.image("text.vmdk"), Format::Vmdk), "data lies in other files").await?;
    shelf.assert_tidy()
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_images_are_answered_in_bounds() -> Result<()> {
    let shelf = Shelf::new()?;
    // Two that stand on one another.
    let [one, two] = ["one.qcow2", "two.qcow2"].map(|name| shelf.image(name));
    for (path, backing) in [(&one, "two.qcow2"), (&two, "one.qcow2")] {
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing]);
        run(create.arg(path).arg("16M"))?;
    }
    shelf.assert_refused(image(&one, Format::Qcow2), "stands on itself").await?;
    // Sizes that nothing has.
    for size in [u64::MAX, 1 << 62, 1 << 50, 0] {
        let path = shelf.qcow2("giant.qcow2", &[])?;
        forge(&path, 24, &size.to_be_bytes())?;
        shelf.assert_refused(image(&path, Format::Qcow2), "open the image of disk d0").await?;
    }
    // A table of 2^31 entries.
    let path = shelf.qcow2("table.qcow2", &[])?;
    forge(&path, 36, &[0x7f, 0xff, 0xff, 0xff])?;
    shelf.assert_refused(image(&path, Format::Qcow2), "open the image of disk d0").await?;
    // What is not what it is said to be.
    let path = shelf.image("plain.raw");
    std::fs::write(&path, [0; 65536])?;
    for format in [Format::Qcow2, Format::Vpc, Format::Vhdx, Format::Vmdk, Format::Vdi, Format::Luks] {
        shelf.assert_refused(image(&path, format), "open the image of disk d0").await?;
    }
    shelf.assert_refused(image(&shelf.path("images"), Format::Raw), "no regular file").await?;
    std::fs::write(shelf.image("empty.raw"), [])?;
    shelf.assert_refused(image(&shelf.image("empty.raw"), Format::Raw), "is empty").await?;
    // A header in a raw disk is content: it is read as it lies.
    let path = shelf.qcow2("inner.qcow2", &[])?;
    let frozen = shelf.freeze(image(&path, Format::Raw)).await?;
    pull(&frozen.disks()[0], &shelf.path("copy.raw"))?;
    ensure!(std::fs::read(shelf.path("copy.raw"))? == std::fs::read(&path)?);
    frozen.release(Outcome::Committed).await?;
    shelf.assert_tidy()
}

/// QEMU would read zeros for what is missing, and say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_cut_short_is_not_read_as_zeros() -> Result<()> {
    let shelf = Shelf::new()?;
    let path = shelf.qcow2("short.qcow2", &[])?;
    let whole = std::fs::metadata(&path)?.len();
    std::fs::OpenOptions::new().write(true).open(&path)?.set_len(whole - (1 << 20))?;
    let frozen = shelf.freeze(image(&path, Format::Qcow2)).await?;
    let pulled = pull(&frozen.disks()[0], &shelf.path("copy.raw"));
    ensure!(pulled.is_err(), "what is missing was read as something");
    frozen.release(Outcome::Abandoned).await?;
    shelf.assert_tidy()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_changes_breaks_the_freeze() -> Result<()> {
    let shelf = Shelf::new()?;
    for (format, name) in [(Format::Raw, "disk.raw"), (Format::Qcow2, "disk.qcow2")] {
        let path = shelf.image(name);
        let mut create = Command::new("qemu-img");
        run(create.args(["create", "-q", "-f", format.name()]).arg(&path).arg("4M"))?;
        let other = shelf.image("other");
        std::fs::copy(&path, &other)?;
        let frozen = shelf.freeze(image(&path, format)).await?;
        frozen.check().await?;
        forge(&path, 300, &[1])?;
        ensure!(frozen.check().await.err().context("it was written")?.kind() == ErrorKind::Broken);
        frozen.release(Outcome::Abandoned).await?;
        let frozen = shelf.freeze(image(&path, format)).await?;
        std::fs::rename(&other, &path)?;
        ensure!(frozen.check().await.err().context("it was replaced")?.kind() == ErrorKind::Broken);
        frozen.release(Outcome::Abandoned).await?;
    }
    shelf.assert_tidy()
}

/// A QEMU that has the image open, without a guest.
struct User(std::process::Child);

impl User {
    fn start(path: &Path, format: &str, socket: &Path) -> Result<Self> {
        let export = format!("driver={format},node-name=n,file.driver=file,file.filename={}", path.display());
        let mut daemon = Command::new("qemu-storage-daemon");
        daemon.args(["--blockdev", &export]);
        daemon.arg("--nbd-server").arg(format!("addr.type=unix,addr.path={}", socket.display()));
        daemon.args(["--export", "type=nbd,id=e,node-name=n,name=n,writable=on"]);
        let started = daemon.spawn()?;
        let user = Self(started);
        while !socket.exists() {
            std::thread::yield_now();
        }
        // It listens before it opens; who is answered finds it open.
        run(Command::new("nbdinfo").arg(format!("nbd+unix:///n?socket={}", socket.display())))?;
        Ok(user)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_use_is_busy_and_one_we_read_cannot_be_started() -> Result<()> {
    let shelf = Shelf::new()?;
    for (format, name) in [(Format::Raw, "disk.raw"), (Format::Qcow2, "disk.qcow2")] {
        let path = shelf.image(name);
        let mut create = Command::new("qemu-img");
        run(create.args(["create", "-q", "-f", format.name()]).arg(&path).arg("4M"))?;
        let user = tokio::task::block_in_place(|| User::start(&path, format.name(), &shelf.path(name)))?;
        let error = shelf.freeze(image(&path, format)).await.err().context("it is in use")?;
        ensure!(error.kind() == ErrorKind::Busy, "{error}");
        shelf.assert_refused(image(&path, format), "is in use; back the running machine up").await?;
        drop(user);
        let frozen = shelf.freeze(image(&path, format)).await?;
        let refused = write(&path, format.name(), "write 0 512").err().context("we read it")?;
        ensure!(refused.to_string().contains("lock"), "{refused}");
        frozen.check().await?;
        frozen.release(Outcome::Committed).await?;
        write(&path, format.name(), "write 0 512")?;
    }
    shelf.assert_tidy()
}

/// The daemon's process, found by the socket it serves.
fn daemon_of(frozen: &FrozenMachine) -> Result<u32> {
    let nbd::Address::Unix(socket) = &frozen.disks()[0].address else { anyhow::bail!("no Unix socket") };
    let wanted = socket.display().to_string();
    let table = std::fs::read_to_string("/proc/net/unix")?;
    let line = table.lines().find(|line| line.ends_with(&wanted)).context("nobody listens")?;
    let link = format!("socket:[{}]", line.split_whitespace().nth(6).context("an inode")?);
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?.path();
        let holds =
            std::fs::read_link(entry.join("fd/1")).is_ok_and(|target| target.to_string_lossy() == link);
        if let (true, Some(name)) = (holds, entry.file_name()) {
            return Ok(name.to_string_lossy().parse()?);
        }
    }
    anyhow::bail!("no process holds {link}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_has_no_rights_and_is_bounded() -> Result<()> {
    let shelf = Shelf::new()?;
    let path = shelf.qcow2("disk.qcow2", &[])?;
    let frozen = shelf.freeze(image(&path, Format::Qcow2)).await?;
    let daemon = daemon_of(&frozen)?;
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{daemon}/{name}"));
    let status = read("status")?;
    let is = |key: &str, value: &str| {
        let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
        lines.any(|(name, found)| name == key && found.split_whitespace().next() == Some(value))
    };
    ensure!(is("NoNewPrivs", "1") && is("CapEff", "0000000000000000"), "{status}");
    // Who is not root cannot become somebody else, and needs not.
    let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
    ensure!(!is_root || is("CapBnd", "0000000000000000"), "{status}");
    ensure!(!is("Uid", "0") && !is("Gid", "0"), "{status}");
    let limits = read("limits")?;
    for limited in ["Max address space", "Max cpu time", "Max file size", "Max open files"] {
        let line = limits.lines().find(|line| line.starts_with(limited)).context("a limit")?;
        ensure!(!line.contains("unlimited"), "{line}");
    }
    // Only the loopback, and that is down.
    ensure!(read("net/dev")?.lines().count() == 3, "{}", read("net/dev")?);
    let words = read("cmdline")?;
    ensure!(!words.contains("disk.qcow2"), "{words}");
    let open = std::fs::read_dir(format!("/proc/{daemon}/fd"))?.flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let files: Vec<PathBuf> =
        targets.filter(|path| path.starts_with("/") && path != Path::new("/dev/null")).collect();
    ensure!(files.is_empty(), "it has files open: {files:?}");
    frozen.release(Outcome::Committed).await?;
    ensure!(!Path::new(&format!("/proc/{daemon}")).exists(), "the daemon lives on");
    shelf.assert_tidy()
}

/// Reads a whole disk through the daemon and compares it with what `qemu-img` makes of the image.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_in_its_own_folder_is_read_as_one_disk() -> Result<()> {
    let shelf = Shelf::new()?;
    shelf.qcow2("base.qcow2", &[])?;
    let top = shelf.image("top.qcow2");
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"]);
    run(create.arg(&top))?;
    write(&top, "qcow2", "write -P 9 2M 64k")?;
    let data = format!("data_file={}", shelf.image("data.raw").display());
    let split = shelf.qcow2("split.qcow2", &["-o", &data])?;
    for path in [top, split] {
        let frozen = shelf.freeze(image(&path, Format::Qcow2)).await?;
        let [copy, expected] = ["copy.raw", "expected.raw"].map(|name| shelf.path(name));
        let disk = &frozen.disks()[0];
        ensure!(matches!(&disk.tracking, Tracking::Full { .. }));
        pull(disk, &copy)?;
        run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&path).arg(&expected))?;
        ensure!(std::fs::read(&copy)? == std::fs::read(&expected)?, "{} differs", path.display());
        frozen.check().await?;
        frozen.release(Outcome::Committed).await?;
    }
    shelf.assert_tidy()
}

/// What QEMU records in an image, as a backup of the running machine has it recorded.
fn record(path: &Path, change: &str, point: &str) -> Result<()> {
    let name = format!("strongroom:{VAULT}:{point}:d0");
    let mut bitmap = Command::new("qemu-img");
    bitmap.args(["bitmap", change]);
    if change == "--add" {
        bitmap.args(["-g", "65536"]);
    }
    run(bitmap.arg(path).arg(name))
}

/// What a frozen disk says has changed: (offset, length).
async fn changes(disk: &FrozenDisk) -> Result<Vec<(u64, u64)>> {
    let options = Options { dirty_bitmap: disk.bitmap.clone(), ..Options::new(&disk.export) };
    let source = NbdDisk::connect(&disk.address, &options).await?;
    let extents = source.extents(0, source.size()).await?;
    let changed = extents.iter().filter(|extent| extent.kind != ExtentKind::Unchanged);
    let found = changed.map(|extent| (extent.offset, extent.length)).collect();
    source.close().await;
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_an_image_are_believed_and_left_as_they_are() -> Result<()> {
    let shelf = Shelf::new()?;
    let path = shelf.qcow2("disk.qcow2", &[])?;
    let machine = || OfflineMachine::new("m", None, vec![image(&path, Format::Qcow2)]);
    let request = || FreezeRequest {
        point: "new".into(),
        parent: Some("old".into()),
        parent_disks: [("d0".to_owned(), 16 << 20)].into(),
        ..shelf.request()
    };
    let full = |frozen: &FrozenMachine, said: &str| match &frozen.disks()[0].tracking {
        Tracking::Full { reason } if reason.contains(said) => Ok(()),
        other => Err(anyhow::anyhow!("it should be read whole because {said}: {other:?}")),
    };
    let frozen = machine()?.freeze(request()).await?;
    full(&frozen, "no record of the changes")?;
    frozen.release(Outcome::Committed).await?;

    record(&path, "--add", "old")?;
    write(&path, "qcow2", "write -P 1 5M 64k")?;
    let before = std::fs::read(&path)?;
    let frozen = machine()?.freeze(request()).await?;
    ensure!(changes(&frozen.disks()[0]).await? == [(5 << 20, 65536)]);
    frozen.check().await?;
    frozen.release(Outcome::Committed).await?;
    ensure!(std::fs::read(&path)? == before, "the image was written");

    // An attempt that died after its instant: the sum of both, and still nothing is written.
    record(&path, "--disable", "old")?;
    record(&path, "--add", "died")?;
    write(&path, "qcow2", "write -P 2 9M 128k")?;
    let before = std::fs::read(&path)?;
    let frozen = machine()?.freeze(request()).await?;
    ensure!(changes(&frozen.disks()[0]).await? == [(5 << 20, 65536), (9 << 20, 131_072)]);
    frozen.release(Outcome::Abandoned).await?;
    ensure!(std::fs::read(&path)? == before, "the image was written");

    // A gap, an image that was not closed, an image on top of another.
    record(&path, "--remove", "died")?;
    let frozen = machine()?.freeze(request()).await?;
    full(&frozen, "has a gap")?;
    frozen.release(Outcome::Committed).await?;
    record(&path, "--enable", "old")?;
    forge(&path, 79, &[1])?;
    let frozen = machine()?.freeze(request()).await?;
    full(&frozen, "dirty flag is set")?;
    frozen.release(Outcome::Committed).await?;
    forge(&path, 79, &[0])?;
    let top = shelf.image("top.qcow2");
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "disk.qcow2"]);
    run(create.arg(&top))?;
    record(&top, "--add", "old")?;
    let stacked = OfflineMachine::new("m", None, vec![image(&top, Format::Qcow2)])?;
    let frozen = stacked.freeze(request()).await?;
    full(&frozen, "stands on other files")?;
    frozen.release(Outcome::Committed).await?;
    shelf.assert_tidy()
}

/// Where the victim finds its image.
const VICTIM: &str = "STRONGROOM_TEST_VICTIM";

/// Freezes and waits to be killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a_killed_process_leaves_no_daemon runs it"]
async fn victim() -> Result<()> {
    let Some(folder) = std::env::var_os(VICTIM).map(PathBuf::from) else { return Ok(()) };
    let machine = OfflineMachine::new("m", None, vec![image(&folder.join("disk.qcow2"), Format::Qcow2)])?;
    let scratch = folder.join("../scratch");
    let request = FreezeRequest { wish: Level::Crash, ..FreezeRequest::new("victim", VAULT, scratch) };
    let _frozen = machine.freeze(request).await?;
    println!("\nfrozen");
    std::future::pending().await
}

#[test]
fn a_killed_process_leaves_no_daemon() -> Result<()> {
    let shelf = Shelf::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let path = runtime.block_on(async { shelf.qcow2("disk.qcow2", &[]) })?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--ignored", "--exact", "offline::victim", "--nocapture"])
        .env(VICTIM, shelf.path("images"));
    let mut victim = command.stdout(Stdio::piped()).spawn()?;
    let said = BufReader::new(victim.stdout.take().context("its output is a pipe")?);
    ensure!(said.lines().map_while(Result::ok).any(|line| line == "frozen"), "it ended without a freeze");
    let scratch = shelf.path("scratch").canonicalize()?.display().to_string();
    // Both the victim's socket and its daemon's.
    let listening = || -> Result<bool> {
        let table = std::fs::read_to_string("/proc/net/unix")?;
        Ok(table.lines().any(|line| line.contains(&scratch)))
    };
    ensure!(listening()?, "it should be served");
    victim.kill()?;
    victim.wait()?;
    while listening()? {
        std::thread::yield_now();
    }
    // What is left is a folder, which the next freeze sweeps.
    ensure!(std::fs::read_dir(&scratch)?.count() == 1);
    runtime.block_on(async {
        let frozen = shelf.freeze(image(&path, Format::Qcow2)).await?;
        frozen.release(Outcome::Abandoned).await
    })?;
    shelf.assert_tidy()
}
