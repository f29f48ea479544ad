//! Recovery points of an item.

use super::items::{Queued, queued};
use super::vaults::Part;
use crate::answer::Answer;
use crate::app::App;
use crate::body::{At, Body, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Accepted, Page, Pin, Point, Restore, RestoreInto};
use axum::extract::State;
use axum::{Extension, Json};
use control::PointPlace;
use model::access::Action;
use model::{PointId, VaultId};
use utoipa::OpenApi;
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(list, show, remove, undelete, pin, restore, verify, restore_into))]
pub(super) struct Document;

/// Where a point is, as the address says.
pub(super) type Place = At<(VaultId, Uuid, PointId)>;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::get("/v1/vaults/{vault}/items/{item}/points", need(Action::View), list),
        Route::get("/v1/vaults/{vault}/items/{item}/points/{point}", need(Action::View), show),
        Route::delete("/v1/vaults/{vault}/items/{item}/points/{point}", need(Action::DeleteData), remove),
        Route::post(
            "/v1/vaults/{vault}/items/{item}/points/{point}/undelete",
            need(Action::Undelete),
            undelete,
        ),
        Route::put("/v1/vaults/{vault}/items/{item}/points/{point}/pin", need(Action::Pin), pin),
        Route::post("/v1/vaults/{vault}/items/{item}/points/{point}/restore", need(Action::Restore), restore),
        Route::post(
            "/v1/vaults/{vault}/items/{item}/points/{point}/restore-into",
            need(Action::Restore),
            restore_into,
        ),
        Route::post("/v1/vaults/{vault}/items/{item}/points/{point}/verify", need(Action::Verify), verify),
    ]
}

fn place((vault, item, point): (VaultId, Uuid, PointId)) -> PointPlace {
    PointPlace { vault, item, point }
}

/// The points of an item, newest first, with those that were deleted and can be brought back.
#[utoipa::path(get, path = "/v1/vaults/{vault}/items/{item}/points", operation_id = "list_points", tag = "points",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), Part), responses((status = 200, body = Page<Point>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At((vault, item)): At<(VaultId, Uuid)>,
    Params(part): Params<Part>,
) -> Answer<Page<Point>> {
    Ok(Json(app.control.points(vault, item, &part.into()).await?))
}

/// One point.
#[utoipa::path(get, path = "/v1/vaults/{vault}/items/{item}/points/{point}", operation_id = "show_point",
    tag = "points", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    responses((status = 200, body = Point)))]
pub(crate) async fn show(State(app): State<App>, At(at): Place) -> Answer<Point> {
    Ok(Json(app.control.point(place(at)).await?))
}

/// Deletes a point such that it can be brought back.
#[utoipa::path(delete, path = "/v1/vaults/{vault}/items/{item}/points/{point}", operation_id = "delete_point",
    tag = "points", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
) -> Queued {
    queued(app.control.delete_point(&caller.actor(), place(at)).await?)
}

/// Brings a deleted point back. If the policy would have it go again at once, it is pinned.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/undelete",
    operation_id = "undelete_point", tag = "points",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn undelete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
) -> Queued {
    queued(app.control.undelete_point(&caller.actor(), place(at)).await?)
}

/// Keeps a point until somebody says otherwise, or says otherwise.
#[utoipa::path(put, path = "/v1/vaults/{vault}/items/{item}/points/{point}/pin", operation_id = "pin_point",
    tag = "points", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    request_body = Pin, responses((status = 200, body = Point)))]
pub(crate) async fn pin(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<Pin>,
) -> Answer<Point> {
    Ok(Json(app.control.pin(&caller.actor(), place(at), wish).await?))
}

/// Writes disks of a point as images.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/restore", operation_id = "restore_point",
    tag = "points", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    request_body = Restore, responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn restore(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<Restore>,
) -> Queued {
    queued(app.control.restore(&caller.actor(), place(at), wish).await?)
}

/// Writes disks of a point into images or NBD exports that are there, which is written over; or tells how much that
/// would be.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/restore-into",
    operation_id = "restore_point_into", tag = "points",
    params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    request_body = RestoreInto, responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn restore_into(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<RestoreInto>,
) -> Queued {
    queued(app.control.restore_into(&caller.actor(), place(at), wish).await?)
}

/// Reads a point back, to see that it can be.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/verify", operation_id = "verify_point",
    tag = "points", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn verify(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
) -> Queued {
    queued(app.control.verify(&caller.actor(), place(at)).await?)
}
