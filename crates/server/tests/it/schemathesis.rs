//! Schemathesis reads the API's document and sends what it can think of: requests that fit, and requests that do not.

use crate::scene::{Ask, Scene};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use server::{Options, Tls, start};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::process::Command;

/// Never the server's fault, always a status, a type and a shape that the document tells of.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Signing out would end the test, streams never end, and a vault is made in whatever directory it is told. Without
/// the vault there would be nothing left to ask about.
const LEFT_OUT: [&str; 5] = ["logout", "watch", "watch_job", "create_vault", "remove_vault"];

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() -> Result<()> {
    let python = tokio::task::spawn_blocking(|| testkit::schemathesis(&testkit::to_stderr)).await??;
    let (scene, token) = Scene::with_owner().await?;
    // A real one: its keys are read where it lies.
    let place = scene.folder.path().join("vault");
    let made =
        scene.ask(Ask::post("/v1/vaults", json!({ "name": "one", "location": place })).token(&token)).await;
    let made = made.json();
    let vault = made["vault"]["id"].as_str().with_context(|| format!("{made:?}"))?;
    let (user, _) = scene.user(&token, "somebody", json!([])).await?;
    // Read from the folder it runs in: ids that are there, for none is found by chance.
    let parameters = format!("[parameters]\n\"path.vault\" = \"{vault}\"\n\"path.user\" = \"{user}\"\n");
    std::fs::write(scene.folder.path().join("schemathesis.toml"), parameters)?;
    // Nobody is slowed down where time flies.
    scene.tick();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = Options { listen, data: scene.folder.path().to_owned(), tls: Tls::Off };
    let running = start(options, scene.control.clone()).await?;
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "run", &format!("{}/v1/openapi.json", running.url())]);
    command.args(["--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--max-time", "120"]);
    // One worker: with more, Hypothesis finds itself inconsistent.
    command.args(["--workers", "1", "--generation-deterministic", "--no-color"]);
    for one in LEFT_OUT {
        command.args(["--exclude-operation-id", one]);
    }
    let found = command.current_dir(scene.folder.path()).kill_on_drop(true).output().await;
    let found = found.context("run schemathesis")?;
    running.stop().await;
    let told = String::from_utf8_lossy(&found.stdout);
    ensure!(found.status.success(), "{told}\n{}", String::from_utf8_lossy(&found.stderr));
    println!("{told}");
    Ok(())
}
