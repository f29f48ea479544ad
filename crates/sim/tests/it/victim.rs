//! The process that works on a vault, `sim work`, and what it says.

use sim::process::Said;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Lines that wait to be heard.
const LINES_MAX: usize = 1024;

/// A process at work.
pub(crate) struct Victim {
    child: Child,
    lines: Receiver<String>,
}

/// How to start it: behind another program or not.
pub(crate) fn command(before: &[String], folder: &Path, seed: u64, rounds: u64) -> Command {
    let program = env!("CARGO_BIN_EXE_sim");
    let mut words: Vec<&str> = before.iter().map(String::as_str).collect();
    words.push(program);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("work").arg(folder);
    command.args(["--seed", &seed.to_string(), "--rounds", &rounds.to_string()]);
    command
}

impl Victim {
    pub(crate) fn start(folder: &Path, seed: u64, rounds: u64) -> Self {
        let mut command = command(&[], folder, seed, rounds);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Listens for so long, kills it, and hears what it had said by then. `false` if it ended before.
    pub(crate) fn kill_after(mut self, life: Duration, said: &mut Said) -> bool {
        let end = Instant::now() + life;
        let mut is_at_work = true;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => said.hear(&line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    is_at_work = false;
                    break;
                }
            }
        }
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        self.lines.iter().for_each(|line| said.hear(&line));
        is_at_work
    }
}

/// The files that cut-off writes of the local store have left; as if they had been left two days ago.
pub(crate) fn age_staged(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            count += age_staged(&path);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains('#')) {
            let file = std::fs::File::options().write(true).open(&path).expect("open");
            let written = file.metadata().expect("metadata").modified().expect("a time");
            file.set_modified(written - Duration::from_secs(2 * 24 * 3600)).expect("set the time");
            count += 1;
        }
    }
    count
}
