//! Repair: what verification found damaged is put right from a good copy elsewhere.
//!
//! 1. The damaged packs are retired as damaged: from then on no new point builds on them, and whoever backs the
//!    machine up in full stores their chunks anew, which heals older points too.
//! 2. Every chunk that points need of them is looked for: in the pack itself (one that lost a byte has a thousand
//!    other chunks), then in another store of the same vault. What is found, proved by its hash, goes into new
//!    packs, which the log then takes for the old ones.
//!
//! Nothing is deleted: a damaged pack goes one day like any other that nobody needs, and never while a point
//! has nothing better. CRASH: as in a compaction; repairing again goes on.

use crate::chunk::{self, CHUNK_BYTES};
use crate::copies::is_missed;
use crate::index::Location;
use crate::log::Told;
use crate::map::{Child, NODE_BYTES_MAX, Node, root_level};
use crate::protocol::{PointState, Record};
use crate::sealed::Encoded;
use crate::vault::Vault;
use crate::verify::Verified;
use crate::{ChunkId, DiskMap, Error, ErrorKind, PackId, Result, Session};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What a repair did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Packs that nobody builds on any more.
    pub quarantined: usize,
    /// Chunks and map nodes of those packs that are whole, there or elsewhere, and lie in new packs now.
    pub saved: u64,
    /// Of these, how many came from the other store.
    pub from_other: u64,
    /// Chunks and map nodes that points need and no copy was found of.
    pub lost: u64,
}

impl Vault {
    /// Puts right what `found` says is damaged, from what is left and, if there is one, from another store of the
    /// same vault.
    ///
    /// # Errors
    /// Only where a store cannot be read or written. What could not be saved is counted, and stays as it is.
    pub async fn repair(
        self: &Arc<Self>,
        found: &Verified,
        other: Option<&Vault>,
        now: Timestamp,
    ) -> Result<Repaired> {
        if other.is_some_and(|other| other.id() != self.id()) {
            return Err(Error::new(ErrorKind::Invalid, "the other store holds another vault"));
        }
        if found.damage.is_empty() {
            return Ok(Repaired::default());
        }
        let told = self.read_log(Told::default()).await?;
        let damaged: BTreeSet<PackId> =
            found.packs.iter().filter(|pack| told.state.is_usable(pack)).copied().collect();
        let retired = told.state.retired.clone();
        if !damaged.is_empty() {
            let retire = Record::Retire { session: None, packs: damaged.clone(), damaged: damaged.clone() };
            self.append_when_possible(told, &retire, now).await?;
        }
        let there = self.list_packs().await?.into_keys().collect();
        let session = Session::begin(self, self.session_at(now), now).await?;
        let mut done = Repaired { quarantined: damaged.len(), ..Repaired::default() };
        let walk = Walk { vault: self, other, session: &session, damaged: &damaged, retired, there };
        walk.all_points(&mut done).await?;
        let copied = if done.saved == 0 { BTreeSet::new() } else { damaged.clone() };
        session.retire(copied.clone(), copied, now).await?;
        Ok(done)
    }
}

/// A walk over everything that points need and may not have.
struct Walk<'a> {
    vault: &'a Vault,
    other: Option<&'a Vault>,
    session: &'a Session,
    damaged: &'a BTreeSet<PackId>,
    /// Packs whose chunks may have been moved to where they are damaged now.
    retired: BTreeSet<PackId>,
    there: BTreeSet<PackId>,
}

impl Walk<'_> {
    async fn all_points(&self, done: &mut Repaired) -> Result<()> {
        let mut seen: HashSet<Child> = HashSet::new();
        // A point whose own object is damaged keeps nobody from repairing the others.
        let mut points = self.vault.survey(None).await?.points;
        points.extend(self.vault.survey_in(None, PointState::SoftDeleted).await?.points);
        for disk in points.iter().flat_map(|point| &point.disks) {
            self.map(&disk.map, &mut seen, done).await?;
        }
        Ok(())
    }

    async fn map(&self, map: &DiskMap, seen: &mut HashSet<Child>, done: &mut Repaired) -> Result<()> {
        let Some(root) = map.root.as_ref().map(Child::try_from).transpose()? else { return Ok(()) };
        let mut waiting = vec![(root, root_level(map.size))];
        while let Some((child, level)) = waiting.pop() {
            if !seen.insert(child) {
                continue;
            }
            let Some(node) = self.node(&child, done).await? else { continue };
            if node.level != level {
                return Err(Error::corrupt(child.at.pack, child.at.offset.into(), "a node at another level"));
            }
            for below in node.slots.iter().flatten() {
                if level > 0 {
                    waiting.push((*below, level - 1));
                } else if self.is_suspect(&below.at.pack) && seen.insert(*below) {
                    let is_right = |plain: &[u8]| self.is_chunk(&below.id, plain);
                    if self.sound(below, &is_right, CHUNK_BYTES).await?.is_none() {
                        self.save(below, &is_right, CHUNK_BYTES, done).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether what a hint says may not be so: the pack is damaged, or emptied, or not there (as packs are not that
    /// a node from the other store names).
    fn is_suspect(&self, hint: &PackId) -> bool {
        self.damaged.contains(hint) || self.retired.contains(hint) || !self.there.contains(hint)
    }

    /// A node, saved if it lies whole in no sound pack. `None` if it is lost.
    async fn node(&self, child: &Child, done: &mut Repaired) -> Result<Option<Node>> {
        let decode = |plain: &[u8]| Node::decode(self.vault.keys(), child.id, plain).ok();
        let is_right = |plain: &[u8]| decode(plain).is_some();
        let plain = match self.sound(child, &is_right, NODE_BYTES_MAX).await? {
            Some(plain) => Some(plain),
            None => self.save(child, &is_right, NODE_BYTES_MAX, done).await?,
        };
        Ok(plain.as_deref().and_then(decode))
    }

    /// The plain bytes of what lies whole in a pack that is not damaged.
    async fn sound(&self, child: &Child, is_right: IsRight<'_>, limit: usize) -> Result<Option<Vec<u8>>> {
        let mut places = vec![child.at];
        if self.is_suspect(&child.at.pack) {
            places.extend(self.vault.copies(&child.id, &child.at).await?);
        }
        for at in places.into_iter().filter(|at| !self.damaged.contains(&at.pack)) {
            let check = |at: Location, encoded: &[u8]| checked(at, encoded, is_right, limit);
            if let Some((_, plain)) = whole(self.vault.open_at(child, at, check).await)? {
                return Ok(Some(plain));
            }
        }
        Ok(None)
    }

    fn is_chunk(&self, id: &ChunkId, plain: &[u8]) -> bool {
        chunk::chunk_id(self.vault.keys(), plain) == *id
    }

    /// Looks for a chunk in damaged packs and in the other store, and puts it into a new pack; gives its plain bytes.
    async fn save(
        &self,
        child: &Child,
        is_right: IsRight<'_>,
        limit: usize,
        done: &mut Repaired,
    ) -> Result<Option<Vec<u8>>> {
        let check = |at: Location, encoded: &[u8]| checked(at, encoded, is_right, limit);
        let mut found = whole(self.vault.open_anywhere(child, check).await)?;
        if let (None, Some(other)) = (&found, self.other) {
            found = whole(other.open_anywhere(child, check).await)?;
            done.from_other += u64::from(found.is_some());
        }
        let Some((encoded, plain)) = found else {
            done.lost += 1;
            return Ok(None);
        };
        if self.session.own_place(&child.id).is_none() {
            let chunk = Encoded { id: child.id, bytes: encoded };
            self.session.put_encoded(child.at.pack.kind, vec![chunk], (0, 0)).await?;
            done.saved += 1;
        }
        Ok(Some(plain))
    }
}

/// Whether plain bytes are those of the chunk or node that is looked for.
type IsRight<'a> = &'a (dyn Fn(&[u8]) -> bool + Sync);

/// Codec and body, and the plain bytes, if they are the right ones.
fn checked(at: Location, encoded: &[u8], is_right: IsRight<'_>, limit: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    let plain = plain_of(at, encoded, limit)?;
    let wrong = || Error::corrupt(at.pack, at.offset.into(), "its bytes are other than its id says");
    is_right(&plain).then(|| (encoded.to_vec(), plain)).ok_or_else(wrong)
}

/// Damage is not an error here, but a reason to look elsewhere.
fn whole<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_missed(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn plain_of(at: Location, encoded: &[u8], limit: usize) -> Result<Vec<u8>> {
    chunk::decode(encoded, limit).map_err(|found| Error::corrupt(at.pack, at.offset.into(), found))
}
