//! What is stored for whom, and what it costs.

use super::items::{Queued, queued};
use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::work::UsageReport;
use api::{Accepted, CostBy, CostReport, Page, StoreUsage};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use control::WhichCosts;
use model::access::Action;
use model::cost::Prices;
use model::{JobId, VaultId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(cost, prices, set_prices, usage, measure, report))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/cost", Need::Somewhere(Action::View), cost),
        Route::get("/v1/prices", Need::Somewhere(Action::View), prices),
        Route::put("/v1/prices", Need::Everywhere(Action::UpdateVault), set_prices),
        Route::get("/v1/vaults/{vault}/usage", Need::InVault(Action::View), usage),
        Route::post("/v1/vaults/{vault}/measure", Need::InVault(Action::UpdateVault), measure),
        Route::put("/v1/work/{job}/usage", Need::Mover, report),
    ]
}

/// What a report is about.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// The month, as `2026-11`; this one if not said.
    #[param(pattern = "^[0-9]{4}-(0[1-9]|1[0-2])$")]
    month: Option<String>,
    /// What there is a line for.
    #[serde(default)]
    #[param(inline)]
    by: CostBy,
    /// The tag, if there is a line for each of its values.
    tag: Option<String>,
    /// Only this vault.
    #[param(value_type = Option<Uuid>)]
    vault: Option<VaultId>,
}

/// What a month has come to, in the vaults that the caller may see.
#[utoipa::path(get, path = "/v1/cost", operation_id = "show_cost", tag = "cost", params(Which),
    responses((status = 200, body = CostReport)))]
pub(crate) async fn cost(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(which): Params<Which>,
) -> Answer<CostReport> {
    let Which { month, by, tag, vault } = which;
    let may_see = |vault| caller.may(Action::View, Some(vault));
    Ok(Json(app.control.cost(&WhichCosts { month, by, tag, vault }, may_see).await?))
}

/// The prices that reports are made at: one entry, or none while nobody has said any.
#[utoipa::path(get, path = "/v1/prices", operation_id = "show_prices", tag = "cost",
    responses((status = 200, body = Page<Prices>)))]
pub(crate) async fn prices(State(app): State<App>) -> Answer<Page<Prices>> {
    let items = app.control.prices().await?.into_iter().collect();
    Ok(Json(Page { items, next: None }))
}

/// Says other prices.
#[utoipa::path(put, path = "/v1/prices", operation_id = "set_prices", tag = "cost", request_body = Prices,
    responses((status = 200, body = Prices)))]
pub(crate) async fn set_prices(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(prices): Body<Prices>,
) -> Answer<Prices> {
    Ok(Json(app.control.set_prices(&caller.actor(), &prices).await?))
}

/// Whose the bytes of a vault's stores were when they were measured last.
#[utoipa::path(get, path = "/v1/vaults/{vault}/usage", operation_id = "show_usage", tag = "cost",
    params(("vault" = Uuid, Path)), responses((status = 200, body = Page<StoreUsage>)))]
pub(crate) async fn usage(State(app): State<App>, At(vault): At<VaultId>) -> Answer<Page<StoreUsage>> {
    Ok(Json(Page { items: app.control.usage(vault).await?, next: None }))
}

/// Has a vault's stores measured now. As every day, space that is due is given back before.
#[utoipa::path(post, path = "/v1/vaults/{vault}/measure", operation_id = "measure_vault", tag = "cost",
    params(("vault" = Uuid, Path)), responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn measure(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
) -> Queued {
    queued(app.control.measure(&caller.actor(), vault).await?)
}

/// Keeps what a mover has measured.
#[utoipa::path(put, path = "/v1/work/{job}/usage", operation_id = "keep_usage", tag = "work",
    params(("job" = Uuid, Path)), request_body = UsageReport,
    responses((status = 204, description = "It is kept")))]
pub(crate) async fn report(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    At(job): At<JobId>,
    Body(report): Body<UsageReport>,
) -> Result<StatusCode, Refused> {
    app.control.keep_usage(&mover.name, job, report).await?;
    Ok(StatusCode::NO_CONTENT)
}
