//! The freeze script for MariaDB against a real server on this host: what it holds, and what lets go.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/freeze.d/mariadb");

/// A server that nobody else knows, its socket and data in a folder.
struct Server {
    folder: TempDir,
    process: Child,
}

impl Server {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let install = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=socket"])
            .args(["--skip-test-db", "--skip-name-resolve"])
            .arg(format!("--datadir={}", data.display()))
            .output()
            .context("run mariadb-install-db: install it with apt-get install mariadb-server")?;
        ensure!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        let log = fs::File::create(folder.path().join("log"))?;
        let socket = folder.path().join("sock");
        let process = Command::new("/usr/sbin/mariadbd")
            .args(["--no-defaults", "--user=root", "--skip-networking", "--innodb-buffer-pool-size=8M"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .stderr(log)
            .spawn()
            .context("start mariadbd")?;
        let server = Self { folder, process };
        fs::write(
            server.path("env"),
            format!("MARIADB_DEFAULTS={}\nLOCK_WAIT_SECONDS=1\n", server.path("client.cnf").display()),
        )?;
        fs::write(server.path("client.cnf"), format!("[client]\nsocket={}\n", socket.display()))?;
        while server.sql("SELECT 1").is_err() {
            std::thread::yield_now(); // each question costs a process
        }
        server.sql(
            "CREATE DATABASE t; CREATE TABLE t.i (x INT) ENGINE=InnoDB; CREATE TABLE t.m (x INT) ENGINE=Aria",
        )?;
        Ok(server)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.arg(format!("--defaults-file={}", self.path("client.cnf").display()));
        client.args(["--batch", "--skip-column-names", "--execute"]);
        client
    }

    fn sql(&self, sql: &str) -> Result<String> {
        let ran = self.client().arg(sql).output()?;
        ensure!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        Ok(String::from_utf8(ran.stdout)?.trim().to_owned())
    }

    /// Whether a write to the table gives up waiting for the lock.
    fn is_blocked(&self, table: &str) -> Result<bool> {
        match self.sql(&format!("SET lock_wait_timeout = 1; INSERT INTO t.{table} VALUES (1)")) {
            Ok(_) => Ok(false),
            Err(error) if error.to_string().contains("Lock wait timeout") => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A write that waits as long as it must: it comes to its end once the lock is gone.
    fn write(&self) -> Result<()> {
        self.sql("SET lock_wait_timeout = 100; INSERT INTO t.i VALUES (2); INSERT INTO t.m VALUES (2)")
            .map(drop)
    }

    fn script(&self, shell: &[&str], phase: &str, more: &str) -> Result<bool> {
        let env = fs::read_to_string(self.path("env"))?;
        fs::write(self.path("this.env"), env + more)?;
        let mut script = Command::new(shell[0]);
        script.args(&shell[1..]).args([SCRIPT, phase]).stdin(Stdio::null());
        script.env("STRONGROOM_RUN_FOLDER", self.folder.path());
        script.env("STRONGROOM_MARIADB_ENV", self.path("this.env"));
        Ok(script.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
    }

    /// The client of the session that holds the lock.
    fn holder(&self) -> Result<String> {
        let defaults = format!("--defaults-extra-file={}", self.path("client.cnf").display());
        for process in fs::read_dir("/proc")?.flatten() {
            let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            if line.contains(&defaults) {
                return Ok(process.file_name().to_string_lossy().into_owned());
            }
        }
        anyhow::bail!("no session is held")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn mariadb_stands_from_freeze_to_thaw_and_no_longer() -> Result<()> {
    let server = Server::start()?;
    for shell in [&["dash"][..], &["busybox", "sh"], &["bash", "--posix"]] {
        if !Path::new("/bin").join(shell[0]).exists() {
            continue;
        }
        // Until thaw.
        ensure!(server.script(shell, "freeze", "")?, "{shell:?}");
        ensure!(server.is_blocked("i")? && server.is_blocked("m")?, "nobody writes");
        ensure!(server.sql("SELECT COUNT(*) FROM t.i WHERE x = 1")? == "0", "reads go on");
        ensure!(server.script(shell, "thaw", "")?);
        server.write()?;
        ensure!(server.script(shell, "thaw", "")?, "a thaw by itself is harmless");

        // Until its time is over, when nobody thaws.
        ensure!(server.script(shell, "freeze", "HOLD_SECONDS=3\n")?);
        server.write()?;

        // Until the session is killed.
        ensure!(server.script(shell, "freeze", "")?);
        ensure!(server.is_blocked("i")?);
        ensure!(Command::new("kill").args(["-KILL", &server.holder()?]).status()?.success());
        server.write()?;
        ensure!(server.script(shell, "thaw", "")?);
    }
    Ok(())
}

#[test]
fn a_server_that_refuses_or_is_not_there_fails_the_freeze_and_holds_nothing() -> Result<()> {
    let mut server = Server::start()?;
    let dash = &["dash"];
    // Somebody else's lock, for longer than we wait.
    let mut other = server.client().arg("BACKUP STAGE START; DO SLEEP(1000)").spawn()?;
    while !server.sql("SHOW PROCESSLIST")?.contains("SLEEP") {}
    ensure!(!server.script(dash, "freeze", "")?, "it is said that there is no lock");
    ensure!(server.holder().is_err(), "nothing is held");
    other.kill()?;
    other.wait()?;
    ensure!(!server.script(dash, "freeze", "MARIADB=/nonexistent\n")?);
    server.process.kill()?;
    server.process.wait()?;
    ensure!(!server.script(dash, "freeze", "")?, "no server");
    ensure!(server.script(dash, "thaw", "")?, "a thaw never fails");
    Ok(())
}
