//! Points that are tried out, and how old the proofs are.

use super::items::{Queued, queued};
use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::work::PictureReport;
use api::{Accepted, Drill, Page, Proof, Screenshot};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use control::PointPlace;
use model::access::Action;
use model::{JobId, PointId, VaultId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(drill, screenshot, proofs, picture))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::post("/v1/vaults/{vault}/items/{item}/points/{point}/drill", need(Action::Restore), drill),
        // It shows what a guest shows: that is more than that there is one.
        Route::get(
            "/v1/vaults/{vault}/items/{item}/points/{point}/screenshot",
            need(Action::Restore),
            screenshot,
        ),
        Route::get("/v1/vaults/{vault}/proofs", need(Action::View), proofs),
        Route::put("/v1/work/{job}/picture", Need::Mover, picture),
    ]
}

/// Boots a point where it can harm nothing, asks it whether it is good, and throws everything away but the answer.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/drill", operation_id = "drill_point",
    tag = "points", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    request_body = Drill, responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn drill(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item, point)): At<(VaultId, Uuid, PointId)>,
    Body(wish): Body<Drill>,
) -> Queued {
    queued(app.control.drill(&caller.actor(), PointPlace { vault, item, point }, wish).await?)
}

/// Of which drill.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of the point's copy in the vault's second store.
    #[serde(default)]
    from_copy: bool,
}

/// What the screen showed at the end of a point's last drill, or of the last one of its copy.
#[utoipa::path(get, path = "/v1/vaults/{vault}/items/{item}/points/{point}/screenshot",
    operation_id = "show_screenshot", tag = "points",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path), Which),
    responses((status = 200, body = Screenshot)))]
pub(crate) async fn screenshot(
    State(app): State<App>,
    At((vault, item, point)): At<(VaultId, Uuid, PointId)>,
    Params(which): Params<Which>,
) -> Answer<Screenshot> {
    Ok(Json(app.control.screenshot(PointPlace { vault, item, point }, which.from_copy).await?))
}

/// How old the newest proved point of each machine is: those that have none first, then the oldest.
#[utoipa::path(get, path = "/v1/vaults/{vault}/proofs", operation_id = "list_proofs", tag = "vaults",
    params(("vault" = Uuid, Path)), responses((status = 200, body = Page<Proof>)))]
pub(crate) async fn proofs(State(app): State<App>, At(vault): At<VaultId>) -> Answer<Page<Proof>> {
    Ok(Json(app.control.proofs(vault).await?))
}

/// Keeps what the screen of a drill showed.
#[utoipa::path(put, path = "/v1/work/{job}/picture", operation_id = "keep_picture", tag = "work",
    params(("job" = Uuid, Path)), request_body = PictureReport,
    responses((status = 204, description = "It is kept")))]
pub(crate) async fn picture(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    At(job): At<JobId>,
    Body(report): Body<PictureReport>,
) -> Result<StatusCode, Refused> {
    app.control.keep_picture(&mover.name, job, &report).await?;
    Ok(StatusCode::NO_CONTENT)
}
