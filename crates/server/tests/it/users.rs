//! Who gives whom what.

use crate::scene::{Ask, Scene};
use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

const HERE: Uuid = Uuid::from_u128(1);
const THERE: Uuid = Uuid::from_u128(2);

fn owner_of(vault: Option<Uuid>) -> Value {
    json!([{ "role": "vault_owner", "vault": vault }])
}

#[tokio::test]
async fn users_are_made_listed_changed_and_shut_out() -> Result<()> {
    let (scene, admin) = Scene::with_owner().await?;
    let (alice, token) = scene.user(&admin, "alice", json!([{ "role": "backup_reader" }])).await?;
    let twice = scene.ask(Ask::post("/v1/users", json!({ "name": "alice" })).token(&admin)).await;
    assert_eq!((twice.status, twice.code().as_str()), (409, "exists"));
    let page = scene.ask(Ask::get("/v1/users?limit=1").token(&admin)).await.json();
    assert_eq!(page["items"][0]["name"], "admin");
    let next = api::client::escaped(page["next"].as_str().unwrap());
    let page = scene.ask(Ask::get(format!("/v1/users?after={next}")).token(&admin)).await.json();
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!(alice), &Value::Null));
    assert_eq!(scene.ask(Ask::get("/v1/users").token(&token)).await.code(), "forbidden");

    let out = Ask::new("PATCH", format!("/v1/users/{alice}")).json(json!({ "disabled": true })).token(&admin);
    assert_eq!(scene.ask(out).await.json()["disabled"], true);
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.code(), "unauthenticated");
    assert!(scene.sign_in("alice", "correct horse battery").await.is_err());

    let log = scene.ask(Ask::get("/v1/audit").token(&admin)).await.json();
    let acts: Vec<_> =
        log["items"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["user.create", "sign_in", "user.create", "sign_in", "user.create", "user.change"]);
    assert!(!log.to_string().contains("correct horse"), "no password is in it");
    Ok(())
}

#[tokio::test]
async fn a_user_changes_its_own_password_and_nothing_else_of_itself() -> Result<()> {
    let (scene, admin) = Scene::with_owner().await?;
    let (alice, token) = scene.user(&admin, "alice", json!([])).await?;
    let change = |body: Value| Ask::new("PATCH", format!("/v1/users/{alice}")).json(body);
    let weak = scene.ask(change(json!({ "password": "short" })).token(&token)).await;
    assert_eq!(weak.json()["violations"][0]["pointer"], "/password");
    assert_eq!(scene.ask(change(json!({ "disabled": true })).token(&token)).await.code(), "forbidden");
    let changed = scene.ask(change(json!({ "password": "another horse battery" })).token(&token)).await;
    assert_eq!(changed.status, 200);
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.code(), "unauthenticated", "sessions end");
    let token = scene.sign_in("alice", "another horse battery").await?;
    let roles = Ask::new("PUT", format!("/v1/users/{alice}/roles")).json(json!({ "roles": owner_of(None) }));
    assert_eq!(scene.ask(roles.token(&token)).await.code(), "forbidden");
    Ok(())
}

#[tokio::test]
async fn an_owner_of_a_vault_governs_those_who_have_roles_there_alone() -> Result<()> {
    let (scene, admin) = Scene::with_owner().await?;
    for (id, name) in [(HERE, "here"), (THERE, "there")] {
        scene.vault(id, name).await?;
    }
    let nowhere = json!({ "name": "eve", "roles": owner_of(Some(Uuid::from_u128(3))) });
    assert_eq!(scene.ask(Ask::post("/v1/users", nowhere).token(&admin)).await.code(), "invalid");
    let (_, here) = scene.user(&admin, "here", owner_of(Some(HERE))).await?;
    let (bob, _) = scene.user(&here, "bob", owner_of(Some(HERE))).await?;
    let roles = |id: Uuid, roles: Value| {
        Ask::new("PUT", format!("/v1/users/{id}/roles")).json(json!({ "roles": roles })).token(&here)
    };
    let reader = |vault: Option<Uuid>| json!({ "role": "backup_reader", "vault": vault });
    // Given and taken within the vault.
    assert_eq!(scene.ask(roles(bob, json!([reader(Some(HERE))]))).await.status, 200);
    for more in [reader(Some(THERE)), reader(None)] {
        let answer = scene.ask(roles(bob, json!([reader(Some(HERE)), more]))).await;
        assert_eq!(answer.code(), "forbidden", "{more}");
    }
    let new = json!({ "name": "eve", "roles": [reader(Some(THERE))] });
    assert_eq!(scene.ask(Ask::post("/v1/users", new).token(&here)).await.code(), "forbidden");

    // Whoever has a role elsewhere is not governed, nor is the administrator: no password, no token, no taking away.
    let both = json!([reader(Some(HERE)), reader(Some(THERE))]);
    let (carol, _) = scene.user(&admin, "carol", both.clone()).await?;
    let me = scene.ask(Ask::get("/v1/me").token(&admin)).await.json();
    let root: Uuid = me["id"].as_str().unwrap().parse()?;
    for id in [carol, root] {
        let password = json!({ "password": "taken over by here" });
        let asks = [
            Ask::new("PATCH", format!("/v1/users/{id}")).json(password),
            Ask::new("PATCH", format!("/v1/users/{id}")).json(json!({ "disabled": true })),
            Ask::post(format!("/v1/users/{id}/tokens"), json!({ "name": "mine", "days": 1 })),
            Ask::get(format!("/v1/users/{id}/tokens")),
        ];
        for ask in asks {
            assert_eq!(scene.ask(ask.token(&here)).await.code(), "forbidden");
        }
        assert_eq!(scene.ask(roles(id, json!([]))).await.code(), "forbidden");
    }
    // Its role here may be taken, and the other stays.
    assert_eq!(scene.ask(roles(carol, json!([reader(Some(THERE))]))).await.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_last_owner_of_everything_stays() -> Result<()> {
    let (scene, admin) = Scene::with_owner().await?;
    let me = scene.ask(Ask::get("/v1/me").token(&admin)).await.json();
    let id = me["id"].as_str().unwrap();
    let out = || Ask::new("PATCH", format!("/v1/users/{id}")).json(json!({ "disabled": true }));
    let none = || Ask::new("PUT", format!("/v1/users/{id}/roles")).json(json!({ "roles": [] }));
    for ask in [out(), none()] {
        assert_eq!(scene.ask(ask.token(&admin)).await.code(), "conflict");
    }
    let (_, second) = scene.user(&admin, "second", owner_of(None)).await?;
    assert_eq!(scene.ask(none().token(&second)).await.status, 200);
    assert_eq!(scene.ask(Ask::get("/v1/users").token(&admin)).await.code(), "forbidden");
    Ok(())
}

#[tokio::test]
async fn services_have_tokens_that_end() -> Result<()> {
    let (scene, admin) = Scene::with_owner().await?;
    let service = json!({ "name": "nightly", "roles": [{ "role": "backup_operator" }] });
    let service = scene.ask(Ask::post("/v1/users", service).token(&admin)).await.json();
    assert_eq!(service["has_password"], false);
    assert!(scene.sign_in("nightly", "").await.is_err(), "without a password nobody signs in");
    let tokens = format!("/v1/users/{}/tokens", service["id"].as_str().unwrap());
    for (new, pointer) in
        [(json!({ "name": "ci", "days": 731 }), "/days"), (json!({ "name": "", "days": 1 }), "/name")]
    {
        let answer = scene.ask(Ask::post(&tokens, new).token(&admin)).await;
        assert_eq!(answer.json()["violations"][0]["pointer"], pointer);
    }
    let made = scene.ask(Ask::post(&tokens, json!({ "name": "ci", "days": 2 })).token(&admin)).await;
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert!(made.status == 201 && token.starts_with("sr_t_"));
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.json()["name"], "nightly");
    let own = scene.ask(Ask::post(&tokens, json!({ "name": "next", "days": 2 })).token(&token)).await;
    assert_eq!(own.code(), "forbidden", "a token makes no tokens");

    let list = scene.ask(Ask::get(&tokens).token(&token)).await.json();
    assert!(list["items"][0]["name"] == "ci" && !list.to_string().contains(&token));
    let one = format!("{tokens}/{}", list["items"][0]["id"].as_str().unwrap());
    assert_eq!(scene.ask(Ask::new("DELETE", &one).token(&admin)).await.status, 204);
    assert_eq!(scene.ask(Ask::new("DELETE", &one).token(&admin)).await.code(), "not_found");
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.code(), "unauthenticated");

    let made = scene.ask(Ask::post(&tokens, json!({ "name": "ci", "days": 2 })).token(&admin)).await;
    scene.pass(jiff::SignedDuration::from_hours(48));
    let ended = scene.ask(Ask::get("/v1/me").token(made.json()["token"].as_str().unwrap())).await;
    assert_eq!(ended.code(), "unauthenticated");
    Ok(())
}
