//! Chunks read from their packs as they lie there: opened and authenticated, neither inflated nor hashed.

use crate::copies::is_missed;
use crate::fetch::{self, FETCHES_MAX};
use crate::index::Location;
use crate::map::Child;
use crate::rescue::Tables;
use crate::vault::{Vault, check_length};
use crate::{ChunkId, Result, pack};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

/// A chunk with its codec byte, as it was before it was sealed.
pub(crate) struct Encoded {
    pub(crate) id: ChunkId,
    pub(crate) bytes: Vec<u8>,
}

/// Where chunks lie that are not where a map says: asked for when the first of them is missed.
pub(crate) enum Elsewhere<'a> {
    /// As the index says.
    Index(&'a Vault),
    /// As the packs themselves say.
    Tables(&'a Vault, OnceCell<Tables>),
}

impl<'a> Elsewhere<'a> {
    pub(crate) fn tables(vault: &'a Vault) -> Self {
        Self::Tables(vault, OnceCell::new())
    }

    /// Every place but the one that the map names.
    pub(crate) async fn find(&self, child: &Child) -> Result<Vec<Location>> {
        match self {
            Self::Index(vault) => vault.copies(&child.id, &child.at).await,
            Self::Tables(vault, tables) => {
                let mut places = tables.get_or_try_init(|| Tables::read(vault)).await?.find(&child.id);
                places.retain(|at| *at != child.at);
                Ok(places)
            }
        }
    }
}

/// Reads chunks of a vault.
pub(crate) struct SealedReader<'a> {
    vault: &'a Vault,
    elsewhere: &'a Elsewhere<'a>,
}

/// A chunk, or why it can be read nowhere.
type Tried = (ChunkId, Result<Vec<u8>>);

/// Chunks of one pack that one request fetches.
type Fetch = fetch::Fetch<Child>;

impl<'a> SealedReader<'a> {
    pub(crate) fn new(vault: &'a Vault, elsewhere: &'a Elsewhere<'a>) -> Self {
        Self { vault, elsewhere }
    }

    /// Reads chunks, in any order.
    ///
    /// # Errors
    /// `Corrupt`, naming the object, if one of them can be read nowhere.
    pub(crate) async fn read(&self, children: Vec<Child>) -> Result<Vec<Encoded>> {
        let tried = self.read_each(children).await?;
        tried.into_iter().map(|(id, bytes)| Ok(Encoded { id, bytes: bytes? })).collect()
    }

    /// Reads chunks, in any order; says of each why it cannot be read.
    ///
    /// # Errors
    /// Only where the store fails.
    pub(crate) async fn read_each(&self, children: Vec<Child>) -> Result<Vec<Tried>> {
        let fetched = stream::iter(plan(children)).map(|fetch| self.fetch(fetch)).buffered(FETCHES_MAX);
        let parts: Vec<Vec<Tried>> = fetched.try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Vec<Tried>> {
        match self.fetch_from(&fetch).await {
            Ok(chunks) => Ok(chunks.into_iter().map(|chunk| (chunk.id, Ok(chunk.bytes))).collect()),
            Err(error) if is_missed(&error) => {
                let mut tried = Vec::with_capacity(fetch.wanted.len());
                for child in fetch.wanted {
                    tried.push((child.id, self.read_one(child).await?));
                }
                Ok(tried)
            }
            Err(error) => Err(error),
        }
    }

    async fn fetch_from(&self, fetch: &Fetch) -> Result<Vec<Encoded>> {
        fetch.wanted.iter().try_for_each(|child| check_length(child.at))?;
        let mut sealed = self.vault.read_sealed(fetch.pack, fetch.start(), fetch.length()).await?;
        let key = self.vault.pack_key(fetch.pack).await?;
        let open = |&Child { id, at }: &Child| {
            let sealed = &mut sealed[fetch.within(at)];
            Ok(Encoded { id, bytes: pack::open_chunk(&key, id, at, sealed)?.to_vec() })
        };
        fetch.wanted.iter().map(open).collect()
    }

    /// Reads one chunk by itself: from where the map says, else from wherever it lies too.
    async fn read_one(&self, child: Child) -> Result<Result<Vec<u8>>> {
        let missed = match self.fetch_alone(child).await {
            Err(error) if is_missed(&error) => error,
            other => return other.map(Ok),
        };
        for at in self.elsewhere.find(&child).await? {
            match self.fetch_alone(Child { id: child.id, at }).await {
                Err(error) if is_missed(&error) => {}
                other => return other.map(Ok),
            }
        }
        Ok(Err(missed))
    }

    async fn fetch_alone(&self, child: Child) -> Result<Vec<u8>> {
        let mut chunks = self.fetch_from(&Fetch::alone(child.at, child)).await?;
        Ok(chunks.pop().expect("one was asked for").bytes)
    }
}

/// The requests for chunks. A chunk that is asked for twice is read once: opening is in place.
fn plan(mut children: Vec<Child>) -> Vec<Fetch> {
    children.sort_unstable_by_key(|Child { id, at }| (at.pack, at.offset, *id));
    children.dedup();
    fetch::plan(children, |child| child.at)
}
