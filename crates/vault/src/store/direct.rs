//! A local directory whose large objects pass the page cache by.
//!
//! A pack is written once, and rarely read soon. Through the page cache each of its bytes is copied into memory that the
//! kernel has to find first: two fifths of the processor time of a backup of noise (ext4, a virtual machine). Whoever reads
//! all of one wants to know what lies on the disk, not what memory remembers of it. All else is the library's, and so is
//! whatever the file system does not take this way.
//!
//! CRASH: as the library's: a file beside its place, `<name>#<n>`, which [`staged`](super::staged) finds.

use super::ObjectResult;
use async_trait::async_trait;
use block::direct::{Aligned, BLOCK_BYTES};
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    Attributes, CopyOptions, Error as ObjectError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Below this a copy costs less than a disk that is waited for.
const DIRECT_BYTES_MIN: usize = 1 << 20;
/// What is written in one go.
const PIECE_BYTES: usize = 4 << 20;
/// Names that other writers may hold beside a place before ours is free.
const STAGED_MAX: u32 = 64;

/// The directory.
#[derive(Debug)]
pub(super) struct Directory {
    files: LocalFileSystem,
    /// As many as there ever were puts at once; kept, for new memory is what costs.
    buffers: Arc<Mutex<Vec<Aligned>>>,
}

impl Directory {
    pub(super) fn new(files: LocalFileSystem) -> Self {
        Self { files, buffers: Arc::default() }
    }

    /// Puts an object past the page cache. `None` if that is not possible here.
    async fn put_direct(&self, location: &ObjectPath, payload: &PutPayload) -> Option<ObjectResult<()>> {
        let path = self.files.path_to_filesystem(location).ok()?;
        let (payload, buffers) = (payload.clone(), Arc::clone(&self.buffers));
        let put = tokio::task::spawn_blocking(move || {
            let spare = buffers.lock().expect("no holder panics").pop();
            let mut buffer = spare.unwrap_or_else(|| Aligned::new(PIECE_BYTES));
            let written = create(&path, &payload, &mut buffer);
            buffers.lock().expect("no holder panics").push(buffer);
            match written {
                // No direct I/O here, or no folder to put it into.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) =>
                {
                    None
                }
                Err(error) => Some(Err(named(error, &path))),
                Ok(()) => Some(Ok(())),
            }
        });
        match put.await {
            Ok(done) => done,
            Err(source) => Some(Err(ObjectError::JoinError { source })),
        }
    }

    /// Reads all of an object past the page cache. `None` if that is not possible here, or it is small.
    async fn get_direct(&self, location: &ObjectPath) -> Option<ObjectResult<GetResult>> {
        let path = self.files.path_to_filesystem(location).ok()?;
        let meta = self.files.head(location).await.ok()?;
        let size = usize::try_from(meta.size).ok().filter(|size| *size >= DIRECT_BYTES_MIN)?;
        let (range, attributes) = (0..meta.size, Attributes::new());
        let read = tokio::task::spawn_blocking(move || {
            read(&path, size).map_err(|error| (error.kind(), named(error, &path)))
        });
        match read.await {
            Ok(Err((io::ErrorKind::InvalidInput, _))) => None,
            Ok(Err((_, error))) => Some(Err(error)),
            Ok(Ok(bytes)) => {
                let payload = GetResultPayload::Stream(stream::once(ready(Ok(bytes))).boxed());
                let extensions = Default::default();
                Some(Ok(GetResult { payload, meta, range, attributes, extensions }))
            }
            Err(source) => Some(Err(ObjectError::JoinError { source })),
        }
    }
}

/// A file's bytes, as many as it still has of `size`.
fn read(path: &Path, size: usize) -> io::Result<Bytes> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path)?;
    let mut memory = Aligned::new(size.next_multiple_of(BLOCK_BYTES));
    let held = block::direct::read(&file, memory.bytes_mut(), 0)?.min(size);
    let (bytes, start) = memory.into_parts();
    Ok(Bytes::from(bytes).slice(start..start + held))
}

/// Writes beside, syncs, links under the name that must be free, and syncs the folder.
fn create(path: &Path, payload: &PutPayload, buffer: &mut Aligned) -> io::Result<()> {
    let (file, staged) = match stage(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(path)?;
            stage(path)?
        }
        staged => staged?,
    };
    let linked = fill(&file, payload, buffer)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&staged, path));
    let _ = fs::remove_file(&staged); // left, it is found as any other that was cut off
    linked?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// A session's first pack brings its folder along; what that one lies in was made with the vault.
fn make_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    match fs::create_dir(folder) {
        // Another pack of the session was quicker. It synced it, or we do.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // CRASH: before this, a folder that may be gone; after, one that lists nothing.
    File::open(folder.parent().ok_or(io::ErrorKind::NotFound)?)?.sync_all()
}

fn stage(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
    for number in 1..STAGED_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{number}"));
        match options.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (file, name.into())),
        }
    }
    Err(io::ErrorKind::InvalidInput.into()) // the library tries on
}

/// Whole blocks; what the last one has too much is cut off.
fn fill(mut file: &File, payload: &PutPayload, buffer: &mut Aligned) -> io::Result<()> {
    let (piece, mut held) = (buffer.bytes_mut(), 0);
    for mut part in payload.iter().map(AsRef::<[u8]>::as_ref) {
        while !part.is_empty() {
            let (now, later) = part.split_at(part.len().min(PIECE_BYTES - held));
            piece[held..held + now.len()].copy_from_slice(now);
            (held, part) = (held + now.len(), later);
            if held == PIECE_BYTES {
                file.write_all(piece)?;
                held = 0;
            }
        }
    }
    let padded = held.next_multiple_of(BLOCK_BYTES);
    piece[held..padded].fill(0);
    file.write_all(&piece[..padded])?;
    file.set_len(payload.content_length() as u64)
}

fn named(source: io::Error, path: &Path) -> ObjectError {
    let path = path.display().to_string();
    match source.kind() {
        io::ErrorKind::AlreadyExists => ObjectError::AlreadyExists { path, source: source.into() },
        io::ErrorKind::PermissionDenied => ObjectError::PermissionDenied { path, source: source.into() },
        io::ErrorKind::NotFound => ObjectError::NotFound { path, source: source.into() },
        _ => ObjectError::Generic { store: "local directory", source: source.into() },
    }
}

impl std::fmt::Display for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Directory {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> ObjectResult<PutResult> {
        if options.mode == PutMode::Create
            && payload.content_length() >= DIRECT_BYTES_MIN
            && let Some(put) = self.put_direct(location, &payload).await
        {
            return put.map(|()| PutResult { e_tag: None, version: None, extensions: Default::default() });
        }
        self.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> ObjectResult<GetResult> {
        // Of all that may be asked for, nothing but the whole.
        let whole = matches!(
            &options,
            GetOptions {
                if_match: None,
                if_none_match: None,
                if_modified_since: None,
                if_unmodified_since: None,
                range: None,
                version: None,
                head: false,
                ..
            }
        );
        if whole && let Some(got) = self.get_direct(location).await {
            return got;
        }
        self.files.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, ObjectResult<ObjectPath>>,
    ) -> BoxStream<'static, ObjectResult<ObjectPath>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> ObjectResult<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> ObjectResult<()> {
        self.files.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &Path) -> Directory {
        Directory::new(LocalFileSystem::new_with_prefix(path).expect("a directory").with_fsync(true))
    }

    fn payload(parts: &[usize]) -> (PutPayload, Vec<u8>) {
        let part = |(seed, length): (usize, &usize)| -> Bytes {
            (0..*length).map(|at| (at * 31 + seed) as u8).collect::<Vec<u8>>().into()
        };
        let parts: Vec<Bytes> = parts.iter().enumerate().map(part).collect();
        (parts.iter().cloned().collect(), parts.concat())
    }

    #[tokio::test]
    async fn large_objects_are_whole_whatever_their_parts_and_taken_names_are_told() {
        // On the disk of the build: what is temporary may lie in memory, which knows no direct I/O.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let store = directory(folder.path());
        fs::create_dir(folder.path().join("packs")).expect("make it");
        for (at, parts) in [
            vec![DIRECT_BYTES_MIN],
            vec![1, PIECE_BYTES - 1, PIECE_BYTES, 4095],
            vec![100; 40_000],
            vec![2 * PIECE_BYTES],
        ]
        .iter()
        .enumerate()
        {
            let name = ObjectPath::from(format!("packs/{at}"));
            let (payload, bytes) = payload(parts);
            let put = store.put_direct(&name, &payload).await;
            assert!(matches!(put, Some(Ok(()))), "{put:?}");
            for read in [store.get_direct(&name).await.expect("direct"), store.files.get(&name).await] {
                let read = read.expect("it is there").bytes().await.expect("its bytes");
                assert!(read == bytes, "object {at}");
            }
            let again = store.put_opts(&name, payload, PutMode::Create.into()).await;
            assert!(matches!(again, Err(ObjectError::AlreadyExists { .. })), "{again:?}");
        }
        let left = fs::read_dir(folder.path().join("packs")).expect("list it").count();
        assert_eq!(left, 4, "nothing is left beside them");
        let (payload, _) = payload(&[DIRECT_BYTES_MIN]);
        let put = store.put_direct(&ObjectPath::from("packs/session/0"), &payload).await;
        assert!(matches!(put, Some(Ok(()))), "the first of a folder: {put:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_put_so_is_put_by_the_library() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let store = directory(folder.path());
        let (payload, bytes) = payload(&[DIRECT_BYTES_MIN]);
        let name = ObjectPath::from("new/folder/object");
        assert!(store.put_direct(&name, &payload).await.is_none(), "no folder for its folder");
        store.put_opts(&name, payload, PutMode::Create.into()).await.expect("put");
        assert!(store.get(&name).await.expect("it is there").bytes().await.expect("its bytes") == bytes);
    }
}
