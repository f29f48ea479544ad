//! A store in memory that counts what it is asked for. Listings come in pages of 1,000, as from S3.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use vault::Store;

/// Objects in one answer to a listing.
const PAGE: usize = 1000;

/// What a store was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Every request by what it was: `get vault.json`.
    pub(crate) requests: Vec<String>,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_put: u64,
}

#[derive(Debug)]
pub(crate) struct CountingStore {
    pub(crate) inner: Arc<InMemory>,
    requests: Arc<Mutex<Vec<String>>>,
    bytes_read: AtomicU64,
    bytes_put: AtomicU64,
}

impl CountingStore {
    /// Counts what objects in memory are asked for.
    pub(crate) fn over(inner: Arc<InMemory>) -> (Store, Arc<Self>) {
        let (requests, zero) = (Arc::default(), || AtomicU64::new(0));
        let this = Arc::new(Self { inner, requests, bytes_read: zero(), bytes_put: zero() });
        (Store::new(Arc::clone(&this) as Arc<dyn ObjectStore>, "a counting store"), this)
    }

    /// What it was asked since it was asked last.
    pub(crate) fn take(&self) -> Asked {
        Asked {
            requests: std::mem::take(&mut *self.requests.lock().expect("no panic")),
            bytes_read: self.bytes_read.swap(0, Ordering::SeqCst),
            bytes_put: self.bytes_put.swap(0, Ordering::SeqCst),
        }
    }

    fn count(&self, what: &str, name: &Path) {
        self.requests.lock().expect("no panic").push(format!("{what} {name}"));
    }

    fn counted(
        &self,
        what: &str,
        objects: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (requests, what, first) = (Arc::clone(&self.requests), what.to_owned(), what.to_owned());
        self.requests.lock().expect("no panic").push(first);
        let counted = objects.enumerate().map(move |(at, object)| {
            if at > 0 && at % PAGE == 0 {
                requests.lock().expect("no panic").push(what.clone());
            }
            object
        });
        counted.boxed()
    }
}

impl std::fmt::Display for CountingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a counting store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for CountingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.count("put", location);
        self.bytes_put.fetch_add(payload.content_length() as u64, Ordering::SeqCst);
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the vault puts objects whole")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.count("get", location);
        let found = self.inner.get_opts(location, options).await?;
        self.bytes_read.fetch_add(found.range.end - found.range.start, Ordering::SeqCst);
        Ok(found)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.requests.lock().expect("no panic").push("delete".into());
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let what = format!("list {}", prefix.cloned().unwrap_or_default());
        self.counted(&what, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let what = format!("list {} behind {offset}", prefix.cloned().unwrap_or_default());
        self.counted(&what, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("the vault lists whole folders")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("the vault copies nothing")
    }
}
