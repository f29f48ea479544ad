//! The audit log.

use crate::answer::Answer;
use crate::app::App;
use crate::body::{Limit, Params};
use crate::route::{Need, Route};
use api::{AuditChain, AuditEntry, Page};
use axum::Json;
use axum::extract::State;
use model::access::Action;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

#[derive(OpenApi)]
#[openapi(paths(list, chain))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/audit", Need::Everywhere(Action::ViewAudit), list),
        Route::get("/v1/audit/chain", Need::Everywhere(Action::ViewAudit), chain),
    ]
}

/// Which part of the log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Where the last page ended: its `next`, or an entry's `ordinal`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// Who did what, oldest first.
#[utoipa::path(get, path = "/v1/audit", operation_id = "list_audit", tag = "audit", params(Part),
    responses((status = 200, body = Page<AuditEntry>)))]
pub(crate) async fn list(State(app): State<App>, Params(part): Params<Part>) -> Answer<Page<AuditEntry>> {
    Ok(Json(app.control.audit_log(part.after.as_deref(), part.limit.get()).await?))
}

/// Whether the log is whole: reads all of it.
#[utoipa::path(get, path = "/v1/audit/chain", operation_id = "check_audit", tag = "audit",
    responses((status = 200, body = AuditChain)))]
pub(crate) async fn chain(State(app): State<App>) -> Answer<AuditChain> {
    Ok(Json(app.control.audit_chain().await?))
}
