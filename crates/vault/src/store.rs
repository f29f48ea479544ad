//! One object store, reduced to the six things a vault does with it.

use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Where a vault's objects lie.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    shown: String,
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
        let objects = object_store::local::LocalFileSystem::new_with_prefix(directory)
            .map_err(|e| named(&shown, "open", "the directory", e))?
            .with_fsync(true);
        Ok(Self { objects: Arc::new(objects), shown })
    }

    /// Any store of the library's; `shown` is how messages call it.
    pub fn new(objects: Arc<dyn ObjectStore>, shown: impl Into<String>) -> Self {
        Self { objects, shown: shown.into() }
    }

    /// How messages call it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Puts an object that must not exist yet.
    ///
    /// A put whose answer was lost may be tried again beneath us, and then finds its own object in the way:
    /// what stands there is compared, and the same bytes are ours. Every object's bytes are its own: they hold
    /// an id that was drawn for it.
    pub(crate) async fn create(&self, name: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let (path, bytes) = (ObjectPath::from(name), bytes.into());
        let put = self.objects.put_opts(&path, bytes.clone().into(), PutMode::Create.into()).await;
        match put.map_err(|e| named(&self.shown, "write", name, e)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.get(name).await? == bytes => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A whole object.
    pub(crate) async fn get(&self, name: &str) -> Result<Bytes> {
        let error = |e| named(&self.shown, "read", name, e);
        self.objects.get(&ObjectPath::from(name)).await.map_err(error)?.bytes().await.map_err(error)
    }

    /// A range of an object. A short answer is an error.
    pub(crate) async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end - range.start;
        let bytes = self
            .objects
            .get_range(&ObjectPath::from(name), range.clone())
            .await
            .map_err(|e| named(&self.shown, "read", name, e))?;
        if bytes.len() as u64 != wanted {
            let found = format!("{} bytes where {wanted} were written", bytes.len());
            return Err(Error::corrupt(name, range.start, found));
        }
        Ok(bytes)
    }

    /// Deletes an object. That it is gone already is success.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        match self.objects.delete(&ObjectPath::from(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(named(&self.shown, "delete", name, e)),
        }
    }

    /// The names and sizes of all objects under a folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        self.objects
            .list(Some(&ObjectPath::from(folder)))
            .map_ok(|object| (object.location.to_string(), object.size))
            .try_collect()
            .await
            .map_err(|e| named(&self.shown, "list", folder, e))
    }
}

/// Gives the library's error our kind and words.
fn named(store: &str, verb: &str, object: &str, error: object_store::Error) -> Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            ErrorKind::AlreadyExists
        }
        _ if is_full(&error) => ErrorKind::NoSpace,
        _ => ErrorKind::Store,
    };
    Error::caused(kind, format!("{verb} {object} in {store}"), error)
}

/// Whether an operating system error for a full disk lies anywhere beneath.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind as Os;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), Os::StorageFull | Os::QuotaExceeded)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
