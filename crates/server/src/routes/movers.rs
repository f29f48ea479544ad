//! Movers: how they join, which there are, how they are shut out.

use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::work::{Join, Joined};
use api::{Mover, Page, TokenMade};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::access::Action;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(list, make_token, join, remove))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/movers", Need::Everywhere(Action::View), list),
        Route::post("/v1/movers/tokens", Need::Everywhere(Action::RegisterHost), make_token),
        // Whoever has a token that was made for it.
        Route::post("/v1/movers/join", Need::Nobody, join),
        Route::delete("/v1/movers/{mover}", Need::Everywhere(Action::UnregisterHost), remove),
    ]
}

/// All movers, by name.
#[utoipa::path(get, path = "/v1/movers", operation_id = "list_movers", tag = "movers",
    responses((status = 200, body = Page<Mover>)))]
pub(crate) async fn list(State(app): State<App>) -> Answer<Page<Mover>> {
    Ok(Json(Page { items: app.control.movers().await?, next: None }))
}

/// Makes a token that a mover joins with, once. It is shown this once.
#[utoipa::path(post, path = "/v1/movers/tokens", operation_id = "make_join_token", tag = "movers",
    responses((status = 201, body = TokenMade)))]
pub(crate) async fn make_token(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<(StatusCode, Json<TokenMade>), Refused> {
    Ok((StatusCode::CREATED, Json(app.control.make_join_token(&caller.actor()).await?)))
}

/// Joins: a mover gives the token that was made for it, and gets one of its own.
#[utoipa::path(post, path = "/v1/movers/join", operation_id = "join", tag = "movers", request_body = Join,
    responses((status = 201, body = Joined)))]
pub(crate) async fn join(
    State(app): State<App>,
    Body(wish): Body<Join>,
) -> Result<(StatusCode, Json<Joined>), Refused> {
    Ok((StatusCode::CREATED, Json(app.control.join(&wish).await?)))
}

/// Shuts a mover out. Its hosts stay.
#[utoipa::path(delete, path = "/v1/movers/{mover}", operation_id = "remove_mover", tag = "movers",
    params(("mover" = String, Path)), responses((status = 204, description = "It is shut out")))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At(mover): At<String>,
) -> Result<StatusCode, Refused> {
    app.control.remove_mover(&caller.actor(), &mover).await?;
    Ok(StatusCode::NO_CONTENT)
}
