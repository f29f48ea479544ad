//! Signing in and out.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::Body;
use crate::guard::{Caller, Peer};
use crate::route::{Need, Route};
use api::{BeginSignIn, Credentials, FinishSignIn, Me, Problem, RoleGrant, Session, SignInBegun};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::access::Scope;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(sign_in, begin, finish, sign_out, me))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/login", Need::Nobody, sign_in),
        Route::post("/v1/login/sso", Need::Nobody, begin),
        Route::post("/v1/login/sso/finish", Need::Nobody, finish),
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

/// Begins a sign-in at the provider of single sign-on.
#[utoipa::path(post, path = "/v1/login/sso", operation_id = "begin_sign_in", tag = "session",
    request_body = BeginSignIn, responses((status = 200, body = SignInBegun)))]
pub(crate) async fn begin(State(app): State<App>, Body(wish): Body<BeginSignIn>) -> Answer<SignInBegun> {
    Ok(Json(app.control.begin_sign_in(&wish).await?))
}

/// Begins a session of whoever came back from the provider of single sign-on.
#[utoipa::path(post, path = "/v1/login/sso/finish", operation_id = "finish_sign_in", tag = "session",
    request_body = FinishSignIn, responses((status = 200, body = Session),
        (status = 403, description = "No group of theirs gives a role, or they are shut out", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn finish(
    State(app): State<App>,
    Peer(peer): Peer,
    Body(answer): Body<FinishSignIn>,
) -> Answer<Session> {
    Ok(Json(app.control.finish_sign_in(&answer, peer).await?))
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
