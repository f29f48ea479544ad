//! Vaults on object stores: made and found by their URL, with credentials from the environment.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use testkit::{StoreKind, StoreServer};

const INVALID: i32 = 2;
const NOT_FOUND: i32 = 3;
const EXISTS: i32 = 4;
const UNREACHABLE: i32 = 5;
const DENIED: i32 = 6;

fn vault_on(kind: StoreKind) -> Result<()> {
    let server = StoreServer::start(kind, &testkit::to_stderr)?;
    server.make_store("vaults")?;
    let (mut scene, stranger) = (Scene::without_vault()?, Scene::without_vault()?);
    scene.know_store("", &server);
    let (url, key) = (format!("{}/first", server.url("vaults")), scene.path("vault.key"));
    let create = ["vault", "create", &url, "--key-file", &key.display().to_string(), "-o", "json"];
    let created = scene.run(create)?.json()?;
    ensure!(created["location"] == url.as_str(), "{created}");
    let key = ["--key-file", &key.display().to_string()].map(str::to_owned);
    let shown = scene.run(["vault", "show", &url, "-o", "json", &key[0], &key[1]])?.json()?;
    ensure!(shown["location"] == url.as_str() && shown["id"] == created["id"], "{shown}");
    ensure!(shown["points"] == 0 && shown["objects"] == 2, "the probe leaves nothing: {shown}");
    let listed = scene.run(["point", "list", "--vault", &url, "-o", "json", &key[0], &key[1]])?;
    listed.succeeded()?;

    let other = scene.path("other.key").display().to_string();
    let again = scene.run(["vault", "create", &url, "--key-file", &other])?;
    again.failed(EXISTS, &[&url, "is not empty", "choose another, empty place"])?;
    let none = server.url("none");
    let missing = scene.run(["vault", "show", &none])?;
    missing.failed(NOT_FOUND, &[&format!("open the vault {none}"), "make its bucket or container first"])?;
    let keyless = stranger.run(["vault", "show", &url])?;
    keyless.failed(
        DENIED,
        &["the environment holds no credentials", &url, "try: set the store's credentials"],
    )?;
    drop(server);
    let gone = scene.run(["vault", "show", &url])?;
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
    let none = scene.run(["vault", "show", "ftp://host/vault"])?;
    none.failed(INVALID, &["ftp://host/vault", "s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX"])
}
