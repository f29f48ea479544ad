//! Files in points: sessions, and what their callers list, read, bring out and find.
//!
//! **A stream that breaks off is never taken for a whole one.** A file comes with its length; whatever has none comes in
//! chunks, the last of which is not sent when the mover fails: HTTP calls both an error. Who wants more asks for the
//! download by the number in its header: it says whether it is complete, and how many bytes that were.

use super::points::Place;
use crate::answer::{Answer, Refused};
use crate::app::App;
use crate::body::{At, Body, Limit, Params};
use crate::guard::Caller;
use crate::route::{Need, Route};
use api::Page;
use api::files::{
    ArchiveFormat, FilesDownload, FilesEntry, FilesQuestion, FilesRegion, FilesSaid, FilesSession,
    NamePattern, OpenFiles,
};
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue,
    RANGE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use control::{FilesPlace, FilesReply, PointPlace};
use futures_util::stream;
use model::VaultId;
use model::access::Action;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

/// The number of a download within its session.
static DOWNLOAD: HeaderName = HeaderName::from_static("strongroom-download");
/// Found by a search if nobody says how many.
const MATCHES: u32 = 10_000;

#[derive(OpenApi)]
#[openapi(paths(open, show, close, volumes, entries, content, archive, matches, download))]
pub(super) struct Document;

/// Where a session is, as the address says.
type Session = At<(VaultId, Uuid)>;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::InVault(Action::Restore);
    vec![
        Route::post("/v1/vaults/{vault}/items/{item}/points/{point}/files", need, open),
        Route::get("/v1/vaults/{vault}/files/{session}", need, show),
        Route::delete("/v1/vaults/{vault}/files/{session}", need, close),
        Route::get("/v1/vaults/{vault}/files/{session}/volumes", need, volumes),
        Route::get("/v1/vaults/{vault}/files/{session}/entries", need, entries),
        Route::get("/v1/vaults/{vault}/files/{session}/content", need, content),
        Route::get("/v1/vaults/{vault}/files/{session}/archive", need, archive),
        Route::get("/v1/vaults/{vault}/files/{session}/matches", need, matches),
        Route::get("/v1/vaults/{vault}/files/{session}/downloads/{number}", need, download),
    ]
}

/// A page of a folder.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Folder {
    /// `VOLUME:/PATH`, names escaped as in answers.
    place: String,
    /// Where the last page ended: its `next`.
    after: Option<u32>,
    /// How many entries at most; a page of long names has fewer.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// One file.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct File {
    /// `VOLUME:/PATH`, names escaped as in answers.
    place: String,
}

/// A file or folder as a stream.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Packed {
    /// `VOLUME:/PATH`, names escaped as in answers.
    place: String,
    /// As what.
    #[param(inline)]
    format: ArchiveFormat,
}

/// A search.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Beneath this folder; in every volume that has files if not said.
    place: Option<String>,
    /// What the whole name is: `*`, `?` and `[...]` as in a shell. This or `regex`.
    name: Option<String>,
    /// A regular expression that is found in the name.
    regex: Option<String>,
    /// Capitals and small letters are the same.
    #[serde(default)]
    ignore_case: bool,
    /// How many at most.
    #[param(minimum = 1, maximum = 1_000_000, default = 10_000)]
    limit: Option<u32>,
}

fn place(At((vault, session)): Session, caller: &Caller) -> FilesPlace {
    FilesPlace { vault, session, by: caller.asker() }
}

/// Opens a session on the files of a point. It is closed after ten minutes without use.
#[utoipa::path(post, path = "/v1/vaults/{vault}/items/{item}/points/{point}/files", operation_id = "open_files",
    tag = "files", params(("vault" = Uuid, Path), ("item" = Uuid, Path), ("point" = Uuid, Path)),
    request_body = OpenFiles, responses((status = 201, body = FilesSession)))]
pub(crate) async fn open(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, item, point)): Place,
    Body(wish): Body<OpenFiles>,
) -> Result<(StatusCode, Json<FilesSession>), Refused> {
    let place = PointPlace { vault, item, point };
    Ok((StatusCode::CREATED, Json(app.control.open_files(&caller.asker(), place, wish).await?)))
}

/// One session of the caller's.
#[utoipa::path(get, path = "/v1/vaults/{vault}/files/{session}", operation_id = "show_files", tag = "files",
    params(("vault" = Uuid, Path), ("session" = Uuid, Path)), responses((status = 200, body = FilesSession)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    at: Session,
) -> Answer<FilesSession> {
    Ok(Json(app.control.files_session(&place(at, &caller))?))
}

/// Ends a session.
#[utoipa::path(delete, path = "/v1/vaults/{vault}/files/{session}", operation_id = "close_files", tag = "files",
    params(("vault" = Uuid, Path), ("session" = Uuid, Path)),
    responses((status = 204, description = "It is closed")))]
pub(crate) async fn close(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    at: Session,
) -> Result<StatusCode, Refused> {
    app.control.close_files(&place(at, &caller))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The partitions and logical volumes, what they hold, and which have files that can be read.
#[utoipa::path(get, path = "/v1/vaults/{vault}/files/{session}/volumes", operation_id = "list_files_volumes",
    tag = "files", params(("vault" = Uuid, Path), ("session" = Uuid, Path)),
    responses((status = 200, body = Page<FilesRegion>)))]
pub(crate) async fn volumes(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    at: Session,
) -> Answer<Page<FilesRegion>> {
    let reply = app.control.ask_files(&place(at, &caller), FilesQuestion::Regions {}).await?;
    match reply.said {
        FilesSaid::Regions { regions } => Ok(Json(Page { items: regions, next: None })),
        _ => Err(nonsense()),
    }
}

/// What lies in a folder, by name.
#[utoipa::path(get, path = "/v1/vaults/{vault}/files/{session}/entries", operation_id = "list_files", tag = "files",
    params(("vault" = Uuid, Path), ("session" = Uuid, Path), Folder),
    responses((status = 200, body = Page<FilesEntry>)))]
pub(crate) async fn entries(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    at: Session,
    Params(folder): Params<Folder>,
) -> Answer<Page<FilesEntry>> {
    let (from, limit) = (folder.after.unwrap_or(0), folder.limit.get());
    let question = FilesQuestion::Entries { place: folder.place, from, limit };
    match app.control.ask_files(&place(at, &caller), question).await?.said {
        FilesSaid::Entries { entries, next } => {
            Ok(Json(Page { items: entries, next: next.map(|next| next.to_string()) }))
        }
        _ => Err(nonsense()),
    }
}

/// The bytes of a file; a part of them by `Range: bytes=FROM-` or `FROM-TO`.
#[utoipa::path(get, path = "/v1/vaults/{vault}/files/{session}/content", operation_id = "read_file", tag = "files",
    params(("vault" = Uuid, Path), ("session" = Uuid, Path), File),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
              (status = 206, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn content(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    at: Session,
    Params(file): Params<File>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let range = range(&headers);
    let (from, length) = range.unwrap_or((0, None));
    let question = FilesQuestion::Content { place: file.place, from, length };
    let reply = app.control.ask_files(&place(at, &caller), question).await?;
    let FilesSaid::Begins { length, size, .. } = reply.said else { return Err(nonsense()) };
    let mut response = streamed(reply, "application/octet-stream")?;
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // An empty part has no last byte that could be named.
    if let (Some(_), Some(length), Some(size)) = (range, length.filter(|length| *length > 0), size) {
        let told = header(format!("bytes {from}-{}/{size}", from + length - 1))?;
        response.headers_mut().insert(CONTENT_RANGE, told);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// A file, or a folder with all that lies in it, as a tar or zip stream.
#[utoipa::path(get, path = "/v1/vaults/{vault}/files/{session}/archive", operation_id = "archive_files",
    tag = "files", params(("vault" = Uuid, Path), ("session" = Uuid, Path), Packed),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn archive(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    at: Session,
    Params(packed): Params<Packed>,
) -> Result<Response, Refused> {
    let question = FilesQuestion::Archive { place: packed.place, format: packed.format };
    let kind = match packed.format {
        ArchiveFormat::Tar => "application/x-tar",
        ArchiveFormat::Zip => "application/zip",
    };
    streamed(app.control.ask_files(&place(at, &caller), question).await?, kind)
}

/// Files by name, as they are found: a line of JSON for each, whose `name` is its place.
#[utoipa::path(get, path = "/v1/vaults/{vault}/files/{session}/matches", operation_id = "find_files", tag = "files",
    params(("vault" = Uuid, Path), ("session" = Uuid, Path), Wanted),
    responses((status = 200, body = FilesEntry, content_type = "application/x-ndjson")))]
pub(crate) async fn matches(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    at: Session,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Refused> {
    let pattern = match (wanted.name, wanted.regex) {
        (Some(glob), None) => NamePattern::Glob(glob),
        (None, Some(regex)) => NamePattern::Regex(regex),
        _ => return Err(control::Error::invalid("name", "must be said, or `regex`; not both").into()),
    };
    let (ignore_case, limit) = (wanted.ignore_case, wanted.limit.unwrap_or(MATCHES));
    let question = FilesQuestion::Matches { place: wanted.place, pattern, ignore_case, limit };
    streamed(app.control.ask_files(&place(at, &caller), question).await?, "application/x-ndjson")
}

/// What came of a download: whether it is complete, how many bytes it had, what was left behind.
#[utoipa::path(get, path = "/v1/vaults/{vault}/files/{session}/downloads/{number}", operation_id = "show_download",
    tag = "files", params(("vault" = Uuid, Path), ("session" = Uuid, Path), ("number" = u64, Path)),
    responses((status = 200, body = FilesDownload)))]
pub(crate) async fn download(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    At((vault, session, number)): At<(VaultId, Uuid, u64)>,
) -> Answer<FilesDownload> {
    Ok(Json(app.control.files_download(&place(At((vault, session)), &caller), number)?))
}

/// An answer whose bytes follow as the mover sends them. An error on the way breaks it off.
fn streamed(reply: FilesReply, kind: &'static str) -> Result<Response, Refused> {
    let FilesReply { number, said, pieces } = reply;
    let FilesSaid::Begins { name, length, .. } = said else { return Err(nonsense()) };
    let bytes = stream::unfold(Some(pieces), async |pieces| {
        let mut pieces = pieces?;
        match pieces.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(pieces))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut response = axum::body::Body::from_stream(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_DISPOSITION, header(attachment(&name))?);
    headers.insert(DOWNLOAD.clone(), HeaderValue::from(number));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// A name for the file that a browser makes: a guest chose it, so nothing of it stands there as it is.
fn attachment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let escaped: String = name.bytes().map(escape).collect();
    format!("attachment; filename*=UTF-8''{escaped}")
}

/// The one range that is asked for: its first byte and its length. What cannot be read is no range, as HTTP has it.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (from, to) = headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    if to.is_empty() {
        return Some((from, None));
    }
    let length = to.parse::<u64>().ok()?.checked_sub(from)?.checked_add(1)?;
    Some((from, Some(length)))
}

fn header(text: String) -> Result<HeaderValue, Refused> {
    HeaderValue::try_from(text).map_err(|_| nonsense())
}

/// A mover that answers another question than was asked is not of this version.
fn nonsense() -> Refused {
    Refused::new(api::Code::Unavailable, "the mover answered something else")
        .hint("see that it is of the server's version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_or_none() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().expect("a header's value"));
            range(&headers)
        };
        assert_eq!(of("bytes=0-"), Some((0, None)));
        assert_eq!(of("bytes=5-9"), Some((5, Some(5))));
        for other in [
            "bytes=-5",
            "bytes=9-5",
            "bytes=0-1,5-6",
            "pages=1-2",
            "bytes=a-",
            "bytes=0-18446744073709551615",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_breaks_out_of_no_header() {
        let told = attachment("a\"; filename=\"evil.exe\r\nX: y\u{e9}/..");
        assert_eq!(
            told,
            "attachment; filename*=UTF-8''a%22%3B%20filename%3D%22evil.exe%0D%0AX%3A%20y%C3%A9%2F.."
        );
        assert!(header(told).is_ok());
    }
}
