//! A job, watched until it is over: bars on a terminal, plain lines elsewhere.
//!
//! The server tells what happens (`events.rs`). When that breaks off, the job is asked for, and then listened to again.

use super::events::Events;
use super::words::word;
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, ClientError};
use api::{Accepted, Code, Job, JobState, StepState};
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use model::JobId;
use std::io::IsTerminal;
use std::time::Duration;

/// How often a server is asked that tells nothing by itself: as often as a mover tells it something, in a busy moment.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A server that was killed is started again within this, or somebody has to look; the job waits longer than that.
const SILENT_LOOKS_MAX: u32 = 180;
/// Without a terminal a line is written for so many percent more.
const PERCENT_A_LINE: u64 = 10;

/// Whether to wait for what takes long.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct Wait {
    /// Do not wait until it is done: print the job and end. `strongroom job watch` waits for it.
    #[arg(long)]
    no_wait: bool,
}

/// Waits for a job that the server has accepted, unless nobody wants to, and prints it.
pub(super) async fn accepted(
    output: &Output,
    client: &Client,
    accepted: Option<Accepted>,
    wait: Wait,
) -> Result<()> {
    let accepted = accepted.context("the server named no job")?;
    match unless_unwanted(output, client, accepted, wait).await? {
        Some(job) => finish(output, &job),
        None => Ok(()),
    }
}

/// Waits for a job and gives it; prints its id and gives none if nobody wants to wait.
pub(super) async fn unless_unwanted(
    output: &Output,
    client: &Client,
    accepted: Accepted,
    wait: Wait,
) -> Result<Option<Job>> {
    unless_unwanted_until(output, client, accepted, wait, |job| job.state.is_over()).await
}

/// The same, for a job that is waited for no longer than until something is so.
pub(super) async fn unless_unwanted_until(
    output: &Output,
    client: &Client,
    accepted: Accepted,
    wait: Wait,
    is_enough: impl Fn(&Job) -> bool,
) -> Result<Option<Job>> {
    if wait.no_wait {
        output::print(output, &accepted, || format!("{}\n", accepted.job))?;
        return Ok(None);
    }
    follow_until(client, accepted.job, is_enough).await.map(Some)
}

/// Prints a job that is over, or fails as it did.
pub(super) fn finish(output: &Output, job: &Job) -> Result<()> {
    well(job)?;
    output::print(output, job, || super::job::show(job))
}

/// Fails as a job did that is over.
pub(super) fn well(job: &Job) -> Result<()> {
    if matches!(job.state, JobState::Completed | JobState::CompletedWithWarnings) {
        return Ok(());
    }
    let what = format!("the {} of {} has {}", word(&job.kind), job.name, ended(job.state));
    let Some(error) = &job.error else {
        return Err(Told::job(None, what, format!("`strongroom job show {}` tells more", job.id)));
    };
    let hint = error.hint.clone();
    let hint = hint.unwrap_or_else(|| format!("`strongroom job retry {}` tries it again", job.id));
    Err(Told::job(Some(error.failure), format!("{what}: {}", error.text), hint))
}

fn ended(state: JobState) -> &'static str {
    match state {
        JobState::Cancelled => "been cancelled",
        _ => "failed",
    }
}

/// Streams that break off without a word, one after the other: something between holds them back, and no more are begun.
const MUTE_STREAMS_MAX: u32 = 3;

/// Shows a job until it is over. A server that is away for a while is waited for: the job is, too.
pub(super) async fn follow(client: &Client, id: JobId) -> Result<Job> {
    follow_until(client, id, |job| job.state.is_over()).await
}

async fn follow_until(client: &Client, id: JobId, is_enough: impl Fn(&Job) -> bool) -> Result<Job> {
    let mut shown = Shown::new();
    let watching = async {
        let (mut silent, mut mute) = (0, 0);
        loop {
            if mute < MUTE_STREAMS_MAX {
                match listen(client, id, &mut shown, &is_enough).await {
                    Heard::Enough(job) => return Ok(*job),
                    Heard::Something => mute = 0,
                    Heard::Nothing => mute += 1,
                }
            }
            match client.get::<Job>(&format!("/v1/jobs/{id}")).await {
                Ok(job) => {
                    silent = 0;
                    shown.show(&job);
                    if is_enough(&job) {
                        return Ok(job);
                    }
                }
                Err(error) if is_away(&error) && silent < SILENT_LOOKS_MAX => {
                    if silent == 0 {
                        shown.say(&format!("The server does not answer ({error}); waiting for it"));
                    }
                    // That it is away says nothing of streams.
                    (silent, mute) = (silent + 1, 0);
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let doing = format!("watching (the job goes on: `strongroom job watch {id}`)");
    crate::commands::unless_interrupted(&doing, watching).await
}

/// What a stream has told before it ended.
enum Heard {
    Enough(Box<Job>),
    Something,
    Nothing,
}

/// Shows what the server tells of a job, for as long as it does.
async fn listen(client: &Client, id: JobId, shown: &mut Shown, is_enough: &impl Fn(&Job) -> bool) -> Heard {
    // Why there is no stream is told by the question that comes next.
    let Ok(mut events) = Events::of(client, id).await else { return Heard::Nothing };
    let mut heard = Heard::Nothing;
    while let Some(job) = events.next().await {
        shown.show(&job);
        if is_enough(&job) {
            return Heard::Enough(Box::new(job));
        }
        heard = Heard::Something;
    }
    heard
}

fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused(problem) => matches!(problem.code, Code::Unavailable | Code::TooManyRequests),
        ClientError::Endpoint(_) => false,
    }
}

/// What has been shown of a job.
struct Shown {
    bar: Option<ProgressBar>,
    before: Option<Job>,
}

impl Shown {
    fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { bar: terminal.then(|| ProgressBar::new(0).with_style(style())), before: None }
    }

    fn show(&mut self, job: &Job) {
        for line in news(self.before.as_ref(), job, self.bar.is_none()) {
            self.say(&line);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(job.progress.total_bytes);
            bar.set_position(job.progress.done_bytes);
        }
        self.before = Some(job.clone());
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let style = "  {bar:40} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}";
    ProgressStyle::with_template(style).expect("the template is fixed")
}

/// What is to be told of a job that was not the last time; how far it is only where no bar tells it.
fn news(before: Option<&Job>, now: &Job, tells_percent: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if before.map(|job| job.state) != Some(now.state) && !now.state.is_over() {
        lines.extend(waits(now));
        let hint =
            now.error.as_ref().filter(|_| now.state == JobState::Waiting).and_then(|e| e.hint.as_ref());
        lines.extend(hint.map(|hint| format!("  try: {hint}")));
    }
    for (number, step) in now.steps.iter().enumerate() {
        let was = before.and_then(|job| job.steps.get(number)).map(|step| step.state);
        let begun = |state| matches!(state, StepState::InProgress | StepState::Done);
        if begun(step.state) && !was.is_some_and(begun) {
            lines.push(step.title.clone());
        }
    }
    let told = before.map_or(0, |job| job.progress.warnings.len());
    lines.extend(now.progress.warnings.iter().skip(told).map(|warning| format!("warning: {warning}")));
    let was = before.map_or(0, percent);
    let is = percent(now);
    if tells_percent && is / PERCENT_A_LINE > was / PERCENT_A_LINE {
        let (done, total) = (now.progress.done_bytes, now.progress.total_bytes);
        lines.push(format!("{is} %  {} of {}", output::size(done), output::size(total)));
    }
    lines
}

/// Why nothing happens just now.
fn waits(job: &Job) -> Option<String> {
    match job.state {
        JobState::Queued => Some("Waiting for a mover".to_owned()),
        JobState::Waiting => {
            let until = super::words::when(job.next_attempt);
            let why = job.error.as_ref().map(|error| error.text.clone()).unwrap_or_default();
            Some(format!("Attempt {} failed: {why}; the next one is at {until}", job.attempts))
        }
        JobState::Cancelling => Some("Cancelling".to_owned()),
        _ => None,
    }
}

/// How far a job is.
pub(super) fn percent(job: &Job) -> u64 {
    let progress = &job.progress;
    let share = u128::from(progress.done_bytes.min(progress.total_bytes)) * 100;
    // 0 while nobody knows what all of it is.
    share.checked_div(progress.total_bytes.into()).map_or(0, |percent| u64::try_from(percent).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::JobError;
    use model::job::Failure;
    use serde_json::json;

    fn job(state: &str, steps: [&str; 2], done: u64) -> Job {
        let steps = ["Take snapshot", "Transfer data to vault"].into_iter().zip(steps);
        let words = ["take_snapshot", "transfer_to_vault"];
        let steps: Vec<_> = steps
            .zip(words)
            .map(|((title, state), step)| json!({ "step": step, "title": title, "state": state }))
            .collect();
        serde_json::from_value(json!({
            "id": "00000000-0000-0000-0000-000000000001", "kind": "backup", "name": "shop", "state": state,
            "scheduled": false, "steps": steps, "attempts": 1, "created": "2026-11-21T15:00:00Z",
            "progress": { "done_bytes": done, "total_bytes": 1000, "warnings": [] },
        }))
        .expect("a job")
    }

    #[test]
    fn everything_is_told_once() {
        let queued = job("queued", ["pending", "pending"], 0);
        assert_eq!(news(None, &queued, true), ["Waiting for a mover"]);
        assert!(news(Some(&queued), &queued, true).is_empty());
        let begun = job("in_progress", ["in_progress", "pending"], 0);
        assert_eq!(news(Some(&queued), &begun, true), ["Take snapshot"]);
        let mut further = job("in_progress", ["done", "in_progress"], 250);
        further.progress.warnings.push("the guest has no hook".to_owned());
        let told = news(Some(&begun), &further, true);
        assert_eq!(
            told,
            ["Transfer data to vault", "warning: the guest has no hook", "25 %  250 B of 1000 B"]
        );
        assert!(news(Some(&further), &job("in_progress", ["done", "in_progress"], 290), true).is_empty());
        assert_eq!(news(Some(&begun), &further, false).len(), 2, "a bar tells how far it is");
        // It may be hours until the next attempt: what to do is told now.
        let mut failed = job("waiting", ["pending", "pending"], 0);
        let (failure, text) = (Failure::Unreachable, "it does not answer".to_owned());
        failed.error = Some(JobError { failure, text, hint: Some("start it".to_owned()) });
        let told = news(Some(&further), &failed, true);
        assert!(told[0].starts_with("Attempt 1 failed: it does not answer; the next"), "{told:?}");
        assert_eq!(told[1..], ["  try: start it"]);
        // Who comes late is told what was.
        let over = job("completed", ["done", "done"], 1000);
        assert_eq!(news(None, &over, false), ["Take snapshot", "Transfer data to vault"]);
    }

    /// Answers each request with the next of these, and tells what was asked.
    async fn answers(texts: Vec<String>) -> Result<(Client, tokio::task::JoinHandle<Vec<String>>)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for text in texts {
                let (mut connection, _) = listener.accept().await.expect("a listener");
                let mut request = vec![0; 4096];
                let length = connection.read(&mut request).await.expect("a request");
                let line =
                    String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or("").to_owned();
                asked.push(line.split(' ').nth(1).unwrap_or_default().to_owned());
                connection.write_all(text.as_bytes()).await.expect("a connection");
            }
            asked
        });
        Ok((Client::new(&api::client::Endpoint { url, certificate: None }, None)?, asked))
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_made_up_for_by_asking() -> Result<()> {
        let text = |job: &Job| serde_json::to_string(job).expect("plain data");
        let stream = |jobs: &[&Job]| {
            let events: String =
                jobs.iter().map(|job| format!("event: job\ndata: {}\n\n", text(job))).collect();
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}")
        };
        let answer = |job: &Job| {
            let body = text(job);
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
            format!("{head}: {}\r\n\r\n{body}", body.len())
        };
        let begun = job("in_progress", ["in_progress", "pending"], 0);
        let over = job("completed", ["done", "done"], 1000);
        let (client, asked) =
            answers(vec![stream(&[&begun]), answer(&begun), stream(&[&begun, &over])]).await?;
        assert_eq!(follow(&client, begun.id).await?, over);
        let (job, events) = (format!("/v1/jobs/{}", begun.id), format!("/v1/jobs/{}/events", begun.id));
        assert_eq!(asked.await?, [events.clone(), job.clone(), events.clone()]);
        // Something between that lets no stream through.
        let (client, asked) = answers(vec![stream(&[]), answer(&over)]).await?;
        assert_eq!(follow(&client, begun.id).await?, over);
        assert_eq!(asked.await?, [events, job]);
        Ok(())
    }

    #[test]
    fn no_number_is_too_strange_for_a_percentage() {
        let of = |done, total| {
            let mut job = job("queued", ["pending", "pending"], 0);
            (job.progress.done_bytes, job.progress.total_bytes) = (done, total);
            percent(&job)
        };
        assert_eq!([of(0, 0), of(5, 0), of(5, 4), of(u64::MAX, u64::MAX), of(1, 3)], [0, 0, 100, 100, 33]);
    }
}
