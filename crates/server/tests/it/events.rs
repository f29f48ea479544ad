//! Streams of events, over real connections.

use crate::scene::{Ask, Scene};
use anyhow::{Context, Result};
use api::client::{Client, Endpoint};
use catalog::NewJob;
use model::job::JobKind;
use model::{JobId, VaultId};
use serde_json::{Value, json};
use server::{Options, Running, Tls, start};
use std::net::{Ipv4Addr, SocketAddr};
use uuid::Uuid;

const HERE: Uuid = Uuid::from_u128(1);
const THERE: Uuid = Uuid::from_u128(2);

/// A server with two vaults, and a job in each.
async fn stage() -> Result<(Scene, String, Running, [JobId; 2])> {
    let (scene, admin) = Scene::with_owner().await?;
    let mut jobs = [JobId(Uuid::from_u128(11)), JobId(Uuid::from_u128(12))];
    for ((vault, name), job) in [(HERE, "here"), (THERE, "there")].into_iter().zip(&mut jobs) {
        scene.vault(vault, name).await?;
        let new = NewJob {
            id: *job,
            kind: JobKind::Collect,
            vault: Some(VaultId(vault)),
            subject: vault.to_string(),
            name: name.to_owned(),
            mover: None,
            host: None,
            request: json!({ "request": "collect" }),
            ready: scene.control.now(),
            slot: None,
            asked_by: None,
        };
        scene.control.catalog().queue_job(&new, scene.control.now()).await?;
    }
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = Options { listen, data: scene.folder.path().to_owned(), tls: Tls::Off };
    let running = start(options, scene.control.clone()).await?;
    Ok((scene, admin, running, jobs))
}

fn client(running: &Running, token: &str) -> Result<Client> {
    Ok(Client::new(&Endpoint { url: running.url(), certificate: None }, Some(token.to_owned()))?)
}

/// The jobs of the events that have come so far, whole ones.
fn jobs(text: &str) -> Vec<Value> {
    let events = text.split("\n\n").filter(|event| event.starts_with("event: job\n"));
    let data = events.filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// Reads on until so many events have come.
async fn read(stream: &mut reqwest::Response, count: usize) -> Result<Vec<Value>> {
    let mut text = String::new();
    while jobs(&text).len() < count {
        let some = stream.chunk().await?.context("the stream ended")?;
        text.push_str(std::str::from_utf8(&some)?);
    }
    Ok(jobs(&text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_watched_to_its_end() -> Result<()> {
    let (scene, admin, running, [job, _]) = stage().await?;
    let mut stream = client(&running, &admin)?.stream(&format!("/v1/jobs/{job}/events")).await?;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = read(&mut stream, 1).await?;
    assert_eq!((&first[0]["id"], &first[0]["state"]), (&json!(job), &json!("queued")));
    let cancelled = scene.ask(Ask::new("POST", format!("/v1/jobs/{job}/cancel")).token(&admin)).await;
    assert!((200..300).contains(&cancelled.status), "{cancelled:?}");
    // It ends by itself, behind the last change.
    let mut rest = String::new();
    while let Some(some) = stream.chunk().await? {
        rest.push_str(std::str::from_utf8(&some)?);
    }
    assert_eq!(jobs(&rest).last().context("a last event")?["state"], "cancelled");
    // And afterwards it is read what happened.
    let log = scene.ask(Ask::get(format!("/v1/jobs/{job}/log")).token(&admin)).await.json();
    let lines = log["items"].as_array().context("lines")?.iter();
    let events: Vec<_> = lines.map(|line| line["event"].as_str().unwrap_or_default()).collect();
    assert_eq!(events, ["asked", "cancel_wanted", "ended"], "{log}");
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_jobs_are_watched_by_those_who_may_see_them() -> Result<()> {
    let (scene, admin, running, [here, there]) = stage().await?;
    let roles = json!([{ "role": "backup_reader", "vault": THERE }]);
    let (_, reader) = scene.user(&admin, "reader", roles).await?;
    let mut all = client(&running, &admin)?.stream("/v1/events").await?;
    let mut some = client(&running, &reader)?.stream("/v1/events").await?;
    assert_eq!(read(&mut all, 2).await?.len(), 2);
    assert_eq!(read(&mut some, 1).await?[0]["id"], json!(there));
    for job in [here, there] {
        scene.ask(Ask::new("POST", format!("/v1/jobs/{job}/cancel")).token(&admin)).await;
    }
    let changed = read(&mut some, 1).await?;
    assert_eq!((&changed[0]["id"], &changed[0]["state"]), (&json!(there), &json!("cancelled")));
    for what in ["events", "log"] {
        let hidden = scene.ask(Ask::get(format!("/v1/jobs/{here}/{what}")).token(&reader)).await;
        assert_eq!(hidden.code(), "not_found");
    }
    // A token that is taken away ends the stream.
    scene.ask(Ask::new("POST", "/v1/logout").token(&reader)).await;
    while some.chunk().await?.is_some() {}
    // So does the end of the server.
    running.stop().await;
    while all.chunk().await?.is_some() {}
    Ok(())
}
