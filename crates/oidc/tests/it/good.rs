//! What lets somebody in.

use crate::scene::{Scene, settings};
use anyhow::Result;
use oidc::{ErrorKind, Provider};
use serde_json::json;
use testkit::Signing;

#[tokio::test]
async fn somebody_signs_in_with_a_secret_and_without_one() -> Result<()> {
    for secret in [None, Some("a secret: with % & = ü")] {
        let scene = Scene::new(secret)?;
        let alice = scene.sign_in().await??;
        assert_eq!((alice.issuer.as_str(), alice.subject.as_str()), (scene.theirs.issuer(), "4711"));
        assert_eq!(alice.text("preferred_username"), Some("alice"));
        assert_eq!(alice.key(), format!("{}#4711", scene.theirs.issuer()));
        if secret.is_some() {
            scene
                .theirs
                .claim_to_be(json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] }));
            scene.sign_in().await??;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_way_of_signing_that_is_ours_is_known() -> Result<()> {
    let scene = Scene::new(None)?;
    for signing in [Signing::Rsa, Signing::RsaPss, Signing::Curve, Signing::Edwards] {
        scene.theirs.twist(move |token| token.signing = signing);
        scene.sign_in().await?.unwrap_or_else(|error| panic!("{signing:?}: {error}"));
    }
    Ok(())
}

#[tokio::test]
async fn keys_that_were_rotated_are_found_and_the_old_ones_no_longer_count() -> Result<()> {
    let scene = Scene::new(None)?;
    scene.sign_in().await??;
    scene.theirs.rotate_keys()?;
    scene.sign_in().await??;
    // A token that was kept from before.
    scene.theirs.twist(|token| token.header["kid"] = json!("the one of last year"));
    let error = scene.sign_in().await?.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("shows no key"), "{error}");
    Ok(())
}

#[tokio::test]
async fn others_may_get_the_token_too_if_we_asked_for_it() -> Result<()> {
    let scene = Scene::new(None)?;
    scene.theirs.twist(|token| {
        token.claims["aud"] = json!(["strongroom", "mail"]);
        token.claims["azp"] = json!("strongroom");
    });
    scene.sign_in().await??;
    Ok(())
}

#[tokio::test]
async fn claims_that_the_token_lacks_are_asked_for() -> Result<()> {
    let scene = Scene::new(None)?;
    scene.theirs.sign_in_as(json!({ "sub": "4711" }));
    scene
        .theirs
        .tell_at_userinfo(json!({ "preferred_username": "alice", "iss": "https://elsewhere.example" }));
    let alice = scene.sign_in().await??;
    assert_eq!(alice.text("preferred_username"), Some("alice"));
    assert_eq!(alice.text("iss"), Some(scene.theirs.issuer()), "what is signed counts more");
    scene.theirs.tell_at_userinfo(json!({}));
    assert_eq!(scene.sign_in().await??.text("preferred_username"), None);
    Ok(())
}

#[test]
fn an_issuer_is_an_address_that_secrets_may_be_sent_to() {
    for wrong in ["http://id.example", "https://id.example/?a=b", "https://id.example/#a", "id.example"] {
        let error = Provider::new(settings(wrong, None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{wrong}");
    }
    assert!(Provider::new(settings("https://id.example/realms/one", None)).is_ok());
}
