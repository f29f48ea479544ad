//! Many machines restored as one.

use super::vaults::Part;
use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{NewRestoreSet, Page, RestoreSet};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::{Extension, Json};
use model::VaultId;
use model::access::Action;
use utoipa::OpenApi;
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(list, create, show, cancel))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::get("/v1/vaults/{vault}/restore-sets", need(Action::View), list),
        Route::post("/v1/vaults/{vault}/restore-sets", need(Action::Restore), create),
        Route::get("/v1/vaults/{vault}/restore-sets/{set}", need(Action::View), show),
        Route::post("/v1/vaults/{vault}/restore-sets/{set}/cancel", need(Action::CancelJob), cancel),
    ]
}

/// Restores of many machines, newest first, without their machines.
#[utoipa::path(get, path = "/v1/vaults/{vault}/restore-sets", operation_id = "list_restore_sets", tag = "restores",
    params(("vault" = Uuid, Path), Part), responses((status = 200, body = Page<RestoreSet>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At(vault): At<VaultId>,
    Params(part): Params<Part>,
) -> Answer<Page<RestoreSet>> {
    Ok(Json(app.control.restore_sets(vault, &part.into()).await?))
}

/// Restores many machines: in groups, one after the other, and within each as many at once as the limits allow.
#[utoipa::path(post, path = "/v1/vaults/{vault}/restore-sets", operation_id = "restore_many", tag = "restores",
    params(("vault" = Uuid, Path)), request_body = NewRestoreSet,
    responses((status = 201, body = RestoreSet, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
    Body(wish): Body<NewRestoreSet>,
) -> Result<(StatusCode, [(axum::http::HeaderName, String); 1], Json<RestoreSet>), Refused> {
    let made = app.control.restore_many(&caller.actor(), vault, wish).await?;
    let place = format!("/v1/vaults/{vault}/restore-sets/{}", made.id);
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(made)))
}

/// A restore of many machines, and how each of them stands.
#[utoipa::path(get, path = "/v1/vaults/{vault}/restore-sets/{set}", operation_id = "show_restore_set", tag = "restores",
    params(("vault" = Uuid, Path), ("set" = Uuid, Path)), responses((status = 200, body = RestoreSet)))]
pub(crate) async fn show(
    State(app): State<App>,
    At((vault, set)): At<(VaultId, Uuid)>,
) -> Answer<RestoreSet> {
    Ok(Json(app.control.restore_set(vault, set).await?))
}

/// Wants all of it to end: nothing more begins, and what is under way ends as soon as its movers have left things tidy.
#[utoipa::path(post, path = "/v1/vaults/{vault}/restore-sets/{set}/cancel", operation_id = "cancel_restore_set",
    tag = "restores", params(("vault" = Uuid, Path), ("set" = Uuid, Path)),
    responses((status = 200, body = RestoreSet)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, set)): At<(VaultId, Uuid)>,
) -> Answer<RestoreSet> {
    Ok(Json(app.control.cancel_restore_set(&caller.actor(), vault, set).await?))
}
