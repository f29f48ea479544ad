//! What must not let anybody in.

use crate::scene::{Scene, settings};
use anyhow::Result;
use jiff::SignedDuration;
use oidc::{Error, ErrorKind, Provider, secret};
use serde_json::{Value, json};
use testkit::{IdToken, Signing};

/// Changes a token before it is signed.
type Twist = fn(&mut IdToken);

const NOW: i64 = 1_800_000_000;

fn refused(error: &Error, says: &str, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Refused, "{what}: {error}");
    assert!(error.to_string().contains(says), "{what}: {error}");
}

/// Each is one change of a token that is signed by the right key, and good but for that.
#[tokio::test]
async fn a_token_that_says_anything_wrong_is_refused() -> Result<()> {
    let scene = Scene::new(None)?;
    let cases: [(&str, Value, &str); 22] = [
        ("nonce", json!("of another"), "another sign-in"),
        ("nonce", json!(null), "another sign-in"),
        ("aud", json!("mail"), "not for strongroom"),
        ("aud", json!(["mail"]), "not for strongroom"),
        ("aud", json!(["strongroom", "mail"]), "not for strongroom"),
        ("aud", json!([]), "not for strongroom"),
        ("aud", json!(null), "not for strongroom"),
        ("azp", json!("mail"), "not for strongroom"),
        ("iss", json!("https://elsewhere.example"), "not of the issuer"),
        ("iss", json!(null), "not of the issuer"),
        ("exp", json!(NOW - 31), "no longer good"),
        ("exp", json!(null), "until when"),
        ("exp", json!("soon"), "until when"),
        ("iat", json!(NOW + 60), "not good yet"),
        ("iat", json!(null), "when it was made"),
        ("nbf", json!(NOW + 60), "not good yet"),
        ("nbf", json!("later"), "not good yet"),
        ("sub", json!(null), "whom it is about"),
        ("sub", json!(""), "whom it is about"),
        ("sub", json!("a".repeat(256)), "whom it is about"),
        ("sub", json!("a\nb"), "whom it is about"),
        ("sub", json!(7), "whom it is about"),
    ];
    for (claim, value, says) in cases {
        let what = format!("{claim} = {value}");
        scene.theirs.twist(move |token| token.claims[claim] = value.clone());
        refused(&scene.sign_in().await?.unwrap_err(), says, &what);
    }
    scene.theirs.straighten();
    scene.sign_in().await??;
    Ok(())
}

#[tokio::test]
async fn a_token_that_nobody_or_somebody_else_signed_is_refused() -> Result<()> {
    let scene = Scene::new(None)?;
    let cases: [(&str, Twist, &str); 8] = [
        ("none", |token| token.signing = Signing::Nothing, "is none of"),
        (
            "None",
            |token| (token.signing, token.header["alg"]) = (Signing::Nothing, json!("None")),
            "is none of",
        ),
        ("a shared secret", |token| token.signing = Signing::SharedSecret, "is none of"),
        ("another's key", |token| token.signing = Signing::Stranger, "signature is wrong"),
        (
            "no signature",
            |token| (token.signing, token.header["alg"]) = (Signing::Nothing, json!("RS256")),
            "wrong",
        ),
        // What an RSA key signed, said to be signed by a key of another type.
        (
            "confused",
            |token| (token.signing, token.header["alg"]) = (Signing::Rsa, json!("ES256")),
            "shows no key",
        ),
        ("unknown", |token| token.header["kid"] = json!("unknown"), "shows no key"),
        ("extended", |token| token.header["crit"] = json!(["exp"]), "extensions"),
    ];
    for (what, twist, says) in cases {
        scene.theirs.twist(twist);
        refused(&scene.sign_in().await?.unwrap_err(), says, what);
    }
    Ok(())
}

/// A token is good to its last second, and to what clocks may differ by; not longer.
#[tokio::test]
async fn a_token_ends() -> Result<()> {
    let scene = Scene::new(None)?;
    let after = SignedDuration::from_secs;
    scene.finish(&scene.come().await?, after(300 + 29)).await?;
    refused(
        &scene.finish(&scene.come().await?, after(300 + 30)).await.unwrap_err(),
        "no longer good",
        "late",
    );
    scene.finish(&scene.come().await?, after(-30)).await?;
    refused(&scene.finish(&scene.come().await?, after(-31)).await.unwrap_err(), "not good yet", "early");
    Ok(())
}

#[tokio::test]
async fn a_code_is_good_once_and_for_who_began() -> Result<()> {
    let scene = Scene::new(None)?;
    let came = scene.come().await?;
    scene.finish(&came, SignedDuration::ZERO).await?;
    let again = scene.finish(&came, SignedDuration::ZERO).await.unwrap_err();
    refused(&again, "does not take the code", "a replay");
    // Whoever sees the code has not the verifier.
    let mut stolen = scene.come().await?;
    stolen.verifier = secret();
    refused(
        &scene.finish(&stolen, SignedDuration::ZERO).await.unwrap_err(),
        "does not take the code",
        "stolen",
    );
    // A code put into another's sign-in.
    let (mine, theirs) = (scene.come().await?, scene.come().await?);
    let mixed = crate::scene::Came { code: theirs.code, ..mine };
    refused(
        &scene.finish(&mixed, SignedDuration::ZERO).await.unwrap_err(),
        "does not take the code",
        "mixed",
    );
    Ok(())
}

#[tokio::test]
async fn userinfo_about_somebody_else_is_refused() -> Result<()> {
    let scene = Scene::new(None)?;
    scene.theirs.sign_in_as(json!({ "sub": "4711" }));
    scene.theirs.twist(|token| token.claims["sub"] = json!("1"));
    refused(&scene.sign_in().await?.unwrap_err(), "somebody else", "another subject");
    Ok(())
}

/// A provider that is another than the settings say, or none, is the administrator's to put right.
#[tokio::test]
async fn settings_that_do_not_fit_are_told() -> Result<()> {
    let scene = Scene::new(Some("secret"))?;
    let kind = async || match scene.sign_in().await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.kind()),
        Err(error) => error.downcast::<Error>().ok().map(|error| error.kind()),
    };
    assert_eq!(kind().await, None);
    for metadata in [
        json!({ "issuer": "https://elsewhere.example" }),
        json!({ "authorization_endpoint": "http://elsewhere.example/authorize" }),
        json!({ "token_endpoint": "http://elsewhere.example/token" }),
        json!({ "jwks_uri": "http://elsewhere.example/keys" }),
        json!({ "token_endpoint": null }),
    ] {
        scene.theirs.claim_to_be(metadata.clone());
        assert_eq!(kind().await, Some(ErrorKind::Settings), "{metadata}");
    }
    scene.theirs.straighten();
    let wrong = Provider::new(settings(scene.theirs.issuer(), Some("another")))?;
    let came = scene.come().await?;
    let wrong = Scene { ours: wrong, ..scene };
    let error = wrong.finish(&came, SignedDuration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings, "{error}");
    let gone = Provider::new(settings("http://127.0.0.1:1/", None))?;
    let wish = oidc::Wish { redirect: "x", state: "x", nonce: "x", challenge: "x" };
    assert_eq!(gone.begin(&wish).await.unwrap_err().kind(), ErrorKind::Unavailable);
    Ok(())
}
