//! Copies of points between stores that hold one vault.
//!
//! A *replica* is another store with the same vault: the same id, the same keys; with a log, sessions and
//! retention of its own. What is deleted in one is not deleted in the other.
//!
//! ```text
//! base map in the target ─┐
//!                         ├─ diff ─► known to the target? ─► read, open ─► seal ─► pack ─► upload
//! map in the source ──────┘                 └─ only recorded     (never inflated)
//! ```
//! The copy is a session of the target like any other: what is published, when, and what a crash leaves is in
//! `commit.rs`. CRASH: a copy that dies is begun anew; whoever inherits its session (`inherit.rs`) first finds all packs
//! it had uploaded, and fetches and seals only the rest.
//!
//! **The name.** A copy keeps the id of its point. Names are never used twice, so an attempt claims the id in
//! the target's log before it puts an object under it: it opens a session of that very id, which the log
//! allows once. An attempt that died after that leaves the id used up, and the next one takes the id's
//! successor: the same time, and other bits that follow from the first. Two who copy one point at once may so
//! both make it: a copy too many, never a wrong one. In the same way a point that was purged in the target can come
//! back, to one who asks for just that: its purged names stay used up, and the copy is the first name behind them.

use crate::log::Told;
use crate::map::{Child, Differing, MapDiff};
use crate::protocol::{PointState, Record, State};
use crate::sealed::{Elsewhere, SealedReader};
use crate::vault::Vault;
use crate::{
    Base, CHUNK_BYTES, DiskMap, DiskRecord, DiskWriter, Error, ErrorKind, PackKind, Point, PointDraft,
    PointId, Result, Session, SessionId, StoredBatch, map,
};
use futures_util::future::{BoxFuture, try_join_all};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Leaves copied at once: each up to 64 chunks, 4 MiB.
const LEAVES_AT_ONCE: usize = 8;
/// How often others may be quicker to append to the log before a claim is given up.
const CLAIMS_MAX: u32 = 1000;
/// How often a copy of one point may die between its claim and its commit.
const SUCCESSORS_MAX: u32 = 1000;

/// What a copy needs that it must not draw or read itself.
#[derive(Clone, Copy, Debug)]
pub struct CopyRun {
    /// The target's session; never used before.
    pub session: SessionId,
    /// For people.
    pub now: Timestamp,
}

/// How a copy tells how far it is, and is told how fast it may go.
#[derive(Clone, Copy)]
pub struct CopyCourse<'a> {
    /// Is told of bytes of disks that are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Asked before so many sealed bytes are fetched: they are when the answer comes.
    pub pace: &'a (dyn Fn(u64) -> BoxFuture<'a, ()> + Sync),
}

/// What became of a point that was to be copied.
#[derive(Clone, Debug)]
pub enum Copied {
    /// It is in the target now. Its `stats` say what was read from the source, and what was put.
    Made(Box<Point>),
    /// It was there already, under this id.
    There(PointId),
    /// It was there, and was deleted there: a copy does not undo that.
    Deleted(PointId),
}

/// What copying a point would do.
#[derive(Clone, Debug)]
pub enum CopyPlan {
    /// Bytes of its disks that differ from the target's newest point of the machine. What of them the target
    /// has from elsewhere is not read.
    Make(u64),
    /// It is there already, or was and is deleted.
    Nothing(Copied),
}

/// Copies a point from one store of a vault to another. `progress` is told of bytes of disks that are done.
///
/// # Errors
/// `Invalid` if the two are not one vault. `Corrupt`, naming the object, if the source lacks something: then
/// nothing is committed. Else as [`Session::commit`].
pub async fn copy_point(
    from: &Arc<Vault>,
    to: &Arc<Vault>,
    point: &Point,
    run: CopyRun,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Copied> {
    let pace = |_| -> BoxFuture<'_, ()> { Box::pin(std::future::ready(())) };
    copy_point_at(from, to, point, run, CopyCourse { progress, pace: &pace }).await
}

/// The same, no faster than it may.
///
/// # Errors
/// As [`copy_point`].
pub async fn copy_point_at(
    from: &Arc<Vault>,
    to: &Arc<Vault>,
    point: &Point,
    run: CopyRun,
    course: CopyCourse<'_>,
) -> Result<Copied> {
    Box::pin(copy_as(from, to, point, (run, Purged::Stays), course)).await
}

/// The same, even if the target has purged the point before: then it comes back, by another id.
///
/// # Errors
/// As [`copy_point`].
pub async fn copy_point_again(
    from: &Arc<Vault>,
    to: &Arc<Vault>,
    point: &Point,
    run: CopyRun,
    course: CopyCourse<'_>,
) -> Result<Copied> {
    Box::pin(copy_as(from, to, point, (run, Purged::MayReturn), course)).await
}

/// What becomes of a point that the target has purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purged {
    Stays,
    MayReturn,
}

async fn copy_as(
    from: &Arc<Vault>,
    to: &Arc<Vault>,
    point: &Point,
    (run, purged): (CopyRun, Purged),
    course: CopyCourse<'_>,
) -> Result<Copied> {
    if let Some(settled) = settled(from, to, (point.id, purged)).await? {
        return Ok(settled);
    }
    to.follow_keys(from).await?;
    let base = base_for(to, point).await?;
    let session = Session::begin(to, run.session, run.now).await?;
    let elsewhere = Elsewhere::Index(from);
    let mut disks = Vec::with_capacity(point.disks.len());
    for disk in &point.disks {
        let old = base_disk(base.as_ref(), disk);
        let reader = SealedReader::new(from, &elsewhere);
        let work = DiskCopy { from, session: &session, reader, course };
        disks.push(work.copy(disk, old).await?);
    }
    let id = match claim(to, (point.id, purged), run.now).await? {
        Claim::Taken(id) => id,
        Claim::Settled(settled) => return Ok(settled),
    };
    let draft = PointDraft {
        id,
        machine: point.machine.clone(),
        machine_name: point.machine_name.clone(),
        instant: point.instant,
        parent: point.parent,
        consistency: point.consistency.clone(),
        description: point.description.clone(),
        service: point.service.clone(),
    };
    Ok(Copied::Made(Box::new(session.commit(draft, disks).await?)))
}

/// What [`copy_point`] would do; changes nothing.
pub async fn plan_copy(from: &Vault, to: &Vault, point: &Point) -> Result<CopyPlan> {
    if let Some(settled) = settled(from, to, (point.id, Purged::Stays)).await? {
        return Ok(CopyPlan::Nothing(settled));
    }
    let base = base_for(to, point).await?;
    let mut bytes = 0;
    for disk in &point.disks {
        let old = base_disk(base.as_ref(), disk).map_or(empty(disk), |base| base.map.clone());
        let mut diff = MapDiff::new((to, &old), (from, &disk.map))?;
        while let Some(differing) = diff.next().await? {
            if let Differing::Blocks(blocks) = differing {
                let sizes = blocks.iter().filter(|(_, child)| child.is_some());
                bytes += sizes.map(|(block, _)| map::block_bytes(disk.map.size, *block) as u64).sum::<u64>();
            }
        }
    }
    Ok(CopyPlan::Make(bytes))
}

/// What the target's log says of a point, if it says anything; and whether the two are one vault at all.
async fn settled(from: &Vault, to: &Vault, (id, purged): (PointId, Purged)) -> Result<Option<Copied>> {
    if from.id() != to.id() || from.keys().chunk_id_key() != to.keys().chunk_id_key() {
        let (from, to) = (from.store().shown(), to.store().shown());
        let context = format!("{to} is not a replica of the vault in {from}: it holds another vault");
        return Err(Error::new(ErrorKind::Invalid, context));
    }
    Ok(look(&to.read_log(Told::default()).await?.state, id, purged).err())
}

/// The first id of the series that nobody has claimed; else what became of the point.
fn look(state: &State, id: PointId, purged: Purged) -> std::result::Result<Option<PointId>, Copied> {
    for id in (0..SUCCESSORS_MAX).map(|attempt| successor(id, attempt)) {
        match state.points.get(&id) {
            Some(PointState::Live) => return Err(Copied::There(id)),
            Some(PointState::Purged) if purged == Purged::MayReturn => {}
            Some(PointState::SoftDeleted | PointState::Purged) => return Err(Copied::Deleted(id)),
            None if !state.sessions.contains_key(&SessionId(id.0)) => return Ok(Some(id)),
            None => {}
        }
    }
    Ok(None)
}

/// Under which id the store whose log says this has a point, in whatever state: its own, or that of a copy. Where some
/// were purged and one came back, it is that one.
pub(crate) fn id_here(state: &State, id: PointId) -> Option<PointId> {
    let ids = (0..SUCCESSORS_MAX).map(|attempt| successor(id, attempt));
    let is_claimed =
        |id: &PointId| state.points.contains_key(id) || state.sessions.contains_key(&SessionId(id.0));
    let mut last = None;
    for id in ids.take_while(is_claimed) {
        match state.points.get(&id) {
            Some(PointState::Purged) => last = Some(id),
            Some(PointState::Live | PointState::SoftDeleted) => return Some(id),
            None => {}
        }
    }
    last
}

/// What came of claiming an id.
enum Claim {
    Taken(PointId),
    /// Somebody else copied the point meanwhile.
    Settled(Copied),
}

/// Claims the id under which the copy will stand.
///
/// INVARIANT: the log opens a session of this id once, for ever; so an object of this name is put by one
/// attempt only, and whoever still means to delete what another attempt left cannot hit it.
async fn claim(to: &Vault, (wanted, purged): (PointId, Purged), now: Timestamp) -> Result<Claim> {
    let mut told = Told::default();
    for _ in 0..CLAIMS_MAX {
        told = to.read_log(told).await?;
        let id = match look(&told.state, wanted, purged) {
            Err(settled) => return Ok(Claim::Settled(settled)),
            Ok(Some(id)) => id,
            Ok(None) => break,
        };
        if to.append(&told, &Record::Open { session: SessionId(id.0) }, now).await? {
            return Ok(Claim::Taken(id));
        }
    }
    let context = format!("point {wanted} found no free name: too many write, or tried to copy it in vain");
    Err(Error::new(ErrorKind::Conflict, context))
}

/// The id that attempt number `attempt` to copy a point uses: of the same time, so that ids sort as before.
fn successor(id: PointId, attempt: u32) -> PointId {
    if attempt == 0 {
        return id;
    }
    let mut hasher = blake3::Hasher::new_derive_key("strongroom vault v1 successor of a copied point");
    hasher.update(id.0.as_bytes()).update(&attempt.to_le_bytes());
    let mut bytes = *id.0.as_bytes();
    bytes[6..].copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    PointId(uuid::Builder::from_bytes(bytes).with_version(uuid::Version::SortRand).into_uuid())
}

/// The target's point of that machine to build on: the newest that is not newer, else the oldest.
async fn base_for(to: &Vault, point: &Point) -> Result<Option<Point>> {
    // A damaged point is no base, and keeps nobody from copying.
    let mut points = to.survey(Some(&point.machine)).await?.points;
    let older = points.iter().rposition(|base| base.instant <= point.instant);
    Ok((!points.is_empty()).then(|| points.swap_remove(older.unwrap_or(0))))
}

/// The disk of the base that a disk is built on.
fn base_disk<'a>(base: Option<&'a Point>, disk: &DiskRecord) -> Option<Base<'a>> {
    let point = base?;
    let old = point.disks.iter().find(|old| old.name == disk.name)?;
    old.map.fits_beneath(disk.map.size).then_some(Base { point: point.id, map: &old.map })
}

fn empty(disk: &DiskRecord) -> DiskMap {
    DiskMap { size: disk.map.size, root: None }
}

/// The copy of one disk.
struct DiskCopy<'a, 'c> {
    from: &'a Arc<Vault>,
    session: &'a Session,
    reader: SealedReader<'a>,
    course: CopyCourse<'c>,
}

/// Blocks whose chunks the target has.
enum Ready {
    Zeros(u64, u64),
    Blocks { blocks: Vec<(u64, Option<Child>)>, read_bytes: u64 },
}

impl DiskCopy<'_, '_> {
    async fn copy(&self, disk: &DiskRecord, base: Option<Base<'_>>) -> Result<DiskRecord> {
        let size = disk.map.size;
        let mut writer = self.session.disk(size, base).await?;
        let old = base.map_or_else(|| empty(disk), |base| base.map.clone());
        let mut diff = MapDiff::new((self.session.vault(), &old), (self.from, &disk.map))?;
        let mut read_bytes = 0;
        loop {
            let differing = self.some(&mut diff).await?;
            if differing.is_empty() {
                break;
            }
            // INVARIANT: comparing, fetching and recording take turns. Each reads nodes and the index, which others
            // wait for while one reads them: what is not polled meanwhile may be what the other waits for.
            let fetches = differing.into_iter().map(|differing| self.fetch(size, differing));
            for ready in try_join_all(fetches).await? {
                read_bytes += self.record(&mut writer, size, ready).await?;
            }
        }
        let map = writer.finish(self.session).await?;
        let DiskRecord { name, tracking, .. } = disk.clone();
        Ok(DiskRecord { name, map, tracking, read_bytes })
    }

    /// The next few differences.
    async fn some(&self, diff: &mut MapDiff<'_>) -> Result<Vec<Differing>> {
        let mut some = Vec::with_capacity(LEAVES_AT_ONCE);
        while some.len() < LEAVES_AT_ONCE
            && let Some(differing) = diff.next().await?
        {
            some.push(differing);
        }
        Ok(some)
    }

    /// Brings into the target's packs what the target lacks.
    async fn fetch(&self, size: u64, differing: Differing) -> Result<Ready> {
        let mut blocks = match differing {
            Differing::Zeros(blocks) => return Ok(Ready::Zeros(blocks.start, blocks.end)),
            Differing::Blocks(blocks) => blocks,
        };
        let mut lacking: Vec<Child> = Vec::new();
        let mut new_ids = BTreeSet::new();
        let (mut new_bytes, mut known_bytes) = (0, 0);
        for (block, child) in &mut blocks {
            let Some(child) = child else { continue };
            let bytes = map::block_bytes(size, *block) as u64;
            match self.session.known(&child.id) {
                None if new_ids.insert(child.id) => {
                    lacking.push(*child);
                    new_bytes += bytes;
                }
                None => known_bytes += bytes,
                Some(at) => {
                    child.at = at;
                    known_bytes += bytes;
                }
            }
        }
        if !lacking.is_empty() {
            (self.course.pace)(lacking.iter().map(|child| u64::from(child.at.length)).sum()).await;
        }
        let chunks = self.reader.read(lacking).await?;
        let read_bytes = chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        let places = self.session.put_encoded(PackKind::Data, chunks, (new_bytes, known_bytes)).await?;
        let places: HashMap<_, _> = places.into_iter().collect();
        for child in blocks.iter_mut().filter_map(|(_, child)| child.as_mut()) {
            child.at = places.get(&child.id).copied().unwrap_or(child.at);
        }
        Ok(Ready::Blocks { blocks, read_bytes })
    }

    /// Records what the target has now; gives the bytes that were read for it.
    async fn record(&self, writer: &mut DiskWriter, size: u64, ready: Ready) -> Result<u64> {
        let chunk_bytes = CHUNK_BYTES as u64;
        match ready {
            Ready::Zeros(start, end) => {
                let bytes = (end * chunk_bytes).min(size) - start * chunk_bytes;
                writer.record_zeros(self.session, start * chunk_bytes, bytes).await?;
                (self.course.progress)(bytes);
                Ok(0)
            }
            Ready::Blocks { blocks, read_bytes } => {
                for (block, child) in blocks {
                    let offset = block * chunk_bytes;
                    let batch = StoredBatch { offset, chunks: vec![child], buffer: Vec::new() };
                    writer.record(self.session, &batch).await?;
                    (self.course.progress)(map::block_bytes(size, block) as u64);
                }
                Ok(read_bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn successors_differ_and_keep_their_time() {
        let id = PointId(Uuid::now_v7());
        let all: BTreeSet<PointId> = (0..100).map(|attempt| successor(id, attempt)).collect();
        assert_eq!(all.len(), 100);
        for one in all {
            assert_eq!(one.0.get_timestamp(), id.0.get_timestamp());
            assert_eq!(one.0.get_version_num(), 7);
        }
    }
}
