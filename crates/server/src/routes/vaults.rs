//! Vaults.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{NewVault, Page, Vault, VaultChange, VaultMade, VaultRemoved};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::{Extension, Json};
use control::Paging;
use model::VaultId;
use model::access::Action;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(list, create, show, change, remove))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/vaults", Need::Somewhere(Action::View), list),
        Route::post("/v1/vaults", Need::Everywhere(Action::CreateVault), create),
        Route::get("/v1/vaults/{vault}", Need::InVault(Action::View), show),
        Route::patch("/v1/vaults/{vault}", Need::InVault(Action::UpdateVault), change),
        Route::delete("/v1/vaults/{vault}", Need::InVault(Action::DeleteVault), remove),
    ]
}

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

impl From<Part> for Paging {
    fn from(part: Part) -> Self {
        Self { after: part.after, limit: Some(part.limit.get()) }
    }
}

/// The vaults that the caller may see, by name.
#[utoipa::path(get, path = "/v1/vaults", operation_id = "list_vaults", tag = "vaults", params(Part),
    responses((status = 200, body = Page<Vault>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(part): Params<Part>,
) -> Answer<Page<Vault>> {
    let may_see = |vault| caller.may(Action::View, Some(vault));
    Ok(Json(app.control.vaults(may_see, &part.into()).await?))
}

/// Makes a vault, or takes in one that exists. The keys in the answer are shown this once.
#[utoipa::path(post, path = "/v1/vaults", operation_id = "create_vault", tag = "vaults", request_body = NewVault,
    responses((status = 201, body = VaultMade, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewVault>,
) -> Result<(StatusCode, [(axum::http::HeaderName, String); 1], Json<VaultMade>), Refused> {
    let made = app.control.make_vault(&caller.actor(), new).await?;
    let place = format!("/v1/vaults/{}", made.vault.id);
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(made)))
}

/// One vault.
#[utoipa::path(get, path = "/v1/vaults/{vault}", operation_id = "show_vault", tag = "vaults",
    params(("vault" = Uuid, Path)), responses((status = 200, body = Vault)))]
pub(crate) async fn show(State(app): State<App>, At(vault): At<VaultId>) -> Answer<Vault> {
    Ok(Json(app.control.vault(vault).await?))
}

/// Changes a vault's name or settings.
#[utoipa::path(patch, path = "/v1/vaults/{vault}", operation_id = "change_vault", tag = "vaults",
    params(("vault" = Uuid, Path)), request_body = VaultChange, responses((status = 200, body = Vault)))]
pub(crate) async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
    Body(change): Body<VaultChange>,
) -> Answer<Vault> {
    Ok(Json(app.control.change_vault(&caller.actor(), vault, change).await?))
}

/// Forgets a vault without machines. Its data stay where they are.
#[utoipa::path(delete, path = "/v1/vaults/{vault}", operation_id = "remove_vault", tag = "vaults",
    params(("vault" = Uuid, Path)), responses((status = 200, body = VaultRemoved)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
) -> Answer<VaultRemoved> {
    Ok(Json(app.control.remove_vault(&caller.actor(), vault).await?))
}
