//! Running the program as a user or a script would.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two lines of the program's: it moves a few hundred MiB on a busy machine, unoptimised.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Lines that wait to be looked at; the program says a handful.
const LINES_MAX: usize = 1024;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program while it runs.
pub(crate) struct Running {
    shown: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    lines: Receiver<String>,
    stderr: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Self::start_with(command, Stdio::null())
    }

    /// With something to read.
    pub(crate) fn start_with(command: &mut Command, input: Stdio) -> Result<Self> {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let shown = format!("strongroom {}", words.join(" "));
        let mut child = command.spawn().with_context(|| format!("start {shown}"))?;
        let mut stdout = child.stdout.take().context("its output is a pipe")?;
        let stderr = child.stderr.take().context("its errors are a pipe")?;
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text); // what is no text is missed by whoever reads it
            text
        });
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { shown, child, stdout: Some(stdout), lines, stderr: String::new() })
    }

    /// Waits until it says a line with `text` in it, and gives the line.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<String> {
        while let Some(line) = self.line()? {
            if line.contains(text) {
                return Ok(line);
            }
        }
        bail!("{} ended without saying '{text}': {}", self.shown, self.stderr)
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let process = self.child.id().to_string();
        crate::guest::run(Command::new("kill").args(["-s", name, &process])).map(drop)
    }

    /// Waits until its process is gone, whatever it says.
    pub(crate) fn wait_gone(&mut self) -> Result<()> {
        self.child.wait().with_context(|| format!("wait for {}", self.shown)).map(drop)
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Ran> {
        while self.line()?.is_some() {}
        let status = self.child.wait().with_context(|| format!("wait for {}", self.shown))?;
        let stdout = self.stdout.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ok(Ran { code: status.code(), stdout, stderr: std::mem::take(&mut self.stderr) })
    }

    /// The next line it says; `None` when it has ended.
    fn line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => {
                self.stderr += &format!("{line}\n");
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("{} hangs; it said: {}", self.shown, self.stderr),
        }
    }
}

impl Drop for Running {
    /// A test that failed leaves no program behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Its output as JSON, if it succeeded.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(self.succeeded()?).with_context(|| format!("read its output as JSON: {self:?}"))
    }

    /// Its output, if it succeeded.
    pub(crate) fn succeeded(&self) -> Result<&str> {
        ensure!(self.code == Some(0), "the program failed: {self:?}");
        Ok(&self.stdout)
    }

    /// That it failed with this code, printed nothing for programs to read, and said all of this to people.
    pub(crate) fn failed(&self, code: i32, says: &[&str]) -> Result<()> {
        ensure!(self.code == Some(code), "it should have ended with {code}: {self:?}");
        ensure!(self.stdout.is_empty(), "a failure prints nothing on standard output: {self:?}");
        self.said(says)
    }

    /// That it said all of this to people.
    pub(crate) fn said(&self, says: &[&str]) -> Result<()> {
        for text in says {
            ensure!(self.stderr.contains(text), "it should have said '{text}': {self:?}");
        }
        Ok(())
    }
}
