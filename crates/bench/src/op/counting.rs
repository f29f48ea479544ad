//! A local store that counts what is asked of it.

use anyhow::Result;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use vault::Store;

static REQUESTS: AtomicU64 = AtomicU64::new(0);
/// What was read of packs, while somebody wants to know.
static READS: Mutex<Option<Reads>> = Mutex::new(None);

type Reads = BTreeMap<ObjectPath, Vec<Range<u64>>>;

/// What was read of packs.
#[derive(Clone, Copy, Default)]
pub(crate) struct PackReads {
    pub(crate) requests: u64,
    /// Bytes that came, however often.
    pub(crate) bytes: u64,
    /// Bytes that came at least once.
    pub(crate) distinct_bytes: u64,
}

/// Writes down from now on what is read of packs.
pub(crate) fn begin_reads() {
    *READS.lock().expect("no holder panics") = Some(Reads::new());
}

/// What was read of packs since.
pub(crate) fn end_reads() -> PackReads {
    let mut reads = PackReads::default();
    for ranges in READS.lock().expect("no holder panics").take().unwrap_or_default().values_mut() {
        ranges.sort_by_key(|range| range.start);
        let mut end = 0;
        for range in ranges {
            reads.requests += 1;
            reads.bytes += range.end - range.start;
            reads.distinct_bytes += range.end.saturating_sub(range.start.max(end));
            end = end.max(range.end);
        }
    }
    reads
}

/// Requests so far: each put, get, delete and listing.
pub(super) fn requests() -> u64 {
    REQUESTS.load(Ordering::Relaxed)
}

fn count() {
    REQUESTS.fetch_add(1, Ordering::Relaxed);
}

/// A directory as a store, as the product opens it, counted.
pub(super) fn store(directory: &Path) -> Result<Store> {
    let objects = Store::local_objects(directory)?;
    Ok(Store::new(Arc::new(Counted(objects)), directory.display().to_string()))
}

#[derive(Debug)]
struct Counted(Arc<dyn ObjectStore>);

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        count();
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        count();
        let is_read = !options.head && location.as_ref().starts_with("packs/");
        let answer = self.0.get_opts(location, options).await?;
        if is_read && let Some(reads) = READS.lock().expect("no holder panics").as_mut() {
            reads.entry(location.clone()).or_default().push(answer.range.clone());
        }
        Ok(answer)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        count();
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        count();
        self.0.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        count();
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        count();
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
