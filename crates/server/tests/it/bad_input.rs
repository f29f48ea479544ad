//! Whatever is sent, the answer is a problem document, and never the server's fault.

use crate::scene::{Ask, Scene};
use anyhow::Result;
use serde_json::json;
use server::listed;

/// Below the places of parameters: things that are no ids.
const ODD: [&str; 7] =
    ["x", "-1", "%00", "%ff%fe", "..%2f..%2fetc", "%F0%9F%A6%80", "00000000-0000-0000-0000-000000000000"];

fn filled(path: &str, with: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { with } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Bodies that are wrong for every route that takes one.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = "[".repeat(100_000);
    let nested = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    vec![
        ("empty", Vec::new()),
        ("not JSON", b"{\"name\": ".to_vec()),
        ("two values", b"{} {}".to_vec()),
        ("not UTF-8", b"{\"name\": \"\xff\xfe\"}".to_vec()),
        ("half of a pair", br#"{"name": "\ud800"}"#.to_vec()),
        ("a null character", br#"{"name": "a\u0000b"}"#.to_vec()),
        ("deep", deep.into_bytes()),
        ("nested", nested.into_bytes()),
        ("a list", b"[]".to_vec()),
        ("a number", b"1e999".to_vec()),
        ("null", b"null".to_vec()),
        ("an unknown field", br#"{"surely_not_a_field": 1}"#.to_vec()),
        ("wrong types", br#"{"name": {}, "password": [], "days": "x", "roles": 7, "document": 3}"#.to_vec()),
        ("keys twice", br#"{"name": "a", "name": "b", "surely_not_a_field": 1}"#.to_vec()),
    ]
}

/// Routes whose body may be left out, or that take none: there only a refusal of the body counts.
fn is_fine(status: u16) -> bool {
    (400..500).contains(&status)
}

#[tokio::test]
async fn every_route_answers_bad_bodies_with_a_problem() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let taking = server::document();
    for route in listed() {
        let operation = &taking["paths"][route.path][route.method.to_ascii_lowercase()];
        if operation.get("requestBody").is_none() || route.need == "mover" {
            continue;
        }
        let path = filled(route.path, "00000000-0000-0000-0000-000000000000");
        for (what, body) in bodies() {
            let ask = Ask::new(route.method, &path).token(&token).header("content-type", "application/json");
            let answer = scene.ask(ask.body(body)).await;
            let code = answer.code();
            assert!(is_fine(answer.status), "{} {path}, {what}: {code} {answer:?}", route.method);
        }
        let kinds = ["text/plain", "application/xml", "multipart/form-data", "application/jsonx", ""];
        for kind in kinds {
            let ask = Ask::new(route.method, &path).token(&token).header("content-type", kind).body("{}");
            let answer = scene.ask(ask).await;
            assert!(
                ["unsupported_media_type", "not_found"].contains(&&*answer.code()),
                "{path} {kind}: {answer:?}"
            );
        }
        let huge = Ask::new(route.method, &path).token(&token).header("content-type", "application/json");
        let answer = scene.ask(huge.body(vec![b' '; 2 * 1024 * 1024])).await;
        assert!(["too_large", "not_found"].contains(&&*answer.code()), "{path}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_route_answers_odd_addresses_with_a_problem_or_as_always() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    for route in listed() {
        if route.method != "GET" || route.need == "mover" || route.path.ends_with("/events") {
            continue;
        }
        for odd in ODD {
            let addresses = [
                filled(route.path, odd),
                format!("{}?{odd}={odd}", filled(route.path, "x")),
                format!("{}?limit={odd}&after={odd}", filled(route.path, "x")),
                format!("{}?limit=0", filled(route.path, "x")),
                format!("{}?limit=1001", filled(route.path, "x")),
                format!("{}?limit=1&limit=2", filled(route.path, "x")),
            ];
            for address in addresses {
                let answer = scene.ask(Ask::get(&address).token(&token)).await;
                if answer.status != 200 {
                    assert!(is_fine(answer.status), "{address}: {} {answer:?}", answer.code());
                }
            }
        }
    }
    for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "no_such=1", "after=~x"] {
        let answer = scene.ask(Ask::get(format!("/v1/audit?{bad}")).token(&token)).await;
        assert_eq!(answer.code(), "invalid", "{bad}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_done_there() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    // The first page of the portal is all that is there beside the API (portal.rs).
    for path in
        ["/v1", "/v1/", "/v1/nothing", "/v2/health", "/v1/health/", "//v1/health", "/v1/%2e%2e/health"]
    {
        assert_eq!(scene.ask(Ask::get(path).token(&token)).await.code(), "not_found", "{path}");
    }
    for route in listed() {
        let path = filled(route.path, "00000000-0000-0000-0000-000000000000");
        for method in ["TRACE", "OPTIONS", "CONNECT", "PROPFIND"] {
            let answer = scene.ask(Ask::new(method, &path).token(&token)).await;
            assert_eq!(answer.code(), "method_not_allowed", "{method} {path}");
            assert!(
                answer.header("allow").is_some_and(|allow| allow.contains(route.method)),
                "{method} {path}"
            );
        }
    }
    Ok(())
}

/// The first fault is told with its place.
#[tokio::test]
async fn a_fault_is_told_with_its_place() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let cases = [
        (json!({ "name": "a", "roles": [{ "role": "king" }] }), "/roles/0/role"),
        (json!({ "name": 7 }), "/name"),
        (json!({ "name": "a", "roles": [{ "role": "vault_owner", "vault": "x" }] }), "/roles/0/vault"),
        (json!({ "name": "a\u{7}" }), "/name"),
        (json!({ "name": "a:b" }), "/name"),
        (json!({ "name": "x".repeat(65) }), "/name"),
        (json!({ "name": "a", "password": "x".repeat(1025) }), "/password"),
    ];
    for (body, pointer) in cases {
        let answer = scene.ask(Ask::post("/v1/users", body.clone()).token(&token)).await;
        assert_eq!(answer.code(), "invalid", "{body}");
        assert_eq!(answer.json()["violations"][0]["pointer"], pointer, "{body}: {answer:?}");
    }
    Ok(())
}
