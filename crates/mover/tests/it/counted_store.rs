//! A store in memory that writes down which bytes of packs were read from it.

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use vault::Store;

#[derive(Debug, Default)]
pub(crate) struct CountedStore {
    inner: InMemory,
    read: Mutex<Vec<(Path, Range<u64>)>>,
}

/// What was read of packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackReads {
    /// Bytes that came, however often.
    pub(crate) bytes: u64,
    /// Bytes that came at least once.
    pub(crate) distinct_bytes: u64,
}

impl CountedStore {
    pub(crate) fn new() -> (Store, Arc<Self>) {
        let this = Arc::new(Self::default());
        (Store::new(Arc::clone(&this) as Arc<dyn ObjectStore>, "a counted store"), this)
    }

    /// Counts from now on.
    pub(crate) fn begin(&self) {
        self.read.lock().expect("no holder panics").clear();
    }

    pub(crate) fn pack_reads(&self) -> PackReads {
        let mut packs: BTreeMap<Path, Vec<Range<u64>>> = BTreeMap::new();
        for (path, range) in self.read.lock().expect("no holder panics").iter() {
            packs.entry(path.clone()).or_default().push(range.clone());
        }
        let mut reads = PackReads { bytes: 0, distinct_bytes: 0 };
        for ranges in packs.values_mut() {
            ranges.sort_by_key(|range| range.start);
            let mut end = 0;
            for range in ranges {
                reads.bytes += range.end - range.start;
                reads.distinct_bytes += range.end.saturating_sub(range.start.max(end));
                end = end.max(range.end);
            }
        }
        reads
    }
}

impl std::fmt::Display for CountedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a counted store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for CountedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the vault puts objects whole")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_read = !options.head && location.as_ref().starts_with("packs/");
        let answer = self.inner.get_opts(location, options).await?;
        if is_read {
            let mut read = self.read.lock().expect("no holder panics");
            read.push((location.clone(), answer.range.clone()));
        }
        Ok(answer)
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
