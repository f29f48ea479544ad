//! A store in memory that does what stores do on bad days, as it is told.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vault::Store;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None; for the request before the one that is meant.
    Fine,
    /// It fails and has no effect.
    Fails,
    /// It takes effect; its answer is lost.
    AnswerLost,
    /// "It exists already", though nothing was written.
    Conflict,
    /// It never ends.
    Hangs,
    /// It takes so long.
    Slow(Duration),
    /// The last byte of what is read is missing.
    Short,
    /// A listing breaks off after so many objects.
    BreaksAfter(usize),
    /// The credentials are refused.
    Denied,
}

/// How it always is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nature {
    /// A put that must be new overwrites.
    pub(crate) overwrites: bool,
    /// Whoever puts first is told that somebody else was.
    pub(crate) nobody_wins: bool,
    /// Listings show nothing.
    pub(crate) lists_nothing: bool,
    /// A range begins one byte too far.
    pub(crate) shifts_ranges: bool,
    /// Deletions do nothing.
    pub(crate) keeps_deleted: bool,
    /// Deletions are refused.
    pub(crate) refuses_deletion: bool,
}

/// The store: faults come first, in order, one a request.
#[derive(Debug, Default)]
pub(crate) struct FaultStore {
    pub(crate) inner: InMemory,
    pub(crate) nature: Nature,
    puts: Mutex<VecDeque<Fault>>,
    reads: Mutex<VecDeque<Fault>>,
    lists: Mutex<VecDeque<Fault>>,
}

impl FaultStore {
    pub(crate) fn of(nature: Nature) -> Store {
        Store::new(Arc::new(Self { nature, ..Self::default() }), "a faulty store")
    }

    /// A store of this nature that holds what another does now.
    pub(crate) fn over(nature: Nature, held: &InMemory) -> Store {
        let this = Self { nature, inner: held.fork(), ..Self::default() };
        Store::new(Arc::new(this), "a faulty store")
    }

    /// The store, and itself.
    pub(crate) fn with(puts: &[Fault], reads: &[Fault], lists: &[Fault]) -> (Store, Arc<Self>) {
        let queue = |faults: &[Fault]| Mutex::new(faults.iter().copied().collect());
        let this =
            Arc::new(Self { puts: queue(puts), reads: queue(reads), lists: queue(lists), ..Self::default() });
        (Store::new(Arc::clone(&this) as Arc<dyn ObjectStore>, "a faulty store"), this)
    }

    /// How many faults are still to come.
    pub(crate) fn left(&self) -> usize {
        [&self.puts, &self.reads, &self.lists].map(|queue| queue.lock().expect("no panic").len()).iter().sum()
    }
}

fn next(queue: &Mutex<VecDeque<Fault>>) -> Fault {
    queue.lock().expect("no panic").pop_front().unwrap_or(Fault::Fine)
}

fn failed() -> Error {
    Error::Generic { store: "faulty", source: "503 service unavailable".into() }
}

fn taken(location: &Path) -> Error {
    Error::AlreadyExists { path: location.to_string(), source: "409 conflict".into() }
}

fn denied(location: &Path) -> Error {
    Error::PermissionDenied { path: location.to_string(), source: "403 forbidden".into() }
}

impl std::fmt::Display for FaultStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a faulty store")
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        assert_eq!(opts.mode, PutMode::Create, "the vault puts nothing that may exist");
        if self.nature.overwrites {
            opts.mode = PutMode::Overwrite;
        }
        match next(&self.puts) {
            Fault::Fails => return Err(failed()),
            Fault::Conflict => return Err(taken(location)),
            Fault::Denied => return Err(denied(location)),
            Fault::Hangs => std::future::pending().await,
            Fault::Slow(time) => tokio::time::sleep(time).await,
            Fault::AnswerLost => {
                self.inner.put_opts(location, payload, opts).await?;
                return Err(failed());
            }
            Fault::Fine => {}
            fault => unreachable!("{fault:?} is not for puts"),
        }
        // Others run between two racers' requests, as they do on a network.
        tokio::task::yield_now().await;
        let put = self.inner.put_opts(location, payload, opts).await;
        if self.nature.nobody_wins { Err(taken(location)) } else { put }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("the vault puts objects whole")
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        let fault = next(&self.reads);
        match fault {
            Fault::Fails => return Err(failed()),
            Fault::Denied => return Err(denied(location)),
            Fault::Hangs => std::future::pending().await,
            Fault::Slow(time) => tokio::time::sleep(time).await,
            Fault::Fine | Fault::Short => {}
            fault => unreachable!("{fault:?} is not for reads"),
        }
        if let (true, Some(object_store::GetRange::Bounded(range))) =
            (self.nature.shifts_ranges, &mut options.range)
            && range.start > 0
        {
            *range = range.start - 1..range.end - 1;
        }
        let mut found = self.inner.get_opts(location, options).await?;
        if fault == Fault::Short {
            let (meta, range, attributes) =
                (found.meta.clone(), found.range.clone(), found.attributes.clone());
            let extensions = found.extensions.clone();
            let bytes = found.bytes().await?;
            let short = bytes.slice(..bytes.len() - 1);
            let payload = GetResultPayload::Stream(stream::iter([Ok(short)]).boxed());
            found = GetResult { payload, meta, range, attributes, extensions };
        }
        Ok(found)
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.nature.refuses_deletion {
            return names.map(|name| Err(denied(&name?))).boxed();
        }
        if self.nature.keeps_deleted { names } else { self.inner.delete_stream(names) }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.nature.lists_nothing {
            return stream::empty().boxed();
        }
        let listed = self.inner.list(prefix);
        match next(&self.lists) {
            Fault::Fine => listed,
            Fault::Fails => stream::iter([Err(failed())]).boxed(),
            Fault::Hangs => stream::pending().boxed(),
            Fault::BreaksAfter(objects) => listed.take(objects).chain(stream::iter([Err(failed())])).boxed(),
            fault => unreachable!("{fault:?} is not for listings"),
        }
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("the vault lists whole folders")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("the vault copies nothing")
    }
}
