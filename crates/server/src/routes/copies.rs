//! A vault's second store.

use super::items::{Queued, queued};
use crate::answer::Answer;
use crate::app::App;
use crate::body::{At, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Accepted, CopiedPoint, Page};
use axum::extract::State;
use axum::{Extension, Json};
use control::Paging;
use model::VaultId;
use model::access::Action;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(list, copy, heal))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::get("/v1/vaults/{vault}/copies", need(Action::View), list),
        Route::post("/v1/vaults/{vault}/copy", need(Action::UpdateVault), copy),
        Route::post("/v1/vaults/{vault}/heal", need(Action::UpdateVault), heal),
    ]
}

/// Which copies.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of this item alone.
    item: Option<Uuid>,
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// The points that the vault's second store has, newest first; those that the vault itself has no more among them.
#[utoipa::path(get, path = "/v1/vaults/{vault}/copies", operation_id = "list_copies", tag = "vaults",
    params(("vault" = Uuid, Path), Which), responses((status = 200, body = Page<CopiedPoint>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At(vault): At<VaultId>,
    Params(which): Params<Which>,
) -> Answer<Page<CopiedPoint>> {
    let paging = Paging { after: which.after, limit: Some(which.limit.get()) };
    Ok(Json(app.control.copies(vault, which.item, &paging).await?))
}

/// Copies to the vault's second store what is not there yet, at once.
#[utoipa::path(post, path = "/v1/vaults/{vault}/copy", operation_id = "copy_vault", tag = "vaults",
    params(("vault" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn copy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
) -> Queued {
    queued(app.control.copy_now(&caller.actor(), vault).await?)
}

/// Puts the vault right from its second store: damage is repaired, points that it lacks are copied back. A vault of
/// which nothing is left is made anew.
#[utoipa::path(post, path = "/v1/vaults/{vault}/heal", operation_id = "heal_vault", tag = "vaults",
    params(("vault" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn heal(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
) -> Queued {
    queued(app.control.heal(&caller.actor(), vault).await?)
}
