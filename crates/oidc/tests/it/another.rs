//! A provider that somebody else wrote.

use crate::scene::{REDIRECT, settings};
use anyhow::{Context, Result};
use jiff::Timestamp;
use oidc::{Answer, Provider, Wish, challenge, secret};
use serde_json::json;
use testkit::AnotherProvider;

#[tokio::test]
async fn a_provider_of_somebody_elses_is_understood() -> Result<()> {
    let person = json!({ "sub": "4711", "preferred_username": "alice", "groups": ["ops", "chess"] });
    let start = move || AnotherProvider::start(&person, &testkit::to_stderr);
    let theirs = tokio::task::spawn_blocking(start).await??;
    let mut settings = settings(theirs.issuer(), Some("any will do"));
    settings.claims = vec!["preferred_username".to_owned(), "groups".to_owned()];
    let ours = Provider::new(settings)?;
    let (state, nonce, verifier) = (secret(), secret(), secret());
    let challenge = challenge(&verifier);
    let wish = Wish { redirect: REDIRECT, state: &state, nonce: &nonce, challenge: &challenge };
    let back = reqwest::Url::parse(&theirs.sign_in(&ours.begin(&wish).await?, "4711")?)?;
    let value =
        |name: &str| back.query_pairs().find(|(its, _)| its == name).map(|(_, value)| value.into_owned());
    assert_eq!(value("state").as_deref(), Some(state.as_str()));
    let code = value("code").with_context(|| format!("a code in {back}"))?;
    let answer = Answer { code: &code, redirect: REDIRECT, nonce: &nonce, verifier: &verifier };
    #[expect(clippy::disallowed_methods, reason = "it has no clock but the host's")]
    let now = Timestamp::now();
    let alice = ours.finish(&answer, now).await?;
    assert_eq!((alice.issuer.as_str(), alice.subject.as_str()), (theirs.issuer(), "4711"));
    assert_eq!(
        (alice.text("preferred_username"), alice.list("groups")),
        (Some("alice"), vec!["ops", "chess"])
    );
    // Its codes too are good once.
    assert_eq!(ours.finish(&answer, now).await.unwrap_err().kind(), oidc::ErrorKind::Refused);
    Ok(())
}
