//! What is written down of the API is what it is.

use anyhow::{Context, Result};
use api::Code;
use server::{document, listed, operations};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_document_describes_every_route_and_nothing_else() {
    let routes: BTreeSet<_> =
        listed().iter().map(|one| (one.method.to_owned(), one.path.to_owned())).collect();
    assert_eq!(routes.len(), listed().len(), "a route is listed twice");
    let described: BTreeSet<_> = operations(&document()).into_iter().collect();
    assert_eq!(described, routes);
}

#[test]
fn every_operation_has_a_name_of_its_own_a_place_and_words() {
    let document = document();
    let mut names = BTreeSet::new();
    for (method, path) in operations(&document) {
        let operation = &document["paths"][&path][method.to_ascii_lowercase()];
        let text = |field: &str| operation[field].as_str().unwrap_or_default().to_owned();
        assert!(names.insert(text("operationId")), "{method} {path}: {}", text("operationId"));
        assert!(!text("summary").is_empty() && operation["tags"][0].is_string(), "{method} {path}");
        let stated: BTreeSet<_> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["in"] == "path")
            .map(|one| format!("{{{}}}", one["name"].as_str().unwrap()))
            .collect();
        let needed: BTreeSet<_> =
            path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
        assert_eq!(stated, needed, "{method} {path}");
    }
}

/// Every `$ref` leads somewhere.
#[test]
fn references_lead_somewhere() {
    let document = document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn the_document_that_is_checked_in_is_this_one() -> Result<()> {
    let path = project().join("docs/openapi.json");
    let now = serde_json::to_string_pretty(&document())? + "\n";
    if std::env::var_os("STRONGROOM_WRITE_OPENAPI").is_some() {
        return std::fs::write(&path, now).context("write docs/openapi.json");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.json is not what the code says: `cargo xtask openapi` writes it anew; then look at the difference"
    );
    Ok(())
}

#[test]
fn every_code_has_its_section() -> Result<()> {
    let text = std::fs::read_to_string(project().join("docs/errors.md")).context("read docs/errors.md")?;
    let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let codes: Vec<_> = Code::ALL.iter().map(|code| serde_json::to_value(code).unwrap()).collect();
    assert_eq!(sections, codes.iter().map(|code| code.as_str().unwrap()).collect::<Vec<_>>());
    for code in Code::ALL {
        assert!(text.contains(&format!("HTTP {}", code.status())), "{code:?}");
    }
    Ok(())
}
