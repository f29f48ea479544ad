//! The portal's addresses beside the API's, and what its pages believe of roles.

use crate::scene::{Ask, Scene};
use anyhow::{Context, Result};
use model::access::{Action, Role};
use std::collections::BTreeMap;

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

#[tokio::test]
async fn whoever_wants_a_page_gets_one_and_nobody_else_does() -> Result<()> {
    let scene = Scene::new().await?;
    for (path, accept, is_page) in [
        ("/", "*/*", true),
        ("/", BROWSER, true),
        ("/machines", BROWSER, true),
        ("/vaults/1/items/2?point=3", BROWSER, true),
        ("/machines", "application/json", false),
        ("/favicon.ico", BROWSER, false),
        ("/assets/none-1.js", BROWSER, false),
        ("/assets/..%2f..%2fpackage.json", BROWSER, false),
        ("/v1", BROWSER, false),
        ("/v1/machine", BROWSER, false),
        ("/v1/vaults/1/nothing", BROWSER, false),
    ] {
        let answered = scene.ask(Ask::get(path).header("accept", accept)).await;
        let kind = answered.headers["content-type"].to_str()?;
        let expected =
            if is_page { (200, "text/html; charset=utf-8") } else { (404, "application/problem+json") };
        assert_eq!((answered.status, kind), expected, "{path} {accept}");
        let policy = answered.headers["content-security-policy"].to_str()?;
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answered.headers["cache-control"], "no-store", "{path}");
    }
    let post = scene.ask(Ask::post("/machines", serde_json::json!({})).header("accept", BROWSER)).await;
    assert_eq!(post.status, 404, "nothing is sent to a page");
    Ok(())
}

#[tokio::test]
async fn no_two_pages_carry_the_same_number() -> Result<()> {
    let scene = Scene::new().await?;
    let first = scene.ask(Ask::get("/")).await;
    let second = scene.ask(Ask::get("/")).await;
    assert_ne!(first.headers["content-security-policy"], second.headers["content-security-policy"]);
    Ok(())
}

/// `portal/src/access.ts` decides what is offered; a line there that says otherwise than `model` is a button that is
/// missing, or one that is always refused.
#[test]
fn the_portal_offers_what_roles_include() -> Result<()> {
    let text = include_str!("../../../../portal/src/access.ts");
    let table = text.split_once("const LEAST_ROLE = {").context("the table")?.1;
    let table = table.split_once('}').context("the table's end")?.0;
    let lines = table.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    let told: BTreeMap<String, String> =
        lines.map(|(action, role)| (action.to_owned(), role.trim_matches('"').to_owned())).collect();
    let mut known = BTreeMap::new();
    for action in Action::ALL {
        let least = Role::ALL.into_iter().find(|role| role.includes(action)).context("a role that may")?;
        let word = serde_json::to_value(least)?;
        known.insert(format!("{action:?}"), word.as_str().context("a word")?.to_owned());
    }
    assert_eq!(told, known);
    Ok(())
}
