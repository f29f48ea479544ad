//! An instant restore in a process of its own, so that it can be killed: this program again, as one "test".

use anyhow::{Context, Result, bail, ensure};
use mover::instant::{InstantOptions, InstantProgress, InstantRequest, InstantRestore};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use vault::{KeyFile, Store, Vault};

/// Between two lines of it, on a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(180);
/// QEMU's reads wait no longer than this for a server, so that the tests need not either.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines that wait to be heard.
const LINES_MAX: usize = 4096;
/// What the process is to do, and where.
const TASK: &str = "STRONGROOM_TEST_INSTANT";
const PLACE: &str = "STRONGROOM_TEST_PLACE";
const LIMIT: &str = "STRONGROOM_TEST_LIMIT";

/// Opens the vault of a place.
pub(crate) async fn open(place: &Path) -> Result<Arc<Vault>> {
    let holder = KeyFile::read(&place.join("vault.key"))?;
    Ok(Arc::new(Vault::open(Store::local(&place.join("vault"))?, &holder).await?))
}

/// The folder of its restore.
pub(crate) fn folder(place: &Path) -> PathBuf {
    place.join("r")
}

/// The process.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Process {
    /// Has it do something: `start`, `resume` or `finish`; data follows at so many bytes a second.
    pub(crate) fn run(task: &str, place: &Path, limit: u64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "instant::process::serves", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(TASK, task).env(PLACE, place).env(LIMIT, limit.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().context("start this program again")?;
        let out = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, said: String::new() })
    }

    /// Waits until it says a line with this in it.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<()> {
        loop {
            match self.lines.recv_timeout(SILENCE_MAX) {
                Ok(line) if line.contains(text) => return Ok(()),
                Ok(line) => self.said += &format!("{line}\n"),
                Err(_) => bail!("it did not say '{text}': {}", self.said),
            }
        }
    }

    /// Waits for its end, which is a good one.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.wait_for("done")?;
        ensure!(self.child.wait()?.success(), "it failed: {}", self.said);
        Ok(())
    }

    /// Kills it, as a power cut would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill it")?;
        self.child.wait().context("wait for it").map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test: what the tests beside it start and kill"]
async fn serves() -> Result<()> {
    let [task, place, limit] = [TASK, PLACE, LIMIT].map(|name| std::env::var(name).unwrap_or_default());
    if task.is_empty() {
        return Ok(()); // nobody started us for it
    }
    let place = PathBuf::from(place);
    let vault = open(&place).await?;
    let limit = limit.parse::<u64>()?.try_into().ok();
    let options = InstantOptions { limit, cache: Some(place.join("cache")) };
    let restore = if task == "start" {
        let point = vault.points().await?.pop().context("there is a point")?;
        let vault_name = "here".to_owned();
        let folder = folder(&place);
        let request = InstantRequest {
            point,
            folder,
            vault: vault_name,
            door: None,
            run_folder: None,
            job: None,
            patience: PATIENCE,
        };
        InstantRestore::start(&vault, &request, &options).await?
    } else {
        InstantRestore::resume(&vault, &folder(&place), &options).await?
    };
    println!("served");
    let told = |progress: InstantProgress| println!("{progress:?}");
    let journal = if task == "finish" { restore.finish(&told).await? } else { restore.follow(&told).await? };
    println!("{:?}: done", journal.state);
    Ok(())
}
