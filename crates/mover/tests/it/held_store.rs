//! A store in memory that takes packs when the test says so: the slowest target there can be.

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::Arc;
use tokio::sync::watch;
use vault::Store;

#[derive(Debug)]
pub(crate) struct HeldStore {
    inner: InMemory,
    /// Whether packs are taken.
    open: watch::Sender<bool>,
    /// How many have been refused so far.
    held: watch::Sender<usize>,
}

impl HeldStore {
    /// Takes everything at once, at first.
    pub(crate) fn new() -> (Store, Arc<Self>) {
        let this = Arc::new(Self {
            inner: InMemory::new(),
            open: watch::Sender::new(true),
            held: watch::Sender::new(0),
        });
        (Store::new(Arc::clone(&this) as Arc<dyn ObjectStore>, "a slow store"), this)
    }

    /// Takes no pack from now on until it is opened.
    pub(crate) fn hold(&self) {
        self.held.send_replace(0);
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Returns when so many packs wait.
    pub(crate) async fn wait_for(&self, packs: usize) {
        let mut held = self.held.subscribe();
        held.wait_for(|held| *held >= packs).await.expect("the store keeps the other end");
    }
}

impl std::fmt::Display for HeldStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a slow store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for HeldStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if location.as_ref().starts_with("packs/") {
            self.held.send_modify(|held| *held += 1);
            let mut open = self.open.subscribe();
            open.wait_for(|open| *open).await.expect("the store keeps the other end");
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
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("the vault lists whole folders")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("the vault copies nothing")
    }
}
