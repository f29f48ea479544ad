//! The guest's two disks: data0 (ext4, with a PostgreSQL cluster) and data1 (xfs, empty).

use crate::{Progress, command, host, initramfs::Boot, packages::Packages, stage::Cache, stage::key, tree};
use anyhow::{Context, Result};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const DATA0_BYTES: u64 = 1 << 30;
/// mkfs.xfs refuses less than 300 MB.
const DATA1_BYTES: u64 = 512 << 20;

/// Added to the cluster's own settings, so that they travel with the disk. Small, for 512 MiB of memory;
/// no compiler, whose library the guest does not have.
const POSTGRES_SETTINGS: &str = "
listen_addresses = ''
unix_socket_directories = '/var/run/postgresql'
shared_buffers = 16MB
max_connections = 20
max_wal_size = 64MB
min_wal_size = 4MB
jit = off
timezone = 'UTC'
";

/// How an image lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// QEMU's own: keeps dirty bitmaps.
    Qcow2,
    /// The bare bytes, in a sparse file.
    Raw,
}

impl Format {
    /// What QEMU and qemu-img call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// The base images, raw. They are never booted: [`copy_image`] makes a guest's own.
#[derive(Clone, Debug)]
pub struct BaseDisks {
    /// ext4 of 1 GiB, mounted at `/data0`; the cluster is in `/data0/pg`.
    pub data0: PathBuf,
    /// xfs of 512 MiB, mounted at `/data1`.
    pub data1: PathBuf,
}

/// Builds the base images, unless that was done before.
pub(crate) fn build(
    cache: &Cache,
    packages: &Packages,
    boot: &Boot,
    progress: Progress<'_>,
) -> Result<BaseDisks> {
    let inputs = [packages.key.as_str(), POSTGRES_SETTINGS, include_str!("disks.rs")];
    let folder = cache.stage("disks", &key(&inputs), |new| {
        progress("creating the database and the guest's disks");
        host::require_root("creating the guest's disks")?;
        let root = new.join("chroot");
        let files = create_cluster(&boot.tree, &root)?;
        let data0 = sparse(&new.join("data0.raw"), DATA0_BYTES)?;
        let mut ext4 = host::administration("mkfs.ext4");
        // What is initialised later is initialised by writes of the guest's kernel, which a test would count.
        ext4.args(["-q", "-L", "data0", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d"]);
        command::run(ext4.arg(&files).arg(&data0), "make the ext4 disk")?;
        let data1 = sparse(&new.join("data1.raw"), DATA1_BYTES)?;
        let mut xfs = host::administration("mkfs.xfs");
        command::run(xfs.args(["-q", "-L", "data1"]).arg(&data1), "make the xfs disk")?;
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))
    })?;
    Ok(BaseDisks { data0: folder.join("data0.raw"), data1: folder.join("data1.raw") })
}

/// Copies an image, sparsely, into another format or the same. Neither may be in use.
pub fn copy_image(source: (&Path, Format), target: (&Path, Format)) -> Result<()> {
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", source.1.name(), "-O", target.1.name()]).arg(source.0).arg(target.0);
    command::run(&mut convert, &format!("copy {} to {}", source.0.display(), target.0.display()))?;
    Ok(())
}

/// Runs the guest's own initdb on the host, in a throw-away copy of the guest's tree: in the guest it
/// would take half a minute of emulation. Returns the folder that becomes the disk's root.
fn create_cluster(tree: &Path, root: &Path) -> Result<PathBuf> {
    command::run(Command::new("cp").arg("-a").arg(tree).arg(root), "copy the guest's tree")?;
    let null = root.join("dev/null");
    let mut node = Command::new("mknod");
    command::run(node.args(["-m", "666"]).arg(&null).args(["c", "1", "3"]), "create /dev/null for initdb")?;
    let files = root.join("data0");
    let id = tree::POSTGRES_ID;
    let cluster = files.join("pg");
    fs::create_dir(&cluster)
        .and_then(|()| chown(&cluster, Some(id), Some(id)))
        .and_then(|()| fs::set_permissions(&cluster, Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot create {}", cluster.display()))?;
    let mut initdb = host::administration("chroot");
    initdb.arg(format!("--userspec={id}:{id}")).arg(root).arg("/usr/bin/initdb");
    initdb.args(["-D", "/data0/pg", "-U", "postgres", "--no-locale", "-E", "UTF8", "-A", "trust", "-N"]);
    initdb.arg("--wal-segsize=1").env_clear().envs([("PATH", "/usr/bin"), ("TZ", "UTC"), ("LC_ALL", "C")]);
    command::run(&mut initdb, "create the database cluster")?;
    let settings = cluster.join("postgresql.conf");
    let text =
        fs::read_to_string(&settings).with_context(|| format!("cannot read {}", settings.display()))?;
    fs::write(&settings, text + POSTGRES_SETTINGS)
        .with_context(|| format!("cannot write {}", settings.display()))?;
    Ok(files)
}

fn sparse(path: &Path, bytes: u64) -> Result<PathBuf> {
    File::create(path)
        .and_then(|file| file.set_len(bytes))
        .with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path.to_path_buf())
}
