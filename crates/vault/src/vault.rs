//! A vault: created, opened, listed.

use crate::copies::Moved;
use crate::index::{Location, Shelf};
use crate::keys::{self, Access, Keyring};
use crate::log::Told;
use crate::map::{Child, NODE_BYTES_MAX, Node};
use crate::pack::{self, PACK_BYTES, SEALED_BYTES_MAX};
use crate::point::{POINT_BYTES_MAX, Point};
use crate::protocol::{PointState, State};
use crate::record::open_record;
use crate::seal::{HEAD_BYTES, ObjectKey, ObjectKind, ObjectName, TAG_BYTES, id_in_head};
use crate::{
    CHUNK_BYTES, Error, ErrorKind, Ids, KeyProvider, MachineKey, NewHolder, PackId, PackKind, PointId,
    Result, Store, VaultId, chunk,
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The version of the format that this program writes, and the newest it reads.
const FORMAT_VERSION: u32 = 1;
/// Features of the format that this program knows; a vault that needs others is refused.
const FEATURES: &[&str] = &[];
/// Map nodes kept unpacked: 8 KiB each, 16 MiB in all; a path of four and 2,000 leaves (8 GiB of disk).
const NODES_CACHED: u64 = 2048;
/// Keys of packs kept derived: deriving one costs a read of the pack's head.
const PACK_KEYS_CACHED: u64 = 4096;
/// Map packs are read by windows of this many bytes, which are kept: nodes that are walked one after the other lie
/// one behind the other. The first holds the head, and of most incrementals all there is. A store needs as long
/// for it as for its first byte.
const MAP_WINDOW_BYTES: u64 = 256 << 10;
/// Windows kept: 32 MiB in all.
const MAP_WINDOWS_CACHED: u64 = 128;
/// A chunk that ends before this in its pack is read together with the pack's head.
const DATA_START_BYTES: u64 = 128 << 10;
/// Small objects read at once when listing.
const READS_MAX: usize = 16;

/// The object `vault.json`: what a vault is, readable without a key. Put once, never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VaultInfo {
    /// The word `strongroom-vault`.
    pub kind: String,
    /// Version of the format.
    pub format: u32,
    /// Features a reader must understand.
    pub must_understand: Vec<String>,
    /// The vault's id.
    pub id: VaultId,
    /// When it was created.
    pub created: Timestamp,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
}

impl VaultInfo {
    fn new(id: VaultId, created: Timestamp) -> Self {
        Self {
            kind: "strongroom-vault".into(),
            format: FORMAT_VERSION,
            must_understand: Vec::new(),
            id,
            created,
            chunk_bytes: CHUNK_BYTES as u64,
        }
    }
}

/// What a look at a vault's points found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The points that can be read, by machine and then by instant.
    pub points: Vec<Point>,
    /// Why others cannot.
    pub damage: Vec<Error>,
}

/// An open vault.
pub struct Vault {
    store: Store,
    info: VaultInfo,
    access: Access,
    ids: Ids,
    pack_bytes: usize,
    nodes: Cache<Child, Arc<Node>>,
    pack_keys: Cache<PackId, Arc<ObjectKey>>,
    moved: Moved,
    shelf: Shelf,
    map_windows: Cache<(PackId, u64), Bytes>,
}

impl Vault {
    /// Creates a vault in an empty store, for one holder, and opens it.
    pub async fn create(
        store: Store,
        id: VaultId,
        created: Timestamp,
        holder: &dyn KeyProvider,
    ) -> Result<Self> {
        let holder = NewHolder { key: holder, label: String::new(), added: created };
        Self::create_with(store, id, created, &[holder]).await
    }

    /// Creates a vault that any of these holders opens, in an empty store, and opens it.
    ///
    /// The keyring is put first: `vault.json` is what makes a vault, and it must never stand there
    /// without its keys. CRASH: leaves a keyring without a vault; creating again is refused until the
    /// folder is emptied. An error of the last put may hide that it landed: then the vault is there, whole.
    ///
    /// # Errors
    /// `AlreadyExists` if the store is not empty, `Invalid` if [`Store::probe`] finds it unfit.
    pub async fn create_with(
        store: Store,
        id: VaultId,
        created: Timestamp,
        holders: &[NewHolder<'_>],
    ) -> Result<Self> {
        if let Some(name) = store.any(|name| !name.starts_with("probe/")).await? {
            let context =
                format!("{} is not empty (it holds {name}): a vault needs an empty place", store.shown());
            return Err(Error::new(ErrorKind::AlreadyExists, context));
        }
        store.probe(id.0, created).await?.require_shared(&store)?;
        let info = VaultInfo::new(id, created);
        keys::create(&store, id, holders).await?;
        store.create("vault.json", json(&info)).await?;
        let access = Access::open(&store, id, holders[0].key, None).await?;
        Ok(Self::assemble(store, info, access))
    }

    /// Makes an empty store hold the vault too, and opens it there: with the newest keyring as it is, and a
    /// log of its own.
    ///
    /// The order is that of [`create_with`](Self::create_with). Both objects are the same whoever puts them:
    /// CRASH: leaves a keyring without a vault, and making the replica again goes on from there.
    ///
    /// # Errors
    /// As [`create_with`](Self::create_with); `Key` if `holder` does not open the vault's newest keyring.
    pub async fn create_replica(
        store: Store,
        of: &Self,
        now: Timestamp,
        holder: &dyn KeyProvider,
    ) -> Result<Self> {
        let foreign = |name: &str| !name.starts_with("probe/") && !name.starts_with("keys/");
        if let Some(name) = store.any(foreign).await? {
            let context =
                format!("{} is not empty (it holds {name}): a replica needs an empty place", store.shown());
            return Err(Error::new(ErrorKind::AlreadyExists, context));
        }
        store.probe(of.id().0, now).await?.require_shared(&store)?;
        keys::copy_newest(of.store(), &store, of.id()).await?;
        // It must open before it is a vault.
        let access = Access::open(&store, of.id(), holder, None).await?;
        store.create("vault.json", json(&of.info)).await?;
        Ok(Self::assemble(store, of.info.clone(), access))
    }

    /// Opens the vault in `store`.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Unsupported` if it is newer than this program, `Key` if this is not
    /// the key of a holder, `Corrupt` if the newest keyring is damaged: an older one is never used unasked.
    pub async fn open(store: Store, holder: &dyn KeyProvider) -> Result<Self> {
        let info = Self::info_of(&store).await?;
        let access = Access::open(&store, info.id, holder, None).await?;
        Ok(Self::assemble(store, info, access))
    }

    /// Opens the vault with an older keyring, to rescue what can be read where the newest is damaged: with
    /// the holders of its time, and without the epochs that were added since.
    pub async fn open_with_keyring(store: Store, holder: &dyn KeyProvider, number: u32) -> Result<Self> {
        let info = Self::info_of(&store).await?;
        let access = Access::open(&store, info.id, holder, Some(number)).await?;
        Ok(Self::assemble(store, info, access))
    }

    /// Opens a vault of which only the id is known, because `vault.json` is lost or damaged.
    pub(crate) async fn open_as(
        store: Store,
        id: VaultId,
        holder: &dyn KeyProvider,
        keyring: Option<u32>,
    ) -> Result<Self> {
        let access = Access::open(&store, id, holder, keyring).await?;
        Ok(Self::assemble(store, VaultInfo::new(id, Timestamp::UNIX_EPOCH), access))
    }

    /// What the vault in `store` is; needs no key.
    pub async fn info_of(store: &Store) -> Result<VaultInfo> {
        let bytes = store.get("vault.json").await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Error::caused(ErrorKind::NotFound, format!("there is no vault in {}", store.shown()), error)
            }
            _ => error,
        })?;
        check_version(store.shown(), &bytes)?;
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::caused(ErrorKind::Corrupt, format!("read vault.json in {}", store.shown()), e)
        })
    }

    fn assemble(store: Store, info: VaultInfo, access: Access) -> Self {
        Self {
            access,
            ids: Ids::default(),
            pack_bytes: PACK_BYTES,
            nodes: Cache::new(NODES_CACHED),
            pack_keys: Cache::new(PACK_KEYS_CACHED),
            moved: Moved::default(),
            shelf: Shelf::new(info.id),
            map_windows: Cache::new(MAP_WINDOWS_CACHED),
            store,
            info,
        }
    }

    /// Keeps the index in a folder of its own below `cache`, made when it is first needed, instead of in memory:
    /// 46 bytes for every chunk in the vault. It may be deleted at any time; several programs may share it.
    pub fn with_cache(self, cache: &Path) -> Self {
        Self { shelf: Shelf::below(cache, self.id()), ..self }
    }

    #[cfg(test)]
    pub(crate) fn with_limits(self, limits: crate::index::Limits) -> Self {
        Self { shelf: self.shelf.with_limits(limits), ..self }
    }

    /// Draws ids from another source: for simulations, see [`Ids`].
    pub fn with_ids(self, ids: Ids) -> Self {
        Self { ids, ..self }
    }

    /// Closes packs at this many bytes: for tests, whose sessions are to have several without writing much.
    pub fn with_pack_bytes(self, pack_bytes: usize) -> Self {
        Self { pack_bytes: pack_bytes.min(PACK_BYTES), ..self }
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// How much a pack holds before it is closed.
    pub(crate) fn pack_bytes(&self) -> usize {
        self.pack_bytes
    }

    /// The runs of the index that are at hand.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// What it is.
    pub fn info(&self) -> &VaultInfo {
        &self.info
    }

    /// Its id.
    pub fn id(&self) -> VaultId {
        self.info.id
    }

    /// Where it lies.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn moved(&self) -> &Moved {
        &self.moved
    }

    pub(crate) fn keys(&self) -> &Keyring {
        self.access.keys()
    }

    /// Takes over the epochs of the newest keyring, which others may have put since the vault was opened.
    pub(crate) async fn refresh_keys(&self) -> Result<()> {
        self.access.refresh(&self.store).await
    }

    /// Takes over the newest keyring of another store of this vault, so that a data key that was rotated away
    /// there seals nothing here. Where keys were changed here by themselves, they stay as they are.
    ///
    /// # Errors
    /// Those of the two stores; `Key` when a keyring does not open.
    pub async fn follow_keys(&self, from: &Self) -> Result<()> {
        from.refresh_keys().await?;
        self.refresh_keys().await?;
        if from.keys().extends(self.keys()) {
            keys::copy_newest(&from.store, &self.store, self.id()).await?;
        }
        Ok(())
    }

    /// Opens what may be sealed under an epoch that is newer than the keys at hand.
    pub(crate) async fn open_fresh<T>(&self, open: impl Fn(&Keyring) -> Result<T>) -> Result<T> {
        match open(self.keys()) {
            Err(error) if error.kind() == ErrorKind::Key => {
                self.refresh_keys().await?;
                open(self.keys())
            }
            other => other,
        }
    }

    /// The keys, for work on other threads.
    pub(crate) fn keys_shared(&self) -> &Arc<Keyring> {
        self.access.keys()
    }

    /// All points, by machine and then by instant.
    ///
    /// # Errors
    /// `Corrupt` if any of them is damaged; [`survey`](Self::survey) lists the others then.
    pub async fn points(&self) -> Result<Vec<Point>> {
        self.survey(None).await?.strictly()
    }

    /// The points of one machine, by instant.
    pub async fn points_of(&self, machine: &MachineKey) -> Result<Vec<Point>> {
        self.survey(Some(machine)).await?.strictly()
    }

    /// Points that were deleted and can still be had back.
    pub async fn deleted_points(&self) -> Result<Vec<Point>> {
        self.survey_in(None, PointState::SoftDeleted).await?.strictly()
    }

    /// The points of a machine or of all, and what stands in the way of the others: one that is damaged hides
    /// no other.
    pub async fn survey(&self, machine: Option<&MachineKey>) -> Result<Survey> {
        self.survey_in(machine, PointState::Live).await
    }

    /// The log says which points there are; their objects say what they hold.
    pub(crate) async fn survey_in(&self, machine: Option<&MachineKey>, wanted: PointState) -> Result<Survey> {
        let told = self.read_log(Told::default()).await?;
        let mut survey = Survey::default();
        let mut meant = self.point_objects(machine).await?;
        if machine.is_none()
            && let Err(error) = self.check_roots(&told, &meant).await
        {
            survey.damage.push(error);
        }
        meant.retain(|(_, id)| told.state.points.get(id) == Some(&wanted));
        let read = |(machine, id): (MachineKey, PointId)| async move { (id, self.point(&machine, id).await) };
        // All of them first: reads in flight are not polled while something else is awaited, and hold what that
        // may need.
        let points: Vec<_> = stream::iter(meant).map(read).buffer_unordered(READS_MAX).collect().await;
        for (id, point) in points {
            match point {
                Ok(point) => survey.points.push(point),
                // Purged since the log was read: not listed. Otherwise damage.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if self.is_root_still(&told, id).await? {
                        survey.damage.push(lost(id));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => survey.damage.push(error),
                Err(error) => return Err(error),
            }
        }
        survey.points.sort_by(|a, b| (&a.machine, a.instant, a.id).cmp(&(&b.machine, b.instant, b.id)));
        Ok(survey)
    }

    /// A root that the store lacks is damage, never "there are no points"; unless it was purged since the log
    /// was read.
    pub(crate) async fn check_roots(&self, told: &Told, objects: &[(MachineKey, PointId)]) -> Result<()> {
        let there: BTreeSet<PointId> = objects.iter().map(|(_, id)| *id).collect();
        let missing = |state: &State| {
            let roots = told.state.points.keys().filter(|id| told.state.is_root(id) && !there.contains(id));
            roots.copied().find(|id| state.is_root(id))
        };
        if missing(&told.state).is_none() {
            return Ok(());
        }
        let now = self.read_log(told.clone()).await?;
        missing(&now.state).map_or(Ok(()), |id| Err(lost(id)))
    }

    /// Whether a point that the log knew is still kept.
    pub(crate) async fn is_root_still(&self, told: &Told, id: PointId) -> Result<bool> {
        Ok(self.read_log(told.clone()).await?.state.is_root(&id))
    }

    /// Every point's object, whatever the log says of it.
    pub(crate) async fn point_objects(
        &self,
        machine: Option<&MachineKey>,
    ) -> Result<Vec<(MachineKey, PointId)>> {
        let folder = machine.map_or_else(|| "points".into(), |machine| format!("points/{machine}"));
        self.store.list(&folder).await?.iter().map(|(name, _)| parse_point(name)).collect()
    }

    /// The point whose object has that name.
    pub(crate) async fn point_named(&self, object: &str) -> Result<Point> {
        let (machine, id) = parse_point(object)?;
        self.point(&machine, id).await
    }

    /// One point.
    pub async fn point(&self, machine: &MachineKey, id: PointId) -> Result<Point> {
        let object = Point::object(machine, id);
        let bytes = self.store.get(&object).await?;
        let session = id_in_head(&bytes).ok_or_else(|| Error::corrupt(&object, 0, "it ends early"))?;
        let name = ObjectName { kind: ObjectKind::Point, id: session, sequence: 0 };
        let body =
            self.open_fresh(|keys| open_record(keys, self.id(), name, &bytes, POINT_BYTES_MAX)).await?;
        let point: Point = serde_json::from_slice(&body)
            .map_err(|e| Error::caused(ErrorKind::Corrupt, format!("read point {object}"), e))?;
        if point.id != id || &point.machine != machine || point.session.0 != session {
            return Err(Error::corrupt(object, 0, "it is another point than its name says"));
        }
        Ok(point)
    }

    /// The number of objects and their bytes.
    pub async fn usage(&self) -> Result<(u64, u64)> {
        let objects = self.store.list("").await?;
        Ok((objects.len() as u64, objects.iter().map(|(_, size)| size).sum()))
    }

    /// A node of a map, which must be at `level`.
    pub(crate) async fn read_node(&self, child: &Child, level: u8) -> Result<Arc<Node>> {
        let node = self.nodes.try_get_with(*child, self.fetch_node(child));
        let node =
            node.await.map_err(|error: Arc<Error>| Error::caused(error.kind(), error.to_string(), error))?;
        if node.level != level {
            return Err(Error::corrupt(
                child.at.pack,
                child.at.offset.into(),
                "a map node is at another level",
            ));
        }
        Ok(node)
    }

    /// Keeps a node that was just written at hand.
    pub(crate) async fn keep_node(&self, child: Child, node: Node) {
        self.nodes.insert(child, Arc::new(node)).await;
    }

    async fn fetch_node(&self, child: &Child) -> Result<Arc<Node>> {
        let decode = |at: Location, encoded: &[u8]| {
            let found = |found| Error::corrupt(at.pack, at.offset.into(), found);
            let plain = chunk::decode(encoded, NODE_BYTES_MAX).map_err(found)?;
            Ok(Arc::new(Node::decode(self.keys(), child.id, &plain).map_err(found)?))
        };
        let at = self.place_of(child).await?;
        self.open_anywhere(&Child { at, ..*child }, decode).await
    }

    /// Bytes of a pack, as they lie there. A pack that a point refers to and the store has not is damage, not
    /// absence.
    pub(crate) async fn read_sealed(&self, pack: PackId, offset: u64, length: u64) -> Result<Vec<u8>> {
        let read = self.read_part(pack, offset..offset + length).await;
        read.map_err(|error| self.missing(pack, error))
    }

    /// What a failed read of a pack means: if it is not there, it never will be again.
    fn missing(&self, pack: PackId, error: Error) -> Error {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        self.moved.note_gone(pack);
        Error::caused(ErrorKind::Corrupt, format!("{error}: it is missing"), error)
    }

    /// As the store has it; what is likely to be asked for next comes along.
    async fn read_part(&self, pack: PackId, range: Range<u64>) -> Result<Vec<u8>> {
        if pack.kind == PackKind::Map {
            return self.read_map_part(pack, range).await;
        }
        if range.end <= DATA_START_BYTES && !self.pack_keys.contains_key(&pack) {
            let start = self.store.get_range(&pack.object(), 0..range.end).await?;
            // Whoever asks for the key is told what is wrong with the head.
            if let Ok(key) = self.open_head(pack, &start).await {
                self.pack_keys.insert(pack, key).await;
            }
            return Ok(start[range.start as usize..].to_vec());
        }
        let bytes = self.store.get_range(&pack.object(), range).await?;
        Ok(bytes.into())
    }

    async fn read_map_part(&self, pack: PackId, range: Range<u64>) -> Result<Vec<u8>> {
        let mut part = Vec::with_capacity((range.end - range.start) as usize);
        let mut at = range.start;
        while at < range.end {
            let number = at / MAP_WINDOW_BYTES;
            let begins = number * MAP_WINDOW_BYTES;
            let stop = range.end.min(begins + MAP_WINDOW_BYTES);
            let window = self.map_window(pack, number).await?;
            match window.get((at - begins) as usize..(stop - begins) as usize) {
                Some(bytes) => part.extend_from_slice(bytes),
                // The pack is shorter: the store is asked again, and says so.
                None => return Ok(self.store.get_range(&pack.object(), range).await?.into()),
            }
            at = stop;
        }
        Ok(part)
    }

    async fn map_window(&self, pack: PackId, number: u64) -> Result<Bytes> {
        let object = pack.object();
        let fetch = self.store.get_window(&object, number * MAP_WINDOW_BYTES, MAP_WINDOW_BYTES);
        let window = Box::pin(self.map_windows.try_get_with((pack, number), fetch)).await;
        window.map_err(|error: Arc<Error>| Error::caused(error.kind(), error.to_string(), error))
    }

    /// The key of a pack, from its head.
    pub(crate) async fn pack_key(&self, pack: PackId) -> Result<Arc<ObjectKey>> {
        let fetch = async {
            let head = match pack.kind {
                PackKind::Map => self.map_window(pack, 0).await,
                PackKind::Data => self.store.get_range(&pack.object(), 0..HEAD_BYTES as u64).await,
            };
            self.open_head(pack, &head.map_err(|error| self.missing(pack, error))?).await
        };
        let key = Box::pin(self.pack_keys.try_get_with(pack, fetch)).await;
        key.map_err(|error: Arc<Error>| Error::caused(error.kind(), error.to_string(), error))
    }

    async fn open_head(&self, pack: PackId, bytes: &[u8]) -> Result<Arc<ObjectKey>> {
        let open = |keys: &Keyring| ObjectKey::open(keys, self.id(), pack::object_name(pack), bytes);
        self.open_fresh(open).await.map(Arc::new)
    }
}

impl Survey {
    fn strictly(mut self) -> Result<Vec<Point>> {
        self.damage.pop().map_or(Ok(self.points), Err)
    }
}

pub(crate) fn parse_point(object: &str) -> Result<(MachineKey, PointId)> {
    let mut parts = object.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(machine), Some(id), None) => Ok((MachineKey::new(machine)?, id.parse()?)),
        _ => Err(Error::corrupt(object, 0, "no point has such a name")),
    }
}

fn lost(id: PointId) -> Error {
    Error::corrupt(format!("points/*/{id}"), 0, "the log has this point, the store has it not")
}

/// Refuses a length that no sealed chunk has, before memory is given to it.
pub(crate) fn check_length(at: Location) -> Result<()> {
    let length = at.length as usize;
    if length <= TAG_BYTES || length > SEALED_BYTES_MAX || (at.offset as usize) < HEAD_BYTES {
        return Err(Error::corrupt(
            at.pack,
            at.offset.into(),
            format!("no chunk has {} bytes there", at.length),
        ));
    }
    Ok(())
}

/// Looks at nothing but the version, so that a newer `vault.json` may otherwise look quite different.
fn check_version(store: &str, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        kind: String,
        format: u32,
        must_understand: Vec<String>,
    }
    let version: Version = serde_json::from_slice(bytes)
        .map_err(|e| Error::caused(ErrorKind::Corrupt, format!("read vault.json in {store}"), e))?;
    if version.kind != "strongroom-vault" {
        return Err(Error::new(ErrorKind::NotFound, format!("{store} is not a vault")));
    }
    if version.format != FORMAT_VERSION {
        let context = format!(
            "the vault in {store} has format {}, this program reads format {FORMAT_VERSION}: use a newer strongroom",
            version.format
        );
        return Err(Error::new(ErrorKind::Unsupported, context));
    }
    if let Some(unknown) = version.must_understand.iter().find(|name| !FEATURES.contains(&name.as_str())) {
        let context = format!(
            "the vault in {store} needs '{unknown}', which this program does not know: use a newer strongroom"
        );
        return Err(Error::new(ErrorKind::Unsupported, context));
    }
    Ok(())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("plain data")
}
