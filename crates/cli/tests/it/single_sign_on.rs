//! Logging in by a browser: the program listens, the browser comes back, and there is a session.

use crate::program::Running;
use crate::scene::Scene;
use crate::service::text;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::{IdentityProvider, browse};

const FORBIDDEN: i32 = 12;
const STATE: i32 = 13;

fn now() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program has the host's clock, and so must the provider"
    )]
    jiff::Timestamp::now().as_second()
}

/// A server that was told of a provider, its address and its fingerprint.
fn start(scene: &Scene, provider: &IdentityProvider) -> Result<(Running, String, String)> {
    let data = scene.path("data");
    let made = scene.ask_program(&["server", "init", "--data", text(&data)?])?;
    std::fs::write(scene.path("secret"), "a secret\n")?;
    let mut command = scene.program(["server", "run", "--listen", "127.0.0.1:0", "--no-mover"]);
    command.arg("--data").arg(&data).arg("--sso-secret-file").arg(scene.path("secret"));
    command.args([
        "--sso-issuer",
        provider.issuer(),
        "--sso-client",
        "strongroom",
        "--sso-role",
        "ops=operator",
    ]);
    command.env("STRONGROOM_SSO_NAME_CLAIM", "email");
    let mut running = Running::start(&mut command)?;
    let line = running.wait_for("the server runs")?;
    let url = line.split('"').find(|part| part.starts_with("https://")).context("it tells its address")?;
    let fingerprint = made["fingerprint"].as_str().context("a fingerprint")?;
    Ok((running, url.to_owned(), fingerprint.to_owned()))
}

/// The program, and a browser that opens what it prints.
fn log_in(scene: &Scene, url: &str, fingerprint: &str) -> Result<crate::program::Ran> {
    let line = ["login", url, "--fingerprint", fingerprint, "--sso", "--no-browser", "--context", "sso"];
    let mut program = Running::start(&mut scene.program(line))?;
    let address = program.wait_for("/authorize?")?;
    let back = browse(address.trim())?;
    ensure!(back.starts_with("http://127.0.0.1:"), "the browser ends where the program listens: {back}");
    program.finish()
}

#[test]
fn somebody_logs_in_by_a_browser() -> Result<()> {
    let scene = Scene::without_vault()?;
    let provider = IdentityProvider::start("strongroom", Some("a secret"), now)?;
    let (server, url, fingerprint) = start(&scene, &provider)?;
    provider.sign_in_as(json!({ "sub": "4711", "email": "alice@example.org", "groups": ["ops"] }));
    let ran = log_in(&scene, &url, &fingerprint)?;
    ensure!(ran.succeeded()?.contains("as alice@example.org until"), "{ran:?}");
    let vaults = scene.run_program(&["vault", "list"])?;
    vaults.succeeded()?;
    let refused = scene.run_program(&["vault", "create", "x", text(&scene.path("x"))?])?;
    refused.failed(FORBIDDEN, &["alice@example.org"])?;

    provider.sign_in_as(json!({ "sub": "666", "email": "mallory@example.org", "groups": [] }));
    let refused = log_in(&scene, &url, &fingerprint)?;
    refused.failed(FORBIDDEN, &["none of the 0 groups of mallory@example.org", "--sso-role"])?;
    server.signal("TERM")?;
    let ran = server.finish()?;
    ensure!(ran.code == Some(0), "{ran:?}");

    // A server that was told of none says so.
    let mut command = scene.program(["server", "run", "--listen", "127.0.0.1:0", "--no-mover"]);
    let mut server = Running::start(command.arg("--data").arg(scene.path("data")))?;
    let line = server.wait_for("the server runs")?;
    let url = line.split('"').find(|part| part.starts_with("https://")).context("it tells its address")?;
    let line = ["login", url, "--fingerprint", &fingerprint, "--sso", "--no-browser"];
    scene.run_program(&line)?.failed(STATE, &["no single sign-on", "--sso-issuer"])
}
