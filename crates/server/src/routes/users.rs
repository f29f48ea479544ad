//! Users, what they may do, and the tokens of services.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::{NewToken, NewUser, Page, Roles, TokenInfo, TokenMade, User, UserChange};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::access::Action;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(list, create, change, set_roles, list_tokens, create_token, remove_token))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    let gives_roles = Need::Somewhere(Action::GrantAccess);
    vec![
        Route::get("/v1/users", gives_roles, list),
        Route::post("/v1/users", gives_roles, create),
        // Of itself whoever it is, of others by what the roles say: `control` asks.
        Route::patch("/v1/users/{user}", Need::SignedIn, change),
        Route::put("/v1/users/{user}/roles", gives_roles, set_roles),
        Route::get("/v1/users/{user}/tokens", Need::SignedIn, list_tokens),
        Route::post("/v1/users/{user}/tokens", Need::SignedIn, create_token),
        Route::delete("/v1/users/{user}/tokens/{token}", Need::SignedIn, remove_token),
    ]
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Where the last page ended: its `next`.
    after: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// All users, by name.
#[utoipa::path(get, path = "/v1/users", operation_id = "list_users", tag = "users", params(Part),
    responses((status = 200, body = Page<User>)))]
pub(crate) async fn list(State(app): State<App>, Params(part): Params<Part>) -> Answer<Page<User>> {
    Ok(Json(app.control.users(part.after.as_deref(), part.limit.get()).await?))
}

/// Makes a user.
#[utoipa::path(post, path = "/v1/users", operation_id = "create_user", tag = "users", request_body = NewUser,
    responses((status = 201, body = User)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, Json<User>), Refused> {
    Ok((StatusCode::CREATED, Json(app.control.create_user(&caller.asker(), new).await?)))
}

/// Shuts a user out or lets it in, or gives it another password.
#[utoipa::path(patch, path = "/v1/users/{user}", operation_id = "change_user", tag = "users",
    params(("user" = Uuid, Path)), request_body = UserChange, responses((status = 200, body = User)))]
pub(crate) async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(user): At<Uuid>,
    Body(change): Body<UserChange>,
) -> Answer<User> {
    Ok(Json(app.control.change_user(&caller.asker(), user, change).await?))
}

/// Gives a user these roles, and no others.
#[utoipa::path(put, path = "/v1/users/{user}/roles", operation_id = "set_roles", tag = "users",
    params(("user" = Uuid, Path)), request_body = Roles, responses((status = 200, body = User)))]
pub(crate) async fn set_roles(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(user): At<Uuid>,
    Body(roles): Body<Roles>,
) -> Answer<User> {
    Ok(Json(app.control.set_roles(&caller.asker(), user, &roles).await?))
}

/// A user's sessions and tokens, newest first.
#[utoipa::path(get, path = "/v1/users/{user}/tokens", operation_id = "list_tokens", tag = "users",
    params(("user" = Uuid, Path)), responses((status = 200, body = Page<TokenInfo>)))]
pub(crate) async fn list_tokens(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(user): At<Uuid>,
) -> Answer<Page<TokenInfo>> {
    Ok(Json(app.control.tokens(&caller.asker(), user).await?))
}

/// Makes a token for a service. It is shown this once.
#[utoipa::path(post, path = "/v1/users/{user}/tokens", operation_id = "create_token", tag = "users",
    params(("user" = Uuid, Path)), request_body = NewToken, responses((status = 201, body = TokenMade)))]
pub(crate) async fn create_token(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(user): At<Uuid>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<TokenMade>), Refused> {
    Ok((StatusCode::CREATED, Json(app.control.create_token(&caller.asker(), user, &new).await?)))
}

/// Makes a token, or a session, worthless.
#[utoipa::path(delete, path = "/v1/users/{user}/tokens/{token}", operation_id = "remove_token", tag = "users",
    params(("user" = Uuid, Path), ("token" = String, Path, description = "Its `id`; not the token")),
    responses((status = 204, description = "It is no longer good")))]
pub(crate) async fn remove_token(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((user, token)): At<(Uuid, String)>,
) -> Result<StatusCode, Refused> {
    app.control.remove_token(&caller.asker(), user, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}
