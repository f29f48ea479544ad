//! Requests that are sent again.

use crate::scene::{Answered, Ask, Scene};
use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

async fn make(scene: &Scene, token: &str, key: &str, name: &str) -> Answered {
    let ask = Ask::post("/v1/users", json!({ "name": name })).token(token);
    scene.ask(ask.header("idempotency-key", key)).await
}

async fn names(scene: &Scene, token: &str) -> Vec<String> {
    let page = scene.ask(Ask::get("/v1/users").token(token)).await.json();
    page["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_request_with_a_key_is_done_once_and_answered_again() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let first = make(&scene, &token, "k1", "alice").await;
    let again = make(&scene, &token, "k1", "alice").await;
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        (None, Some("true"))
    );
    assert_eq!(make(&scene, &token, "k1", "bob").await.code(), "key_reused");
    // A refusal is an answer, too.
    let refused = make(&scene, &token, "k2", "alice").await;
    let again = make(&scene, &token, "k2", "alice").await;
    assert_eq!((refused.code().as_str(), again.code().as_str()), ("exists", "exists"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    // Keys are each caller's own.
    let (_, other) = scene.user(&token, "other", json!([{ "role": "vault_owner" }])).await?;
    assert_eq!(make(&scene, &other, "k1", "bob").await.status, 201);
    assert_eq!(names(&scene, &token).await, ["admin", "alice", "bob", "other"]);
    Ok(())
}

#[tokio::test]
async fn a_secret_is_given_again_to_its_asker_and_stands_nowhere() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let me = scene.ask(Ask::get("/v1/me").token(&token)).await.json();
    let path = format!("/v1/users/{}/tokens", me["id"].as_str().unwrap());
    let ask = |token: &str| {
        Ask::post(&path, json!({ "name": "ci", "days": 1 })).token(token).header("idempotency-key", "k")
    };
    let (first, again) = (scene.ask(ask(&token)).await, scene.ask(ask(&token)).await);
    assert_eq!((first.status, &first.body), (201, &again.body));
    let secret = first.json()["token"].as_str().unwrap().to_owned();
    for name in ["catalog.db", "catalog.db-wal"] {
        let bytes = std::fs::read(scene.folder.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|some| some == secret.as_bytes()), "{name}");
    }
    // Another session of the same user is told what happened, and not the secret.
    let password = scene.control.reset_password("admin").await?;
    let newer = scene.sign_in("admin", &password).await?;
    assert_eq!(scene.ask(ask(&newer)).await.code(), "conflict");
    Ok(())
}

#[tokio::test]
async fn two_at_once_are_done_once() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let both = tokio::join!(make(&scene, &token, "k", "alice"), make(&scene, &token, "k", "alice"));
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert!(statuses == [201, 201] || statuses == [201, 409], "{both:?}");
    assert_eq!(names(&scene, &token).await, ["admin", "alice"]);
    Ok(())
}

#[tokio::test]
async fn what_a_dead_server_left_is_told() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let first = make(&scene, &token, "k", "alice").await;
    assert_eq!(first.status, 201);
    // As if the server had died before it kept the answer.
    let me: Value = scene.ask(Ask::get("/v1/me").token(&token)).await.json();
    let caller = me["id"].as_str().unwrap().to_owned();
    let database = scene.folder.path().join("catalog.db");
    forget_the_answer(&database, &caller).await?;
    let soon = make(&scene, &token, "k", "alice").await;
    assert_eq!((soon.code().as_str(), soon.header("retry-after")), ("under_way", Some("1")));
    scene.pass(SignedDuration::from_mins(3));
    let later = make(&scene, &token, "k", "alice").await;
    assert_eq!((later.code().as_str(), later.header("retry-after")), ("conflict", None));
    assert!(later.json()["hint"].as_str().unwrap().contains("new key"));
    Ok(())
}

async fn forget_the_answer(database: &std::path::Path, caller: &str) -> Result<()> {
    let statement = format!("update idempotency set response = null where caller = '{caller}'");
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let mut python = tokio::process::Command::new("python3");
    let status = python.arg("-c").arg(script).arg(database).arg(statement).status().await?;
    anyhow::ensure!(status.success());
    Ok(())
}

#[tokio::test]
async fn keys_that_are_none_are_refused() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    for key in ["", " ", "a b", &"k".repeat(201), "k\u{e4}"] {
        let answer = make(&scene, &token, key, "alice").await;
        assert_eq!(
            (answer.code().as_str(), &answer.json()["violations"][0]["pointer"]),
            ("invalid", &json!("Idempotency-Key"))
        );
    }
    let two = Ask::post("/v1/users", json!({ "name": "alice" })).token(&token);
    let two = two.header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(scene.ask(two).await.code(), "invalid");
    assert_eq!(make(&scene, &token, &"k".repeat(200), "alice").await.status, 201);
    Ok(())
}
