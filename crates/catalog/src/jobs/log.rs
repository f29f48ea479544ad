//! What happened to a job, written down in the transaction that changed it.
//!
//! Which changes are worth a line is `model`'s to say ([`model::job::written`]); that a mover goes on is none, so what is
//! written every few seconds of a job stays one row.

use super::{JobRow, Told};
use crate::row::{count, first_word, instant, micros, number, spelt, text, word};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::JobId;
use model::job::{Job, JobEvent, written};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

/// Lines of one job: one that is given back and taken again without end fills no disk. Its end is always written.
const LINES_MAX: i64 = 1000;
/// Characters of a line: errors come with their causes, and movers are free to tell much.
const TEXT_MAX: usize = 4000;

/// A line of a job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLogRow {
    /// Its place, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub event: JobEvent,
    /// What about it.
    pub text: String,
}

/// What of a job says what is to be written down.
pub(super) struct Before {
    job: Job,
    warnings: Vec<String>,
}

/// A line that is to be written.
pub(super) struct Line {
    event: JobEvent,
    text: String,
}

impl Before {
    pub(super) fn of(row: &JobRow) -> Self {
        Self { job: row.job.clone(), warnings: warnings(&row.progress) }
    }

    /// What a change comes to, as somebody told it or `by` whom it was made.
    pub(super) fn lines(&self, after: &JobRow, told: &Told) -> Vec<Line> {
        let new = warnings(&after.progress).into_iter().filter(|one| !self.warnings.contains(one));
        let warned = new.map(|text| Line { event: JobEvent::Warned, text });
        let changed = written(&self.job, &after.job).into_iter().map(|event| {
            let text = match event {
                JobEvent::StepDone => self.job.step().map(|step| step.to_string()).unwrap_or_default(),
                JobEvent::AttemptFailed => why(told),
                JobEvent::Begun | JobEvent::CancelWanted => told.by.clone().unwrap_or_default(),
                JobEvent::Ended => first_word(&after.job.state).replace('_', " "),
                JobEvent::Asked | JobEvent::Lost | JobEvent::Warned | JobEvent::Released => String::new(),
            };
            Line { event, text }
        });
        warned.chain(changed).collect()
    }
}

/// What movers warn of, as far as it is text.
fn warnings(progress: &Value) -> Vec<String> {
    let list = progress["warnings"].as_array().into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn why(told: &Told) -> String {
    let text = told.error.as_ref().and_then(|error| error["text"].as_str());
    text.unwrap_or_default().to_owned()
}

/// Writes lines of a job whose row this transaction has changed: nobody else writes any of it before its end.
pub(super) async fn write(
    transaction: &mut Transaction<'static, Any>,
    job: JobId,
    lines: &[Line],
    now: Timestamp,
) -> Result<()> {
    let sql = |e| Error::sql(format!("write down what happened to the job {job}"), e);
    let query = sqlx::query("select count(*) as lines from job_log where job_id = $1").bind(job.to_string());
    let query = query.try_map(|row: AnyRow| number(&row, "lines"));
    let mut last = count(query.fetch_one(&mut **transaction).await.map_err(sql)?);
    for line in lines.iter().filter(|line| !line.text.is_empty() || line.event != JobEvent::Warned) {
        if last >= LINES_MAX && line.event != JobEvent::Ended {
            continue;
        }
        last += 1;
        let insert = "insert into job_log (job_id, number, at, event, text) values ($1, $2, $3, $4, $5)";
        let text: String = line.text.chars().take(TEXT_MAX).collect();
        let query = sqlx::query(insert).bind(job.to_string()).bind(last).bind(micros(now));
        let query = query.bind(spelt(&line.event)).bind(text);
        query.execute(&mut **transaction).await.map_err(sql)?;
    }
    Ok(())
}

impl Catalog {
    /// What happened to a job, in order.
    pub async fn job_log(&self, job: JobId) -> Result<Vec<JobLogRow>> {
        let select = "select number, at, event, text from job_log where job_id = $1 order by number";
        let query = sqlx::query(select).bind(job.to_string()).try_map(|row: AnyRow| {
            Ok(JobLogRow {
                number: number(&row, "number")?,
                at: instant(&row, "at")?,
                event: word(&row, "event")?,
                text: text(&row, "text")?,
            })
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("read what happened to a job", e))
    }
}
