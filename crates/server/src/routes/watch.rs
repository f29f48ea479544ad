//! All at a glance, and what will run.

use crate::answer::Answer;
use crate::app::App;
use crate::body::Params;
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Forecast, Overview};
use axum::extract::State;
use axum::{Extension, Json};
use jiff::{SignedDuration, Timestamp};
use model::access::Action;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(overview, forecast))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/overview", Need::Somewhere(Action::View), overview),
        Route::get("/v1/forecast", Need::Somewhere(Action::View), forecast),
    ]
}

/// How things stand in the vaults that the caller may see.
#[utoipa::path(get, path = "/v1/overview", operation_id = "overview", tag = "watch",
    responses((status = 200, body = Overview)))]
pub(crate) async fn overview(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Answer<Overview> {
    Ok(Json(app.control.overview(caller.sees().as_deref()).await?))
}

/// How far ahead.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Ahead {
    /// Until then, 7 days ahead at most.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// So many hours ahead, if no time is given: 24 if nothing is said.
    #[param(minimum = 1, maximum = 168)]
    hours: Option<u16>,
}

/// What will run, and when it will end, if runs take as long as they last did.
#[utoipa::path(get, path = "/v1/forecast", operation_id = "forecast", tag = "watch", params(Ahead),
    responses((status = 200, body = Forecast)))]
pub(crate) async fn forecast(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(ahead): Params<Ahead>,
) -> Answer<Forecast> {
    let hours = |hours: u16| app.control.now() + SignedDuration::from_hours(hours.into());
    let until = ahead.until.or(ahead.hours.map(hours));
    Ok(Json(app.control.forecast(until, caller.sees().as_deref()).await?))
}
