//! Jobs: seen, cancelled, tried again; and runs that were left out.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Accepted, Code, Job, JobLogEntry, JobState, Page, SkippedRun};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use catalog::JobFilter;
use control::action_of;
use model::access::Action;
use model::job::JobKind;
use model::{JobId, VaultId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(list, show, log, cancel, retry, skipped))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        // Of the vaults that the caller may see: left out here.
        Route::get("/v1/jobs", Need::Somewhere(Action::View), list),
        // In the job's vault: asked here.
        Route::get("/v1/jobs/{job}", Need::Somewhere(Action::View), show),
        Route::get("/v1/jobs/{job}/log", Need::Somewhere(Action::View), log),
        Route::post("/v1/jobs/{job}/cancel", Need::Somewhere(Action::CancelJob), cancel),
        // What the job does, in its vault: asked here.
        Route::post("/v1/jobs/{job}/retry", Need::Somewhere(Action::BackUp), retry),
        Route::get("/v1/vaults/{vault}/items/{item}/skipped", Need::InVault(Action::View), skipped),
    ]
}

/// Which jobs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of this vault.
    #[param(value_type = Option<Uuid>)]
    vault: Option<VaultId>,
    /// On this item.
    item: Option<Uuid>,
    /// Where they are.
    #[param(inline)]
    state: Option<JobState>,
    /// What they do.
    #[param(inline)]
    kind: Option<JobKind>,
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HowMany {
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(Which),
    responses((status = 200, body = Page<Job>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Which>,
) -> Answer<Page<Job>> {
    let filter = JobFilter {
        vault: which.vault,
        subject: which.item.map(|item| item.to_string()),
        state: which.state.map(|state| word(&state)),
        kind: which.kind.map(|kind| word(&kind)),
        seen: caller.sees(),
    };
    Ok(Json(app.control.jobs(&filter, which.after.as_deref(), which.limit.get()).await?))
}

fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("a word");
    value.as_str().expect("a word").to_owned()
}

/// One job.
#[utoipa::path(get, path = "/v1/jobs/{job}", operation_id = "show_job", tag = "jobs",
    params(("job" = Uuid, Path)), responses((status = 200, body = Job)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(job): At<JobId>,
) -> Answer<Job> {
    seen(&app, &caller, job).await.map(Json)
}

/// What happened to a job, in order: all of it, on one page.
#[utoipa::path(get, path = "/v1/jobs/{job}/log", operation_id = "show_job_log", tag = "jobs",
    params(("job" = Uuid, Path)), responses((status = 200, body = Page<JobLogEntry>)))]
pub(crate) async fn log(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(job): At<JobId>,
) -> Answer<Page<JobLogEntry>> {
    seen(&app, &caller, job).await?;
    Ok(Json(Page { items: app.control.job_log(job).await?, next: None }))
}

/// Wants a job to end. One that runs ends as soon as its mover has left things tidy.
#[utoipa::path(post, path = "/v1/jobs/{job}/cancel", operation_id = "cancel_job", tag = "jobs",
    params(("job" = Uuid, Path)), responses((status = 200, body = Job)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(job): At<JobId>,
) -> Answer<Job> {
    let found = seen(&app, &caller, job).await?;
    caller.asker().needs(Action::CancelJob, found.vault)?;
    Ok(Json(app.control.cancel_job(&caller.actor(), job).await?))
}

/// Queues a job that asks for the same as one that failed, or was cancelled.
#[utoipa::path(post, path = "/v1/jobs/{job}/retry", operation_id = "retry_job", tag = "jobs",
    params(("job" = Uuid, Path)), responses((status = 202, body = Accepted)))]
pub(crate) async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(job): At<JobId>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    let found = seen(&app, &caller, job).await?;
    caller.asker().needs(action_of(found.kind), found.vault)?;
    let job = app.control.retry_job(&caller.actor(), job).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { job })))
}

/// Slots of an item that had no run, newest first.
#[utoipa::path(get, path = "/v1/vaults/{vault}/items/{item}/skipped", operation_id = "list_skipped_runs", tag = "jobs",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), HowMany), responses((status = 200, body = Page<SkippedRun>)))]
pub(crate) async fn skipped(
    State(app): State<App>,
    At((vault, item)): At<(VaultId, Uuid)>,
    Params(many): Params<HowMany>,
) -> Answer<Page<SkippedRun>> {
    let items = app.control.skipped_runs(vault, item, many.limit.get()).await?;
    Ok(Json(Page { items, next: None }))
}

/// A job that the caller may see: one that it may not is not told from one that is not there.
async fn seen(app: &App, caller: &Caller, job: JobId) -> Result<Job, Refused> {
    let found = app.control.job(job).await?;
    if !caller.may(Action::View, found.vault) {
        return Err(Refused::new(Code::NotFound, format!("there is no job {job}")));
    }
    Ok(found)
}
