//! Real connections: TLS, clients that hang, and an orderly end.

use crate::scene::Scene;
use anyhow::{Context, Result};
use api::client::{Client, Endpoint};
use serde_json::json;
use server::{Options, Running, Tls, start};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn started(scene: &Scene, tls: Tls) -> Result<Running> {
    let options = Options { listen: ANY, data: scene.folder.path().to_owned(), tls };
    Ok(start(options, scene.control.clone()).await?)
}

fn client(running: &Running, host: &str) -> Result<Client> {
    let url = format!("https://{host}:{}", running.address().port());
    Ok(Client::new(&Endpoint { url, certificate: running.certificate().map(str::to_owned) }, None)?)
}

fn self_signed() -> Tls {
    Tls::SelfSigned { names: vec!["backup.example".to_owned()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_a_certificate_of_its_own_and_keeps_it() -> Result<()> {
    let scene = Scene::new().await?;
    let running = started(&scene, self_signed()).await?;
    for host in ["localhost", "127.0.0.1"] {
        let health: api::Health = client(&running, host)?.get("/v1/health").await?;
        assert_eq!(health.status, "ok");
    }
    let stranger = Client::new(&Endpoint { url: running.url(), certificate: None }, None)?;
    assert!(stranger.get::<api::Health>("/v1/health").await.is_err(), "nobody trusts it unseen");
    let key = scene.folder.path().join("tls/key.pem");
    assert_eq!(std::fs::metadata(key)?.permissions().mode() & 0o777, 0o600);
    let before = running.certificate().unwrap().to_owned();
    running.stop().await;
    let running = started(&scene, self_signed()).await?;
    assert_eq!(running.certificate(), Some(&*before));
    running.stop().await;
    // The administrator's own.
    let (certificate, key) = (scene.folder.path().join("own.pem"), scene.folder.path().join("own.key"));
    for (from, to) in [("certificate.pem", &certificate), ("key.pem", &key)] {
        std::fs::rename(scene.folder.path().join("tls").join(from), to)?;
    }
    let running = started(&scene, Tls::Own { certificate: certificate.clone(), key: key.clone() }).await?;
    let _: api::Version = client(&running, "localhost")?.get("/v1/version").await?;
    running.stop().await;
    // A key that does not fit, and files that hold nothing of the kind.
    started(&scene, self_signed()).await?.stop().await;
    let other = scene.folder.path().join("tls/key.pem");
    for (certificate, key) in
        [(&certificate, &other), (&key, &certificate), (&certificate, &"/nowhere".into())]
    {
        let tls = Tls::Own { certificate: certificate.clone(), key: key.clone() };
        let error = started(&scene, tls).await.err().context("it must not start")?;
        assert!(error.to_string().starts_with("read /"), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn plain_http_is_for_the_loopback_alone() -> Result<()> {
    let scene = Scene::new().await?;
    let options = Options {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        data: scene.folder.path().to_owned(),
        tls: Tls::Off,
    };
    let error = start(options, scene.control.clone()).await.err().context("it must not start")?;
    assert!(error.to_string().contains("loopback"), "{error}");
    let running = started(&scene, Tls::Off).await?;
    assert!(running.url().starts_with("http://127.0.0.1:") && running.certificate().is_none());
    Ok(())
}

/// Clients that connect and say nothing, or nonsense, hold up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_hang_hold_up_nobody() -> Result<()> {
    let scene = Scene::new().await?;
    let running = started(&scene, self_signed()).await?;
    let mut silent = Vec::new();
    for number in 0..50 {
        let mut stream = TcpStream::connect(running.address()).await?;
        if number % 2 == 0 {
            stream.write_all(&[0x16, 3, 1, 2]).await?;
        }
        silent.push(stream);
    }
    let mut plain = TcpStream::connect(running.address()).await?;
    plain.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "TLS alone is spoken");
    let health: api::Health = client(&running, "localhost")?.get("/v1/health").await?;
    assert_eq!(health.status, "ok");
    drop(silent);
    running.stop().await;
    Ok(())
}

/// A request that is under way when the server stops is answered.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_done_before_the_end() -> Result<()> {
    let scene = Scene::new().await?;
    let password = scene.control.create_first_administrator("admin").await?;
    let running = started(&scene, Tls::Off).await?;
    let address = running.address();
    let body = json!({ "name": "admin", "password": *password }).to_string();
    let head = format!(
        "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.write_all(head.as_bytes()).await?;
    let mut line = String::new();
    // The server waits for the body: the request is in its hands.
    stream.read_line(&mut line).await?;
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    let stopped = tokio::spawn(running.stop());
    // Once nobody is let in any more, the end has begun.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.contains("HTTP/1.1 200") && answer.contains("sr_s_"), "{answer}");
    stopped.await?;
    Ok(())
}

/// What the guard counts by, and the audit log tells, is the address of the connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_who_signs_in_is_known() -> Result<()> {
    let scene = Scene::new().await?;
    let password = scene.control.create_first_administrator("admin").await?;
    let running = started(&scene, self_signed()).await?;
    let credentials = api::Credentials { name: "admin".to_owned(), password: (*password).clone() };
    let client = client(&running, "localhost")?;
    let session: Option<api::Session> = client.send(reqwest::Method::POST, "/v1/login", &credentials).await?;
    assert!(session.is_some());
    let log = scene.control.audit_log(None, 10).await?;
    assert_eq!(log.items.last().unwrap().detail["from"], "127.0.0.1");
    running.stop().await;
    Ok(())
}
