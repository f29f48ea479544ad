//! The one store of a world, as one process sees it.
//!
//! Every request takes time, so that others come between; what the weather does to it happens here. Once the
//! process is dead nothing is answered any more, but what was on its way may still arrive.

use crate::weather::{Fault, Request};
use crate::world::{Process, World};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use vault::Store;

/// A process's way to the store.
#[derive(Clone)]
pub(crate) struct SimStore {
    world: Arc<World>,
    process: Arc<Process>,
}

/// What changes the store.
#[derive(Clone, Debug)]
enum Change {
    Put(String, Bytes),
    Delete(String),
}

impl SimStore {
    pub(crate) fn open(world: &Arc<World>, process: &Arc<Process>) -> Store {
        let this = Self { world: Arc::clone(world), process: Arc::clone(process) };
        Store::new(Arc::new(this), "the simulated store")
    }

    fn note(&self, request: &str, name: &str, what: fmt::Arguments<'_>) {
        self.world.note(&self.process.name, format_args!("{request} {name}: {what}"));
    }

    /// Waits for the request's turn; says what is to go wrong. Never returns to a dead process.
    async fn begin(&self, request: Request) -> Option<Fault> {
        let (fault, latency) = self.world.fate(request);
        tokio::time::sleep(Duration::from_millis(latency)).await;
        if self.process.is_dead() || fault == Some(Fault::Hangs) {
            std::future::pending::<()>().await;
        }
        fault
    }

    /// Whether the process dies in this request; a change that it makes may then have happened, or not.
    fn dies(&self, change: Option<&Change>) -> bool {
        if self.process.step() {
            return false;
        }
        let takes_effect = self.world.inner().random.happens(500);
        if let Some(change) = change.filter(|_| takes_effect) {
            let _ = self.world.apply(change);
        }
        self.note("dies", "in this request", format_args!("effect: {takes_effect}"));
        self.process.die();
        true
    }

    /// Makes a change, if nothing comes between.
    async fn change(&self, request: Request, change: Change) -> Result<()> {
        let fault = self.begin(request).await;
        if self.dies(Some(&change)) {
            return std::future::pending().await;
        }
        let (verb, name) = match &change {
            Change::Put(name, _) => ("put", name.clone()),
            Change::Delete(name) => ("delete", name.clone()),
        };
        let done = match fault {
            Some(Fault::Refused) => Err(failed()),
            Some(Fault::Denied) => Err(denied(&name)),
            Some(Fault::Taken) => Err(taken(&name)),
            Some(Fault::Full) => Err(full()),
            Some(Fault::AnswerLost) => {
                let _ = self.world.apply(&change);
                Err(failed())
            }
            Some(Fault::Late) => {
                self.apply_later(change);
                Err(failed())
            }
            _ => self.world.apply(&change),
        };
        self.note(verb, &name, format_args!("{fault:?} {}", shown(&done)));
        done
    }

    /// A request that is still on its way when whoever made it has given it up.
    fn apply_later(&self, change: Change) {
        let delay = {
            let inner = &mut *self.world.inner();
            Duration::from_millis(inner.random.below(inner.weather.late_millis))
        };
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let done = this.world.apply(&change);
            let (Change::Put(name, _) | Change::Delete(name)) = &change;
            this.note("arrives late", name, format_args!("{}", shown(&done)));
        });
    }

    /// An object as it comes over the line.
    async fn fetch(&self, location: &Path, options: &GetOptions) -> Result<(Bytes, ObjectMeta)> {
        let fault = self.begin(Request::Get).await;
        if self.dies(None) {
            return std::future::pending().await;
        }
        let name = location.to_string();
        let found = match fault {
            Some(Fault::Refused) => Err(failed()),
            Some(Fault::Denied) => Err(denied(&name)),
            _ => self.world.read(&name, fault),
        };
        self.note("get", &name, format_args!("{fault:?} {}", shown(&found)));
        let bytes = found?;
        let meta = meta(&name, bytes.len());
        let range = match &options.range {
            Some(GetRange::Bounded(range)) => range.clone(),
            _ => 0..bytes.len() as u64,
        };
        if range.start > bytes.len() as u64 || range.end < range.start {
            return Err(failed());
        }
        let end = range.end.min(bytes.len() as u64);
        let mut bytes = bytes.slice(range.start as usize..end as usize);
        if fault == Some(Fault::Short) {
            bytes.truncate(bytes.len().saturating_sub(1));
        }
        Ok((bytes, meta))
    }

    /// One page of a listing: what follows `after`.
    async fn page(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        let fault = self.begin(Request::List).await;
        if self.dies(None) {
            return std::future::pending().await;
        }
        let page = match fault {
            Some(Fault::Refused | Fault::BreaksOff) => Err(failed()),
            Some(Fault::Denied) => Err(denied(prefix)),
            _ => Ok(self.world.page(prefix, after)),
        };
        let count = page.as_ref().map_or(0, Vec::len);
        self.note("list", prefix, format_args!("{fault:?} {count} {}", shown(&page)));
        page
    }
}

impl World {
    fn apply(&self, change: &Change) -> Result<()> {
        let objects = &mut self.inner().objects;
        match change {
            Change::Put(name, _) if objects.contains_key(name) => Err(taken(name)),
            Change::Put(name, bytes) => {
                objects.insert(name.clone(), bytes.clone());
                Ok(())
            }
            Change::Delete(name) => {
                objects.remove(name);
                Ok(())
            }
        }
    }

    fn read(&self, name: &str, fault: Option<Fault>) -> Result<Bytes> {
        let inner = &mut *self.inner();
        let missing = || Error::NotFound { path: name.into(), source: "404 not found".into() };
        let bytes = inner.objects.get(name).cloned().ok_or_else(missing)?;
        match fault {
            Some(Fault::Flipped) => {
                let mut bytes = bytes.to_vec();
                let at = inner.random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << inner.random.below(8);
                Ok(bytes.into())
            }
            Some(Fault::Foreign) => {
                let other = inner.random.below(inner.objects.len() as u64) as usize;
                Ok(inner.objects.values().nth(other).cloned().unwrap_or(bytes))
            }
            _ => Ok(bytes),
        }
    }

    /// Some objects under a folder, behind `after`; in any order.
    fn page(&self, prefix: &str, after: Option<&str>) -> Vec<ObjectMeta> {
        let inner = &mut *self.inner();
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let start = match after {
            Some(after) => Bound::Excluded(after.to_owned()),
            None => Bound::Included(folder.clone()),
        };
        let beneath =
            inner.objects.range((start, Bound::Unbounded)).take_while(|(name, _)| name.starts_with(&folder));
        beneath.take(inner.weather.page).map(|(name, bytes)| meta(name, bytes.len())).collect()
    }
}

fn meta(name: &str, bytes: usize) -> ObjectMeta {
    ObjectMeta {
        location: Path::from(name),
        last_modified: Default::default(),
        size: bytes as u64,
        e_tag: None,
        version: None,
    }
}

fn shown<T>(done: &Result<T>) -> &'static str {
    match done {
        Ok(_) => "ok",
        Err(Error::AlreadyExists { .. }) => "taken",
        Err(Error::NotFound { .. }) => "not found",
        Err(Error::PermissionDenied { .. }) => "denied",
        Err(_) => "failed",
    }
}

fn failed() -> Error {
    Error::Generic { store: "simulated", source: "503 slow down".into() }
}

fn taken(name: &str) -> Error {
    Error::AlreadyExists { path: name.into(), source: "409 conflict".into() }
}

fn denied(name: &str) -> Error {
    Error::PermissionDenied { path: name.into(), source: "403 forbidden".into() }
}

fn full() -> Error {
    Error::Generic {
        store: "simulated",
        source: std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated store")
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        assert_eq!(opts.mode, PutMode::Create, "the vault puts nothing that may exist");
        let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
        self.change(Request::Put, Change::Put(location.to_string(), bytes.into())).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the vault puts objects whole")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (bytes, meta) = self.fetch(location, &options).await?;
        let start = match &options.range {
            Some(GetRange::Bounded(range)) => range.start,
            _ => 0,
        };
        let range = start..start + bytes.len() as u64;
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        paths
            .and_then(move |path| {
                let this = this.clone();
                async move {
                    this.change(Request::Delete, Change::Delete(path.to_string())).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.map(Path::to_string).unwrap_or_default());
        let first = Some(None);
        let pages = stream::try_unfold((this, prefix, first), |(this, prefix, after)| async move {
            let Some(after) = after else { return Ok(None) };
            let page = this.page(&prefix, after.as_deref()).await?;
            let next = page.last().map(|last: &ObjectMeta| Some(last.location.to_string()));
            let next = next.filter(|_| page.len() >= this.world.inner().weather.page);
            Ok::<_, Error>(Some((page, (this, prefix, next))))
        });
        pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("the vault lists whole folders")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("the vault copies nothing")
    }
}
