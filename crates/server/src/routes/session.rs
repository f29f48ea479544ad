//! Signing in and out.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::Body;
use crate::guard::{Caller, Peer};
use crate::route::{Need, Route};
use api::{Credentials, Me, RoleGrant, Session};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::access::Scope;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(sign_in, sign_out, me))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/login", Need::Nobody, sign_in),
        Route::post("/v1/logout", Need::SignedIn, sign_out),
        Route::get("/v1/me", Need::SignedIn, me),
    ]
}

/// Begins a session.
#[utoipa::path(post, path = "/v1/login", operation_id = "login", tag = "session", request_body = Credentials,
    responses((status = 200, body = Session)))]
pub(crate) async fn sign_in(
    State(app): State<App>,
    Peer(peer): Peer,
    Body(credentials): Body<Credentials>,
) -> Answer<Session> {
    Ok(Json(app.control.sign_in(&credentials, peer).await?))
}

/// Ends the session, or makes the token that was shown worthless.
#[utoipa::path(post, path = "/v1/logout", operation_id = "logout", tag = "session",
    responses((status = 204, description = "The token is no longer good")))]
pub(crate) async fn sign_out(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, Refused> {
    app.control.sign_out(&caller.asker(), &caller.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is signed in, and what they may do.
#[utoipa::path(get, path = "/v1/me", operation_id = "me", tag = "session", responses((status = 200, body = Me)))]
pub(crate) async fn me(Extension(caller): Extension<Caller>) -> Json<Me> {
    let vault = |scope| match scope {
        Scope::Vault { vault } => Some(vault),
        Scope::Everything {} => None,
    };
    let roles = caller.grants.iter().map(|one| RoleGrant { role: one.role, vault: vault(one.scope) });
    Json(Me { id: caller.user, roles: roles.collect(), name: caller.name })
}
