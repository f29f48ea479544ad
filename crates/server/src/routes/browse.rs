//! What movers ask about sessions on files: which there are, what is asked; and what they answer.

use crate::answer::Refused;
use crate::app::App;
use crate::body::{At, Body};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::Code;
use api::files::{FilesAsked, FilesOrder, FilesSaid, FilesWait};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use utoipa::OpenApi;
use uuid::Uuid;

#[derive(OpenApi)]
#[openapi(paths(claim, next, alive, say, piece))]
pub(super) struct Document;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/work/files/claim", Need::Mover, claim),
        Route::post("/v1/work/files/{session}/next", Need::Mover, next),
        Route::post("/v1/work/files/{session}/alive", Need::Mover, alive),
        Route::post("/v1/work/files/{session}/answers/{number}", Need::Mover, say),
        Route::put("/v1/work/files/{session}/answers/{number}/pieces/{piece}", Need::Mover, piece),
    ]
}

fn or_nothing<T: serde::Serialize>(found: Option<T>) -> Response {
    found.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |found| Json(found).into_response())
}

/// Asks for a session on files to answer, and waits a little for it.
#[utoipa::path(post, path = "/v1/work/files/claim", operation_id = "claim_files", tag = "work",
    request_body = FilesWait, responses((status = 200, body = FilesOrder),
    (status = 204, description = "There is none")))]
pub(crate) async fn claim(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    Body(wish): Body<FilesWait>,
) -> Result<Response, Refused> {
    Ok(or_nothing(app.control.claim_files(&mover.name, wish.wait_seconds).await?))
}

/// Asks what is asked next in a session, and waits a little for it.
#[utoipa::path(post, path = "/v1/work/files/{session}/next", operation_id = "next_of_files", tag = "work",
    params(("session" = Uuid, Path)), request_body = FilesWait, responses((status = 200, body = FilesAsked),
    (status = 204, description = "Nothing is")))]
pub(crate) async fn next(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    At(session): At<Uuid>,
    Body(wish): Body<FilesWait>,
) -> Result<Response, Refused> {
    Ok(or_nothing(app.control.next_of_files(&mover.name, session, wish.wait_seconds).await?))
}

/// Tells that a session's mover is at work.
#[utoipa::path(post, path = "/v1/work/files/{session}/alive", operation_id = "files_alive", tag = "work",
    params(("session" = Uuid, Path)), responses((status = 204, description = "It is noted")))]
pub(crate) async fn alive(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    At(session): At<Uuid>,
) -> Result<StatusCode, Refused> {
    app.control.files_alive(&mover.name, session)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers a question, or tells how its stream ended.
#[utoipa::path(post, path = "/v1/work/files/{session}/answers/{number}", operation_id = "answer_files",
    tag = "work", params(("session" = Uuid, Path), ("number" = u64, Path)), request_body = FilesSaid,
    responses((status = 204, description = "It is told")))]
pub(crate) async fn say(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    At(at): At<(Uuid, u64)>,
    Body(said): Body<FilesSaid>,
) -> Result<StatusCode, Refused> {
    app.control.files_said(&mover.name, at, said)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a piece of a stream, of 1 MiB at most.
#[utoipa::path(put, path = "/v1/work/files/{session}/answers/{number}/pieces/{piece}", operation_id = "bring_piece",
    tag = "work", params(("session" = Uuid, Path), ("number" = u64, Path), ("piece" = u64, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 202, description = "There is no room yet: it is to be sent again"),
              (status = 204, description = "It is taken")))]
pub(crate) async fn piece(
    State(app): State<App>,
    Extension(mover): Extension<Caller>,
    At(at): At<(Uuid, u64, u64)>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refused> {
    let bytes =
        bytes.map_err(|_| Refused::new(Code::TooLarge, "the piece could not be read, or is too large"))?;
    let is_taken = app.control.files_piece(&mover.name, at, bytes.into()).await?;
    Ok(if is_taken { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
}
