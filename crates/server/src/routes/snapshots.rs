//! Snapshots of disks: points that no policy owns.

use super::items::{Queued, queued};
use crate::answer::Answer;
use crate::app::App;
use crate::body::{At, Body, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::snapshots::{CompareSnapshots, CopySnapshot, ExportSnapshot, NewSnapshots, Snapshot};
use api::{Accepted, Page};
use axum::extract::State;
use axum::{Extension, Json};
use control::{Paging, SnapshotPlace, WhichSnapshots};
use model::access::Action;
use model::{MachineId, PointId, VaultId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(list, create, measure, show, remove, undelete, export, copy, compare))]
pub(super) struct Document;

/// Where a snapshot is, as the address says.
type Place = At<(VaultId, PointId)>;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault;
    vec![
        Route::get("/v1/vaults/{vault}/snapshots", need(Action::View), list),
        Route::post("/v1/vaults/{vault}/snapshots", need(Action::BackUp), create),
        Route::post("/v1/vaults/{vault}/snapshots/measure", need(Action::Verify), measure),
        Route::get("/v1/vaults/{vault}/snapshots/{snapshot}", need(Action::View), show),
        Route::delete("/v1/vaults/{vault}/snapshots/{snapshot}", need(Action::DeleteData), remove),
        Route::post("/v1/vaults/{vault}/snapshots/{snapshot}/undelete", need(Action::Undelete), undelete),
        Route::post("/v1/vaults/{vault}/snapshots/{snapshot}/export", need(Action::Restore), export),
        // What it needs in the other vault is asked by the act.
        Route::post("/v1/vaults/{vault}/snapshots/{snapshot}/copy", need(Action::Restore), copy),
        Route::post("/v1/vaults/{vault}/snapshots/{snapshot}/compare", need(Action::Verify), compare),
    ]
}

/// Which snapshots.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those of this machine.
    #[param(value_type = Option<Uuid>)]
    machine: Option<MachineId>,
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

fn place((vault, snapshot): (VaultId, PointId)) -> SnapshotPlace {
    SnapshotPlace { vault, snapshot }
}

/// The snapshots of a vault, newest first, with those that were deleted and can be brought back.
#[utoipa::path(get, path = "/v1/vaults/{vault}/snapshots", operation_id = "list_snapshots", tag = "snapshots",
    params(("vault" = Uuid, Path), Which), responses((status = 200, body = Page<Snapshot>)))]
pub(crate) async fn list(
    State(app): State<App>,
    At(vault): At<VaultId>,
    Params(which): Params<Which>,
) -> Answer<Page<Snapshot>> {
    let paging = Paging { after: which.after, limit: Some(which.limit.get()) };
    let which = WhichSnapshots { machine: which.machine, name: which.name };
    Ok(Json(app.control.snapshots(vault, &which, &paging).await?))
}

/// Makes snapshots of disks, all at one instant: one for each machine. Neither policy nor protection is needed.
#[utoipa::path(post, path = "/v1/vaults/{vault}/snapshots", operation_id = "take_snapshots", tag = "snapshots",
    params(("vault" = Uuid, Path)), request_body = NewSnapshots,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
    Body(wish): Body<NewSnapshots>,
) -> Queued {
    queued(app.control.take_snapshots(&caller.actor(), vault, wish).await?)
}

/// Measures what the vault's snapshots take up, those that were measured longest ago. Every day this happens by itself.
#[utoipa::path(post, path = "/v1/vaults/{vault}/snapshots/measure", operation_id = "measure_snapshots",
    tag = "snapshots", params(("vault" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn measure(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(vault): At<VaultId>,
) -> Queued {
    queued(app.control.measure_snapshots(&caller.actor(), vault).await?)
}

/// One snapshot.
#[utoipa::path(get, path = "/v1/vaults/{vault}/snapshots/{snapshot}", operation_id = "show_snapshot",
    tag = "snapshots", params(("vault" = Uuid, Path), ("snapshot" = Uuid, Path)),
    responses((status = 200, body = Snapshot)))]
pub(crate) async fn show(State(app): State<App>, At(at): Place) -> Answer<Snapshot> {
    Ok(Json(app.control.snapshot(place(at)).await?))
}

/// Deletes a snapshot such that it can be brought back.
#[utoipa::path(delete, path = "/v1/vaults/{vault}/snapshots/{snapshot}", operation_id = "delete_snapshot",
    tag = "snapshots", params(("vault" = Uuid, Path), ("snapshot" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
) -> Queued {
    queued(app.control.delete_snapshot(&caller.actor(), place(at)).await?)
}

/// Brings a deleted snapshot back.
#[utoipa::path(post, path = "/v1/vaults/{vault}/snapshots/{snapshot}/undelete", operation_id = "undelete_snapshot",
    tag = "snapshots", params(("vault" = Uuid, Path), ("snapshot" = Uuid, Path)),
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn undelete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
) -> Queued {
    queued(app.control.undelete_snapshot(&caller.actor(), place(at)).await?)
}

/// Makes a file of a disk of a snapshot: a new disk, or a VHD for others.
#[utoipa::path(post, path = "/v1/vaults/{vault}/snapshots/{snapshot}/export", operation_id = "export_snapshot",
    tag = "snapshots", params(("vault" = Uuid, Path), ("snapshot" = Uuid, Path)), request_body = ExportSnapshot,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn export(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<ExportSnapshot>,
) -> Queued {
    queued(app.control.export_snapshot(&caller.actor(), place(at), wish).await?)
}

/// Copies a snapshot to another vault, in which the caller must be allowed to back up: only what that has not.
#[utoipa::path(post, path = "/v1/vaults/{vault}/snapshots/{snapshot}/copy", operation_id = "copy_snapshot",
    tag = "snapshots", params(("vault" = Uuid, Path), ("snapshot" = Uuid, Path)), request_body = CopySnapshot,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn copy(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<CopySnapshot>,
) -> Queued {
    queued(app.control.copy_snapshot(&caller.asker(), place(at), wish).await?)
}

/// Tells what changed from another snapshot to this one: `Differences`, as the job's result.
#[utoipa::path(post, path = "/v1/vaults/{vault}/snapshots/{snapshot}/compare", operation_id = "compare_snapshots",
    tag = "snapshots", params(("vault" = Uuid, Path), ("snapshot" = Uuid, Path)), request_body = CompareSnapshots,
    responses((status = 202, body = Accepted, headers(("Location" = String)))))]
pub(crate) async fn compare(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(at): Place,
    Body(wish): Body<CompareSnapshots>,
) -> Queued {
    queued(app.control.compare_snapshots(&caller.actor(), place(at), wish).await?)
}
