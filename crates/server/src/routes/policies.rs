//! Policies of a vault, and what they would do.

use super::vaults::Part;
use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{DryRun, NewPolicy, Page, Policy, PolicyPreview};
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use axum::{Extension, Json};
use model::access::Action;
use model::policy::PolicyDocument;
use model::{PolicyId, VaultId};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(list, create, preview, show, change, remove, dry_run))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    let (sees, writes) = (Need::InVault(Action::View), Need::InVault(Action::WritePolicy));
    vec![
        Route::get("/v1/vaults/{vault}/policies", sees, list),
        Route::post("/v1/vaults/{vault}/policies", writes, create),
        Route::post("/v1/vaults/{vault}/policies/preview", sees, preview),
        Route::get("/v1/vaults/{vault}/policies/{policy}", sees, show),
        Route::put("/v1/vaults/{vault}/policies/{policy}", writes, change),
        Route::delete("/v1/vaults/{vault}/policies/{policy}", writes, remove),
        Route::post("/v1/vaults/{vault}/policies/{policy}/dry-run", sees, dry_run),
    ]
}

/// The policies of a vault, by name.
#[utoipa::path(get, path = "/v1/vaults/{vault}/policies", operation_id = "list_policies", tag = "policies",
    params(("vault" = Uuid, Path), Part), responses((status = 200, body = Page<Policy>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At(vault): At<VaultId>,
    Params(part): Params<Part>,
) -> Answer<Page<Policy>> {
    Ok(Json(app.control.policies(vault, &part.into()).await?))
}

/// Makes a policy.
#[utoipa::path(post, path = "/v1/vaults/{vault}/policies", operation_id = "create_policy", tag = "policies",
    params(("vault" = Uuid, Path)), request_body = NewPolicy,
    responses((status = 201, body = Policy, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
    Body(new): Body<NewPolicy>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Policy>), Refused> {
    let made = app.control.make_policy(&caller.actor(), vault, new).await?;
    let place = format!("/v1/vaults/{vault}/policies/{}", made.id);
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(made)))
}

/// A year of points that a policy would make, with their classes and expiries. Makes no policy.
#[utoipa::path(post, path = "/v1/vaults/{vault}/policies/preview", operation_id = "preview_policy", tag = "policies",
    params(("vault" = Uuid, Path)), request_body = PolicyDocument,
    responses((status = 200, body = PolicyPreview)))]
pub(crate) async fn preview(
    State(app): State<App>,
    At(vault): At<VaultId>,
    Body(document): Body<PolicyDocument>,
) -> Answer<PolicyPreview> {
    app.control.vault(vault).await?;
    Ok(Json(app.control.preview(document)?))
}

/// One policy.
#[utoipa::path(get, path = "/v1/vaults/{vault}/policies/{policy}", operation_id = "show_policy", tag = "policies",
    params(("vault" = Uuid, Path), ("policy" = Uuid, Path)), responses((status = 200, body = Policy)))]
pub(crate) async fn show(
    State(app): State<App>,
    At((vault, policy)): At<(VaultId, PolicyId)>,
) -> Answer<Policy> {
    Ok(Json(app.control.policy(vault, policy).await?))
}

/// Changes a policy, and so what becomes of the points of all machines under it.
#[utoipa::path(put, path = "/v1/vaults/{vault}/policies/{policy}", operation_id = "change_policy", tag = "policies",
    params(("vault" = Uuid, Path), ("policy" = Uuid, Path)), request_body = NewPolicy,
    responses((status = 200, body = Policy)))]
pub(crate) async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, policy)): At<(VaultId, PolicyId)>,
    Body(new): Body<NewPolicy>,
) -> Answer<Policy> {
    Ok(Json(app.control.change_policy(&caller.actor(), vault, policy, new).await?))
}

/// Removes a policy that nothing uses.
#[utoipa::path(delete, path = "/v1/vaults/{vault}/policies/{policy}", operation_id = "remove_policy",
    tag = "policies", params(("vault" = Uuid, Path), ("policy" = Uuid, Path)), responses((status = 204)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, policy)): At<(VaultId, PolicyId)>,
) -> Result<StatusCode, Refused> {
    app.control.remove_policy(&caller.actor(), vault, policy).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a change would do to the points of all machines under the policy. Changes nothing.
#[utoipa::path(post, path = "/v1/vaults/{vault}/policies/{policy}/dry-run", operation_id = "dry_run_policy",
    tag = "policies", params(("vault" = Uuid, Path), ("policy" = Uuid, Path)), request_body = NewPolicy,
    responses((status = 200, body = DryRun)))]
pub(crate) async fn dry_run(
    State(app): State<App>,
    At((vault, policy)): At<(VaultId, PolicyId)>,
    Body(new): Body<NewPolicy>,
) -> Answer<DryRun> {
    Ok(Json(app.control.try_policy(vault, policy, new).await?))
}
