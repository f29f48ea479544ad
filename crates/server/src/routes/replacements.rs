//! Machines put back to a point in their own place: begun, seen, finished, undone; and what they kept removed.

use super::items::{Queued, queued};
use crate::answer::Answer;
use crate::app::App;
use crate::body::{At, Body};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Accepted, Page, RemoveKept, Replace, Replacement, UndoReplacement};
use axum::extract::State;
use axum::{Extension, Json};
use control::PointPlace;
use model::access::Action;
use model::{PointId, VaultId};
use utoipa::OpenApi;
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(replace, list, finish, undo, remove))]
pub(super) struct Document;

/// Where a replacement is, as the address says.
type Place = At<(VaultId, Uuid, Uuid)>;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::post("/v1/vaults/{vault}/items/{item}/points/{point}/replace", need(Action::Restore), replace),
        Route::get("/v1/vaults/{vault}/items/{item}/replacements", need(Action::View), list),
        Route::post(
            "/v1/vaults/{vault}/items/{item}/replacements/{replacement}/finish",
            need(Action::Restore),
            finish,
        ),
        Route::post(
            "/v1/vaults/{vault}/items/{item}/replacements/{replacement}/undo",
            need(Action::Restore),
            undo,
        ),
        // What a guest wrote goes for good.
        Route::post(
            "/v1/vaults/{vault}/items/{item}/replacements/{replacement}/remove",
            need(Action::DeleteData),
            remove,
        ),
    ]
}

/// Puts the machine back to a point, in its own place; or tells what that would be.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/replace", operation_id = "replace_machine",
    tag = "restores", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    request_body = Replace, responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn replace(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item, point)): At<(VaultId, Uuid, PointId)>,
    Body(wish): Body<Replace>,
) -> Queued {
    queued(app.control.replace(&caller.actor(), PointPlace { vault, item, point }, &wish).await?)
}

/// Replacements of the machine that keep something, oldest first.
#[utoipa::path(get, path = "/v1/vaults/{vault}/items/{item}/replacements", operation_id = "list_replacements",
    tag = "restores", params(("vault" = Uuid, Path), ("item" = Uuid, Path)),
    responses((status = 200, body = Page<Replacement>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At((vault, item)): At<(VaultId, Uuid)>,
) -> Answer<Page<Replacement>> {
    Ok(Json(Page { items: app.control.replacements(vault, item).await?, next: None }))
}

/// Goes on with a replacement whose job ended early.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/replacements/{replacement}/finish",
    operation_id = "finish_replacement", tag = "restores",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("replacement" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn finish(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(place): Place,
) -> Queued {
    queued(app.control.finish_replacement(&caller.actor(), place).await?)
}

/// Takes a replacement back, however far it came. What the machine wrote since is kept beside its disks.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/replacements/{replacement}/undo",
    operation_id = "undo_replacement", tag = "restores",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("replacement" = Uuid, Path)),
    request_body = UndoReplacement, responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn undo(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(place): Place,
    Body(wish): Body<UndoReplacement>,
) -> Queued {
    queued(app.control.undo_replacement(&caller.actor(), place, &wish).await?)
}

/// Removes what a finished or undone replacement kept. It cannot be undone any more.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/replacements/{replacement}/remove",
    operation_id = "remove_kept", tag = "restores",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("replacement" = Uuid, Path)),
    request_body = RemoveKept, responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(place): Place,
    Body(wish): Body<RemoveKept>,
) -> Queued {
    queued(app.control.remove_kept(&caller.actor(), place, wish).await?)
}
