//! A store that stops taking writes after the n-th, for every n: what was acknowledged is there, what was
//! not is not listed, and the next backup goes through.

use crate::backup::{at_once, back_up, blocks, noise, now, restore};
use block::{BlockSink, MemoryDisk};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, DiskRecord, ErrorKind, KeyFile, MachineKey, PointDraft, PointId, Session, SessionId, Store,
    Vault, VaultId,
};

/// Fails every write once its budget is used up. The first one it fails may land all the same, as happens
/// when an answer is lost. What the vault probes the store with is not counted.
#[derive(Debug)]
pub(crate) struct CutStore {
    inner: Arc<InMemory>,
    writes_left: Arc<AtomicI64>,
    last_lands: bool,
    spoils_puts: bool,
    answers_are_lost: bool,
    keeps_everything: bool,
}

impl CutStore {
    pub(crate) fn new(inner: Arc<InMemory>, writes: i64, last_lands: bool) -> Self {
        Self {
            inner,
            writes_left: Arc::new(AtomicI64::new(writes)),
            last_lands,
            spoils_puts: false,
            answers_are_lost: false,
            keeps_everything: false,
        }
    }

    /// Nothing may be deleted.
    pub(crate) fn keeping_everything(self) -> Self {
        Self { keeps_everything: true, ..self }
    }

    /// Every put lands, its answer is lost, and the layer that tries again finds the name taken.
    fn losing_every_answer(self) -> Self {
        Self { answers_are_lost: true, ..self }
    }

    /// Keeps something else than what is put: the fourth byte from the end is another.
    pub(crate) fn spoiling_every_put(self) -> Self {
        Self { spoils_puts: true, ..self }
    }
}

impl std::fmt::Display for CutStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store that is cut off")
    }
}

#[async_trait::async_trait]
impl ObjectStore for CutStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if is_probe(location) {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let left = self.writes_left.fetch_sub(1, Ordering::SeqCst);
        let cut = || object_store::Error::Generic { store: "cut", source: "power cut".into() };
        if left <= 0 {
            if left == 0 && self.last_lands {
                self.inner.put_opts(location, payload, opts).await?;
            }
            return Err(cut());
        }
        if self.spoils_puts {
            let mut bytes = payload.iter().flatten().copied().collect::<Vec<u8>>();
            let at = bytes.len() - 4;
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            return self.inner.put_opts(location, bytes.into(), opts).await;
        }
        if self.answers_are_lost {
            self.inner.put_opts(location, payload.clone(), opts.clone()).await?;
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the vault puts objects whole")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (left, keeps) = (Arc::clone(&self.writes_left), self.keeps_everything);
        let counted = paths.map(move |path| {
            let path = path?;
            if keeps && !is_probe(&path) {
                let (path, source) = (path.to_string(), "objects are locked".into());
                return Err(object_store::Error::PermissionDenied { path, source });
            }
            if !is_probe(&path) && left.fetch_sub(1, Ordering::SeqCst) <= 0 {
                return Err(object_store::Error::Generic { store: "cut", source: "power cut".into() });
            }
            Ok(path)
        });
        self.inner.delete_stream(Box::pin(counted))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("the vault copies nothing")
    }
}

fn is_probe(path: &Path) -> bool {
    path.as_ref().starts_with("probe/")
}

#[tokio::test(start_paused = true)]
async fn no_acknowledged_point_is_lost_whichever_write_is_the_last() {
    let holder = KeyFile::generate();
    let mut finished_once = false;
    for (budget, lands) in (0..).flat_map(|budget| [(budget, false), (budget, true)]) {
        let inner = Arc::new(InMemory::new());
        let cut = CutStore::new(Arc::clone(&inner), budget, lands);
        let id = VaultId(Uuid::new_v4());
        let (disk, mut acknowledged) = (MemoryDisk::from(noise(1, 5 * CHUNK_BYTES)), Vec::new());
        let finished = async {
            let vault = Arc::new(Vault::create(Store::new(Arc::new(cut), "cut"), id, now(), &holder).await?);
            let first = back_up(&vault, &disk, None).await?;
            acknowledged.push((first.clone(), disk.bytes()));
            disk.write(0, noise(2, CHUNK_BYTES)).await.expect("in range");
            let second = back_up(&vault, &disk, Some((&first, &blocks(0..1)))).await?;
            acknowledged.push((second, disk.bytes()));
            // From here on the first may be gone, or not yet.
            let deleted = acknowledged.remove(0).0.id;
            vault.delete_point(deleted, now()).await?;
            vault.collect(&at_once()).await?;
            let third = back_up(&vault, &disk, None).await?;
            acknowledged.push((third, disk.bytes()));
            vault::Result::Ok(())
        };
        let finished = finished.await.is_ok();
        let after = Vault::open(Store::new(inner, "after"), &holder).await;
        let Ok(after) = after.map(Arc::new) else {
            assert!(acknowledged.is_empty(), "budget {budget}: the vault is gone");
            continue;
        };
        let listed = after.points().await.expect("list");
        for (point, bytes) in &acknowledged {
            assert!(
                listed.iter().any(|p| p.id == point.id),
                "budget {budget}: an acknowledged point is gone"
            );
            assert!(restore(&after, point).await.expect("restore") == *bytes, "budget {budget}");
        }
        for point in &listed {
            restore(&after, point).await.expect("whatever is listed restores");
        }
        let at_once_after = back_up(&after, &disk, None).await.expect("a backup goes through at once");
        assert!(restore(&after, &at_once_after).await.expect("restore") == disk.bytes());
        after.collect(&at_once()).await.expect("what the crash left is collected");
        for (point, bytes) in &acknowledged {
            assert!(restore(&after, point).await.expect("restore") == *bytes, "budget {budget}, collected");
        }
        let next = back_up(&after, &disk, None).await.expect("the next backup goes through");
        assert!(restore(&after, &next).await.expect("restore") == disk.bytes());
        if finished {
            finished_once = true;
            break;
        }
    }
    assert!(finished_once);
}

/// A guest may say much of itself, and it must not cost the vault a point that lists as damaged.
#[tokio::test]
async fn a_point_too_large_to_be_read_again_is_refused_before_it_is_written() {
    let store = Store::new(Arc::new(InMemory::new()), "memory");
    let (holder, id) = (KeyFile::generate(), VaultId(Uuid::new_v4()));
    let vault = Arc::new(Vault::create(store, id, now(), &holder).await.expect("create"));
    let session = Session::begin(&vault, SessionId(Uuid::now_v7()), now()).await.expect("begin");
    let map = session.disk(0, None).await.expect("a map").finish(&session).await.expect("a map");
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: MachineKey::new("machine-1").expect("a name"),
        machine_name: "one".into(),
        instant: now(),
        parent: None,
        consistency: serde_json::json!({ "agent_version": "9".repeat(17 << 20) }),
        description: serde_json::Value::Null,
        service: serde_json::Value::Null,
    };
    let record = DiskRecord { name: "disk0".into(), map, tracking: "test".into(), read_bytes: 0 };
    let refused = session.commit(draft, vec![record]).await.expect_err("it could not be read again");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let survey = vault.survey(None).await.expect("survey");
    assert!(survey.points.is_empty() && survey.damage.is_empty());
}

#[tokio::test]
async fn a_put_that_finds_itself_in_the_way_has_succeeded() {
    let inner = Arc::new(InMemory::new());
    let store = CutStore::new(inner, i64::MAX, false).losing_every_answer();
    let (holder, id) = (KeyFile::generate(), VaultId(Uuid::new_v4()));
    let store = Store::new(Arc::new(store), "forgetful");
    let vault = Arc::new(Vault::create(store, id, now(), &holder).await.expect("create"));
    let disk = MemoryDisk::from(noise(1, 5 * CHUNK_BYTES));
    let first = back_up(&vault, &disk, None).await.expect("backup");
    vault.delete_point(first.id, now()).await.expect("delete");
    let second = back_up(&vault, &disk, None).await.expect("backup");
    vault.collect(&at_once()).await.expect("collect");
    assert!(restore(&vault, &second).await.expect("restore") == disk.bytes());
}
