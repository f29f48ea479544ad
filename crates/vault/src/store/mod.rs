//! One object store, reduced to the six things a vault does with it: create, get, get a range, list, delete,
//! and find out whether it can be trusted.
//!
//! Reading order: [`Store`] here → `address.rs` (what people write) → `open.rs` (the object-store library,
//! given settings) → `request.rs` (limits, deadlines, what is tried again) → `create.rs` (the one write, and
//! what an uncertain answer means) → `probe.rs` (what a store must prove before a vault is put on it) → `staged.rs` (what a cut-off write leaves) →
//! `direct.rs` (large objects of a local store).
//!
//! The library itself never tries again: a request repeated beneath us would make our own write look like
//! somebody else's.

mod address;
mod create;
mod direct;
mod error;
mod open;
mod probe;
mod request;
mod staged;

pub use address::StoreAddress;
pub use open::StoreSettings;
pub use probe::{ProbeReport, Verdict};

use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use error::named;
use futures_util::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use request::{ATTEMPTS_MAX, ObjectResult, REQUESTS_MAX, within};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What is listed: a folder, or what of it comes behind a name.
struct Listing<'a> {
    folder: &'a str,
    before: Option<&'a str>,
}

impl Listing<'static> {
    const ALL: Self = Self { folder: "", before: None };
}

/// Where a vault's objects lie. Clones share one store and its limits.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    shown: String,
    /// Of a local store.
    directory: Option<PathBuf>,
    requests: Arc<Semaphore>,
}

impl Store {
    /// An existing local directory.
    ///
    /// Every put is durable when it returns: the library writes beside, syncs the file, links it under
    /// its name (which fails if the name is taken) and syncs the directories.
    pub fn local(directory: &Path) -> Result<Self> {
        let shown = directory.display().to_string();
        if !directory.is_dir() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no directory {shown}")));
        }
        let objects =
            Self::local_objects(directory).map_err(|e| named(&shown, "open", "the directory", e))?;
        Ok(Self { directory: Some(directory.to_owned()), ..Self::new(objects, shown) })
    }

    /// The objects of a local directory, as [`Store::local`] has them, for whoever looks in between.
    pub fn local_objects(directory: &Path) -> object_store::Result<Arc<dyn ObjectStore>> {
        let files = object_store::local::LocalFileSystem::new_with_prefix(directory)?;
        Ok(Arc::new(direct::Directory::new(files.with_fsync(true))))
    }

    /// Any store of the library's, which must not repeat requests on its own; `shown` is how messages
    /// call it.
    pub fn new(objects: Arc<dyn ObjectStore>, shown: impl Into<String>) -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
        Self { objects, shown: shown.into(), directory: None, requests }
    }

    /// How messages call it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A whole object.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Corrupt` if fewer bytes came than it has.
    pub async fn get(&self, name: &str) -> Result<Bytes> {
        let path = ObjectPath::from(name);
        let read = || async {
            let found = within(0, self.objects.get(&path)).await?;
            let size = found.meta.size;
            Ok((size, within(size, found.bytes()).await?))
        };
        let (size, bytes) =
            self.patiently(name, read).await.map_err(|e| named(&self.shown, "read", name, e))?;
        whole(name, 0, size, bytes)
    }

    /// A range of an object.
    ///
    /// # Errors
    /// As [`Store::get`]; a range that the object does not have is `Corrupt` too: nobody asks for bytes
    /// that were not written.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let path = ObjectPath::from(name);
        let wanted = range.end - range.start;
        let read = || async {
            let failed = match within(wanted, self.objects.get_range(&path, range.clone())).await {
                Ok(bytes) => return Ok(bytes),
                Err(error @ object_store::Error::Generic { .. }) => error,
                Err(error) => return Err(error),
            };
            // Stores refuse a range behind the end in as many ways as there are stores; the size tells.
            match within(0, self.objects.head(&path)).await {
                Ok(meta) if meta.size < range.end => Ok(Bytes::new()),
                _ => Err(failed),
            }
        };
        let bytes = self.patiently(name, read).await.map_err(|e| named(&self.shown, "read", name, e))?;
        whole(name, range.start, wanted, bytes)
    }

    /// A part of an object, or as much of it as there is.
    pub(crate) async fn get_window(&self, name: &str, from: u64, bytes_max: u64) -> Result<Bytes> {
        let path = ObjectPath::from(name);
        let read = || async {
            let failed = match within(bytes_max, self.objects.get_range(&path, from..from + bytes_max)).await
            {
                Err(error @ object_store::Error::Generic { .. }) => error,
                other => return other,
            };
            // As with ranges: the size tells whether there is anything from there on.
            match within(0, self.objects.head(&path)).await {
                Ok(found) if found.size <= from => Ok(Bytes::new()),
                _ => Err(failed),
            }
        };
        self.patiently(name, read).await.map_err(|e| named(&self.shown, "read", name, e))
    }

    /// The names and sizes of all objects under a folder, by name, none twice.
    ///
    /// All or an error: a listing that breaks off half-way begins anew, and never ends early.
    pub async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        self.list_after(folder, None).await
    }

    /// As [`Store::list`], but only what comes behind the name `before`: stores that list by name begin there
    /// and need no request for what lies before it.
    pub async fn list_after(&self, folder: &str, before: Option<&str>) -> Result<Vec<(String, u64)>> {
        let from = Listing { folder, before };
        let mut objects = self.list_once(from, None, ATTEMPTS_MAX).await?;
        objects.retain(|(name, _)| before.is_none_or(|before| name.as_str() > before));
        objects.sort_unstable();
        objects.dedup_by(|a, b| a.0 == b.0);
        Ok(objects)
    }

    /// The names and sizes of objects under a folder, in no order, until `enough` was seen.
    async fn list_once(
        &self,
        Listing { folder, before }: Listing<'_>,
        enough: Option<fn(&str) -> bool>,
        attempts: u32,
    ) -> Result<Vec<(String, u64)>> {
        let (path, before) = (ObjectPath::from(folder), before.map(ObjectPath::from));
        let list = || async {
            let mut found: Vec<(String, u64)> = Vec::new();
            let mut pages = match &before {
                Some(before) => self.objects.list_with_offset(Some(&path), before),
                None => self.objects.list(Some(&path)),
            };
            // A page is one request: each has the whole time.
            while let Some(object) = within(0, async { pages.next().await.transpose() }).await? {
                let name = object.location.to_string();
                let done = enough.is_some_and(|enough| enough(&name));
                found.push((name, object.size));
                if done {
                    break;
                }
            }
            Ok(found)
        };
        self.repeatedly(folder, attempts, list).await.map_err(|e| named(&self.shown, "list", folder, e))
    }

    /// The name of some object for which `counts`, if there is any.
    pub(crate) async fn any(&self, counts: fn(&str) -> bool) -> Result<Option<String>> {
        let seen = self.list_once(Listing::ALL, Some(counts), ATTEMPTS_MAX).await?;
        Ok(seen.into_iter().map(|(name, _)| name).find(|name| counts(name)))
    }

    /// Deletes an object; one that is not there is as good as deleted.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let path = ObjectPath::from(name);
        let delete = || async {
            match within(0, self.objects.delete(&path)).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                done => done,
            }
        };
        self.patiently(name, delete).await.map_err(|e| named(&self.shown, "delete", name, e))
    }

    /// Fails if the directory of a local store is gone: the library would list nothing in it, and make it
    /// anew for a put, where a disk that is not mounted would have been.
    fn check_directory(&self) -> ObjectResult<()> {
        match &self.directory {
            Some(directory) if !directory.is_dir() => Err(object_store::Error::Generic {
                store: "local directory",
                source: format!("there is no directory {}", directory.display()).into(),
            }),
            _ => Ok(()),
        }
    }
}

/// The bytes, if they are as many as there should be.
fn whole(name: &str, offset: u64, wanted: u64, bytes: Bytes) -> Result<Bytes> {
    if bytes.len() as u64 != wanted {
        let found = format!("{} bytes where {wanted} were written", bytes.len());
        return Err(Error::corrupt(name, offset, found));
    }
    Ok(bytes)
}
