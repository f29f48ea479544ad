//! Many machines restored as one: which of them begin next.
//!
//! Members of a group begin when all earlier groups are over: what others need comes up first. Within a group they
//! begin in their order as there is room: at all, at the mover that writes, in the store that is read, and in the
//! folder that is written. What is under way of other sets takes room too, but for the number in all, which is a set's own.
//!
//! Nothing here remembers anything: who asks tells how each member stands, and may ask again after a crash.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// How many may be under way at once; each is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreLimits {
    /// In all.
    pub at_once: usize,
    /// At one mover.
    pub per_mover: usize,
    /// Out of one store.
    pub per_store: usize,
    /// Into one folder.
    pub per_target: usize,
}

/// By what a set goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRules {
    /// How many at once.
    pub limits: RestoreLimits,
    /// Whether nothing more begins once one has failed.
    pub stop_on_failure: bool,
}

/// One of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreMember<'a> {
    /// Lower ones come first.
    pub group: u16,
    /// The mover that writes it; empty: any.
    pub mover: &'a str,
    /// The store it is read from.
    pub store: &'a str,
    /// The folder it is written in.
    pub target: &'a str,
    /// How it stands.
    pub state: MemberState,
}

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Waits for its turn.
    Waiting,
    /// It was begun, and is not over.
    UnderWay,
    /// It went well.
    Done,
    /// It did not.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// Where a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RestoreSetState {
    /// Something is under way, or waits for its turn.
    InProgress,
    /// Somebody wants it to end; what is under way leaves things tidy.
    Cancelling,
    /// All went well.
    Completed,
    /// It is over, and not all went well.
    CompletedWithFailures,
    /// It is over because somebody wanted it.
    Cancelled,
}

impl RestoreSetState {
    /// Whether nothing more will happen to it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithFailures | Self::Cancelled)
    }
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextRestores {
    /// Members that begin, by their places.
    pub begin: Vec<usize>,
    /// Where the set is, these not yet begun.
    pub state: RestoreSetState,
}

/// What is to be done for a set, as its members stand, and those of other sets that are under way.
pub fn next(
    members: &[RestoreMember<'_>],
    others: &[RestoreMember<'_>],
    rules: &RestoreRules,
    is_cancelled: bool,
) -> NextRestores {
    let any = |state| members.iter().any(|member| member.state == state);
    let is_stopped = is_cancelled || (rules.stop_on_failure && any(MemberState::Failed));
    let begin = if is_stopped { Vec::new() } else { with_room(members, others, &rules.limits) };
    let is_open = any(MemberState::UnderWay) || (!is_stopped && any(MemberState::Waiting));
    let went_well = members.iter().all(|member| member.state == MemberState::Done);
    let state = match (is_open, is_cancelled) {
        (true, true) => RestoreSetState::Cancelling,
        (true, false) => RestoreSetState::InProgress,
        // A cancellation that came too late has ended nothing.
        (false, _) if went_well => RestoreSetState::Completed,
        (false, true) => RestoreSetState::Cancelled,
        (false, false) => RestoreSetState::CompletedWithFailures,
    };
    NextRestores { begin, state }
}

/// Members of the open group that there is room for.
fn with_room(
    members: &[RestoreMember<'_>],
    others: &[RestoreMember<'_>],
    limits: &RestoreLimits,
) -> Vec<usize> {
    let is_open =
        |member: &&RestoreMember<'_>| matches!(member.state, MemberState::Waiting | MemberState::UnderWay);
    let Some(group) = members.iter().filter(is_open).map(|member| member.group).min() else {
        return Vec::new();
    };
    let mut room = Room::default();
    let is_under_way = |member: &&RestoreMember<'_>| member.state == MemberState::UnderWay;
    others.iter().filter(is_under_way).for_each(|other| room.take(other));
    room.all = 0;
    members.iter().filter(is_under_way).for_each(|member| room.take(member));
    let mut begin = Vec::new();
    for (place, member) in members.iter().enumerate() {
        let is_next = member.group == group && member.state == MemberState::Waiting;
        if is_next && room.is_for(member, limits) {
            room.take(member);
            begin.push(place);
        }
    }
    begin
}

/// What is taken.
#[derive(Default)]
struct Room<'a> {
    all: usize,
    movers: BTreeMap<&'a str, usize>,
    stores: BTreeMap<&'a str, usize>,
    targets: BTreeMap<&'a str, usize>,
}

impl<'a> Room<'a> {
    fn take(&mut self, member: &RestoreMember<'a>) {
        self.all += 1;
        *self.movers.entry(member.mover).or_default() += 1;
        *self.stores.entry(member.store).or_default() += 1;
        *self.targets.entry(member.target).or_default() += 1;
    }

    fn is_for(&self, member: &RestoreMember<'a>, limits: &RestoreLimits) -> bool {
        let taken = |all: &BTreeMap<&str, usize>, of: &str| all.get(of).copied().unwrap_or_default();
        self.all < limits.at_once
            && taken(&self.movers, member.mover) < limits.per_mover
            && taken(&self.stores, member.store) < limits.per_store
            && taken(&self.targets, member.target) < limits.per_target
    }
}
