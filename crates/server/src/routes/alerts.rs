//! What somebody should know.

use crate::answer::Answer;
use crate::app::App;
use crate::body::{At, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Alert, Page};
use axum::extract::State;
use axum::{Extension, Json};
use model::access::Action;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(list, acknowledge))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/alerts", Need::Somewhere(Action::View), list),
        // Where the alert's vault says so: `control` asks.
        Route::post("/v1/alerts/{alert}/acknowledge", Need::Somewhere(Action::BackUp), acknowledge),
    ]
}

/// Which alerts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Also those that are over.
    #[serde(default)]
    all: bool,
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// Alerts, newest first. A page may hold fewer than asked for: those of vaults that the caller may not see are left out.
#[utoipa::path(get, path = "/v1/alerts", operation_id = "list_alerts", tag = "alerts", params(Part),
    responses((status = 200, body = Page<Alert>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(part): Params<Part>,
) -> Answer<Page<Alert>> {
    let (by, after) = (caller.asker(), part.after.as_deref());
    Ok(Json(app.control.alerts(&by, !part.all, after, part.limit.get()).await?))
}

/// Says that somebody has taken note.
#[utoipa::path(post, path = "/v1/alerts/{alert}/acknowledge", operation_id = "acknowledge_alert", tag = "alerts",
    params(("alert" = Uuid, Path)), responses((status = 200, body = Alert)))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(alert): At<Uuid>,
) -> Answer<Alert> {
    Ok(Json(app.control.acknowledge_alert(&caller.asker(), alert).await?))
}
