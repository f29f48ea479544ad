//! A real PostgreSQL of the host, in a folder of its own.

use crate::command::run;
use crate::wait::wait_for;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where Debian keeps the versions.
const VERSIONS: &str = "/usr/lib/postgresql";
/// It refuses to run as root: then it runs as nobody.
const NOBODY: u32 = 65534;
/// Seconds, more while the cores are busy with other tests.
const START_MAX: Duration = Duration::from_secs(60);

/// Ends the server with the pipe that it reads from, and removes its half a gigabyte: a test that is killed leaves
/// neither behind, nor one that never drops it.
const RUN: &str = r#""$@" & server=$!; read -r _; kill -s QUIT $server; wait $server; rm -rf cluster"#;

/// A running server; ended when dropped, and when the test's process dies.
#[derive(Debug)]
pub struct PostgresServer {
    folder: tempfile::TempDir,
    programs: PathBuf,
    process: Child,
}

impl PostgresServer {
    /// Makes a cluster and starts a server on it, reached by a socket in its folder.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("sr-pg").tempdir()?;
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let cluster = folder.path().join("cluster");
        let mut initdb = unprivileged(&programs.join("initdb"));
        initdb.arg("-D").arg(&cluster).args([
            "-U",
            "postgres",
            "--no-locale",
            "-E",
            "UTF8",
            "-A",
            "trust",
            "-N",
        ]);
        run(initdb.current_dir(folder.path()), "make a database cluster")?;
        let mut server = unprivileged(Path::new("/bin/sh"));
        server.args(["-c", RUN, "sh"]).arg(programs.join("postgres"));
        server.arg("-D").arg(&cluster).arg("-k").arg(folder.path());
        // Tests need no durability, and no network.
        server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]);
        let log = fs::File::create(folder.path().join("log"))?;
        server.current_dir(folder.path()).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let process = server.spawn().context("start PostgreSQL")?;
        let this = Self { folder, programs, process };
        wait_for("PostgreSQL to answer", START_MAX, || Ok(this.sql("postgres", "select 1").ok()))?;
        Ok(this)
    }

    /// Makes an empty database and gives its URL.
    pub fn database(&self, name: &str) -> Result<String> {
        self.sql("postgres", &format!("create database \"{name}\""))?;
        Ok(format!("postgres://postgres@localhost/{name}?host={}", self.folder.path().display()))
    }

    /// Runs a statement.
    pub fn sql(&self, database: &str, statement: &str) -> Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-qAtX", "-U", "postgres", "-d", database, "-c", statement])
            .arg("-h")
            .arg(self.folder.path());
        Ok(String::from_utf8(run(&mut psql, "ask PostgreSQL")?)?)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The programs of the newest version there is.
fn programs() -> Result<PathBuf> {
    let versions =
        fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let number = |path: &PathBuf| -> u32 {
        let version = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse().ok()).unwrap_or(0)
    };
    match versions.filter(|path| path.join("postgres").exists()).max_by_key(number) {
        Some(programs) => Ok(programs),
        None => bail!("there is no PostgreSQL server in {VERSIONS}: apt-get install postgresql"),
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

/// A program as a user that PostgreSQL accepts.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
    }
    command.arg("--").arg(program);
    command
}
