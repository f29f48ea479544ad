//! What the server is, and whether it works.

use crate::answer::Answer;
use crate::app::App;
use crate::route::{Need, Route};
use api::{Health, Version};
use axum::Json;
use axum::extract::State;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(health, version))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/v1/health", Need::Nobody, health), Route::get("/v1/version", Need::Nobody, version)]
}

/// Whether the server can work: its catalog answers.
#[utoipa::path(get, path = "/v1/health", responses((status = 200, body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> Answer<Health> {
    app.control.catalog().vaults().await.map_err(control::Error::from)?;
    Ok(Json(Health { status: "ok".to_owned() }))
}

/// What the server is.
#[utoipa::path(get, path = "/v1/version", responses((status = 200, body = Version)))]
pub(crate) async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: "v1".to_owned() })
}
