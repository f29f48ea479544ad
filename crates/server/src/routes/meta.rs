//! What the server is, whether it works, and what its API is.

use crate::answer::Answer;
use crate::app::App;
use crate::route::{Need, Route};
use api::{Health, Version};
use axum::Json;
use axum::extract::State;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(health, version, document))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/health", Need::Nobody, health),
        Route::get("/v1/version", Need::Nobody, version),
        Route::get("/v1/openapi.json", Need::Nobody, document),
    ]
}

/// Whether the server can work: its catalog answers.
#[utoipa::path(get, path = "/v1/health", operation_id = "health", tag = "server", responses((status = 200, body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> Answer<Health> {
    app.control.catalog().vaults().await.map_err(control::Error::from)?;
    Ok(Json(Health { status: "ok".to_owned() }))
}

/// What the server is.
#[utoipa::path(get, path = "/v1/version", operation_id = "version", tag = "server", responses((status = 200, body = Version)))]
pub(crate) async fn version(State(app): State<App>) -> Json<Version> {
    let single_sign_on = app.control.has_single_sign_on();
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: "v1".to_owned(), single_sign_on })
}

/// The API's description in the OpenAPI format.
#[utoipa::path(get, path = "/v1/openapi.json", operation_id = "openapi", tag = "server", responses((status = 200, body = serde_json::Value)))]
pub(crate) async fn document() -> Json<serde_json::Value> {
    Json(crate::openapi::document())
}
