//! A vault's keys.

use crate::answer::Answer;
use crate::app::App;
use crate::body::At;
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::VaultKeys;
use axum::extract::State;
use axum::{Extension, Json};
use model::VaultId;
use model::access::Action;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(list, rotate))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/vaults/{vault}/keys", Need::InVault(Action::View), list),
        Route::post("/v1/vaults/{vault}/keys/rotate", Need::InVault(Action::RotateKey), rotate),
    ]
}

/// Who can open the vault, and which data key seals what is written. Keys are added and removed with `strongroom rescue
/// key`, where they are.
#[utoipa::path(get, path = "/v1/vaults/{vault}/keys", operation_id = "list_vault_keys", tag = "vaults",
    params(("vault" = Uuid, Path)), responses((status = 200, body = VaultKeys)))]
pub(crate) async fn list(State(app): State<App>, At(vault): At<VaultId>) -> Answer<VaultKeys> {
    Ok(Json(app.control.vault_keys(vault).await?))
}

/// Seals what is written from now on under a new data key. What is there stays as it is, and readable; all keys that
/// open the vault go on doing so.
#[utoipa::path(post, path = "/v1/vaults/{vault}/keys/rotate", operation_id = "rotate_vault_key", tag = "vaults",
    params(("vault" = Uuid, Path)), responses((status = 200, body = VaultKeys)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
) -> Answer<VaultKeys> {
    Ok(Json(app.control.rotate_vault_key(&caller.actor(), vault).await?))
}
