//! What every store must do, and a backup and restore on each: a directory, memory, S3, Azure Blob.

use crate::backup::{Changes, back_up, blocks, create_in, noise, now, restore};
use block::{BlockSink, MemoryDisk};
use object_store::memory::InMemory;
use std::sync::{Arc, OnceLock};
use testkit::{StoreKind, StoreServer};
use uuid::Uuid;
use vault::{CHUNK_BYTES, ErrorKind, Store, StoreAddress, StoreSettings, Vault, Verdict};

/// One server of each kind for all tests; it ends with the process.
fn server(kind: StoreKind) -> &'static StoreServer {
    static SERVERS: [OnceLock<StoreServer>; 2] = [OnceLock::new(), OnceLock::new()];
    let start = || StoreServer::start(kind, &testkit::to_stderr).expect("the server starts");
    SERVERS[kind as usize].get_or_init(start)
}

/// The settings for a server, and the address of a new bucket on it.
async fn bucket(kind: StoreKind) -> (StoreSettings, String) {
    let make = move || {
        let (server, name) = (server(kind), format!("test-{}", Uuid::new_v4()));
        server.make_store(&name).expect("a bucket");
        (server.variables().into_iter().collect(), server.url(&name))
    };
    tokio::task::spawn_blocking(make).await.expect("no panic")
}

/// A new store on a server.
async fn remote(kind: StoreKind, prefix: &str) -> Store {
    let (settings, url) = bucket(kind).await;
    let address = StoreAddress::parse(format!("{url}{prefix}")).expect("valid");
    Store::open(&address, &settings).await.expect("opens")
}

fn memory() -> Store {
    Store::new(Arc::new(InMemory::new()), "memory")
}

/// What a store is, whichever it is.
async fn conforms(store: &Store) {
    let names: Vec<String> = (0..25).map(|n| format!("folder/a-{n:02}")).collect();
    for (name, n) in names.iter().zip(0u8..) {
        store.create(name, vec![n; 100 + usize::from(n)]).await.expect("create");
    }
    store.create("folder-beside/x", "beside").await.expect("create");
    let listed = store.list("folder").await.expect("list");
    let right: Vec<(String, u64)> = names.iter().cloned().zip(100..).collect();
    assert_eq!(listed, right, "by name, with sizes, none of another folder");
    assert!(store.list("empty").await.expect("list").is_empty());

    assert_eq!(store.get(&names[7]).await.expect("get"), vec![7; 107]);
    assert_eq!(store.get("folder/none").await.expect_err("none").kind(), ErrorKind::NotFound);
    assert_eq!(store.get_range("folder/none", 0..1).await.expect_err("none").kind(), ErrorKind::NotFound);
    let bytes: Vec<u8> = (0..=255).collect();
    store.create("bytes", bytes.clone()).await.expect("create");
    for range in [0..1, 10..20, 255..256, 0..256] {
        let right = &bytes[range.start as usize..range.end as usize];
        assert_eq!(store.get_range("bytes", range).await.expect("range"), right);
    }
    for range in [250..257, 256..257, 1000..1001] {
        let error = store.get_range("bytes", range).await.expect_err("behind the end");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("bytes"), "{error}");
    }

    let error = store.create("bytes", "other").await.expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.get("bytes").await.expect("get"), bytes, "as it was");
    store.delete("bytes").await.expect("delete");
    store.delete("bytes").await.expect("deleted is deleted");
    assert_eq!(store.get("bytes").await.expect_err("gone").kind(), ErrorKind::NotFound);
    for name in &names {
        store.delete(name).await.expect("delete");
    }
    assert!(store.list("folder").await.expect("list").is_empty());
}

/// Everything, on a store that is new.
async fn serves(store: Store) {
    conforms(&store).await;
    store.delete("folder-beside/x").await.expect("delete");
    let started = std::time::Instant::now();
    let report = store.probe(Uuid::new_v4(), now()).await.expect("probe");
    eprintln!("{}: probed in {:.2} s: {report:?}", store.shown(), started.elapsed().as_secs_f64());
    assert_eq!((&report.verdict, &report.winners[..]), (&Verdict::Shared, &[1; 4][..]), "{report:?}");
    assert!(report.can_delete && store.list("").await.expect("list").is_empty(), "it cleans up");

    let (vault, holder) = create_in(store.clone()).await;
    let disk = MemoryDisk::new(40 * CHUNK_BYTES + 777);
    disk.write(3 * CHUNK_BYTES as u64, noise(1, 20 * CHUNK_BYTES)).await.expect("in range");
    let first = back_up(&vault, &disk, None).await.expect("full");
    let before = disk.bytes();
    disk.write(5 * CHUNK_BYTES as u64, noise(2, CHUNK_BYTES)).await.expect("in range");
    let changes: Changes = blocks(5..6);
    let second = back_up(&vault, &disk, Some((&first, &changes))).await.expect("incremental");
    let vault = Arc::new(Vault::open(store, &holder).await.expect("opens"));
    let points = vault.points().await.expect("list");
    assert_eq!(points.iter().map(|point| point.id).collect::<Vec<_>>(), [first.id, second.id]);
    assert!(restore(&vault, &first).await.expect("restore") == before);
    assert!(restore(&vault, &second).await.expect("restore") == disk.bytes());
}

#[tokio::test]
async fn a_directory_serves() {
    let folder = tempfile::tempdir().expect("tempdir");
    serves(Store::local(folder.path()).expect("store")).await;
    let left = std::fs::read_dir(folder.path()).expect("list").map(|entry| entry.expect("entry").file_name());
    assert!(!left.into_iter().any(|name| name == "probe"), "the probe leaves no folder");
}

#[tokio::test]
async fn memory_serves() {
    serves(memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_serves() {
    serves(remote(StoreKind::S3, "").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_serves_below_a_prefix() {
    conforms(&remote(StoreKind::S3, "/some/prefix").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_serves() {
    serves(remote(StoreKind::Azure, "").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_serves_below_a_prefix() {
    conforms(&remote(StoreKind::Azure, "/some/prefix").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_vaults_of_one_bucket_know_nothing_of_each_other() {
    let (settings, url) = bucket(StoreKind::S3).await;
    let open = async |prefix: &str| {
        let address = StoreAddress::parse(format!("{url}/{prefix}")).expect("valid");
        Store::open(&address, &settings).await.expect("opens")
    };
    let (one, _) = create_in(open("one").await).await;
    let (two, _) = create_in(open("two").await).await;
    back_up(&one, &MemoryDisk::from(noise(1, 100)), None).await.expect("backup");
    assert_eq!(one.points().await.expect("list").len(), 1);
    assert!(two.points().await.expect("list").is_empty());
}

#[tokio::test]
async fn a_directory_that_vanished_is_an_error_not_an_empty_store() {
    let folder = tempfile::tempdir().expect("tempdir");
    let store = Store::local(folder.path()).expect("store");
    store.create("points/x", "x").await.expect("create");
    folder.close().expect("removed");
    for error in [
        store.list("points").await.map(drop).expect_err("gone"),
        store.get("points/x").await.map(drop).expect_err("gone"),
        store.create("points/y", "y").await.expect_err("gone"),
        store.delete("points/x").await.expect_err("gone"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Store, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_address_or_its_settings_is_told_apart() {
    let (s3, s3_url) = bucket(StoreKind::S3).await;
    let (azure, azure_url) = bucket(StoreKind::Azure).await;
    // A host that runs in a cloud would be given a role: nobody gives one here.
    let nobody = ["AWS_METADATA_ENDPOINT", "AZURE_MSI_ENDPOINT"]
        .map(|name| (name.to_owned(), "http://127.0.0.1:1".to_owned()));
    let nobody: StoreSettings = nobody.into_iter().collect();
    let with = |kind: StoreKind, name: &str, value: &str| -> StoreSettings {
        let others = server(kind).variables().into_iter().filter(|(other, _)| other != name);
        others.chain([(name.to_owned(), value.to_owned())]).collect()
    };
    // Nobody listens on port 1.
    let (dead_s3, dead_azure) = ("http://127.0.0.1:1", "http://127.0.0.1:1/devstoreaccount1");
    for (url, settings, kind, said) in [
        ("s3://no-such-bucket", &s3, ErrorKind::NotFound, "make its bucket or container first"),
        ("azure://devstoreaccount1/none", &azure, ErrorKind::NotFound, "make its bucket or container first"),
        (&s3_url, &with(StoreKind::S3, "AWS_ALLOW_HTTP", ""), ErrorKind::Invalid, "AWS_ALLOW_HTTP=true"),
        (
            &azure_url,
            &with(StoreKind::Azure, "AZURE_ALLOW_HTTP", ""),
            ErrorKind::Invalid,
            "AZURE_ALLOW_HTTP=true",
        ),
        (
            &s3_url,
            &with(StoreKind::S3, "AWS_ENDPOINT_URL", dead_s3),
            ErrorKind::Store,
            "reach vault.json in s3://",
        ),
        (
            &azure_url,
            &with(StoreKind::Azure, "AZURE_STORAGE_ENDPOINT", dead_azure),
            ErrorKind::Store,
            "reach vault.json in azure://",
        ),
        (
            &azure_url,
            &with(StoreKind::Azure, "AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc="),
            ErrorKind::Denied,
            "azure://",
        ),
        (
            &azure_url,
            &with(StoreKind::Azure, "AZURE_STORAGE_ACCOUNT_KEY", "no base64"),
            ErrorKind::Invalid,
            "make no sense",
        ),
        ("s3://bucket", &nobody, ErrorKind::Denied, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("azure://account/container", &nobody, ErrorKind::Denied, "set AZURE_STORAGE_ACCOUNT_KEY"),
    ] {
        let started = std::time::Instant::now();
        let error = Store::open(&StoreAddress::parse(url).expect("valid"), settings).await.expect_err(said);
        eprintln!("{url}: {:.2} s: {error}", started.elapsed().as_secs_f64());
        assert_eq!(error.kind(), kind, "{error}: {:?}", std::error::Error::source(&error));
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(!format!("{:?}", with(StoreKind::S3, "AWS_SECRET_ACCESS_KEY", "hush")).contains("hush"));
}
