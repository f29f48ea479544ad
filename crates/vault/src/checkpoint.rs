//! Checkpoints of the log, `checkpoints/<n>`: everything its first n records say, in one object.
//!
//! A cache: the log is the truth, and whoever finds no checkpoint that can be read reads the log from its
//! beginning. Records are never deleted, so a checkpoint may be, at any moment; a reader that loses one between
//! listing and reading takes the one before it, or the log.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | version of these rows, 1 |
//! | 4..12 | n, the number of records |
//! | 12..40 | number of rows of each table below, 4 bytes each |
//! | then | sessions: id 16, state 1 (0 open, 1 committed, 2 aborted) |
//! | then | points: id 16, state 1 (0 live, 1 soft-deleted, 2 purged) |
//! | then | doomed packs: pack 21, doom 1 (0 condemned, 1 deleting) |
//! | then | retired packs: pack 21 |
//! | then | damaged packs: pack 21 |
//! | then | when packs were condemned: pack 21, time 12 |
//! | then | when points were soft-deleted: point 16, time 12 |
//!
//! A pack is kind 1, session 16, sequence 4; a time is seconds since 1970 (8, signed) and nanoseconds (4,
//! signed). Rows ascend, none twice.

use crate::bytes_io::Fields;
use crate::log::Told;
use crate::protocol::{Doom, PointState, SessionState, State};
use crate::record::{open_record, seal_record};
use crate::seal::{ObjectKind, ObjectName, id_in_head};
use crate::vault::Vault;
use crate::{ErrorKind, PackId, PackKind, PointId, Result, SessionId};
use jiff::Timestamp;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A reader reads this many records one by one at the most before it puts a checkpoint for the next one.
const BEHIND_MAX: u64 = 64;
/// One record more may be left to be read one by one for every so many rows: a checkpoint is written anew
/// each time, and this keeps what that costs below 40 KiB a record, however large the vault.
const ROWS_A_RECORD: usize = 2048;
/// Whoever opens a session leaves its commit to be read one by one, and nothing more, in a vault that is small.
const BEHIND_MIN: u64 = 1;
/// The largest body: eight million sessions. A vault that outgrows it reads its log from the last one that fit.
const BODY_BYTES_MAX: usize = 256 << 20;
/// Those that stay: the newest, and one that readers who have just listed it, or find the newest damaged, use.
const KEPT: usize = 2;
/// Version of the rows. A reader passes over what it does not know: the log says the same.
const ROWS_VERSION: u32 = 1;

/// What the checkpoints of a vault tell.
#[derive(Default)]
pub(crate) struct Checkpointed {
    /// What the log says up to the newest one that can be read.
    pub(crate) told: Told,
    /// Records that the log must have: a checkpoint of so many was once put.
    pub(crate) records_min: u64,
}

impl Vault {
    /// Reads the newest checkpoint that can be read; without any, the beginning.
    pub(crate) async fn last_checkpoint(&self) -> Result<Checkpointed> {
        let numbers = self.checkpoints().await?;
        let records_min = numbers.last().copied().unwrap_or(0);
        for number in numbers.into_iter().rev() {
            match self.read_checkpoint(number).await {
                Ok(Some(told)) => return Ok(Checkpointed { told, records_min }),
                // The kinds that a cache may have: it is passed over, the log says the same.
                Ok(None) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Store | ErrorKind::Denied) => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(Checkpointed { told: Told::default(), records_min })
    }

    /// The numbers of all checkpoints, ascending. Other names in the folder mean nothing.
    async fn checkpoints(&self) -> Result<Vec<u64>> {
        let number = |(name, _): &(String, u64)| {
            let number = u64::from_str_radix(name.strip_prefix("checkpoints/")?, 16).ok()?;
            (object(number) == *name).then_some(number)
        };
        Ok(self.store().list("checkpoints").await?.iter().filter_map(number).collect())
    }

    async fn read_checkpoint(&self, number: u64) -> Result<Option<Told>> {
        let bytes = self.store().get(&object(number)).await?;
        let Some(id) = id_in_head(&bytes) else { return Ok(None) };
        let name = ObjectName { kind: ObjectKind::Checkpoint, id, sequence: sequence(number) };
        let open = |keys: &_| open_record(keys, self.id(), name, &bytes, BODY_BYTES_MAX);
        let body = self.open_fresh(open).await?;
        Ok(decode(&body).filter(|told| told.state.position == number))
    }

    /// Puts a checkpoint if the last one is far enough behind, and takes away those it supersedes.
    ///
    /// It never fails the work it is done on the side of: without it the next reader reads more records.
    /// Whoever loses the race for the name has lost nothing: both say the same. CRASH: leaves one too many.
    pub(crate) async fn put_checkpoint_if_due(&self, told: &mut Told) {
        let State { position, sessions, points, doomed, retired, damaged: _ } = &told.state;
        let rows = sessions.len() + points.len() + doomed.len() + retired.len();
        let behind_max = (rows / ROWS_A_RECORD) as u64;
        if position - told.checkpoint < behind_max.clamp(BEHIND_MIN, BEHIND_MAX) {
            return;
        }
        let number = *position;
        let body = encode(told);
        if body.len() > BODY_BYTES_MAX {
            return;
        }
        // A fresh id: two who put the same number must not share a key.
        let id = self.ids().draw();
        let name = ObjectName { kind: ObjectKind::Checkpoint, id, sequence: sequence(number) };
        let sealed = seal_record(self.keys(), self.id(), name, &body);
        match self.store().create(&object(number), sealed).await {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {}
            _ => {
                told.checkpoint = number;
                self.drop_superseded().await;
            }
        }
    }

    async fn drop_superseded(&self) {
        let Ok(numbers) = self.checkpoints().await else { return };
        for number in numbers.iter().rev().skip(KEPT) {
            // A store that does not let us delete keeps it: it does no harm.
            let _ = self.store().delete(&object(*number)).await;
        }
    }
}

fn object(number: u64) -> String {
    format!("checkpoints/{number:016x}")
}

/// The low half of the number, bound into the seal; the body holds all of it.
fn sequence(number: u64) -> u32 {
    (number & 0xFFFF_FFFF) as u32
}

fn encode(told: &Told) -> Vec<u8> {
    let Told { state, condemned_at, deleted_at, checkpoint: _ } = told;
    let State { position, sessions, points, doomed, retired, damaged } = state;
    let mut out = ROWS_VERSION.to_le_bytes().to_vec();
    out.extend_from_slice(&position.to_le_bytes());
    let kept = [sessions.len(), points.len(), doomed.len(), retired.len(), damaged.len()];
    for rows in kept.into_iter().chain([condemned_at.len(), deleted_at.len()]) {
        out.extend_from_slice(&u32::try_from(rows).expect("far below 2^32 in memory").to_le_bytes());
    }
    for (session, state) in sessions {
        out.extend_from_slice(session.0.as_bytes());
        out.push(place(&SESSION_STATES, *state));
    }
    for (point, state) in points {
        out.extend_from_slice(point.0.as_bytes());
        out.push(place(&POINT_STATES, *state));
    }
    for (pack, doom) in doomed {
        put_pack(&mut out, pack);
        out.push(place(&DOOMS, *doom));
    }
    retired.iter().chain(damaged).for_each(|pack| put_pack(&mut out, pack));
    for (pack, at) in condemned_at {
        put_pack(&mut out, pack);
        put_time(&mut out, *at);
    }
    for (point, at) in deleted_at {
        out.extend_from_slice(point.0.as_bytes());
        put_time(&mut out, *at);
    }
    out
}

fn decode(body: &[u8]) -> Option<Told> {
    let mut fields = Fields(body);
    fields.u32().filter(|version| *version == ROWS_VERSION)?;
    let position = fields.u64()?;
    let mut counts = [0u32; 7];
    for count in &mut counts {
        *count = fields.u32()?;
    }
    let mut counts = counts.into_iter();
    let mut next = || counts.next().unwrap_or(0);
    let told = Told {
        state: State {
            position,
            sessions: rows(&mut fields, next(), |f| Some((take_session(f)?, take(&SESSION_STATES, f)?)))?
                .into_iter()
                .collect(),
            points: rows(&mut fields, next(), |f| Some((take_point(f)?, take(&POINT_STATES, f)?)))?
                .into_iter()
                .collect(),
            doomed: rows(&mut fields, next(), |f| Some((take_pack(f)?, take(&DOOMS, f)?)))?
                .into_iter()
                .collect(),
            retired: packs(&mut fields, next())?,
            damaged: packs(&mut fields, next())?,
        },
        condemned_at: rows(&mut fields, next(), |f| Some((take_pack(f)?, take_time(f)?)))?
            .into_iter()
            .collect(),
        deleted_at: rows(&mut fields, next(), |f| Some((take_point(f)?, take_time(f)?)))?
            .into_iter()
            .collect(),
        checkpoint: position,
    };
    fields.0.is_empty().then_some(told)
}

fn packs(fields: &mut Fields<'_>, count: u32) -> Option<BTreeSet<PackId>> {
    Some(rows(fields, count, |f| Some((take_pack(f)?, ())))?.into_iter().map(|(pack, ())| pack).collect())
}

/// The rows of one table, which must ascend. A count beyond what the bytes can hold is refused before memory
/// is given to it: no row is shorter than an id and its state.
fn rows<K: Ord, V>(
    fields: &mut Fields<'_>,
    count: u32,
    row: impl Fn(&mut Fields<'_>) -> Option<(K, V)>,
) -> Option<Vec<(K, V)>> {
    const ROW_BYTES_MIN: usize = 17;
    let count = usize::try_from(count).ok().filter(|count| *count <= fields.0.len() / ROW_BYTES_MIN)?;
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        rows.push(row(fields)?);
    }
    rows.is_sorted_by(|(a, _), (b, _)| a < b).then_some(rows)
}

const SESSION_STATES: [SessionState; 3] =
    [SessionState::Open, SessionState::Committed, SessionState::Aborted];
const POINT_STATES: [PointState; 3] = [PointState::Live, PointState::SoftDeleted, PointState::Purged];
const DOOMS: [Doom; 2] = [Doom::Condemned, Doom::Deleting];

fn place<T: PartialEq + Copy>(all: &[T], one: T) -> u8 {
    all.iter().position(|other| *other == one).expect("every state is listed") as u8
}

fn take<T: Copy>(all: &[T], fields: &mut Fields<'_>) -> Option<T> {
    all.get(usize::from(fields.u8()?)).copied()
}

fn take_session(fields: &mut Fields<'_>) -> Option<SessionId> {
    fields.array().map(Uuid::from_bytes).map(SessionId)
}

fn take_point(fields: &mut Fields<'_>) -> Option<PointId> {
    fields.array().map(Uuid::from_bytes).map(PointId)
}

fn put_pack(out: &mut Vec<u8>, pack: &PackId) {
    out.push(pack.kind as u8);
    out.extend_from_slice(pack.session.0.as_bytes());
    out.extend_from_slice(&pack.sequence.to_le_bytes());
}

fn take_pack(fields: &mut Fields<'_>) -> Option<PackId> {
    let kind = PackKind::from_byte(fields.u8()?)?;
    Some(PackId { kind, session: take_session(fields)?, sequence: fields.u32()? })
}

fn put_time(out: &mut Vec<u8>, at: Timestamp) {
    out.extend_from_slice(&at.as_second().to_le_bytes());
    out.extend_from_slice(&at.subsec_nanosecond().to_le_bytes());
}

fn take_time(fields: &mut Fields<'_>) -> Option<Timestamp> {
    let (seconds, nanoseconds) = (fields.u64()?.cast_signed(), fields.u32()?.cast_signed());
    let at = Timestamp::new(seconds, nanoseconds).ok()?;
    // Only the one spelling.
    (at.as_second() == seconds && at.subsec_nanosecond() == nanoseconds).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn uuid() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn pack() -> impl Strategy<Value = PackId> {
        let kinds = prop::sample::select(vec![PackKind::Data, PackKind::Map]);
        (kinds, uuid(), any::<u32>()).prop_map(|(kind, id, sequence)| PackId {
            kind,
            session: SessionId(id),
            sequence,
        })
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (-200_000_000_000i64..200_000_000_000, 0i32..1_000_000_000)
            .prop_map(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).expect("in the calendar"))
    }

    fn table<K: Ord + std::fmt::Debug, V: std::fmt::Debug>(
        key: impl Strategy<Value = K>,
        value: impl Strategy<Value = V>,
    ) -> impl Strategy<Value = BTreeMap<K, V>> {
        prop::collection::btree_map(key, value, 0..20)
    }

    prop_compose! {
        fn any_told()(
            position: u64,
            sessions in table(uuid().prop_map(SessionId), prop::sample::select(&SESSION_STATES[..])),
            points in table(uuid().prop_map(PointId), prop::sample::select(&POINT_STATES[..])),
            doomed in table(pack(), prop::sample::select(&DOOMS[..])),
            retired in table(pack(), Just(())),
            damaged in table(pack(), Just(())),
            condemned_at in table(pack(), time()),
            deleted_at in table(uuid().prop_map(PointId), time()),
        ) -> Told {
            let retired: BTreeSet<PackId> = retired.into_keys().collect();
            let damaged: BTreeSet<PackId> = damaged.into_keys().collect();
            let state = State { position, sessions, points, doomed, retired, damaged };
            Told { state, condemned_at, deleted_at, checkpoint: position }
        }
    }

    proptest! {
        #[test]
        fn what_the_log_says_round_trips(told in any_told()) {
            let bytes = encode(&told);
            let back = decode(&bytes).expect("decodes");
            prop_assert_eq!(&back, &told);
            prop_assert!(decode(&bytes[..bytes.len() - 1]).is_none(), "it ends early");
            prop_assert!(decode(&[&bytes[..], &[0]].concat()).is_none(), "it has bytes behind its end");
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let mut known = ROWS_VERSION.to_le_bytes().to_vec();
            known.extend(bytes);
            let _ = decode(&known);
        }

        #[test]
        fn a_changed_byte_never_panics(told in any_told(), at: prop::sample::Index, mask in 1u8..) {
            let mut bytes = encode(&told);
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused() {
        let mut bytes = encode(&Told::default());
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&bytes).is_none());
    }
}
