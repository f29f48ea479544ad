//! Coming in by single sign-on: over the routes, by a provider that runs.

use crate::scene::{Answered, Ask, Scene};
use anyhow::{Context, Result};
use catalog::Catalog;
use control::{Control, GroupRole, Mapping, SingleSignOn};
use jiff::SignedDuration;
use model::access::Role;
use oidc::{Provider, Settings, challenge, secret};
use serde_json::{Value, json};
use testkit::{IdentityProvider, PostgresServer, browse};
use uuid::Uuid;

/// Nobody listens there: the browser of a test ends with it.
const PORTAL: &str = "https://portal.invalid/back";
const MAIN: Uuid = Uuid::from_u128(1);
/// When the clock of a scene stands.
const NOW: i64 = 1_800_000_000;

/// Somebody on the way to a session.
#[derive(Clone)]
struct Begun {
    url: String,
    state: String,
    verifier: String,
}

fn sign_on(provider: &IdentityProvider) -> Result<SingleSignOn> {
    let settings = Settings {
        issuer: provider.issuer().to_owned(),
        client: "strongroom".to_owned(),
        secret: Some("a secret".to_owned().into()),
        scopes: vec!["profile".to_owned()],
        claims: vec!["preferred_username".to_owned(), "groups".to_owned()],
        certificate: None,
    };
    let role = |group: &str, role: Role, vault: Option<&str>| GroupRole {
        group: group.to_owned(),
        role,
        vault: vault.map(str::to_owned),
    };
    let mapping = Mapping {
        name_claim: "preferred_username".to_owned(),
        groups_claim: "groups".to_owned(),
        roles: vec![
            role("admins", Role::VaultOwner, None),
            role("ops", Role::BackupOperator, Some("main")),
            role("watch", Role::BackupReader, Some(&MAIN.to_string())),
            role("old", Role::BackupReader, Some("gone")),
        ],
        redirects: vec![PORTAL.to_owned()],
    };
    Ok(SingleSignOn { provider: Provider::new(settings)?, mapping })
}

fn provider() -> Result<IdentityProvider> {
    IdentityProvider::start("strongroom", Some("a secret"), || NOW)
}

fn with(scene: Scene, provider: &IdentityProvider) -> Result<Scene> {
    let by = sign_on(provider)?;
    Ok(scene.changed(move |control: Control| control.with_single_sign_on(by)))
}

/// A server with an administrator of its own, a vault and a provider.
async fn stage() -> Result<(Scene, String, IdentityProvider)> {
    let (scene, admin) = Scene::with_owner().await?;
    scene.vault(MAIN, "main").await?;
    let provider = provider()?;
    Ok((with(scene, &provider)?, admin, provider))
}

fn person(subject: &str, name: &str, groups: &[&str]) -> Value {
    json!({ "sub": subject, "preferred_username": name, "groups": groups })
}

async fn begin(scene: &Scene) -> Result<Begun> {
    let verifier = secret();
    let wish = json!({ "redirect": PORTAL, "challenge": challenge(&verifier) });
    let told = scene.ask(Ask::post("/v1/login/sso", wish)).await;
    let text =
        |name: &str| told.json()[name].as_str().map(str::to_owned).with_context(|| format!("{told:?}"));
    Ok(Begun { url: text("url")?, state: text("state")?, verifier })
}

/// The code that the browser comes back with.
fn be_at_provider(begun: &Begun) -> Result<String> {
    let back = reqwest::Url::parse(&browse(&begun.url)?)?;
    let value =
        |name: &str| back.query_pairs().find(|(its, _)| its == name).map(|(_, value)| value.into_owned());
    assert_eq!(value("state").as_deref(), Some(begun.state.as_str()));
    value("code").context("a code")
}

async fn finish(scene: &Scene, begun: &Begun, code: &str) -> Answered {
    let answer = json!({ "state": begun.state, "code": code, "verifier": begun.verifier });
    scene.ask(Ask::post("/v1/login/sso/finish", answer)).await
}

/// All of it, as whoever is at the provider.
async fn come(scene: &Scene) -> Result<Answered> {
    let begun = begin(scene).await?;
    Ok(finish(scene, &begun, &be_at_provider(&begun)?).await)
}

async fn session(scene: &Scene) -> Result<String> {
    let came = come(scene).await?;
    Ok(came.json()["token"].as_str().with_context(|| format!("{came:?}"))?.to_owned())
}

async fn me(scene: &Scene, token: &str) -> Value {
    scene.ask(Ask::get("/v1/me").token(token)).await.json()
}

fn role_in_main(role: &str) -> Value {
    json!([{ "role": role, "vault": MAIN }])
}

#[tokio::test]
async fn groups_give_roles_and_are_looked_at_anew_each_time() -> Result<()> {
    let (scene, admin, provider) = stage().await?;
    provider.sign_in_as(person("4711", "alice", &["ops", "old", "chess"]));
    let token = session(&scene).await?;
    assert!(token.starts_with("sr_s_"));
    let alice = me(&scene, &token).await;
    assert_eq!((&alice["name"], &alice["roles"]), (&json!("alice"), &role_in_main("backup_operator")));
    let users = scene.ask(Ask::get("/v1/users").token(&admin)).await.json();
    let listed = &users["items"][1];
    assert_eq!((&listed["name"], &listed["single_sign_on"]), (&json!("alice"), &json!(true)), "{users}");
    assert_eq!(
        (&listed["has_password"], &users["items"][0]["single_sign_on"]),
        (&json!(false), &json!(false))
    );

    // Another name, other groups: the same person, under the name that the log knows.
    provider.sign_in_as(person("4711", "alice.smith", &["watch", "admins"]));
    let newer = session(&scene).await?;
    let roles = me(&scene, &newer).await;
    assert_eq!((&roles["id"], &roles["name"]), (&alice["id"], &json!("alice")));
    assert_eq!(
        roles["roles"],
        json!([{ "role": "vault_owner", "vault": null }, { "role": "backup_reader", "vault": MAIN }])
    );

    // Out of all groups: turned away, and what still runs may do nothing.
    provider.sign_in_as(person("4711", "alice", &["chess"]));
    let refused = come(&scene).await?;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    assert!(
        refused.json()["detail"].as_str().unwrap().contains("none of the 1 groups of alice"),
        "{refused:?}"
    );
    assert_eq!(me(&scene, &token).await["roles"], json!([]));
    // And in again.
    provider.sign_in_as(person("4711", "alice", &["ops"]));
    session(&scene).await?;
    Ok(())
}

#[tokio::test]
async fn nobody_comes_in_as_a_user_that_somebody_else_made() -> Result<()> {
    let (scene, admin, provider) = stage().await?;
    provider.sign_in_as(person("1", "admin", &["ops"]));
    let token = session(&scene).await?;
    let namesake = me(&scene, &token).await;
    assert_eq!(
        (&namesake["name"], &namesake["roles"]),
        (&json!("admin 2"), &role_in_main("backup_operator"))
    );
    assert_ne!(namesake["id"], me(&scene, &admin).await["id"]);
    assert!(scene.sign_in("admin 2", "").await.is_err(), "without a password nobody signs in");
    // The name of a mover cannot be had, and others become names.
    provider.sign_in_as(person("2", "mover:server", &["ops"]));
    assert_eq!(me(&scene, &session(&scene).await?).await["name"], "mover-server");
    provider.sign_in_as(person("3", &"DOMAIN\\ü".repeat(30), &["ops"]));
    let name = me(&scene, &session(&scene).await?).await["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("DOMAIN-ü") && name.chars().count() == 60, "{name}");
    // Another subject of the same name is another person.
    provider.sign_in_as(person("4", "admin", &["watch"]));
    assert_eq!(me(&scene, &session(&scene).await?).await["name"], "admin 3");
    // Who has no name, has none here.
    provider.sign_in_as(json!({ "sub": "5", "groups": ["ops"] }));
    let nameless = come(&scene).await?;
    assert!(
        nameless.code() == "conflict"
            && nameless.json()["hint"].as_str().unwrap().contains("--sso-name-claim")
    );
    Ok(())
}

#[tokio::test]
async fn who_is_refused_is_not_made_and_who_is_shut_out_stays_out() -> Result<()> {
    let (scene, admin, provider) = stage().await?;
    provider.sign_in_as(person("666", "mallory", &[]));
    assert_eq!(come(&scene).await?.status, 403);
    let users = scene.ask(Ask::get("/v1/users").token(&admin)).await.json();
    assert_eq!(users["items"].as_array().unwrap().len(), 1, "{users}");

    provider.sign_in_as(person("4711", "alice", &["ops"]));
    let token = session(&scene).await?;
    let id = me(&scene, &token).await["id"].as_str().unwrap().to_owned();
    let change = |body: Value| Ask::new("PATCH", format!("/v1/users/{id}")).json(body).token(&admin);
    assert_eq!(scene.ask(change(json!({ "disabled": true }))).await.status, 200);
    provider.sign_in_as(person("4711", "alice", &["admins"]));
    let out = come(&scene).await?;
    assert!(
        out.code() == "forbidden" && out.json()["detail"].as_str().unwrap().contains("shut out"),
        "{out:?}"
    );
    assert_eq!(scene.ask(Ask::get("/v1/me").token(&token)).await.code(), "unauthenticated");
    scene.ask(change(json!({ "disabled": false }))).await;
    assert_eq!(me(&scene, &token).await["roles"], role_in_main("backup_operator"), "no more than before");

    // What is settled there is not settled here.
    let password = change(json!({ "password": "correct horse battery" }));
    assert_eq!(scene.ask(password).await.code(), "conflict");
    let roles = Ask::new("PUT", format!("/v1/users/{id}/roles")).json(json!({ "roles": [] })).token(&admin);
    assert_eq!(scene.ask(roles).await.code(), "conflict");
    // What somebody made who has left ends by itself.
    let make = |days: u16| {
        Ask::post(format!("/v1/users/{id}/tokens"), json!({ "name": "ci", "days": days })).token(&token)
    };
    assert_eq!(scene.ask(make(31)).await.json()["violations"][0]["rule"], "1 to 30");
    assert_eq!(scene.ask(make(30)).await.status, 201);
    Ok(())
}

#[tokio::test]
async fn all_of_it_is_in_the_log() -> Result<()> {
    let (scene, admin, provider) = stage().await?;
    provider.sign_in_as(person("666", "mallory", &[]));
    come(&scene).await?;
    provider.sign_in_as(person("4711", "alice", &["ops"]));
    session(&scene).await?;
    let log = scene.ask(Ask::get("/v1/audit").token(&admin)).await.json();
    let of = |one: &Value| {
        ["actor", "action", "object"].map(|name| one[name].as_str().unwrap().to_owned()).join(" ")
    };
    let told: Vec<_> = log["items"].as_array().unwrap().iter().skip(2).map(of).collect();
    let mallory = format!("server sign_in.refuse {}#666", provider.issuer());
    assert_eq!(
        told,
        [&mallory, "server user.create alice", "server user.roles alice", "alice sign_in alice"]
    );
    let last = &log["items"][5]["detail"];
    assert_eq!((&last["issuer"], &last["subject"]), (&json!(provider.issuer()), &json!("4711")));
    Ok(())
}

#[tokio::test]
async fn a_sign_in_is_finished_once_in_time_and_by_who_began_it() -> Result<()> {
    let (scene, _, provider) = stage().await?;
    provider.sign_in_as(person("4711", "alice", &["ops"]));
    let begun = begin(&scene).await?;
    let code = be_at_provider(&begun)?;
    // Whoever saw the browser's address has no verifier, and takes it from nobody.
    for verifier in [secret(), "short".to_owned()] {
        let thief = Begun { verifier, ..begun.clone() };
        assert_eq!(finish(&scene, &thief, &code).await.code(), "unauthenticated");
    }
    assert_eq!(finish(&scene, &begun, &code).await.status, 200);
    assert_eq!(finish(&scene, &begun, &code).await.code(), "unauthenticated", "a replay of the state");
    // A code of another sign-in, or one that was used.
    let (mine, other) = (begin(&scene).await?, begin(&scene).await?);
    assert_eq!(finish(&scene, &mine, &be_at_provider(&other)?).await.code(), "unauthenticated");
    let again = begin(&scene).await?;
    assert_eq!(finish(&scene, &again, &code).await.code(), "unauthenticated", "a replay of the code");
    let unknown = Begun { state: secret(), ..begin(&scene).await? };
    assert_eq!(finish(&scene, &unknown, "code").await.code(), "unauthenticated");
    // Ten minutes and no longer.
    let (early, late) = (begin(&scene).await?, begin(&scene).await?);
    let codes = [be_at_provider(&early)?, be_at_provider(&late)?];
    provider.twist(|token| token.claims["exp"] = json!(NOW + 3600));
    scene.pass(SignedDuration::from_secs(599));
    assert_eq!(finish(&scene, &early, &codes[0]).await.status, 200);
    scene.pass(SignedDuration::from_secs(1));
    assert_eq!(finish(&scene, &late, &codes[1]).await.code(), "unauthenticated");
    Ok(())
}

/// `oidc` has them all; here, that nothing comes of one.
#[tokio::test]
async fn a_token_that_proves_nothing_makes_nobody() -> Result<()> {
    let (scene, admin, provider) = stage().await?;
    provider.sign_in_as(person("4711", "alice", &["admins"]));
    provider.twist(|token| token.signing = testkit::Signing::Nothing);
    let forged = come(&scene).await?;
    assert_eq!((forged.status, forged.code().as_str()), (401, "unauthenticated"));
    scene.control.check_single_sign_on().await?;
    provider.claim_to_be(json!({ "issuer": "https://elsewhere.example" }));
    assert!(scene.control.check_single_sign_on().await.unwrap_err().to_string().contains("calls itself"));
    let wish = json!({ "redirect": PORTAL, "challenge": challenge(&secret()) });
    let unfit = scene.ask(Ask::post("/v1/login/sso", wish)).await;
    assert_eq!((unfit.status, unfit.code().as_str()), (503, "unavailable"));
    let users = scene.ask(Ask::get("/v1/users").token(&admin)).await.json();
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
    Ok(())
}

#[tokio::test]
async fn codes_are_sent_to_the_loopback_and_to_addresses_that_were_named() -> Result<()> {
    let (scene, _, _provider) = stage().await?;
    let ask = async |redirect: &str| {
        let wish = json!({ "redirect": redirect, "challenge": challenge(&secret()) });
        scene.ask(Ask::post("/v1/login/sso", wish)).await
    };
    for good in [PORTAL, "http://127.0.0.1:4000/", "http://[::1]:4000/back"] {
        assert_eq!(ask(good).await.status, 200, "{good}");
    }
    for bad in ["https://portal.invalid/", "https://portal.invalid/back/x", "http://localhost:4000/", "x", ""]
    {
        assert_eq!(ask(bad).await.json()["violations"][0]["pointer"], "/redirect", "{bad}");
    }
    let wish = json!({ "redirect": PORTAL, "challenge": "not a hash" });
    assert_eq!(
        scene.ask(Ask::post("/v1/login/sso", wish)).await.json()["violations"][0]["pointer"],
        "/challenge"
    );
    let without = Scene::new().await?;
    for (scene, has) in [(&scene, true), (&without, false)] {
        assert_eq!(
            scene.ask(Ask::get("/v1/version")).await.json()["single_sign_on"],
            has,
            "a portal asks this first"
        );
    }
    let wish = json!({ "redirect": PORTAL, "challenge": challenge(&secret()) });
    assert_eq!(without.ask(Ask::post("/v1/login/sso", wish)).await.code(), "conflict");
    Ok(())
}

/// Two servers on one database: whichever is asked finishes what the other has begun, and the same person who comes in
/// at both at once is one user.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_finishes_it() -> Result<()> {
    let postgres = PostgresServer::start()?;
    let url = postgres.database("sso")?;
    let provider = provider()?;
    let scene = async || -> Result<Scene> {
        with(Scene::over(Catalog::open(&url).await?, tempfile::tempdir()?), &provider)
    };
    let (one, two) = (scene().await?, scene().await?);
    one.vault(MAIN, "main").await?;
    provider.sign_in_as(person("4711", "alice", &["ops"]));
    let begun = [begin(&one).await?, begin(&two).await?];
    let codes = [be_at_provider(&begun[0])?, be_at_provider(&begun[1])?];
    let (first, second) =
        tokio::join!(finish(&two, &begun[0], &codes[0]), finish(&one, &begun[1], &codes[1]));
    let token = |came: &Answered| {
        came.json()["token"].as_str().map(str::to_owned).with_context(|| format!("{came:?}"))
    };
    let (first, second) = (me(&one, &token(&first)?).await, me(&two, &token(&second)?).await);
    assert_eq!((&first, &first["roles"]), (&second, &role_in_main("backup_operator")));
    assert_eq!(finish(&one, &begun[0], &codes[0]).await.code(), "unauthenticated", "finished by the other");
    Ok(())
}
