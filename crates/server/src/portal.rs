//! The portal's files, as `cargo xtask portal` has built them: pages that use the API as any program does.
//!
//! They are no routes: they are the same for everybody, tell nothing of what is stored here, and need nobody. Whatever
//! address no route has comes here.
//!
//! Invariants:
//! - an address of the API that is not there is a problem document, never a page;
//! - what a page may load is said with it, and nothing inline is among that: the styles that its components make carry a
//!   number that is drawn for each answer;
//! - an asset's name holds a hash of its content, so it is kept for ever; the page that names them is kept nowhere.

use crate::answer::Refused;
use crate::app::App;
use api::Code;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderName, HeaderValue, REFERRER_POLICY, VARY,
};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// What stands in the page where the number of its styles belongs.
const NONCE: &str = "STYLE_NONCE";
/// The page with which all of the portal begins.
const PAGE: &str = "index.html";
/// Instead of the portal, in a program that was built without it.
const NOT_BUILT: &str = include_str!("portal/not-built.html");
/// Names hold hashes: a year is what caches keep at most.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
static OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    /// In the program.
    Within(&'static [(&'static str, &'static [u8])]),
    /// In a folder: of programs built without optimisation, so that a change of the portal needs no build of the server.
    Beside(PathBuf),
}

impl Files {
    /// Those that this program was built with.
    pub(crate) fn built() -> Self {
        const WITHIN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/portal.rs"));
        match cfg!(debug_assertions) {
            true => Self::Beside(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../portal/dist")),
            false => Self::Within(WITHIN),
        }
    }

    fn get(&self, name: &str) -> Option<Cow<'static, [u8]>> {
        match self {
            Self::Within(files) => {
                let place = files.binary_search_by_key(&name, |(name, _)| name).ok()?;
                Some(Cow::Borrowed(files[place].1))
            }
            Self::Beside(folder) => std::fs::read(folder.join(name)).ok().map(Cow::Owned),
        }
    }
}

/// The fallback of all routes.
pub(crate) async fn answer(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path();
    let nothing = || Refused::new(Code::NotFound, "there is nothing at this address").into_response();
    let is_api = path == "/v1" || path.starts_with("/v1/");
    if is_api || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return nothing();
    }
    if let Some(name) = path.strip_prefix("/assets/") {
        return asset(&app.files, name, request.headers()).unwrap_or_else(nothing);
    }
    // A file that somebody looks for by its name, or a program that wants no page, is told the truth.
    let last = path.rsplit('/').next().unwrap_or_default();
    if path != "/" && (last.contains('.') || !wants_page(request.headers())) {
        return nothing();
    }
    // A version-7 id holds 74 bits of chance: nobody guesses two.
    page(&app.files, &format!("{}{}", app.control.draw().simple(), app.control.draw().simple()))
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

fn asset(files: &Files, name: &str, headers: &HeaderMap) -> Option<Response> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // Whatever else an address holds, no file has it in its name.
    if !name.bytes().all(plain) || name.starts_with('.') {
        return None;
    }
    let kind = match name.rsplit_once('.')?.1 {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "png" => "image/png",
        _ => return None,
    };
    let name = format!("assets/{name}");
    let squeezed = takes_brotli(headers).then(|| files.get(&format!("{name}.br"))).flatten();
    let is_squeezed = squeezed.is_some();
    let bytes = squeezed.or_else(|| files.get(&name))?;
    let mut response = Body::from(bytes.into_owned()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, FOR_EVER);
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if is_squeezed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    Some(response)
}

fn takes_brotli(headers: &HeaderMap) -> bool {
    let Some(Ok(taken)) = headers.get(ACCEPT_ENCODING).map(|taken| taken.to_str()) else { return false };
    taken.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next() == Some("br") && !matches!(parts.next(), Some("q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn page(files: &Files, nonce: &str) -> Response {
    let text = files.get(PAGE).and_then(|bytes| String::from_utf8(bytes.into_owned()).ok());
    let mut response = text.unwrap_or_else(|| NOT_BUILT.to_owned()).replace(NONCE, nonce).into_response();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' blob:; \
         font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = HeaderValue::try_from(policy).expect("a nonce is letters and digits");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY.clone(), HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    const WITHIN: Files = Files::Within(&[
        ("assets/a-1.js", b"whole"),
        ("assets/a-1.js.br", b"squeezed"),
        ("assets/only-2.css", b"style"),
        ("index.html", b"<meta content=\"STYLE_NONCE\">"),
    ]);

    async fn text(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("it is in memory");
        String::from_utf8(bytes.to_vec()).expect("it is text")
    }

    fn taking(encodings: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(encodings))])
    }

    #[tokio::test]
    async fn assets_come_compressed_to_who_takes_that() {
        for (taken, body) in
            [("gzip, br", "squeezed"), ("br;q=0.5", "squeezed"), ("gzip", "whole"), ("br;q=0", "whole")]
        {
            let response = asset(&WITHIN, "a-1.js", &taking(taken)).expect("it is there");
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), body == "squeezed", "{taken}");
            assert_eq!(response.headers()[CACHE_CONTROL], FOR_EVER);
            assert_eq!(text(response).await, body, "{taken}");
        }
        let response = asset(&WITHIN, "only-2.css", &taking("br")).expect("it is there");
        assert_eq!(text(response).await, "style", "what is not there compressed comes as it is");
    }

    #[test]
    fn no_name_leads_out_of_the_assets() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("assets")).expect("make a folder");
        std::fs::write(folder.path().join("secret.js"), "x").expect("write a file");
        let files = Files::Beside(folder.path().to_owned());
        for name in
            ["../secret.js", "..%2fsecret.js", ".hidden.js", "..", "a.js/../../secret.js", "", "a.html"]
        {
            assert!(asset(&files, name, &HeaderMap::new()).is_none(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_page_carries_the_number_that_its_policy_names() {
        let response = page(&WITHIN, "123abc");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text").to_owned();
        assert!(
            policy.contains("style-src 'self' 'nonce-123abc';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(text(response).await, "<meta content=\"123abc\">");
        let missing = page(&Files::Within(&[]), "1");
        assert!(text(missing).await.contains("cargo xtask portal"), "it says how to build it");
    }
}
