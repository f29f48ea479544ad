//! Compaction: packs that are mostly garbage are emptied. What is needed of them is sealed into new packs as it
//! is, neither inflated nor compressed again; then the log retires the old ones, and the collection that follows
//! finds nothing left in them.
//!
//! Order: new packs durable → index → retire. CRASH: before the record, packs of an open session that nobody
//! needs; they go with its abort. After it, maps still name the old places: readers ask the index for the new
//! ones, and so does marking (`protocol/home.rs`), which keeps an old pack while anything has no other home. What
//! became needed while it was copied is therefore not lost, only not moved.

use super::live::Live;
use super::mark::Marker;
use super::{CollectOptions, Collected};
use crate::index::Location;
use crate::log::Told;
use crate::pack::{self, open_chunk, read_toc};
use crate::protocol::State;
use crate::seal::{HEAD_BYTES, ObjectKey};
use crate::sealed::Encoded;
use crate::vault::Vault;
use crate::{ChunkId, Error, ErrorKind, PackId, Result, Session, SessionId, work};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Builder;

/// What makes compacting a pack worth a request: 64 KiB.
const GAIN_BYTES_MIN: u64 = 64 << 10;

/// Packs that should be emptied, and the bytes that are needed in them; those with the least first, as far as a
/// run may go.
pub(super) fn candidates(
    state: &State,
    packs: &BTreeMap<PackId, u64>,
    marker: &Marker<'_>,
    options: &CollectOptions,
) -> BTreeMap<PackId, u64> {
    let mut found: Vec<(f64, PackId, u64)> = Vec::new();
    for (pack, size) in packs.iter().filter(|(pack, _)| marker.refers_to(pack)) {
        let live = marker.live_in(pack).map_or(0, Live::bytes);
        let share = live as f64 / *size as f64;
        // A damaged pack is repair's matter: emptying it would fail at every run.
        let may = state.is_usable(pack) && !state.doomed.contains_key(pack) && !state.damaged.contains(pack);
        if may && share < options.compact_below && size.saturating_sub(live) >= GAIN_BYTES_MIN {
            found.push((share, *pack, live));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut left = options.compact_bytes_max;
    let fits = |(_, _, live): &(f64, PackId, u64)| left.checked_sub(*live).map(|rest| left = rest).is_some();
    let chosen: Vec<_> = found.into_iter().take_while(fits).collect();
    chosen.into_iter().map(|(_, pack, live)| (pack, live)).collect()
}

/// What a compaction has moved.
pub(super) struct Moved {
    session: SessionId,
    /// Packs that were retired.
    emptied: BTreeSet<PackId>,
    /// Where the copies lie.
    homes: BTreeMap<PackId, Live>,
    /// Whether every place that was needed in the emptied packs held something.
    is_all: bool,
    bytes: u64,
}

impl Moved {
    fn of(session: SessionId) -> Self {
        Self { session, emptied: BTreeSet::new(), homes: BTreeMap::new(), is_all: true, bytes: 0 }
    }
}

impl Vault {
    /// Empties packs that are mostly garbage.
    pub(super) async fn compact(
        self: &Arc<Self>,
        options: &CollectOptions,
        marker: &mut Marker<'_>,
        done: &mut Collected,
    ) -> Result<()> {
        if options.compact_below <= 0.0 {
            return Ok(());
        }
        let told = self.read_log(Told::default()).await?;
        let packs = self.list_packs().await?;
        marker.learn(&told, &packs, self.read_intents(None).await?);
        marker.mark_roots(&told, &[]).await?;
        let chosen = candidates(&told.state, &packs, marker, options);
        if chosen.is_empty() {
            return Ok(());
        }
        let moved = self.empty(chosen.into_keys(), options, marker).await?;
        done.moved_bytes += moved.bytes;
        done.compacted += moved.emptied.len();
        self.follow(marker, moved).await
    }

    /// Moves what is needed in packs into new ones, and retires them.
    pub(super) async fn empty(
        self: &Arc<Self>,
        packs: impl Iterator<Item = PackId>,
        options: &CollectOptions,
        marker: &Marker<'_>,
    ) -> Result<Moved> {
        let session = Session::begin(self, self.session_at(options.now), options.now).await?;
        let mut moved = Moved::of(session.id());
        for pack in packs {
            let live = marker.live_in(&pack).cloned().unwrap_or_default();
            let Some((found, chunks)) = self.read_live(pack, live.clone()).await? else { continue };
            for (_, at) in session.put_encoded(pack.kind, chunks, (0, 0)).await? {
                moved.homes.entry(at.pack).or_default().add(&at);
            }
            moved.is_all &= found.is_same(&live);
            moved.emptied.insert(pack);
        }
        moved.bytes = session.written().sealed;
        session.retire(moved.emptied.clone(), BTreeSet::new(), options.now).await?;
        Ok(moved)
    }

    /// Spares the marker from marking everything anew for what it has moved itself.
    ///
    /// Only if every mark is accounted for, and if the index that others will find the copies by is there: else marking
    /// is what finds out what must be kept.
    pub(super) async fn follow(&self, marker: &mut Marker<'_>, moved: Moved) -> Result<()> {
        if moved.is_all && self.index().await?.has_whole(moved.session.0) {
            marker.follow(&moved.emptied, moved.homes);
        } else {
            marker.forget();
        }
        Ok(())
    }

    /// What is needed of a pack, where it lay, and opened but still encoded. `None` if it is gone or any of that is damaged: the
    /// pack then stays as it is.
    async fn read_live(&self, pack: PackId, live: Live) -> Result<Option<(Live, Vec<Encoded>)>> {
        let bytes = match self.store().get(&pack.object()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let (keys, vault) = (Arc::clone(self.keys_shared()), self.id());
        let opened = work::run(move || {
            let entries = read_toc(&keys, vault, pack, &bytes)?;
            let key = ObjectKey::open(&keys, vault, pack::object_name(pack), &bytes[..HEAD_BYTES])?;
            let open = |(id, at): (ChunkId, Location)| {
                let sealed = bytes.get(at.offset as usize..at.offset as usize + at.length as usize);
                let beyond =
                    || Error::corrupt(pack, at.offset.into(), "its table names a place beyond its end");
                let mut sealed = sealed.ok_or_else(beyond)?.to_vec();
                let length = open_chunk(&key, id, at, &mut sealed)?.len();
                sealed.truncate(length);
                Ok(Encoded { id, bytes: sealed })
            };
            let needed: Vec<_> = entries.into_iter().filter(|(_, at)| live.has(at)).collect();
            let mut found = Live::default();
            for (_, at) in &needed {
                found.add(at);
            }
            Ok::<_, Error>((found, needed.into_iter().map(open).collect::<Result<Vec<_>>>()?))
        });
        match opened.await {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            other => other.map(Some),
        }
    }

    /// The id of a session that begins now. It tells when, so that one that died is aborted one day.
    pub(crate) fn session_at(&self, now: Timestamp) -> SessionId {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let random = *self.ids().draw().as_bytes();
        let (random, _) = random.split_first_chunk().expect("16 bytes begin with 10");
        SessionId(Builder::from_unix_timestamp_millis(millis, random).into_uuid())
    }
}
