//! Files of points over real connections: what is cut off is never taken for whole. The mover here is the test, by a
//! mover's own client; that of the product, with a real point, is in `cli`.

use crate::scene::{Ask, Scene};
use anyhow::{Context, Result};
use api::client::{Client, Endpoint, Method};
use api::files::{
    FileKind, FilesAsked, FilesEntry, FilesOrder, FilesReport, FilesSaid, FilesSession, FilesWait,
};
use catalog::{Host, Item, Machine, PointRow};
use jiff::SignedDuration;
use model::protection::Protection;
use model::{HostId, MachineId, Origin, Point, PointId, VaultCopy};
use serde_json::{Value, json};
use server::{Options, Running, Tls, start};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use uuid::Uuid;

const VAULT: Uuid = Uuid::from_u128(1);
const ITEM: Uuid = Uuid::from_u128(2);
const POINT: Uuid = Uuid::from_u128(3);

/// A server with a point in its catalog, somebody who looks into it, and its mover.
struct Stage {
    scene: Scene,
    admin: String,
    running: Running,
    caller: Client,
    mover: Client,
    session: FilesSession,
}

impl Stage {
    async fn new() -> Result<Self> {
        let (scene, admin) = Scene::with_owner().await?;
        scene.vault(VAULT, "main").await?;
        point(&scene).await?;
        // What a mover would open the vault with.
        let keys = scene.folder.path().join("keys");
        std::fs::create_dir_all(&keys)?;
        std::fs::write(keys.join(format!("{VAULT}.key")), "a key")?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = Options { listen, data: scene.folder.path().to_owned(), tls: Tls::Off };
        let running = start(options, scene.control.clone()).await?;
        let client =
            |token: String| Client::new(&Endpoint { url: running.url(), certificate: None }, Some(token));
        let (caller, mover) = (client(admin.clone())?, client(scene.control.own_mover_token().await?)?);
        let path = format!("/v1/vaults/{VAULT}/items/{ITEM}/points/{POINT}/files");
        let session: Option<FilesSession> = caller.send(Method::POST, &path, &json!({})).await?;
        let session = session.context("a session")?;
        let order: Option<FilesOrder> =
            mover.send(Method::POST, "/v1/work/files/claim", &FilesWait { wait_seconds: 1 }).await?;
        assert_eq!(order.context("an order")?.session, session.id);
        Ok(Self { scene, admin, running, caller, mover, session })
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/vaults/{VAULT}/files/{}/{what}", self.session.id)
    }

    /// The caller asks for a stream; the mover hears it, and begins one of so many bytes.
    async fn begun(&self, what: &str, length: Option<u64>) -> Result<(reqwest::Response, u64)> {
        let (caller, path) = (self.caller.clone(), self.path(what));
        let asking = tokio::spawn(async move { caller.stream(&path).await });
        let number = self.asked().await?.number;
        let name = "a\"\r\nb".to_owned();
        self.say(number, &FilesSaid::Begins { name, length, size: length }).await?;
        Ok((asking.await??, number))
    }

    async fn asked(&self) -> Result<FilesAsked> {
        let path = format!("/v1/work/files/{}/next", self.session.id);
        let wish = FilesWait { wait_seconds: 25 };
        self.mover.send(Method::POST, &path, &wish).await?.context("a question")
    }

    async fn say(&self, number: u64, said: &FilesSaid) -> Result<()> {
        let path = format!("/v1/work/files/{}/answers/{number}", self.session.id);
        Ok(self.mover.send::<_, Value>(Method::POST, &path, said).await.map(drop)?)
    }

    async fn bring(&self, number: u64, piece: u64, bytes: Vec<u8>) -> Result<bool> {
        let path = format!("/v1/work/files/{}/answers/{number}/pieces/{piece}", self.session.id);
        Ok(self.mover.put_bytes(&path, bytes).await?)
    }
}

/// A point of a machine of a host, all of it in the catalog alone.
async fn point(scene: &Scene) -> Result<()> {
    let (catalog, now) = (scene.control.catalog(), scene.control.now());
    let (host, machine) = (HostId(Uuid::from_u128(4)), MachineId(Uuid::from_u128(5)));
    let (name, mover) = ("here".to_owned(), "server".to_owned());
    catalog.add_host(&Host { id: host, name, address: "local".to_owned(), mover, seen: None }).await?;
    let (known_as, name) = ("uuid".to_owned(), "shop".to_owned());
    let (tags, description) = (BTreeMap::new(), json!({}));
    let seen = Machine { id: machine, host, known_as, name: name.clone(), tags, description, seen: now };
    let machine = catalog.see_machine(&seen).await?;
    let (vault, protection) = (model::VaultId(VAULT), Protection::Unprotected {});
    let (last_point, created) = (None, now);
    let item = Item { id: ITEM, vault, machine, name, protection, last_point, created, revision: 1 };
    catalog.add_item(&item).await?;
    let point = Point {
        id: PointId(POINT),
        taken: now,
        origin: Origin::OnDemand { keep_until: now + SignedDuration::from_hours(24) },
        in_snapshot_tier: false,
        vault: VaultCopy::There,
        pinned: false,
        locked_until: None,
        purge_at: None,
        archive: model::ArchiveCopy::Never,
    };
    let row = PointRow {
        point,
        item: ITEM,
        consistency: "crash".into(),
        expires: None,
        stored_bytes: 1,
        detail: json!({}),
    };
    Ok(catalog.put_point(&row).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_off_is_an_error_to_its_reader() -> Result<()> {
    let stage = Stage::new().await?;
    let (response, number) = stage.begun("content?place=%2Fa", Some(5)).await?;
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename*=UTF-8''a%22%0D%0Ab");
    assert_eq!(response.headers()["strongroom-download"], number.to_string().as_str());
    assert!(stage.bring(number, 0, b"he".to_vec()).await?);
    assert!(stage.bring(number, 1, b"llo".to_vec()).await?);
    stage.say(number, &FilesSaid::Ended { report: FilesReport::default() }).await?;
    assert_eq!(response.bytes().await?, "hello");
    let told = stage.caller.get::<Value>(&stage.path(&format!("downloads/{number}"))).await?;
    assert_eq!((&told["state"], &told["bytes"]), (&json!("complete"), &json!(5)));

    // The mover says that it is whole, and it is not; or that it failed; or nothing any more.
    for (what, length) in [("content?place=%2Fa", Some(5)), ("archive?place=%2Fa&format=tar", None)] {
        let (response, number) = stage.begun(what, length).await?;
        assert!(stage.bring(number, 0, b"he".to_vec()).await?);
        let problem = api::Problem::new(api::Code::Conflict, "it contradicts itself");
        stage.say(number, &FilesSaid::Failed { problem }).await?;
        assert!(response.bytes().await.is_err(), "{what}: a failure on the way is an error");
        let told = stage.caller.get::<Value>(&stage.path(&format!("downloads/{number}"))).await?;
        assert_eq!(told["problem"]["detail"], "it contradicts itself", "and says why: {told}");
    }
    let (response, number) = stage.begun("content?place=%2Fa", Some(5)).await?;
    assert!(stage.bring(number, 0, b"he".to_vec()).await?);
    stage.say(number, &FilesSaid::Ended { report: FilesReport::default() }).await?;
    assert!(response.bytes().await.is_err(), "fewer bytes than were said");

    let (response, number) = stage.begun("archive?place=%2Fa&format=tar", None).await?;
    assert!(stage.bring(number, 0, b"he".to_vec()).await?);
    stage.scene.pass(SignedDuration::from_secs(61));
    stage.scene.control.tick_files(stage.scene.control.now());
    assert!(response.bytes().await.is_err(), "the mover was not heard of");
    let gone = stage.scene.ask(Ask::get(stage.path("entries?place=%2F")).token(&stage.admin)).await;
    assert_eq!(gone.code(), "not_found");
    stage.running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_files_and_pages_of_folders() -> Result<()> {
    let stage = Stage::new().await?;
    let (path, admin) = (stage.path("content?place=%2Fa"), stage.admin.clone());
    let url = format!("{}{path}", stage.running.url());
    let asking = tokio::spawn(async move {
        reqwest::Client::new().get(url).bearer_auth(admin).header("range", "bytes=3-4").send().await
    });
    let asked = stage.asked().await?;
    let question = serde_json::to_value(&asked.question)?;
    assert_eq!(question, json!({ "question": "content", "place": "/a", "from": 3, "length": 2 }));
    let begins = FilesSaid::Begins { name: "a".into(), length: Some(2), size: Some(5) };
    stage.say(asked.number, &begins).await?;
    stage.bring(asked.number, 0, b"lo".to_vec()).await?;
    stage.say(asked.number, &FilesSaid::Ended { report: FilesReport::default() }).await?;
    let response = asking.await??;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-range"]),
        (206, &"bytes 3-4/5".parse()?)
    );
    assert_eq!(response.bytes().await?, "lo");

    let (caller, path) = (stage.caller.clone(), stage.path("entries?limit=2&place=vda1%3A%2F"));
    let asking = tokio::spawn(async move { caller.all::<FilesEntry>(&path).await });
    let entry = |name: &str| FilesEntry {
        name: name.to_owned(),
        kind: Some(FileKind::File),
        size: Some(1),
        mode: Some("0644".into()),
        uid: Some(0),
        gid: Some(0),
        modified: None,
        target: None,
        error: None,
    };
    let names = ["\\n\\xff", "..\\\\", "c"];
    for (from, names, next) in [(0, &names[..2], Some(2)), (2, &names[2..], None)] {
        let asked = stage.asked().await?;
        let question = serde_json::to_value(&asked.question)?;
        assert_eq!(question, json!({ "question": "entries", "place": "vda1:/", "from": from, "limit": 2 }));
        let entries = names.iter().map(|name| entry(name)).collect();
        stage.say(asked.number, &FilesSaid::Entries { entries, next }).await?;
    }
    assert_eq!(asking.await??.into_iter().map(|one| one.name).collect::<Vec<_>>(), names);
    for (what, wrong) in [
        ("entries?place=%2F&limit=0", "limit"),
        ("archive?place=%2F&format=rar", "format"),
        ("matches?place=%2F", "name"),
        ("content?place=%2F%00", "address"),
    ] {
        let answer = stage.scene.ask(Ask::get(stage.path(what)).token(&stage.admin)).await;
        assert_eq!(
            (answer.code().as_str(), answer.json()["violations"][0]["pointer"].as_str()),
            ("invalid", Some(wrong)),
            "{what}"
        );
    }
    stage.running.stop().await;
    Ok(())
}
