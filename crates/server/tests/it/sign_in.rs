//! Who comes in, and who does not.

use crate::scene::{Ask, Scene};
use anyhow::Result;
use jiff::SignedDuration;
use serde_json::json;

#[tokio::test]
async fn the_first_administrator_signs_in_and_out() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    assert!(token.starts_with("sr_s_"));
    let me = scene.ask(Ask::get("/v1/me").token(&token)).await;
    assert_eq!((me.status, &me.json()["name"]), (200, &json!("admin")));
    assert_eq!(me.json()["roles"], json!([{ "role": "vault_owner", "vault": null }]));
    let again = scene.control.create_first_administrator("other").await.unwrap_err();
    assert_eq!(again.code(), api::Code::Exists);

    let out = scene.ask(Ask::new("POST", "/v1/logout").token(&token)).await;
    assert_eq!(out.status, 204);
    let me = scene.ask(Ask::get("/v1/me").token(&token)).await;
    assert_eq!((me.code().as_str(), me.header("www-authenticate")), ("unauthenticated", Some("Bearer")));
    Ok(())
}

#[tokio::test]
async fn a_session_ends_by_itself_and_a_reset_password_ends_all() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    scene.pass(SignedDuration::from_hours(12) - SignedDuration::from_secs(1));
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.status, 200);
    scene.pass(SignedDuration::from_secs(1));
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.code(), "unauthenticated");

    let password = scene.control.reset_password("admin").await?;
    let token = scene.sign_in("admin", &password).await?;
    let newer = scene.control.reset_password("admin").await?;
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.code(), "unauthenticated");
    assert!(scene.sign_in("admin", &password).await.is_err());
    scene.sign_in("admin", &newer).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_name_reads_as_a_wrong_password_and_who_guesses_waits() -> Result<()> {
    let (scene, _) = Scene::with_owner().await?;
    let try_it = async |name: &str, password: &str| {
        scene.ask(Ask::post("/v1/login", json!({ "name": name, "password": password }))).await
    };
    let (wrong, unknown) = (try_it("admin", "wrong").await, try_it("nobody", "wrong").await);
    assert_eq!((wrong.code(), wrong.status), (unknown.code(), 401));
    assert_eq!(wrong.json()["detail"], unknown.json()["detail"]);
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(try_it("admin", "wrong").await);
    }
    let codes: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(codes, [401, 401, 401, 401, 429, 429], "four more are let through, of five that cost nothing");
    let last = answers.last().unwrap();
    let wait: u64 = last.header("retry-after").unwrap().parse()?;
    assert!(last.code() == "too_many_requests" && wait > 0);
    let password = scene.control.reset_password("admin").await?;
    assert_eq!(try_it("admin", &password).await.status, 429, "right or wrong, it is not looked at");
    scene.pass(SignedDuration::from_secs(i64::try_from(wait)?));
    assert_eq!(try_it("admin", &password).await.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_token_must_be_whole_good_and_shown_as_one() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let headers = [
        String::new(),
        token.clone(),
        format!("Basic {token}"),
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {token}0"),
        format!("Bearer {}", token.to_uppercase()),
        "Bearer ".to_owned(),
        format!("Bearer {}", "a".repeat(10_000)),
        "Bearer \u{1f980}".to_owned(),
    ];
    for header in headers {
        let answer = scene.ask(Ask::get("/v1/me").header("authorization", header.clone())).await;
        assert_eq!(answer.code(), "unauthenticated", "{header}");
    }
    let lower = scene.ask(Ask::get("/v1/me").header("authorization", format!("bearer {token}"))).await;
    assert_eq!(lower.status, 200, "the scheme's case does not matter (RFC 9110)");
    Ok(())
}

#[tokio::test]
async fn a_mover_comes_in_by_its_newest_token_and_only_where_movers_do() -> Result<()> {
    let (scene, _) = Scene::with_owner().await?;
    let old = scene.control.mover_token("host-1").await?;
    let new = scene.control.mover_token("host-1").await?;
    assert!(new.starts_with("sr_m_"));
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&old)).await.code(), "unauthenticated");
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&new)).await.code(), "forbidden");
    let bearer = scene.control.bearer(&control::token_hash(&new)).await?.unwrap();
    assert_eq!(bearer.mover.as_deref(), Some("host-1"));
    assert!(scene.control.mover_token("a:b").await.is_err());
    scene.control.remove_mover_tokens("host-1").await?;
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&new)).await.code(), "unauthenticated");
    // Nobody signs in as a mover, and nobody can be named as one.
    assert!(scene.sign_in("mover:host-1", "").await.is_err());
    Ok(())
}

#[tokio::test]
async fn strangers_are_slowed_down_and_those_who_are_known_are_not() -> Result<()> {
    let (scene, token) = Scene::with_owner().await?;
    let mut refused = None;
    for _ in 0..1000 {
        let answer = scene.ask(Ask::get("/v1/me").token("sr_s_guess")).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let refused = refused.unwrap();
    assert!(refused.code() == "too_many_requests" && refused.header("retry-after").is_some());
    assert_eq!(scene.ask(Ask::get("/v1/version")).await.status, 429, "one address, one bucket");
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.status, 200);
    scene.pass(SignedDuration::from_secs(1));
    assert_eq!(scene.ask(Ask::get("/v1/version")).await.status, 200);
    // A token that asks in a loop.
    let mut answered = 0;
    while scene.ask(Ask::get("/v1/me").token(&token)).await.status == 200 {
        answered += 1;
        assert!(answered < 10_000);
    }
    assert!(answered > 1000);
    Ok(())
}
