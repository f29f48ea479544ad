//! Items: machines under a vault's protection, or that were.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{
    Accepted, BackUp, BulkChange, BulkOutcome, ChangeItem, Code, Item, ItemChanged, ItemState, Page, Protect,
    Resume, Stop, StopHow,
};
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use axum::{Extension, Json};
use control::{Paging, WhichItems};
use model::access::Action;
use model::{JobId, PolicyId, VaultId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(list, protect, change_many, show, change, stop, resume, undelete, back_up))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    let (sees, changes) = (Need::InVault(Action::View), Need::InVault(Action::ChangeProtection));
    let (protects, stops) = (Need::InVault(Action::Protect), Need::InVault(Action::StopAndKeep));
    let (undeletes, backs_up) = (Need::InVault(Action::Undelete), Need::InVault(Action::BackUp));
    vec![
        Route::get("/v1/vaults/{vault}/items", sees, list),
        Route::post("/v1/vaults/{vault}/items", protects, protect),
        Route::post("/v1/vaults/{vault}/items/change-policy", changes, change_many),
        Route::get("/v1/vaults/{vault}/items/{item}", sees, show),
        Route::patch("/v1/vaults/{vault}/items/{item}", changes, change),
        Route::post("/v1/vaults/{vault}/items/{item}/stop", stops, stop),
        Route::post("/v1/vaults/{vault}/items/{item}/resume", protects, resume),
        Route::post("/v1/vaults/{vault}/items/{item}/undelete", undeletes, undelete),
        Route::post("/v1/vaults/{vault}/items/{item}/backup", backs_up, back_up),
    ]
}

/// The answer to what takes long: a job, and where to watch it.
pub(super) type Queued = Result<(StatusCode, [(HeaderName, String); 1], Json<Accepted>), Refused>;

pub(super) fn queued(job: JobId) -> Queued {
    let place = [(LOCATION, format!("/v1/jobs/{job}"))];
    Ok((StatusCode::ACCEPTED, place, Json(Accepted { job })))
}

/// What takes points away needs more than the route does: an operator takes nothing away.
fn may_take_away(caller: &Caller, vault: VaultId, takes: bool) -> Result<(), Refused> {
    if !takes || caller.may(Action::DeleteData, Some(vault)) {
        return Ok(());
    }
    let refused = Refused::new(Code::Forbidden, format!("{} has no role to take points away", caller.name));
    Err(refused.hint("ask a vault owner for a role: `strongroom user grant`"))
}

/// Which items.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those that stand so.
    #[param(inline)]
    state: Option<ItemState>,
    /// Those under this policy.
    #[param(value_type = Option<Uuid>)]
    policy: Option<PolicyId>,
    /// Names that fit this: `*` is anything, `?` one character; case does not matter.
    #[param(min_length = 1, max_length = 255)]
    name: Option<String>,
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// The items of a vault, by name.
#[utoipa::path(get, path = "/v1/vaults/{vault}/items", operation_id = "list_items", tag = "items",
    params(("vault" = Uuid, Path), Which), responses((status = 200, body = Page<Item>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At(vault): At<VaultId>,
    Params(query): Params<Which>,
) -> Answer<Page<Item>> {
    let Which { state, policy, name, after, limit } = query;
    let which = WhichItems { state, policy, name };
    let paging = Paging { after, limit: Some(limit.get()) };
    Ok(Json(app.control.items(vault, &which, &paging).await?))
}

/// Puts machines under a policy, each for itself: the answer says of each what came of it.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items", operation_id = "protect", tag = "items",
    params(("vault" = Uuid, Path)), request_body = Protect, responses((status = 200, body = Vec<BulkOutcome>)))]
pub(crate) async fn protect(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
    Body(wish): Body<Protect>,
) -> Answer<Vec<BulkOutcome>> {
    Ok(Json(app.control.protect_many(&caller.actor(), vault, &wish).await?))
}

/// Puts many items under another policy, each for itself: the answer says of each what came of it.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/change-policy", operation_id = "change_items", tag = "items",
    params(("vault" = Uuid, Path)), request_body = BulkChange,
    responses((status = 200, body = Vec<BulkOutcome>)))]
pub(crate) async fn change_many(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
    Body(change): Body<BulkChange>,
) -> Answer<Vec<BulkOutcome>> {
    may_take_away(&caller, vault, change.accept_loss)?;
    Ok(Json(app.control.change_items(&caller.actor(), vault, &change).await?))
}

/// One item.
#[utoipa::path(get, path = "/v1/vaults/{vault}/items/{item}", operation_id = "show_item", tag = "items",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path)), responses((status = 200, body = Item)))]
pub(crate) async fn show(State(app): State<App>, At((vault, item)): At<(VaultId, Uuid)>) -> Answer<Item> {
    Ok(Json(app.control.item(vault, item).await?))
}

/// Puts an item under another policy, or tells what that would do.
#[utoipa::path(patch, path = "/v1/vaults/{vault}/items/{item}", operation_id = "change_item", tag = "items",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path)), request_body = ChangeItem,
    responses((status = 200, body = ItemChanged)))]
pub(crate) async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item)): At<(VaultId, Uuid)>,
    Body(change): Body<ChangeItem>,
) -> Answer<ItemChanged> {
    may_take_away(&caller, vault, change.accept_loss && !change.dry_run)?;
    Ok(Json(app.control.change_item(&caller.actor(), vault, item, &change).await?))
}

/// Ends an item's protection. Its points stay, or are deleted and can be brought back.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/stop", operation_id = "stop_protection", tag = "items",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path)), request_body = Stop,
    responses((status = 200, body = Item)))]
pub(crate) async fn stop(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item)): At<(VaultId, Uuid)>,
    Body(wish): Body<Stop>,
) -> Answer<Item> {
    may_take_away(&caller, vault, wish.data == StopHow::Delete)?;
    Ok(Json(app.control.stop(&caller.actor(), vault, item, &wish).await?))
}

/// Puts an item whose protection was stopped under a policy again.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/resume", operation_id = "resume_protection",
    tag = "items", params(("vault" = Uuid, Path), ("item" = Uuid, Path)), request_body = Resume,
    responses((status = 200, body = Item)))]
pub(crate) async fn resume(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item)): At<(VaultId, Uuid)>,
    Body(wish): Body<Resume>,
) -> Answer<Item> {
    may_take_away(&caller, vault, wish.accept_loss)?;
    Ok(Json(app.control.resume(&caller.actor(), vault, item, &wish).await?))
}

/// Brings an item's deleted points back. They stay until somebody says otherwise.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/undelete", operation_id = "undelete_item",
    tag = "items", params(("vault" = Uuid, Path), ("item" = Uuid, Path)), responses((status = 200, body = Item)))]
pub(crate) async fn undelete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item)): At<(VaultId, Uuid)>,
) -> Answer<Item> {
    Ok(Json(app.control.undelete(&caller.actor(), vault, item).await?))
}

/// Backs a machine up now: three times a day at most.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/backup", operation_id = "back_up", tag = "items",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path)), request_body = BackUp,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn back_up(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item)): At<(VaultId, Uuid)>,
    Body(wish): Body<BackUp>,
) -> Queued {
    queued(app.control.back_up(&caller.actor(), vault, item, &wish).await?)
}
