//! The world that the step functions act in: a store, a log, and everybody's hands.

use crate::protocol::{
    Collector, CollectorDoes, CollectorSees, Intention, PointState, Record, Rules, SessionState, State,
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
    /// Points' objects in the store, and all the packs each needs.
    objects: BTreeMap<PointId, Packs>,
    /// Points that were acknowledged and not purged since.
    promised: BTreeMap<PointId, Packs>,
    intents: Vec<Packs>,
    /// Deletes that were sent; they arrive at any time, and may arrive again.
    sent: Packs,
    writers: Vec<WriterHand>,
    collectors: Vec<CollectorHand>,
    /// Purges that are in the log but whose objects are still there.
    to_remove: BTreeSet<PointId>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct WriterHand {
    knows: Option<Box<State>>,
    writer: Option<Writer>,
    read: u64,
    /// How far it has read the intents, and what it found.
    scanned: usize,
    found: Packs,
    done: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct CollectorHand {
    collector: Collector,
    read: u64,
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
}

/// A next world and what led there.
pub(super) type Next = (World, &'static str);

impl World {
    pub(super) fn new(writers: usize, collectors: usize) -> Self {
        let mut log = State::default();
        log.sessions.insert(session(0), SessionState::Committed);
        log.points.insert(point(0), PointState::Live);
        let needs: Packs = [pack(0)].into();
        let hand =
            WriterHand { knows: None, writer: None, read: 0, scanned: 0, found: Packs::new(), done: false };
        let collector = CollectorHand {
            collector: Collector::new(),
            read: 0,
            looked: BTreeSet::new(),
            found: Packs::new(),
        };
        Self {
            log,
            before: None,
            present: needs.clone(),
            objects: [(point(0), needs.clone())].into(),
            promised: [(point(0), needs)].into(),
            intents: vec![Packs::new(); collectors],
            sent: Packs::new(),
            writers: vec![hand; writers],
            collectors: vec![collector; collectors],
            to_remove: BTreeSet::new(),
        }
    }

    /// The loss.
    pub(super) fn is_lost(&self) -> bool {
        self.promised.values().any(|needs| !needs.is_subset(&self.present))
    }

    pub(super) fn reached(&self, reached: &mut Reached) {
        reached.deleted |= !self.present.contains(&pack(0));
        reached.acknowledged |= self.promised.keys().any(|id| *id != point(0));
        let refused = |hand: &WriterHand| {
            hand.writer.as_ref().is_some_and(|w| matches!(w.does(), WriterDoes::GiveUp(_)))
        };
        reached.refused |= self.writers.iter().any(refused);
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
                    let opened = next.log.apply(&Record::Open { session: session(index + 1) }, rules);
                    opened.expect("a fresh session");
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
                next.objects.insert(wants.point, self.needs(&wants));
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
                next.promised.insert(wants.point, self.needs(&wants));
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
        let mut choose = |wants: Intention, uploads: Option<PackId>, label| {
            let mut next = self.clone();
            next.present.extend(uploads);
            next.writers[index].writer = Some(Writer::new(wants));
            next.writers[index].knows = None;
            out.push((next, label));
        };
        for used in (0..=self.writers.len()).map(pack).filter(|pack| knows.is_usable(pack)) {
            choose(Intention { uses: [used].into(), ..base.clone() }, None, "writer uses a pack it knows");
        }
        for old in knows.points.keys().filter(|old| knows.is_root(old)) {
            choose(Intention { bases: [*old].into(), ..base.clone() }, None, "writer builds on a point");
        }
        let name = if faults.names_reused { pack(0) } else { pack(index + 1) };
        choose(Intention { own: [name].into(), ..base.clone() }, Some(name), "writer writes a pack");
    }

    fn collector_steps(&self, index: usize, rules: Rules, faults: Faults, out: &mut Vec<Next>) {
        let hand = &self.collectors[index];
        let mut next = self.clone();
        let (seen, label) = match hand.collector.does() {
            CollectorDoes::Rest => return,
            CollectorDoes::Mark => {
                next.collectors[index].read = self.log.position;
                let roots = self.objects.iter().filter(|(point, _)| self.log.is_root(point));
                let referred = roots.flat_map(|(_, needs)| needs).copied().collect();
                let (state, packs) = (self.log.clone(), self.present.clone());
                (CollectorSees::Marked { state, packs, referred }, "collector marks")
            }
            CollectorDoes::Append(record) => {
                let exact = rules.condemn_is_exact || matches!(record, Record::Delete { .. });
                let at = if exact { hand.read } else { self.log.position };
                let record = if exact { record } else { self.still_possible(record) };
                (CollectorSees::Appended(next.append(&record, at, rules, faults)), "collector appends")
            }
            CollectorDoes::ReadLog => {
                next.collectors[index].read = self.log.position;
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
        let all = (0..=self.writers.len()).map(point);
        let Some(at) = all.into_iter().find(|point| !hand.looked.contains(point)) else {
            let mut next = self.clone();
            let found = std::mem::take(&mut next.collectors[index].found);
            next.collectors[index].looked.clear();
            let referred = found.intersection(packs).copied().collect();
            next.collectors[index].collector.sees(CollectorSees::Referred(referred), rules);
            return vec![(next, "collector has looked again")];
        };
        let mut next = self.clone();
        next.collectors[index].looked.insert(at);
        let missed = faults.stale_listing && self.objects.contains_key(&at);
        let missed = missed.then(|| (next.clone(), "a listing misses a point"));
        next.collectors[index].found.extend(self.objects.get(&at).into_iter().flatten());
        missed.into_iter().chain([(next, "collector looks at a point again")]).collect()
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
            let referred: Packs = self.objects.values().flatten().copied().collect();
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

    /// Every pack that a point needs: its own, those it uses, and all of its bases'.
    fn needs(&self, wants: &Intention) -> Packs {
        let bases = wants.bases.iter().flat_map(|base| [pack_of_base(self, base)]).flatten();
        wants.own.iter().chain(&wants.uses).copied().chain(bases).collect()
    }

    fn writer_sees(&mut self, index: usize, seen: &WriterSees, rules: Rules) {
        self.writers[index].writer.as_mut().expect("it has begun").sees(seen, rules);
    }
}

/// The packs of a point that is built on; they do not change, whether its object is still there or not.
fn pack_of_base(world: &World, base: &PointId) -> Packs {
    if *base == point(0) {
        return [pack(0)].into();
    }
    let writer =
        world.writers.iter().filter_map(|hand| hand.writer.as_ref()).find(|w| w.wants.point == *base);
    writer.map(|writer| world.needs(&writer.wants)).unwrap_or_default()
}
