//! What movers ask: for work, and what they tell of it.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::Page;
use api::work::{AssignedHost, ClaimRequest, Instruction, Inventory, Order, Report};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::JobId;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(hosts, inventory, claim, report))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/work/hosts", Need::Mover, hosts),
        Route::put("/v1/work/inventory", Need::Mover, inventory),
        Route::post("/v1/work/claim", Need::Mover, claim),
        Route::post("/v1/work/{job}/report", Need::Mover, report),
    ]
}

/// The hosts whose machines the mover is to tell of.
#[utoipa::path(get, path = "/v1/work/hosts", operation_id = "assigned_hosts", tag = "work",
    responses((status = 200, body = Page<AssignedHost>)))]
pub(crate) async fn hosts(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
) -> Answer<Page<AssignedHost>> {
    let items = app.control.assigned_hosts(&mover.name).await?;
    Ok(Json(Page { items, next: None }))
}

/// Tells of all machines of a host.
#[utoipa::path(put, path = "/v1/work/inventory", operation_id = "tell_inventory", tag = "work",
    request_body = Inventory, responses((status = 204, description = "It is noted")))]
pub(crate) async fn inventory(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    Body(inventory): Body<Inventory>,
) -> Result<StatusCode, Refused> {
    app.control.take_inventory(&mover.name, inventory).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for something to do, and waits a little for it.
#[utoipa::path(post, path = "/v1/work/claim", operation_id = "claim_work", tag = "work", request_body = ClaimRequest,
    responses((status = 200, body = Order), (status = 204, description = "There is nothing to do")))]
pub(crate) async fn claim(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    Body(wish): Body<ClaimRequest>,
) -> Result<Response, Refused> {
    let order = app.control.claim(&mover.name, &wish).await?;
    Ok(order.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |order| Json(order).into_response()))
}

/// Tells how an order goes; is told whether to go on with it.
#[utoipa::path(post, path = "/v1/work/{job}/report", operation_id = "report_work", tag = "work",
    params(("job" = Uuid, Path)), request_body = Report, responses((status = 200, body = Instruction)))]
pub(crate) async fn report(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    At(job): At<JobId>,
    Body(said): Body<Report>,
) -> Answer<Instruction> {
    Ok(Json(app.control.report(&mover.name, job, &said).await?))
}
