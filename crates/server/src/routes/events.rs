//! What happens, as it happens: server-sent events.
//!
//! A stream looks again when a job changed here, and every two seconds, for another server may have changed one. Who is
//! asking is looked up again with every look: a stream ends when its token does.

use crate::answer::Refused;
use crate::app::App;
use crate::body::At;
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Code, Job};
use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use catalog::JobFilter;
use control::{Asker, Control};
use futures_util::stream::{self, Stream};
use model::JobId;
use model::access::Action;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use utoipa::OpenApi;

/// Another server's changes are seen after so long.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Changes in a row are seen together: nobody reads faster, and each look asks the database.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// A stream on all jobs is about the newest ones; older ones are found in the list.
const JOBS_FOLLOWED: u32 = 200;

#[derive(OpenApi)]
#[openapi(paths(of_job, of_all))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/events", Need::Somewhere(Action::View), of_all),
        // In the job's vault: asked here.
        Route::get("/v1/jobs/{job}/events", Need::Somewhere(Action::View), of_job),
    ]
}

/// A job as it goes on, until it is over: events `job` whose data is the job.
#[utoipa::path(get, path = "/v1/jobs/{job}/events", operation_id = "watch_job", tag = "jobs",
    params(("job" = JobId, Path)),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(crate) async fn of_job(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(job): At<JobId>,
) -> Result<impl IntoResponse, Refused> {
    let first = app.control.job(job).await?;
    if !caller.may(Action::View, first.vault) {
        return Err(Refused::new(Code::NotFound, format!("there is no job {job}")));
    }
    Ok(streamed(Watcher::new(&app, caller, Some(job))))
}

/// The newest jobs as they go on: events `job` whose data is a job that is new or has changed.
#[utoipa::path(get, path = "/v1/events", operation_id = "watch", tag = "jobs",
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(crate) async fn of_all(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> impl IntoResponse {
    streamed(Watcher::new(&app, caller, None))
}

fn streamed(watcher: Watcher) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Somebody who watches jobs.
struct Watcher {
    control: Control,
    /// Of the token that was shown.
    token: String,
    /// One job; none: all.
    job: Option<JobId>,
    changed: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// What was told of each job: only changes are told.
    told: HashMap<JobId, String>,
    waiting: VecDeque<Event>,
    is_first: bool,
    is_over: bool,
}

impl Watcher {
    fn new(app: &App, caller: Caller, job: Option<JobId>) -> Self {
        Self {
            control: app.control.clone(),
            token: caller.token,
            job,
            changed: app.control.jobs_changed(),
            stopping: app.stopping.subscribe(),
            told: HashMap::new(),
            waiting: VecDeque::new(),
            is_first: true,
            is_over: false,
        }
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over || !self.is_first && !self.wait().await {
                return None;
            }
            self.is_first = false;
            // Whoever watches connects again, and is then told why it is refused.
            let bearer = self.control.bearer(&self.token).await.ok().flatten()?;
            let jobs = self.look(&bearer.asker).await.ok()?;
            self.tell(jobs);
        }
    }

    /// Waits until there may be something; false when the server stops.
    async fn wait(&mut self) -> bool {
        let change = async {
            tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
            // The server holds the sender as long as it runs.
            let _ = tokio::time::timeout(LOOK_EVERY, self.changed.changed()).await;
        };
        tokio::select! {
            () = change => true,
            _ = self.stopping.wait_for(|stopping| *stopping) => false,
        }
    }

    /// The jobs as they are, as far as the caller may see them.
    async fn look(&self, by: &Asker) -> Result<Vec<Job>, control::Error> {
        let mut jobs = match self.job {
            Some(job) => vec![self.control.job(job).await?],
            None => self.control.jobs(&JobFilter::default(), None, JOBS_FOLLOWED).await?.items,
        };
        jobs.retain(|job| by.may(Action::View, job.vault));
        Ok(jobs)
    }

    fn tell(&mut self, jobs: Vec<Job>) {
        if self.job.is_some() {
            self.is_over = jobs.iter().all(|job| job.state.is_over());
        }
        let mut told = HashMap::new();
        // The oldest change first.
        for job in jobs.into_iter().rev() {
            let text = serde_json::to_string(&job).expect("plain data with names for keys");
            if self.told.get(&job.id) != Some(&text) {
                self.waiting.push_back(Event::default().event("job").data(&text));
            }
            told.insert(job.id, text);
        }
        self.told = told;
    }
}
