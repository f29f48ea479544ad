//! The world that the step functions act in: a store, a log, and everybody's hands.

use crate::protocol::{
    Collector, CollectorDoes, CollectorSees, Intention, PointState, Record, Rules, SessionState, State, View,
    Writer, WriterDoes, WriterSees,
};
use crate::{PackId, PackKind, PointId, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What the store may do wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// A listing may miss what was written long ago.
    pub(super) stale_listing: bool,
    /// A writer puts its pack under a name that was used before.
    pub(super) names_reused: bool,
    /// Two puts of one name both succeed; the later one stays.
    pub(super) two_winners: bool,
    /// The log forgets its last record, as a database does that fails over to a stale copy.
    pub(super) log_forgets: bool,
    /// A collector drops the intent of another that looks dead and is only paused.
    pub(super) intents_adopted: bool,
}

type Packs = BTreeSet<PackId>;

/// A chunk that a point needs: where its map says that it lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Need {
    hint: PackId,
    /// It is the chunk of pack 0 that the copier copies; else one that the copier takes for garbage.
    copied: bool,
}

type Needs = BTreeSet<Need>;

/// What the copier does with pack 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Copier {
    /// There is none.
    Absent,
    /// It compacts: copies what is needed of the pack.
    Compacts,
    /// It has compacted, after the writers began and before they found what they use.
    HasCompacted,
    /// It heals: the chunk in pack 0 has rotted, the copy comes from elsewhere.
    Heals,
    /// It is no copier but a session that died once it had put a pack of its own, and that somebody inherits.
    DiesAndIsInherited,
}

/// How far the copier is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Copying {
    Waits,
    Opened,
    Put,
    Done,
}

/// The copier's session.
const COPIER: usize = 9;

/// Session 0 has committed point 0 with pack 0 before anything begins; writer i is session i + 1.
fn session(number: usize) -> SessionId {
    SessionId(Uuid::from_u128(number as u128))
}

fn point(number: usize) -> PointId {
    PointId(Uuid::from_u128(number as u128))
}

fn pack(number: usize) -> PackId {
    PackId { kind: PackKind::Data, session: session(number), sequence: 0 }
}

/// Everything there is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    log: State,
    /// The log without its last record, for a store with two winners.
    before: Option<Box<State>>,
    present: Packs,
    /// Points' objects in the store, and all that each needs.
    objects: BTreeMap<PointId, Needs>,
    /// Points that were acknowledged and not purged since.
    promised: BTreeMap<PointId, Needs>,
    intents: Vec<Packs>,
    /// Deletes that were sent; they arrive at any time, and may arrive again.
    sent: Packs,
    writers: Vec<WriterHand>,
    collectors: Vec<CollectorHand>,
    /// Purges that are in the log but whose objects are still there.
    to_remove: BTreeSet<PointId>,
    copier: Copier,
    copying: Copying,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct WriterHand {
    knows: Option<Box<State>>,
    writer: Option<Writer>,
    /// What its point needs besides its own packs.
    needs: Needs,
    read: u64,
    /// How far it has read the intents, and what it found.
    scanned: usize,
    found: Packs,
    done: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct CollectorHand {
    collector: Collector,
    /// What it has read of the log.
    knows: Box<State>,
    /// What it has read of others' intents.
    others: Option<Packs>,
    /// The points it has looked at again, and what they refer to.
    looked: BTreeSet<PointId>,
    found: Packs,
}

/// What the search has come by, to show that it was not idle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    pub(super) deleted: bool,
    pub(super) acknowledged: bool,
    pub(super) refused: bool,
    /// The retired pack was deleted, and what it held lives on in its copy; or a point uses what was inherited.
    pub(super) moved: bool,
}

/// A next world and what led there.
pub(super) type Next = (World, &'static str);

impl World {
    pub(super) fn new(writers: usize, collectors: usize, copier: Copier) -> Self {
        let mut log = State::default();
        log.sessions.insert(session(0), SessionState::Committed);
        log.points.insert(point(0), PointState::Live);
        let needs: Needs = [Need { hint: pack(0), copied: true }].into();
        let hand = WriterHand {
            knows: None,
            writer: None,
            needs: Needs::new(),
            read: 0,
            scanned: 0,
            found: Packs::new(),
            done: false,
        };
        let collector = CollectorHand {
            collector: Collector::new(),
            knows: Box::default(),
            others: None,
            looked: BTreeSet::new(),
            found: Packs::new(),
        };
        let mut present: Packs = [pack(0)].into();
        let mut copying = Copying::Waits;
        let mut writers = vec![hand; writers];
        if copier == Copier::HasCompacted {
            log.sessions.extend((1..=writers.len()).map(|n| (session(n), SessionState::Open)));
            writers.iter_mut().for_each(|hand| hand.knows = Some(Box::new(log.clone())));
            log.sessions.insert(session(COPIER), SessionState::Committed);
            log.retired.insert(pack(0));
            present.insert(pack(COPIER));
            copying = Copying::Done;
        }
        Self {
            log,
            before: None,
            present,
            objects: [(point(0), needs.clone())].into(),
            promised: [(point(0), needs)].into(),
            intents: vec![Packs::new(); collectors],
            sent: Packs::new(),
            writers,
            collectors: vec![collector; collectors],
            to_remove: BTreeSet::new(),
            copier,
            copying,
        }
    }

    /// The loss.
    pub(super) fn is_lost(&self) -> bool {
        let zero = pack(0);
        let is_rotten = |pack: &PackId| self.copier == Copier::Heals && *pack == zero;
        let is_kept = |need: &Need| self.copies(need).iter().any(|copy| !is_rotten(copy));
        // What rotted is no loss of ours until it was healed.
        let counts = |need: &&Need| !is_rotten(&need.hint) || (need.copied && self.copying == Copying::Done);
        self.promised.values().any(|needs| needs.iter().filter(counts).any(|need| !is_kept(need)))
    }

    /// The packs there are that hold a chunk.
    fn copies(&self, need: &Need) -> Vec<PackId> {
        let both = [pack(0), pack(COPIER)];
        let has_copy = self.copier != Copier::DiesAndIsInherited;
        let copied = if need.copied && has_copy && both.contains(&need.hint) { &both[..] } else { &[] };
        let all: Packs = copied.iter().copied().chain([need.hint]).collect();
        all.intersection(&self.present).copied().collect()
    }

    /// The packs that points need, as a marker sees it; nothing if a chunk is nowhere: the run fails then.
    fn referred<'a>(
        &self,
        needs: impl Iterator<Item = &'a Need>,
        view: &View<'_>,
        rules: Rules,
    ) -> Option<Packs> {
        let mut referred = Packs::new();
        for need in needs {
            let homes = view.homes(need.hint, &self.copies(need), rules);
            referred.extend((!homes.is_empty()).then_some(homes)?);
        }
        Some(referred)
    }

    /// What collectors other than `index` mean to delete.
    fn intents_of_others(&self, index: usize) -> Packs {
        let others = (0..self.intents.len()).filter(|other| *other != index);
        others.flat_map(|other| &self.intents[other]).copied().collect()
    }

    pub(super) fn reached(&self, reached: &mut Reached) {
        reached.deleted |= !self.present.contains(&pack(0));
        reached.acknowledged |= self.promised.keys().any(|id| *id != point(0));
        let refused = |hand: &WriterHand| {
            hand.writer.as_ref().is_some_and(|w| matches!(w.does(), WriterDoes::GiveUp(_)))
        };
        reached.refused |= self.writers.iter().any(refused);
        let uses_heritage = |need: &Need| need.hint == pack(COPIER);
        reached.moved |= match self.copier {
            Copier::DiesAndIsInherited => self.promised.values().flatten().any(uses_heritage),
            _ => self.promised.contains_key(&point(0)) && !self.present.contains(&pack(0)),
        };
    }

    /// Everything that can happen next.
    pub(super) fn nexts(&self, rules: Rules, faults: Faults, out: &mut Vec<Next>) {
        for index in 0..self.writers.len() {
            self.writer_steps(index, rules, faults, out);
        }
        for index in 0..self.collectors.len() {
            self.collector_steps(index, rules, faults, out);
        }
        self.user_steps(rules, out);
        self.copier_steps(rules, out);
        self.foul_steps(faults, out);
        for one in &self.sent {
            let mut next = self.clone();
            next.present.remove(one);
            if next != *self {
                out.push((next.clone(), "a delete arrives, and may arrive again"));
            }
            next.sent.remove(one);
            out.push((next, "a delete arrives"));
        }
    }

    fn writer_steps(&self, index: usize, rules: Rules, faults: Faults, out: &mut Vec<Next>) {
        let hand = &self.writers[index];
        let mut next = self.clone();
        if hand.done {
            return;
        }
        let Some(writer) = &hand.writer else {
            match &hand.knows {
                None => {
                    if next.log.apply(&Record::Open { session: session(index + 1) }, rules).is_err() {
                        next.writers[index].done = true;
                        return out.push((next, "writer finds its session taken"));
                    }
                    next.before = None;
                    next.writers[index].knows = Some(Box::new(next.log.clone()));
                    out.push((next, "writer opens its session"));
                }
                Some(knows) => self.choices(index, knows, faults, out),
            }
            return;
        };
        let (does, wants) = (writer.does(), writer.wants.clone());
        let label = match does {
            WriterDoes::PublishReference => {
                next.objects.insert(wants.point, hand.needs.clone());
                next.writer_sees(index, &WriterSees::Published, rules);
                "writer publishes its reference"
            }
            WriterDoes::ReadIntents => {
                next.writers[index].found.extend(&self.intents[hand.scanned]);
                next.writers[index].scanned += 1;
                if next.writers[index].scanned == self.intents.len() {
                    let found = std::mem::take(&mut next.writers[index].found);
                    next.writers[index].scanned = 0;
                    next.writer_sees(index, &WriterSees::Intents(found), rules);
                }
                "writer reads an intent"
            }
            WriterDoes::CheckPresence => {
                let packs = wants.uses.union(&wants.own).all(|pack| self.present.contains(pack));
                let bases = wants.bases.iter().all(|base| self.objects.contains_key(base));
                next.writer_sees(index, &WriterSees::Present(packs && bases), rules);
                "writer checks presence"
            }
            WriterDoes::ReadLog => {
                next.writers[index].read = self.log.position;
                next.writer_sees(index, &WriterSees::Log(self.log.clone()), rules);
                "writer reads the log"
            }
            WriterDoes::Append(record) => {
                let at = if rules.commit_is_validated { hand.read } else { self.log.position };
                let stands = next.append(&record, at, rules, faults);
                next.writer_sees(index, &WriterSees::Appended(stands), rules);
                "writer appends its commit"
            }
            WriterDoes::Acknowledge => {
                next.promised.insert(wants.point, hand.needs.clone());
                next.writers[index].done = true;
                "writer acknowledges"
            }
            WriterDoes::GiveUp(_) => {
                next.objects.remove(&wants.point);
                next.writers[index].done = true;
                "writer gives up"
            }
        };
        out.push((next, label));
    }

    /// A writer uses a pack it knows of, builds on a point, or writes a pack of its own.
    fn choices(&self, index: usize, knows: &State, faults: Faults, out: &mut Vec<Next>) {
        let (session, point) = (session(index + 1), point(index + 1));
        let base =
            Intention { session, point, own: Packs::new(), bases: BTreeSet::new(), uses: Packs::new() };
        let mut choose = |wants: Intention, needs: Needs, uploads: Option<PackId>, label| {
            let mut next = self.clone();
            next.present.extend(uploads);
            next.writers[index].writer = Some(Writer::new(wants));
            next.writers[index].needs = needs;
            next.writers[index].knows = None;
            out.push((next, label));
        };
        let known = (0..=self.writers.len()).chain([COPIER]).map(pack);
        for used in known.filter(|pack| knows.is_usable(pack) && !knows.retired.contains(pack)) {
            let wants = Intention { uses: [used].into(), ..base.clone() };
            let need = |copied| [Need { hint: used, copied }].into();
            let has_copy = self.copier != Copier::DiesAndIsInherited;
            choose(wants.clone(), need(has_copy), None, "writer uses a chunk it knows");
            if self.copier != Copier::Absent && has_copy && used == pack(0) {
                choose(wants, need(false), None, "writer uses a chunk that was garbage");
            }
        }
        for old in knows.points.keys().filter(|old| knows.is_root(old)) {
            let wants = Intention { bases: [*old].into(), ..base.clone() };
            choose(wants, needs_of_base(self, old), None, "writer builds on a point");
        }
        let name = if faults.names_reused { pack(0) } else { pack(index + 1) };
        let needs = [Need { hint: name, copied: false }].into();
        choose(Intention { own: [name].into(), ..base }, needs, Some(name), "writer writes a pack");
    }

    /// The copier writes what pack 0 holds into a pack of its own, and has pack 0 retired. One that dies instead has
    /// its session committed by whoever inherits it, which is the same record and retires nothing.
    fn copier_steps(&self, rules: Rules, out: &mut Vec<Next>) {
        let mut next = self.clone();
        let session = session(COPIER);
        let dies = self.copier == Copier::DiesAndIsInherited;
        let label = match self.copying {
            Copying::Waits if self.copier == Copier::Absent => return,
            Copying::Waits => {
                next.log.apply(&Record::Open { session }, rules).expect("a fresh session");
                next.before = None;
                next.copying = Copying::Opened;
                "copier opens its session"
            }
            Copying::Opened if !dies && !self.present.contains(&pack(0)) => return,
            Copying::Opened => {
                next.present.insert(pack(COPIER));
                next.copying = Copying::Put;
                "copier puts its copy"
            }
            Copying::Put => {
                let packs: Packs = if dies { Packs::new() } else { [pack(0)].into() };
                let damaged = if self.copier == Copier::Heals { packs.clone() } else { Packs::new() };
                let record = Record::Retire { session: Some(session), packs: packs.clone(), damaged };
                if next.log.apply(&record, rules).is_err() {
                    if rules.commit_is_validated {
                        return;
                    }
                    next.log.sessions.insert(session, SessionState::Committed);
                    next.log.retired.extend(packs);
                }
                next.before = None;
                next.copying = Copying::Done;
                if dies { "somebody inherits its session" } else { "copier has the pack retired" }
            }
            Copying::Done => return,
        };
        out.push((next, label));
    }

    fn collector_steps(&self, index: usize, rules: Rules, faults: Faults, out: &mut Vec<Next>) {
        let hand = &self.collectors[index];
        let mut next = self.clone();
        let (seen, label) = match hand.collector.does() {
            CollectorDoes::Rest => return,
            CollectorDoes::Mark => {
                *next.collectors[index].knows = self.log.clone();
                let roots = self.objects.iter().filter(|(point, _)| self.log.is_root(point));
                let view = View { state: &self.log, intended: &self.intents_of_others(index) };
                let Some(referred) = self.referred(roots.flat_map(|(_, needs)| needs), &view, rules) else {
                    return;
                };
                let (state, packs) = (self.log.clone(), self.present.clone());
                (CollectorSees::Marked { state, packs, referred }, "collector marks")
            }
            CollectorDoes::Append(record) => {
                let exact = rules.condemn_is_exact || matches!(record, Record::Delete { .. });
                let at = if exact { hand.knows.position } else { self.log.position };
                let record = if exact { record } else { self.still_possible(record) };
                (CollectorSees::Appended(next.append(&record, at, rules, faults)), "collector appends")
            }
            CollectorDoes::ReadLog => {
                *next.collectors[index].knows = self.log.clone();
                (CollectorSees::Log(self.log.clone()), "collector reads the log")
            }
            CollectorDoes::PublishIntent(packs) => {
                next.intents[index] = packs;
                (CollectorSees::Published, "collector publishes its intent")
            }
            CollectorDoes::LookAgain(packs) => {
                out.extend(self.look_again(index, &packs, rules, faults));
                return;
            }
            CollectorDoes::Delete(packs) => {
                next.sent.extend(packs);
                (CollectorSees::Deleted, "collector sends its deletes")
            }
            CollectorDoes::Confirm(packs) => {
                if !packs.is_disjoint(&self.present) {
                    return; // it would only look again
                }
                (CollectorSees::Gone(true), "collector sees them gone")
            }
            CollectorDoes::DropIntent => {
                next.intents[index].clear();
                (CollectorSees::Dropped, "collector drops its intent")
            }
        };
        next.collectors[index].collector.sees(seen, rules);
        out.push((next, label));
    }

    /// A listing gives one point after the other; what is put meanwhile behind it is missed.
    fn look_again(&self, index: usize, packs: &Packs, rules: Rules, faults: Faults) -> Vec<Next> {
        let hand = &self.collectors[index];
        let Some(others) = &hand.others else {
            let mut next = self.clone();
            next.collectors[index].others = Some(self.intents_of_others(index));
            return vec![(next, "collector reads others' intents")];
        };
        let all = (0..=self.writers.len()).map(point);
        let Some(at) = all.into_iter().find(|point| !hand.looked.contains(point)) else {
            let mut next = self.clone();
            let found = std::mem::take(&mut next.collectors[index].found);
            next.collectors[index].looked.clear();
            next.collectors[index].others = None;
            let referred = found.intersection(packs).copied().collect();
            next.collectors[index].collector.sees(CollectorSees::Referred(referred), rules);
            return vec![(next, "collector has looked again")];
        };
        let mut next = self.clone();
        next.collectors[index].looked.insert(at);
        let missed = faults.stale_listing && self.objects.contains_key(&at);
        let missed = missed.then(|| (next.clone(), "a listing misses a point"));
        let view = View { state: &hand.knows, intended: others };
        let looked = self.referred(self.objects.get(&at).into_iter().flatten(), &view, rules);
        let looked = looked.map(|referred| {
            next.collectors[index].found.extend(referred);
            (next, "collector looks at a point again")
        });
        missed.into_iter().chain(looked).collect()
    }

    /// A user purges points; a janitor aborts sessions that may only be slow.
    fn user_steps(&self, rules: Rules, out: &mut Vec<Next>) {
        for number in [0, 1] {
            if self.promised.contains_key(&point(number)) && self.log.is_root(&point(number)) {
                let mut next = self.clone();
                next.log.apply(&Record::Purge { point: point(number) }, rules).expect("it is a root");
                next.before = None;
                next.promised.remove(&point(number));
                next.to_remove.insert(point(number));
                out.push((next, "user purges a point"));
            }
        }
        for point in &self.to_remove {
            let mut next = self.clone();
            next.objects.remove(point);
            next.to_remove.remove(point);
            out.push((next, "a purged point's object is removed"));
        }
        let open = self.log.sessions.iter().find(|(_, state)| **state == SessionState::Open);
        if let Some((session, _)) = open {
            let mut next = self.clone();
            next.log.apply(&Record::Abort { session: *session }, rules).expect("it is open");
            next.before = None;
            out.push((next, "janitor aborts a session"));
            // One that has put nothing is aborted: nobody may know packs of it that never were.
            let put = PackId { kind: PackKind::Data, session: *session, sequence: 0 };
            if self.copier == Copier::DiesAndIsInherited && self.present.contains(&put) {
                let nothing = Packs::new;
                let inherit =
                    Record::Retire { session: Some(*session), packs: nothing(), damaged: nothing() };
                let mut next = self.clone();
                next.log.apply(&inherit, rules).expect("it is open");
                next.before = None;
                out.push((next, "somebody inherits a session that may only be slow"));
            }
        }
        for unborn in (1..=self.writers.len()).map(session) {
            let mut next = self.clone();
            if next.log.apply(&Record::Open { session: unborn }, rules).is_ok() {
                next.before = None;
                out.push((next, "a session is opened to be aborted"));
            }
        }
    }

    /// What no sound store or collector does.
    fn foul_steps(&self, faults: Faults, out: &mut Vec<Next>) {
        if let Some(before) = self.before.as_ref().filter(|_| faults.log_forgets) {
            let mut next = self.clone();
            next.log = State { position: self.log.position, ..before.as_ref().clone() };
            next.before = None;
            out.push((next, "the log forgets its last record"));
        }
        let idle = |hand: &CollectorHand| hand.collector.does() == CollectorDoes::Rest;
        for owner in (0..self.intents.len()).filter(|_| faults.intents_adopted) {
            let other_is_idle =
                (0..self.collectors.len()).any(|other| other != owner && idle(&self.collectors[other]));
            let referred: Packs = self.objects.values().flatten().map(|need| need.hint).collect();
            let garbage_is_gone =
                self.intents[owner].difference(&referred).all(|pack| !self.present.contains(pack));
            if other_is_idle && garbage_is_gone && !self.intents[owner].is_empty() {
                let mut next = self.clone();
                next.intents[owner].clear();
                out.push((next, "another collector drops the intent"));
            }
        }
    }

    /// Puts a record behind position `at`; says whether whoever put it believes that it stands.
    fn append(&mut self, record: &Record, at: u64, rules: Rules, faults: Faults) -> bool {
        if at == self.log.position {
            let before = self.log.clone();
            if self.log.apply(record, rules).is_err() {
                return false; // only where a rule is broken: computed from something older
            }
            self.before = (faults.two_winners || faults.log_forgets).then(|| Box::new(before));
            return true;
        }
        let Some(before) = self.before.take().filter(|before| faults.two_winners && before.position == at)
        else {
            return false;
        };
        self.log = *before;
        self.log.apply(record, rules).is_ok()
    }

    /// What of a condemnation computed from an older log can still be written at all.
    fn still_possible(&self, record: Record) -> Record {
        let open = |pack: &PackId| !self.log.doomed.contains_key(pack);
        match record {
            Record::Condemn { packs } => Record::Condemn { packs: packs.into_iter().filter(open).collect() },
            other => other,
        }
    }

    fn writer_sees(&mut self, index: usize, seen: &WriterSees, rules: Rules) {
        self.writers[index].writer.as_mut().expect("it has begun").sees(seen, rules);
    }
}

/// What a point that is built on needs; that does not change, whether its object is still there or not.
fn needs_of_base(world: &World, base: &PointId) -> Needs {
    if *base == point(0) {
        return [Need { hint: pack(0), copied: true }].into();
    }
    let made = |hand: &&WriterHand| hand.writer.as_ref().is_some_and(|w| w.wants.point == *base);
    world.writers.iter().find(made).map(|hand| hand.needs.clone()).unwrap_or_default()
}
