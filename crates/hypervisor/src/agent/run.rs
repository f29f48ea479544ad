//! Programs in the guest, run to their end.

use super::{Agent, base64};
use crate::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between questions whether it has ended: the agent announces nothing.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// What a program in the guest came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRun {
    /// Its exit code; 128 and more for a signal, as a shell would say.
    pub exit: i64,
    /// What it printed; the agent keeps 16 MiB at most.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Agent {
    /// Runs a program in the guest and waits for its end.
    ///
    /// # Errors
    /// `Guest` when the agent may not run programs, cannot run this one, or it takes longer than `limit`; then
    /// it runs on.
    pub async fn run(&mut self, program: &str, arguments: &[&str], limit: Duration) -> Result<GuestRun> {
        let order = json!({ "path": program, "arg": arguments, "capture-output": true });
        let process = self.execute("guest-exec", order).await?;
        let deadline = Instant::now() + limit;
        loop {
            let status = self.execute("guest-exec-status", process.clone()).await?;
            if status["exited"] == true {
                return Ok(ended(&status));
            }
            if Instant::now() >= deadline {
                let text = format!("run {program} in the guest: it takes longer than {} s", limit.as_secs());
                return Err(Error::new(ErrorKind::Guest, text));
            }
            sleep(ASK_PAUSE).await;
        }
    }
}

fn ended(status: &Value) -> GuestRun {
    let output = |name: &str| {
        let bytes = status[name].as_str().and_then(base64::decode).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let signal = || status["signal"].as_i64().map(|signal| 128 + signal);
    let exit = status["exitcode"].as_i64().or_else(signal).unwrap_or(-1);
    GuestRun { exit, stdout: output("out-data"), stderr: output("err-data") }
}
