//! The API's document: what the handlers say of themselves, and what holds for all of them.

use crate::route::{Need, Route};
use crate::routes;
use api::Code;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::{OpenApi, ToSchema};

/// What every part is merged into.
#[derive(OpenApi)]
#[openapi(components(schemas(api::Problem)))]
struct Whole;

/// What OpenAPI calls the way in.
const SCHEME: &str = "token";

/// The document of all routes, as it is served and checked in as `docs/openapi.json`.
///
/// # Panics
/// When a route is not described by its file's `Document`: a test calls this.
pub fn document() -> Value {
    let mut whole = Whole::openapi();
    for part in routes::documents() {
        whole.merge(part);
    }
    let mut document = serde_json::to_value(whole).expect("a document is JSON");
    document["info"] = json!({
        "title": "Strongroom",
        "version": "v1",
        "description": "Instants are RFC 3339 in UTC, sizes are bytes, ids are UUIDs. Errors are problem documents.",
        "license": { "name": "Apache-2.0 OR MIT" },
    });
    document["components"]["securitySchemes"] = json!({ SCHEME: { "type": "http", "scheme": "bearer" } });
    for route in routes::all() {
        let operation = &mut document["paths"][route.path][route.method.to_ascii_lowercase()];
        assert!(operation.is_object(), "{} {} is in the Document of no file", route.method, route.path);
        complete(operation, &route);
    }
    document
}

/// Every operation that the document has, as `(method, path)`.
pub fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().expect("a document has paths");
    let methods =
        |item: &Value| item.as_object().expect("a path has methods").keys().cloned().collect::<Vec<_>>();
    let all = paths.iter().flat_map(|(path, item)| {
        methods(item).into_iter().map(|method| (method.to_ascii_uppercase(), path.clone()))
    });
    all.collect()
}

/// Adds what holds for routes of this kind.
fn complete(operation: &mut Value, route: &Route) {
    let changes = route.method != "GET";
    let has_body = operation.get("requestBody").is_some();
    let takes = has_body || changes || operation.get("parameters").is_some();
    if changes && route.need != Need::Nobody {
        let parameter = json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Sent again with the same key, the request is done once.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$" },
        });
        let parameters =
            operation.as_object_mut().expect("an object").entry("parameters").or_insert(json!([]));
        parameters.as_array_mut().expect("a list").push(parameter);
    }
    if route.need != Need::Nobody {
        operation["security"] = json!([{ SCHEME: [] }]);
    }
    let codes = Code::ALL.into_iter().filter(|code| match code {
        Code::Invalid => takes,
        // Signing in is refused so, though nobody need be signed in.
        Code::Unauthenticated => route.need != Need::Nobody || has_body,
        Code::Forbidden => route.need != Need::Nobody,
        Code::NotFound => route.path.contains('{'),
        Code::MethodNotAllowed => false,
        Code::Exists | Code::Conflict | Code::Locked | Code::UnderWay => changes,
        Code::Changed | Code::KeyReused => changes,
        Code::TooLarge | Code::UnsupportedMediaType => has_body,
        Code::TooManyRequests | Code::Internal | Code::Unavailable => true,
    });
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let titles: Vec<_> = codes.iter().map(|code| code.title()).collect();
        operation["responses"][status.to_string()] = json!({
            "description": titles.join("; or: "),
            "content": { "application/problem+json": {
                "schema": { "$ref": format!("#/components/schemas/{}", api::Problem::name()) }
            } },
        });
    }
}
