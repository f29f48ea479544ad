//! Images, and machines made of them.

use super::items::{Queued, queued};
use crate::answer::Answer;
use crate::app::App;
use crate::body::{At, Body, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::images::{CopyImage, CreateMachines, Image, ImageMachine, NewImage};
use api::{Accepted, Page};
use axum::extract::State;
use axum::{Extension, Json};
use control::{ImagePlace, Paging};
use model::access::Action;
use model::{PointId, VaultId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(list, create, show, remove, undelete, copy, machines, create_machines))]
pub(super) struct Document;

/// Where a version is, as the address says.
type Place = At<(VaultId, PointId)>;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::get("/v1/vaults/{vault}/images", need(Action::View), list),
        Route::post("/v1/vaults/{vault}/images", need(Action::CaptureImage), create),
        Route::get("/v1/vaults/{vault}/images/{image}", need(Action::View), show),
        Route::delete("/v1/vaults/{vault}/images/{image}", need(Action::DeleteData), remove),
        Route::post("/v1/vaults/{vault}/images/{image}/undelete", need(Action::Undelete), undelete),
        // What it needs in the other vault is asked by the act.
        Route::post("/v1/vaults/{vault}/images/{image}/copy", need(Action::Restore), copy),
        Route::get("/v1/vaults/{vault}/images/{image}/machines", need(Action::View), machines),
        Route::post(
            "/v1/vaults/{vault}/images/{image}/machines",
            need(Action::CreateMachines),
            create_machines,
        ),
    ]
}

/// Which images.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
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

/// Which page of machines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichPage {
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

fn place((vault, image): (VaultId, PointId)) -> ImagePlace {
    ImagePlace { vault, image }
}

/// The images of a vault by name and version, with those that were deleted and can be brought back.
#[utoipa::path(get, path = "/v1/vaults/{vault}/images", operation_id = "list_images", tag = "images",
    params(("vault" = Uuid, Path), Which), responses((status = 200, body = Page<Image>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At(vault): At<VaultId>,
    Params(which): Params<Which>,
) -> Answer<Page<Image>> {
    let paging = Paging { after: which.after, limit: Some(which.limit.get()) };
    Ok(Json(app.control.images(vault, which.name.as_deref(), &paging).await?))
}

/// Makes a machine's disks the next version of an image: it is looked whether they are nobody's. The machine must be off,
/// or is stopped for it.
#[utoipa::path(post, path = "/v1/vaults/{vault}/images", operation_id = "create_image", tag = "images",
    params(("vault" = Uuid, Path)), request_body = NewImage,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
    Body(wish): Body<NewImage>,
) -> Queued {
    queued(app.control.capture_image(&caller.actor(), vault, wish).await?)
}

/// One version.
#[utoipa::path(get, path = "/v1/vaults/{vault}/images/{image}", operation_id = "show_image", tag = "images",
    params(("vault" = Uuid, Path), ("image" = Uuid, Path)), responses((status = 200, body = Image)))]
pub(crate) async fn show(State(app): State<App>, At(at): Place) -> Answer<Image> {
    Ok(Json(app.control.image(place(at)).await?))
}

/// Deletes a version such that it can be brought back. Machines that were made of it do not need it; it is refused while
/// some are being made.
#[utoipa::path(delete, path = "/v1/vaults/{vault}/images/{image}", operation_id = "delete_image", tag = "images",
    params(("vault" = Uuid, Path), ("image" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
) -> Queued {
    queued(app.control.delete_image(&caller.actor(), place(at)).await?)
}

/// Brings a deleted version back.
#[utoipa::path(post, path = "/v1/vaults/{vault}/images/{image}/undelete", operation_id = "undelete_image",
    tag = "images", params(("vault" = Uuid, Path), ("image" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn undelete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
) -> Queued {
    queued(app.control.undelete_image(&caller.actor(), place(at)).await?)
}

/// Copies a version to another vault, in which the caller must be allowed to back up. It keeps its number.
#[utoipa::path(post, path = "/v1/vaults/{vault}/images/{image}/copy", operation_id = "copy_image", tag = "images",
    params(("vault" = Uuid, Path), ("image" = Uuid, Path)), request_body = CopyImage,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn copy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<CopyImage>,
) -> Queued {
    queued(app.control.copy_image(&caller.asker(), place(at), wish).await?)
}

/// The machines that jobs have made of a version, by name. They may be gone by now.
#[utoipa::path(get, path = "/v1/vaults/{vault}/images/{image}/machines", operation_id = "list_image_machines",
    tag = "images", params(("vault" = Uuid, Path), ("image" = Uuid, Path), WhichPage),
    responses((status = 200, body = Page<ImageMachine>)))]
pub(crate) async fn machines(
    State(app): State<App>,
    At(at): Place,
    Params(which): Params<WhichPage>,
) -> Answer<Page<ImageMachine>> {
    let paging = Paging { after: which.after, limit: Some(which.limit.get()) };
    Ok(Json(app.control.image_machines(place(at), &paging).await?))
}

/// Makes machines of a version on a host, each with a name, a uuid, addresses and a guest of its own.
#[utoipa::path(post, path = "/v1/vaults/{vault}/images/{image}/machines", operation_id = "create_machines",
    tag = "images", params(("vault" = Uuid, Path), ("image" = Uuid, Path)), request_body = CreateMachines,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn create_machines(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<CreateMachines>,
) -> Queued {
    queued(app.control.create_machines(&caller.actor(), place(at), wish).await?)
}
