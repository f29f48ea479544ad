//! Waiting for a sign of life.

use super::attended::Attended;
use super::console::Console;
use super::disks::in_words;
use hypervisor::Agent;
use regex::bytes::Regex;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is looked: a boot takes seconds.
const POLL: Duration = Duration::from_millis(250);

/// Waits until the guest shows that it is up: by its agent, which is given, or by what its console says.
///
/// # Errors
/// In words for people: it ended, said that it comes up no more, or took too long.
pub(super) async fn wait(
    machine: &mut Attended,
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
            match machine.agent().await {
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
        if let Some(how) = machine.ended().await {
            return Err(format!("the machine ended by itself {how}"));
        }
        if let Some(words) = console.dead() {
            return Err(format!("its console says \"{words}\""));
        }
        if pattern.is_none() && !machine.has_agent() {
            let hint = "give a pattern of its console to wait for";
            return Err(format!("the machine has no guest agent's socket, so nobody can be asked; {hint}"));
        }
        if Instant::now() >= deadline {
            let stands = machine.stands().await.map(|why| format!("; the machine stands still ({why})"));
            let stands = stands.unwrap_or_default();
            return Err(format!("not up within {} s: {missing}{stands}", limit.as_secs()));
        }
        sleep(POLL).await;
    }
}
