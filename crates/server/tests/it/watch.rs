//! The audit log and alerts.

use crate::scene::{Ask, Scene};
use anyhow::Result;
use catalog::{Alert, Severity};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn the_audit_log_is_read_by_pages_and_checked() -> Result<()> {
    let (scene, admin) = Scene::with_owner().await?;
    for name in ["a", "b", "c"] {
        scene.ask(Ask::post("/v1/users", json!({ "name": name })).token(&admin)).await;
    }
    let (mut after, mut ordinals) = (String::new(), Vec::new());
    loop {
        let page = scene.ask(Ask::get(format!("/v1/audit?limit=2{after}")).token(&admin)).await.json();
        ordinals.extend(page["items"].as_array().unwrap().iter().map(|one| one["ordinal"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(ordinals, [1, 2, 3, 4, 5]);
    let chain = scene.ask(Ask::get("/v1/audit/chain").token(&admin)).await.json();
    assert_eq!((&chain["whole"], &chain["entries"]), (&json!(true), &json!(5)));
    Ok(())
}

#[tokio::test]
async fn alerts_are_seen_and_acknowledged_by_those_of_their_vault() -> Result<()> {
    let (scene, admin) = Scene::with_owner().await?;
    let (here, there) = (Uuid::from_u128(1), Uuid::from_u128(2));
    scene.vault(here, "here").await?;
    scene.vault(there, "there").await?;
    let alert = |subject: &str| Alert {
        id: Uuid::now_v7(),
        severity: Severity::Error,
        category: "store".to_owned(),
        subject: subject.to_owned(),
        text: "it does not answer".to_owned(),
        raised: scene.control.now(),
        resolved: None,
        acknowledged_by: None,
    };
    let (of_here, of_all) = (alert(&here.to_string()), alert("the server"));
    for one in [&of_here, &of_all] {
        scene.control.catalog().raise(one).await?;
    }
    let role = |role: &str, vault: Uuid| json!([{ "role": role, "vault": vault }]);
    let (_, reader) = scene.user(&admin, "reader", role("backup_reader", here)).await?;
    let (_, operator) = scene.user(&admin, "operator", role("backup_operator", here)).await?;
    let (_, elsewhere) = scene.user(&admin, "elsewhere", role("vault_owner", there)).await?;
    for (token, count) in [(&admin, 2), (&reader, 1), (&operator, 1), (&elsewhere, 0)] {
        let page = scene.ask(Ask::get("/v1/alerts").token(token)).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), count);
    }
    let note = |id: Uuid, token: &str| Ask::new("POST", format!("/v1/alerts/{id}/acknowledge")).token(token);
    assert_eq!(scene.ask(note(of_here.id, &reader)).await.code(), "forbidden");
    assert_eq!(scene.ask(note(of_here.id, &elsewhere)).await.code(), "not_found");
    assert_eq!(scene.ask(note(of_all.id, &operator)).await.code(), "not_found");
    assert_eq!(scene.ask(note(Uuid::from_u128(9), &admin)).await.code(), "not_found");
    let noted = scene.ask(note(of_here.id, &operator)).await.json();
    assert_eq!((&noted["acknowledged_by"], &noted["resolved"]), (&json!("operator"), &Value::Null));
    scene.control.catalog().resolve("store", &here.to_string(), scene.control.now()).await?;
    let open = scene.ask(Ask::get("/v1/alerts").token(&reader)).await.json();
    let all = scene.ask(Ask::get("/v1/alerts?all=true").token(&reader)).await.json();
    assert_eq!((open["items"].as_array().unwrap().len(), all["items"].as_array().unwrap().len()), (0, 1));
    Ok(())
}
