//! Vaults on object stores: made and found by their URL, with credentials from the environment.

use crate::program::{Ran, Running};
use crate::scene::Scene;
use anyhow::{Result, ensure};
use testkit::{StoreKind, StoreServer};

const INVALID: i32 = 2;
const NOT_FOUND: i32 = 3;
const EXISTS: i32 = 4;
const UNREACHABLE: i32 = 5;
const DENIED: i32 = 6;

/// Runs the program in an environment that knows no other store than this.
fn run(scene: &Scene, arguments: &[&str], variables: &[(String, String)]) -> Result<Ran> {
    let mut command = scene.command(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("AWS_") || name.starts_with("AZURE_")) {
            command.env_remove(name);
        }
    }
    // A host that runs in a cloud would be given a role.
    command
        .env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
        .env("AZURE_MSI_ENDPOINT", "http://127.0.0.1:1");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    Running::start(&mut command)?.finish()
}

fn vault_on(kind: StoreKind) -> Result<()> {
    let server = StoreServer::start(kind, &testkit::to_stderr)?;
    server.make_store("vaults")?;
    let (scene, variables) = (Scene::without_vault()?, server.variables());
    let (url, key) = (format!("{}/first", server.url("vaults")), scene.path("vault.key"));
    let create = ["vault", "create", &url, "--key-file", &key.display().to_string(), "-o", "json"];
    let created = run(&scene, &create, &variables)?.json()?;
    ensure!(created["location"] == url.as_str(), "{created}");
    let key = ["--key-file", &key.display().to_string()].map(str::to_owned);
    let shown = run(&scene, &["vault", "show", &url, "-o", "json", &key[0], &key[1]], &variables)?.json()?;
    ensure!(shown["location"] == url.as_str() && shown["id"] == created["id"], "{shown}");
    ensure!(shown["points"] == 0 && shown["objects"] == 2, "the probe leaves nothing: {shown}");
    let listed =
        run(&scene, &["point", "list", "--vault", &url, "-o", "json", &key[0], &key[1]], &variables)?;
    listed.succeeded()?;

    let other = scene.path("other.key").display().to_string();
    let again = run(&scene, &["vault", "create", &url, "--key-file", &other], &variables)?;
    again.failed(EXISTS, &[&url, "is not empty", "choose another, empty place"])?;
    let none = server.url("none");
    let missing = run(&scene, &["vault", "show", &none], &variables)?;
    missing.failed(NOT_FOUND, &[&format!("open the vault {none}"), "make its bucket or container first"])?;
    let keyless = run(&scene, &["vault", "show", &url], &[])?;
    keyless.failed(
        DENIED,
        &["the environment holds no credentials", &url, "try: set the store's credentials"],
    )?;
    drop(server);
    let gone = run(&scene, &["vault", "show", &url], &variables)?;
    gone.failed(UNREACHABLE, &[&url, "because:", "try: check that the vault's place can be read"])
}

#[test]
fn a_vault_on_s3_is_made_and_found() -> Result<()> {
    vault_on(StoreKind::S3)
}

#[test]
fn a_vault_on_azure_is_made_and_found() -> Result<()> {
    vault_on(StoreKind::Azure)
}

#[test]
fn an_address_that_is_none_is_told_with_what_to_write() -> Result<()> {
    let scene = Scene::without_vault()?;
    let none = run(&scene, &["vault", "show", "ftp://host/vault"], &[])?;
    none.failed(INVALID, &["ftp://host/vault", "s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX"])
}
