//! A test's own folder: a vault with its key, a scratch folder, and machines.

use crate::program::{Ran, Running};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use testkit::StoreServer;

/// Of the package `libfaketime`; the linker finds the folder of the processor's kind.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

pub(crate) struct Scene {
    folder: TempDir,
    vault: PathBuf,
    key: Option<PathBuf>,
    /// What `libfaketime` reads: by how much the program's clock is ahead.
    clock: Option<PathBuf>,
    /// Programs that the program finds before all others.
    programs: Option<PathBuf>,
    /// What its environment says of object stores.
    stores: Vec<(String, String)>,
}

impl Scene {
    /// With a vault in it.
    pub(crate) fn new() -> Result<Self> {
        let mut scene = Self::without_vault()?;
        scene.key = Some(scene.path("vault.key"));
        scene.create_vault_in("vault")?;
        Ok(scene)
    }

    /// Without a vault, and with nobody saying where keys lie.
    pub(crate) fn without_vault() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["scratch", "tmp"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let vault = folder.path().join("vault");
        Ok(Self { folder, vault, key: None, clock: None, programs: None, stores: Vec::new() })
    }

    /// With a vault in the folder `name` of the scene, which from now on is *the* vault.
    pub(crate) fn create_vault_in(&mut self, name: &str) -> Result<()> {
        self.vault = self.path(name);
        let key = self.path("vault.key");
        self.key = Some(key.clone());
        let vault = self.vault.clone();
        self.run([OsStr::new("vault"), OsStr::new("create"), vault.as_os_str()])?.succeeded()?;
        ensure!(key.is_file(), "vault create makes the key");
        Ok(())
    }

    /// From now on the program's clock, also where it runs already, is so many seconds ahead of the host's. Begun
    /// before the program first runs.
    pub(crate) fn set_clock(&mut self, seconds_ahead: i64) -> Result<()> {
        let (clock, part) = (self.path("clock"), self.path("clock.part"));
        std::fs::write(&part, format!("{seconds_ahead:+}\n"))?;
        std::fs::rename(&part, &clock)?;
        self.clock = Some(clock);
        Ok(())
    }

    /// From now on the program's environment says this of a store of objects, to whoever asks with the prefix.
    pub(crate) fn know_store(&mut self, prefix: &str, server: &StoreServer) {
        let named = server.variables().into_iter().map(|(name, value)| (format!("{prefix}{name}"), value));
        self.stores.extend(named);
    }

    /// From now on the program finds this script where it looks for a program of others.
    pub(crate) fn stand_in(&mut self, name: &str, script: &str) -> Result<()> {
        let (folder, written) = (self.path("programs"), self.path("stand-in"));
        std::fs::create_dir_all(&folder)?;
        // Put there by another process: a file that another test's fork still holds open for writing cannot be run.
        std::fs::write(&written, script)?;
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(&written).arg(folder.join(name));
        ensure!(install.status()?.success(), "{install:?}");
        self.programs = Some(folder);
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn vault(&self) -> &Path {
        &self.vault
    }

    /// `strongroom rescue` with these arguments: what works without a server.
    pub(crate) fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.program(["rescue"]);
        command.args(arguments);
        command
    }

    /// The program with these arguments, knowing the scene's vault and nothing of the user who runs the tests.
    pub(crate) fn program(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(arguments);
        for variable in [
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
            "STRONGROOM_CACHE",
            "XDG_STATE_HOME",
            "STRONGROOM_STATE",
            "STRONGROOM_KEY_FILE",
            "STRONGROOM_PASSPHRASE",
            "STRONGROOM_NEW_PASSPHRASE",
            "STRONGROOM_SERVER",
            "STRONGROOM_TOKEN",
            "STRONGROOM_CONTEXT",
            "STRONGROOM_CERTIFICATE",
            "STRONGROOM_DATA",
            "STRONGROOM_DATABASE",
            "STRONGROOM_SCRATCH",
            "RUST_LOG",
        ] {
            command.env_remove(variable);
        }
        // Nor any store but the scene's; and a host that runs in a cloud would be given a role.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.contains("AWS_") || name.contains("AZURE_")) {
                command.env_remove(name);
            }
        }
        command.env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1");
        command.env("AZURE_MSI_ENDPOINT", "http://127.0.0.1:1");
        command.envs(self.stores.iter().map(|(name, value)| (name, value)));
        command.env("HOME", self.folder.path()).env("TMPDIR", self.path("tmp"));
        command.env("STRONGROOM_VAULT", &self.vault);
        if let Some(key) = &self.key {
            command.env("STRONGROOM_KEY_FILE", key);
        }
        if let Some(programs) = &self.programs {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", programs.display()));
        }
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", clock);
            // What is waited for is waited for in the host's time; files keep the times that the kernel gave them.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
            command.env("FAKETIME_NO_CACHE", "1");
        }
        command
    }

    /// Runs `strongroom rescue` to its end.
    pub(crate) fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Ran> {
        Running::start(&mut self.command(arguments))?.finish()
    }

    /// What `strongroom rescue` finds, as JSON.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Value> {
        self.run([&["--output", "json"], arguments].concat())?.json()
    }

    /// Runs the program to its end.
    pub(crate) fn run_program(&self, arguments: &[&str]) -> Result<Ran> {
        Running::start(&mut self.program(arguments))?.finish()
    }

    /// Runs the program to its end, a line given to it on its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], line: &str) -> Result<Ran> {
        let path = self.path("input");
        std::fs::write(&path, format!("{line}\n"))?;
        let input = std::fs::File::open(&path)?;
        Running::start_with(&mut self.program(arguments), input.into())?.finish()
    }

    /// What the program finds on this host or at its server, as JSON.
    pub(crate) fn ask_program(&self, arguments: &[&str]) -> Result<Value> {
        self.run_program(&[&["--output", "json"], arguments].concat())?.json()
    }

    /// The command that backs a machine up.
    pub(crate) fn backup_command(&self, machine: &str, options: &[&str]) -> Command {
        let mut command = self.command(["backup", machine, "--output", "json", "--scratch"]);
        command.arg(self.path("scratch")).args(options);
        command
    }

    /// Backs a machine up, however it ends.
    pub(crate) fn try_backup(&self, machine: &str, options: &[&str]) -> Result<Ran> {
        Running::start(&mut self.backup_command(machine, options))?.finish()
    }

    /// Backs a machine up and gives the point.
    pub(crate) fn backup(&self, machine: &str) -> Result<Value> {
        self.try_backup(machine, &[])?.json()
    }

    /// The points of the vault.
    pub(crate) fn points(&self) -> Result<Vec<Value>> {
        let points = self.ask(&["point", "list"])?;
        points.as_array().cloned().context("points are a list")
    }

    /// Restores a point into the folder `name` of the scene, and gives both its images.
    pub(crate) fn restore(&self, point: &Value, name: &str, format: &str) -> Result<[PathBuf; 2]> {
        let folder = self.path(name);
        let id = id(point)?;
        let mut command = self.command(["restore", "disks", id, "--format", format, "--to"]);
        Running::start(command.arg(&folder))?.finish()?.succeeded()?;
        let images = ["d-disk0", "d-disk1"].map(|disk| folder.join(format!("{disk}.{format}")));
        ensure!(images.iter().all(|image| image.is_file()), "{images:?} should be there");
        Ok(images)
    }
}

/// A point's id.
pub(crate) fn id(point: &Value) -> Result<&str> {
    point["id"].as_str().with_context(|| format!("{point} has an id"))
}

/// How each disk of a point was read.
pub(crate) fn tracking(point: &Value) -> Vec<&str> {
    let disks = point["disks"].as_array().into_iter().flatten();
    disks.filter_map(|disk| disk["tracking"].as_str()).collect()
}

/// The names of what lies in a folder.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}
