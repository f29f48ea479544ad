//! A vault's archive.

use super::items::{Queued, queued};
use super::points::Place;
use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Accepted, ArchivePlan, ArchivingBegun, Rehydrate};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use control::PointPlace;
use model::VaultId;
use model::access::Action;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(plan, begin, rehydrate))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::get("/v1/vaults/{vault}/archive", need(Action::View), plan),
        Route::post("/v1/vaults/{vault}/archive", need(Action::UpdateVault), begin),
        Route::post(
            "/v1/vaults/{vault}/items/{item}/points/{point}/rehydrate",
            need(Action::Restore),
            rehydrate,
        ),
    ]
}

/// What archiving would do now in the vault, and why not more. Nothing is changed.
#[utoipa::path(get, path = "/v1/vaults/{vault}/archive", operation_id = "plan_archive", tag = "vaults",
    params(("vault" = Uuid, Path)), responses((status = 200, body = ArchivePlan)))]
pub(crate) async fn plan(State(app): State<App>, At(vault): At<VaultId>) -> Answer<ArchivePlan> {
    Ok(Json(app.control.archive_plan(vault).await?))
}

/// Moves to the archive store what is to move, at once: a job for each machine that has something.
#[utoipa::path(post, path = "/v1/vaults/{vault}/archive", operation_id = "archive_vault", tag = "vaults",
    params(("vault" = Uuid, Path)), responses((status = 202, body = ArchivingBegun)))]
pub(crate) async fn begin(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
) -> Result<(StatusCode, Json<ArchivingBegun>), Refused> {
    Ok((StatusCode::ACCEPTED, Json(app.control.archive_now(&caller.actor(), vault).await?)))
}

/// Brings an archived point back to the vault tier for some days, or holds one longer that is back. It stays in the
/// archive.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/rehydrate",
    operation_id = "rehydrate_point", tag = "points",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)), request_body = Rehydrate,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn rehydrate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item, point)): Place,
    Body(wish): Body<Rehydrate>,
) -> Queued {
    let place = PointPlace { vault, item, point };
    queued(app.control.rehydrate(&caller.actor(), place, wish).await?)
}
