//! A server whose vault is in one cloud and whose second store is in another: the first is gone, and all comes back.

use crate::guest::{Guest, assert_equal, until};
use crate::scene::{Scene, id};
use crate::service::{Server, only, prepare_host, text};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use testkit::{StoreKind, StoreServer};

#[test]
fn what_the_region_had_comes_back_from_another_cloud() -> Result<()> {
    let s3 = StoreServer::start(StoreKind::S3, &testkit::to_stderr)?;
    let azure = StoreServer::start(StoreKind::Azure, &testkit::to_stderr)?;
    s3.make_store("near")?;
    azure.make_store("far")?;
    let mut scene = Scene::without_vault()?;
    scene.know_store("", &s3);
    scene.know_store("COPY_", &azure);
    let guest = Guest::still(&scene, "clouds")?;
    let name = guest.name();
    let server = Server::start(&scene)?;
    let (near, far) = (format!("{}/main", s3.url("near")), format!("{}/main", azure.url("far")));
    let key = scene.path("main.key");
    let made = scene.ask_program(&["vault", "create", "main", &near])?;
    std::fs::write(&key, made["key"].as_str().context("a key")?)?;
    scene.ask_program(&["policy", "create", "nightly", "--daily", "23:00", "--zone", "UTC"])?;
    prepare_host(&scene, &guest)?;
    scene.ask_program(&["protect", name, "--policy", "nightly", "--now"])?;
    let jobs = scene.ask_program(&["job", "list", "--machine", name])?;
    scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    let truth = guest.copy_disks(&scene, "truth")?;
    restored(&scene, name, "here", &[], &truth)?;

    scene.ask_program(&["vault", "update", "main", "--copy-to", &far])?;
    scene.ask_program(&["vault", "copy", "main"])?;
    drop(s3);
    // Whoever waits for what was there is told where it is as well.
    let nowhere = scene.path("nowhere");
    let line = ["restore", name, "--point", "latest", "--to", text(&nowhere)?, "--no-wait"];
    let begun = scene.ask_program(&line)?;
    let job = begun["job"].as_str().context("a job")?;
    until("an attempt to fail", || Ok(scene.ask_program(&["job", "show", job])?["state"] == "waiting"))?;
    let shown = scene.ask_program(&["job", "show", job])?;
    ensure!(shown["error"]["failure"] == "unreachable", "{shown}");
    ensure!(shown["error"]["hint"].as_str().is_some_and(|hint| hint.contains("--from-copy")), "{shown}");
    scene.run_program(&["job", "cancel", job])?.succeeded()?;
    restored(&scene, name, "there", &["--from-copy"], &truth)?;
    let found = scene.ask_program(&["files", name, "--from-copy", "ls", "d-disk0:/"])?;
    ensure!(found.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "lost+found")), "{found}");
    server.stop()?;

    // The server is gone as well: another one takes the second store in as its vault.
    let mut other = Scene::without_vault()?;
    other.know_store("", &azure);
    let server = Server::start(&other)?;
    other.ask_program(&["vault", "adopt", "main", &far, "--key-file", text(&key)?])?;
    restored(&other, name, "anew", &[], &truth)?;
    server.stop()?;
    guest.quit_and_check()
}

/// The machine's only point, restored and compared.
fn restored(scene: &Scene, name: &str, folder: &str, more: &[&str], truth: &[PathBuf; 2]) -> Result<()> {
    let folder = scene.path(folder);
    let line = ["restore", name, "--point", "latest", "--format", "raw", "--to", text(&folder)?];
    let done = scene.ask_program(&[&line[..], more].concat())?;
    ensure!(done["state"].as_str().context("a state")? == "completed", "{done}");
    assert_equal(&["d-disk0.raw", "d-disk1.raw"].map(|image| folder.join(image)), truth)
}
