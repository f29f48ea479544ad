//! The guest's files, picked from the unpacked packages: small enough to live in memory.

use crate::{command, elf, modules};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Where this version of PostgreSQL keeps its programs.
pub(crate) const POSTGRES_PROGRAMS: &str = "usr/lib/postgresql/15/bin";
/// The account `postgres` in the guest: files on its disk belong to these numbers.
pub(crate) const POSTGRES_ID: u32 = 100;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";
const POSTGRES_COMMANDS: &[&str] = &[
    "postgres",
    "initdb",
    "pg_ctl",
    "psql",
    "pgbench",
    "pg_isready",
    "pg_amcheck",
    "pg_controldata",
    "pg_checksums",
];
const POSTGRES_MODULES: &[&str] = &["plpgsql", "dict_snowball", "amcheck", "libpqwalreceiver", "pgoutput"];
/// Extensions kept, of some fifty.
const POSTGRES_EXTENSIONS: &[&str] = &["plpgsql", "amcheck"];

const INIT: &str = include_str!("../guest/init");
const SHUTDOWN: &str = include_str!("../guest/shutdown");
const FREEZE_HOOK: &str = include_str!("../../hypervisor/guest/fsfreeze-hook");
const FREEZE_POSTGRES: &str = include_str!("../../hypervisor/guest/freeze.d/postgresql");

/// Everything of ours that goes into the tree, for the stamp.
pub(crate) const ASSETS: &[&str] = &[
    INIT,
    SHUTDOWN,
    FREEZE_HOOK,
    FREEZE_POSTGRES,
    include_str!("tree.rs"),
    include_str!("modules.rs"),
    include_str!("cpio.rs"),
];

/// Makes the guest's tree in `tree` from the packages in `root` and the static `probe`.
pub(crate) fn make(root: &Path, probe: &Path, tree: &Path) -> Result<()> {
    let tree = Tree { root, tree };
    tree.skeleton()?;
    tree.busybox()?;
    tree.agent()?;
    tree.postgres()?;
    tree.kernel_modules()?;
    tree.libraries()?;
    fs::copy(probe, tree.tree.join("usr/bin/guest-probe")).context("cannot copy the guest's probe")?;
    Ok(())
}

struct Tree<'a> {
    root: &'a Path,
    tree: &'a Path,
}

impl Tree<'_> {
    fn skeleton(&self) -> Result<()> {
        // A temporary folder may be closed to others; as the guest's root it must be open.
        fs::set_permissions(self.tree, Permissions::from_mode(0o755))
            .context("cannot open the guest's tree")?;
        for folder in ["dev/shm", "proc", "sys", "run", "root", "tmp", "var/log", "data0", "data1"] {
            self.folder(folder)?;
        }
        for open in ["tmp", "dev/shm"] {
            let path = self.tree.join(open);
            fs::set_permissions(&path, Permissions::from_mode(0o1777))
                .with_context(|| format!("cannot open {}", path.display()))?;
        }
        for folder in ["usr/bin", LIBRARIES, "usr/lib/modules", "usr/lib64"] {
            self.folder(folder)?;
        }
        let links = [
            ("bin", "usr/bin"),
            ("sbin", "usr/bin"),
            ("usr/sbin", "bin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
            ("var/run", "../run"),
            ("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        ];
        links.iter().try_for_each(|(name, target)| self.link(name, target))?;
        let id = POSTGRES_ID;
        self.write(
            "etc/passwd",
            &format!("root:x:0:0::/root:/bin/sh\npostgres:x:{id}:{id}::/tmp:/bin/sh\n"),
            0o644,
        )?;
        self.write("etc/group", &format!("root:x:0:\npostgres:x:{id}:\n"), 0o644)?;
        self.write("init", INIT, 0o755)
    }

    /// One static program under the names of all its applets.
    fn busybox(&self) -> Result<()> {
        let homes = ["bin/busybox", "usr/bin/busybox"];
        let source =
            homes.iter().find(|path| self.root.join(path).is_file()).context("busybox-static is empty")?;
        self.copy(source, "usr/bin/busybox")?;
        let mut list = Command::new(self.tree.join("usr/bin/busybox"));
        for applet in command::run_text(list.arg("--list"), "list busybox's applets")?.lines() {
            if applet != "busybox" {
                self.link(&format!("usr/bin/{applet}"), "busybox")?;
            }
        }
        Ok(())
    }

    fn agent(&self) -> Result<()> {
        self.copy("usr/sbin/qemu-ga", "usr/bin/qemu-ga")?;
        self.write("usr/bin/shutdown", SHUTDOWN, 0o755)?;
        self.write("etc/qemu/fsfreeze-hook", FREEZE_HOOK, 0o755)?;
        self.write("usr/share/strongroom/freeze.d/postgresql", FREEZE_POSTGRES, 0o755)
    }

    fn postgres(&self) -> Result<()> {
        for name in POSTGRES_COMMANDS {
            let program = format!("{POSTGRES_PROGRAMS}/{name}");
            self.copy(&program, &program)?;
            self.link(&format!("usr/bin/{name}"), &format!("../../{program}"))?;
        }
        for name in POSTGRES_MODULES {
            let module = format!("usr/lib/postgresql/15/lib/{name}.so");
            self.copy(&module, &module)?;
        }
        self.shared_files("usr/share/postgresql/15")?;
        self.copy("usr/share/zoneinfo/UTC", "usr/share/zoneinfo/UTC")?;
        self.copy("usr/share/zoneinfo/UTC", "usr/share/zoneinfo/Etc/UTC")?;
        self.link("etc/localtime", "/usr/share/zoneinfo/UTC")
    }

    /// PostgreSQL's data files without manuals, translations and the extensions we leave out.
    fn shared_files(&self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        for entry in fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let inside = format!("{folder}/{name}");
            if entry.path().is_dir() {
                if !["man", "locale", "contrib"].contains(&name.as_str()) {
                    self.shared_files(&inside)?;
                }
            } else if !folder.ends_with("/extension")
                || POSTGRES_EXTENSIONS.iter().any(|kept| name.starts_with(kept))
            {
                self.copy(&inside, &inside)?;
            }
        }
        Ok(())
    }

    fn kernel_modules(&self) -> Result<()> {
        let mut order = String::new();
        for module in modules::in_order(self.root)? {
            let name = module.file_name().context("a module has no name")?.to_string_lossy().into_owned();
            fs::copy(&module, self.tree.join("usr/lib/modules").join(&name))
                .with_context(|| format!("cannot copy {}", module.display()))?;
            order.push_str(&name);
            order.push('\n');
        }
        self.write("usr/lib/modules/order", &order, 0o644)
    }

    /// Adds what the programs need, and what that needs.
    fn libraries(&self) -> Result<()> {
        let mut waiting = vec![self.tree.join("usr/bin/qemu-ga")];
        for folder in [POSTGRES_PROGRAMS, "usr/lib/postgresql/15/lib"] {
            let path = self.tree.join(folder);
            let entries = fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
            waiting.extend(entries.flatten().map(|entry| entry.path()));
        }
        self.library(LOADER)?;
        let mut known = BTreeSet::from([LOADER.to_string()]);
        while let Some(file) = waiting.pop() {
            for name in elf::needed_libraries(&file)? {
                if known.insert(name.clone()) {
                    let copied =
                        self.library(&name).with_context(|| format!("needed by {}", file.display()))?;
                    waiting.push(copied);
                }
            }
        }
        Ok(())
    }

    fn library(&self, name: &str) -> Result<PathBuf> {
        let homes = [LIBRARIES, "lib/x86_64-linux-gnu", "usr/lib64", "lib64"];
        let home = homes.iter().find(|home| self.root.join(home).join(name).symlink_metadata().is_ok());
        let home = home.with_context(|| format!("no package we fetched has the library {name}"))?;
        let target = format!("{LIBRARIES}/{name}");
        self.copy(&format!("{home}/{name}"), &target)?;
        Ok(self.tree.join(target))
    }

    fn folder(&self, name: &str) -> Result<()> {
        let path = self.tree.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    /// Copies a file of the packages, through links, with its rights.
    fn copy(&self, source: &str, target: &str) -> Result<()> {
        let from = resolve(self.root, &self.root.join(source))?;
        let to = self.tree.join(target);
        self.parent(target)?;
        fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }

    fn write(&self, name: &str, content: &str, rights: u32) -> Result<()> {
        let path = self.tree.join(name);
        self.parent(name)?;
        // An applet's link of the same name must not be written through.
        let _ = fs::remove_file(&path);
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(rights)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn link(&self, name: &str, target: &str) -> Result<()> {
        self.parent(name)?;
        symlink(target, self.tree.join(name)).with_context(|| format!("cannot link {name} to {target}"))
    }

    fn parent(&self, name: &str) -> Result<()> {
        Path::new(name).parent().and_then(Path::to_str).map_or(Ok(()), |folder| self.folder(folder))
    }
}

/// Follows links the way a system with this root would: an absolute target starts at `root`.
fn resolve(root: &Path, path: &Path) -> Result<PathBuf> {
    let mut path = path.to_path_buf();
    // As many links as the kernel follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = if target.is_absolute() {
            root.join(
                target.components().filter(|part| !matches!(part, Component::RootDir)).collect::<PathBuf>(),
            )
        } else {
            path.parent().unwrap_or(root).join(target)
        };
    }
    anyhow::bail!("{} is a link to itself", path.display())
}
