//! Waiting for a sign of life.

use super::console::Console;
use super::disks::in_words;
use hypervisor::Agent;
use hypervisor::Machine;
use hypervisor::recreate::AttendedQemu;
use regex::bytes::Regex;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is looked: a boot takes seconds.
const POLL: Duration = Duration::from_millis(250);

/// Waits until the guest shows that it is up: by its agent, which is given, or by what its console says.
///
/// # Errors
/// In words for people: it ended, said that it comes up no more, or took too long.
pub(super) async fn wait(
    qemu: &mut AttendedQemu,
    console: &mut Console,
    pattern: Option<&Regex>,
    limit: Duration,
) -> Result<Option<Agent>, String> {
    let deadline = Instant::now() + limit;
    loop {
        console.listen();
        if pattern.is_some_and(|pattern| console.shows(pattern)) {
            return Ok(None);
        }
        let (mut missing, mut agent) = ("the console did not show what it was to show".to_owned(), None);
        if pattern.is_none() {
            match qemu.machine().agent().await {
                Ok(found) => agent = Some(found),
                Err(error) => missing = in_words(&error),
            }
        }
        // It may be on its way down.
        if let Some(mut agent) = agent {
            match agent.ping().await {
                Ok(()) => return Ok(Some(agent)),
                Err(error) => missing = in_words(&error),
            }
        }
        if let Some((status, said)) = qemu.ended() {
            return Err(format!("the machine ended by itself ({status}) {said}").trim_end().to_owned());
        }
        if let Some(words) = console.dead() {
            return Err(format!("its console says \"{words}\""));
        }
        if pattern.is_none() && !qemu.has_agent() {
            let hint = "give a pattern of its console to wait for";
            return Err(format!("the machine has no guest agent's socket, so nobody can be asked; {hint}"));
        }
        if Instant::now() >= deadline {
            return Err(format!("not up within {} s: {missing}{}", limit.as_secs(), stands(qemu).await));
        }
        sleep(POLL).await;
    }
}

/// Why the guest's processors stand still, if they do: a disk that cannot be written to, for one.
async fn stands(qemu: &AttendedQemu) -> String {
    match qemu.machine().qmp().execute("query-status", Value::Null).await {
        Ok(status) if status["running"] == false => {
            format!("; the machine stands still ({})", status["status"].as_str().unwrap_or("?"))
        }
        _ => String::new(),
    }
}
