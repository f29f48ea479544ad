//! Hosts and machines.

use super::vaults::Part;
use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{Host, Machine, MachineStanding, NewHost, Page, Tags};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use control::{Paging, WhichMachines};
use model::access::Action;
use model::{HostId, MachineId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(list_hosts, add_host, remove_host, list, show, tag))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    // Hosts and machines belong to no vault: who protects machines in one must see which there are.
    let sees = Need::Somewhere(Action::View);
    vec![
        Route::get("/v1/hosts", sees, list_hosts),
        Route::post("/v1/hosts", Need::Everywhere(Action::RegisterHost), add_host),
        Route::delete("/v1/hosts/{host}", Need::Everywhere(Action::UnregisterHost), remove_host),
        Route::get("/v1/machines", sees, list),
        Route::get("/v1/machines/{machine}", sees, show),
        Route::put("/v1/machines/{machine}/tags", Need::Everywhere(Action::ChangeProtection), tag),
    ]
}

/// Which machines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Names that fit this: `*` is anything, `?` one character; case does not matter.
    #[param(min_length = 1, max_length = 255)]
    name: Option<String>,
    /// Those that stand so to protection.
    #[param(inline)]
    standing: Option<MachineStanding>,
    /// Those on this host.
    #[param(value_type = Option<Uuid>)]
    host: Option<HostId>,
    /// Those that carry this tag: `key` or `key=value`.
    #[param(min_length = 1, max_length = 385)]
    tag: Option<String>,
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// The hosts, by name.
#[utoipa::path(get, path = "/v1/hosts", operation_id = "list_hosts", tag = "machines", params(Part),
    responses((status = 200, body = Page<Host>)))]
pub(crate) async fn list_hosts(State(app): State<App>, Params(part): Params<Part>) -> Answer<Page<Host>> {
    Ok(Json(app.control.hosts(&part.into()).await?))
}

/// Adds a host. Its machines are seen once its mover has told of them.
#[utoipa::path(post, path = "/v1/hosts", operation_id = "add_host", tag = "machines", request_body = NewHost,
    responses((status = 201, body = Host)))]
pub(crate) async fn add_host(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewHost>,
) -> Result<(StatusCode, Json<Host>), Refused> {
    Ok((StatusCode::CREATED, Json(app.control.add_host(&caller.actor(), new).await?)))
}

/// Forgets a host and its machines, none of which is protected.
#[utoipa::path(delete, path = "/v1/hosts/{host}", operation_id = "remove_host", tag = "machines",
    params(("host" = Uuid, Path)), responses((status = 204)))]
pub(crate) async fn remove_host(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(host): At<HostId>,
) -> Result<StatusCode, Refused> {
    app.control.remove_host(&caller.actor(), host).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The machines, by name. In which vault one is stands there if the caller may see the vault.
#[utoipa::path(get, path = "/v1/machines", operation_id = "list_machines", tag = "machines", params(Which),
    responses((status = 200, body = Page<Machine>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<Which>,
) -> Answer<Page<Machine>> {
    let Which { name, standing, host, tag, after, limit } = query;
    let which = WhichMachines { name, standing, host, tag };
    let may_see = |vault| caller.may(Action::View, Some(vault));
    let paging = Paging { after, limit: Some(limit.get()) };
    Ok(Json(app.control.machines(&which, may_see, &paging).await?))
}

/// One machine.
#[utoipa::path(get, path = "/v1/machines/{machine}", operation_id = "show_machine", tag = "machines",
    params(("machine" = Uuid, Path)), responses((status = 200, body = Machine)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(machine): At<MachineId>,
) -> Answer<Machine> {
    let may_see = |vault| caller.may(Action::View, Some(vault));
    Ok(Json(app.control.machine(machine, may_see).await?))
}

/// Gives a machine these tags, and no others.
#[utoipa::path(put, path = "/v1/machines/{machine}/tags", operation_id = "tag_machine", tag = "machines",
    params(("machine" = Uuid, Path)), request_body = Tags, responses((status = 200, body = Machine)))]
pub(crate) async fn tag(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(machine): At<MachineId>,
    Body(tags): Body<Tags>,
) -> Answer<Machine> {
    let may_see = |vault| caller.may(Action::View, Some(vault));
    Ok(Json(app.control.tag_machine(&caller.actor(), machine, tags, may_see).await?))
}
