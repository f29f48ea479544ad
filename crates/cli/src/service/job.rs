//! `strongroom job`.

use super::confirm::{Undo, Yes, confirm};
use super::follow::{self, Wait};
use super::names::{self, InVault, choose};
use super::pages::first;
use super::words::{when, word};
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Accepted, Job, JobLogEntry};
use clap::Subcommand;
use model::job::JobKind;

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// List jobs, the newest first.
    List {
        /// Only those in this state, as in_progress or failed.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Only those of this machine.
        #[arg(long, value_name = "MACHINE")]
        machine: Option<String>,
        #[command(flatten)]
        vault: InVault,
        /// At most so many.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// Show a job: its steps, how far it is, what went wrong.
    Show {
        /// The job, by its id or the end of it.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Show a job until it is over; ends as the job does.
    Watch {
        /// The job, by its id or the end of it.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Show what happened to a job: who asked for it, which mover began, what was done, lost, tried again.
    Log {
        /// The job, by its id or the end of it.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Have a job end early. What it has read is thrown away.
    Cancel {
        /// The job, by its id or the end of it.
        #[arg(value_name = "JOB")]
        job: String,
        #[command(flatten)]
        yes: Yes,
    },
    /// Try a job that failed once more.
    Retry {
        /// The job, by its id or the end of it.
        #[arg(value_name = "JOB")]
        job: String,
        #[command(flatten)]
        wait: Wait,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, command: JobCommand) -> Result<()> {
    match command {
        JobCommand::List { state, machine, vault, limit } => {
            let item = match machine {
                Some(machine) => Some(names::item(client, &vault, &machine).await?.id.to_string()),
                None => None,
            };
            let path = names::with("/v1/jobs", &[("state", state), ("item", item)]);
            let all: Vec<Job> = first(client, &path, limit, &|_| true).await?;
            output::print(output, &all, || table(&all))
        }
        JobCommand::Show { job } => {
            let job = find(client, &job).await?;
            output::print(output, &job, || show(&job))
        }
        JobCommand::Watch { job } => {
            let job = find(client, &job).await?;
            follow::finish(output, &follow::follow(client, job.id).await?)
        }
        JobCommand::Log { job } => {
            let job = find(client, &job).await?;
            let log: Vec<JobLogEntry> = client.all(&format!("/v1/jobs/{}/log", job.id)).await?;
            output::print(output, &log, || log_table(&log))
        }
        JobCommand::Cancel { job, yes } => {
            let job = find(client, &job).await?;
            let stands = match job.kind {
                JobKind::InstantRestore | JobKind::CreateMachinesAtOnce => {
                    " What it has started stays, and stands still at its next read of what it has not itself."
                }
                _ => "",
            };
            let text = format!("The {} of {} ends early.{stands}", word(&job.kind), job.name);
            confirm(yes, Undo::Possible, &text)?;
            client.act::<serde_json::Value>(Method::POST, &format!("/v1/jobs/{}/cancel", job.id)).await?;
            let job: Job = client.get(&format!("/v1/jobs/{}", job.id)).await?;
            output::print(output, &job, || show(&job))
        }
        JobCommand::Retry { job, wait } => {
            let job = find(client, &job).await?;
            let path = format!("/v1/jobs/{}/retry", job.id);
            let accepted: Option<Accepted> = client.act(Method::POST, &path).await?;
            follow::accepted(output, client, accepted, wait).await
        }
    }
}

/// A job by its id, without looking at all others; else by the end of its id.
async fn find(client: &Client, wanted: &str) -> Result<Job> {
    if wanted.parse::<model::JobId>().is_ok() {
        return client.get(&format!("/v1/jobs/{wanted}")).await.with_context(|| format!("find job {wanted}"));
    }
    let all: Vec<Job> = client.all("/v1/jobs?limit=1000").await?;
    choose("job", all, wanted, |job| (String::new(), job.id))
}

fn table(all: &[Job]) -> String {
    if all.is_empty() {
        return "No jobs.\n".into();
    }
    let rows = all.iter().map(|job| {
        let percent = if job.state.is_over() { String::new() } else { format!("{} %", follow::percent(job)) };
        vec![
            word(&job.kind),
            job.name.clone(),
            word(&job.state),
            percent,
            output::instant(job.created),
            when(job.ended),
            job.id.to_string(),
        ]
    });
    output::table(&["JOB", "OF", "STATE", "DONE", "SINCE", "ENDED", "ID"], &["DONE"], rows)
}

fn log_table(log: &[JobLogEntry]) -> String {
    let rows =
        log.iter().map(|entry| vec![output::instant(entry.at), word(&entry.event), entry.text.clone()]);
    output::table(&["AT", "WHAT", "ABOUT"], &[], rows)
}

pub(super) fn show(job: &Job) -> String {
    let mut facts = vec![
        ("Job", format!("{} of {}", word(&job.kind), job.name)),
        ("Id", job.id.to_string()),
        ("State", word(&job.state)),
        ("Asked for by", asker(job)),
        ("Attempts", job.attempts.to_string()),
        ("Since", output::instant(job.created)),
        ("Ended", when(job.ended)),
    ];
    if job.progress.total_bytes > 0 {
        let progress = &job.progress;
        let (done, total) = (output::size(progress.done_bytes), output::size(progress.total_bytes));
        facts.push(("Done", format!("{} %, {done} of {total}", follow::percent(job))));
    }
    facts.extend(job.next_attempt.map(|at| ("Next attempt", output::instant(at))));
    facts.extend(job.steps.iter().map(|step| ("Step", format!("{}: {}", step.title, word(&step.state)))));
    facts.extend(job.progress.warnings.iter().map(|warning| ("Warning", warning.clone())));
    if let Some(error) = &job.error {
        facts.push(("Error", error.text.clone()));
        facts.extend(error.hint.iter().map(|hint| ("Try", hint.clone())));
    }
    facts.extend(job.result.iter().flat_map(result));
    output::facts(&facts)
}

fn asker(job: &Job) -> String {
    match &job.asked_by {
        Some(name) => name.clone(),
        None if job.scheduled => "the schedule".to_owned(),
        // The server itself, following from something else; or a job from before names were kept.
        None => "nobody in particular".to_owned(),
    }
}

/// What is told of a machine that a restore made: of libvirt's its uuid, of QEMU's what it runs as and is reached by.
const MACHINE: [(&str, &str); 5] = [
    ("uuid", "Machine"),
    ("pid", "Process"),
    ("qmp", "Monitor"),
    ("agent", "Guest agent"),
    ("definition", "Definition"),
];

/// What came of it, in a line or two.
fn result(result: &serde_json::Value) -> Vec<(&'static str, String)> {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let point = result.get("point").map(|point| ("Point", text(point)));
    let files = result.get("files").and_then(serde_json::Value::as_array).into_iter().flatten();
    let machine = result.get("machine").into_iter().flat_map(|machine| {
        let of = |(name, title): &(_, _)| machine.get(name).map(|value| (*title, text(value)));
        MACHINE.iter().filter_map(of).collect::<Vec<_>>()
    });
    point.into_iter().chain(files.map(|file| ("File", text(file)))).chain(machine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_machine_that_was_made_is_found_by_what_is_told() {
        let told = |machine| result(&json!({ "files": ["/r/d0.qcow2"], "machine": machine }));
        let of = |pairs: &[(&'static str, &str)]| -> Vec<_> {
            [("File", "/r/d0.qcow2")]
                .iter()
                .chain(pairs)
                .map(|(title, value)| (*title, (*value).to_owned()))
                .collect()
        };
        let of_qemu =
            json!({ "pid": 4711, "qmp": "/r/run/qmp", "agent": "/r/run/qga", "definition": "/r/start" });
        let expected = [
            ("Process", "4711"),
            ("Monitor", "/r/run/qmp"),
            ("Guest agent", "/r/run/qga"),
            ("Definition", "/r/start"),
        ];
        assert_eq!(told(of_qemu), of(&expected));
        let of_libvirt = json!({ "uuid": "0b-1", "definition": "/r/domain.xml" });
        assert_eq!(told(of_libvirt), of(&[("Machine", "0b-1"), ("Definition", "/r/domain.xml")]));
        assert_eq!(result(&json!({ "point": "p" })), [("Point", "p".to_owned())]);
    }

    #[test]
    fn who_asked_is_told_where_it_is_known() {
        let job = |scheduled: bool, by: serde_json::Value| -> Job {
            serde_json::from_value(json!({
                "id": "00000000-0000-0000-0000-000000000001", "kind": "backup", "name": "shop", "state": "queued",
                "scheduled": scheduled, "asked_by": by, "steps": [], "attempts": 0,
                "created": "2026-11-21T15:00:00Z", "progress": { "done_bytes": 0, "total_bytes": 0, "warnings": [] },
            }))
            .expect("a job")
        };
        assert_eq!(asker(&job(false, json!("alice"))), "alice");
        assert_eq!(asker(&job(true, json!(null))), "the schedule");
        assert_eq!(asker(&job(false, json!(null))), "nobody in particular");
    }
}
