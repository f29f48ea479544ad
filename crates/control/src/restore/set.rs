//! A set of restores as it is stored, what is to become of it as its jobs stand, and how it is told.

use crate::{Error, Result};
use api::{Code, RestoreSet};
use catalog::{JobRow, NewJob, OpenRestoreSet, RestoreSetRow, SetStep};
use jiff::Timestamp;
use model::job::{JobKind, JobState};
use model::restores::{MemberState, RestoreMember, RestoreRules, RestoreSetState, next};
use model::{HostId, JobId, PointId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// What a set is, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetDocument {
    pub(super) rules: RestoreRules,
    pub(super) members: Vec<Member>,
}

/// A member, with all that its job is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    pub(super) job: JobId,
    pub(super) item: Uuid,
    pub(super) name: String,
    pub(super) group: u16,
    pub(super) mover: Option<String>,
    pub(super) host: Option<HostId>,
    pub(super) store: String,
    pub(super) target: String,
    pub(super) bytes: u64,
    pub(super) point: PointId,
    pub(super) folder: String,
    pub(super) machine: Option<String>,
    pub(super) request: Value,
}

/// What a set is made of.
pub(super) fn document(row: &RestoreSetRow) -> Result<SetDocument> {
    let unreadable = |error| Error::new(Code::Internal, format!("the restore of many {}: {error}", row.id));
    serde_json::from_value(row.document.clone()).map_err(unreadable)
}

/// What is to become of a set whose jobs are these, beside other sets that are open.
pub(super) fn decide(
    document: &SetDocument,
    (row, jobs): (&RestoreSetRow, &[JobRow]),
    others: &[OpenRestoreSet],
    now: Timestamp,
) -> SetStep {
    let of_job = by_id(jobs);
    let members: Vec<_> = document.members.iter().map(|member| as_it_stands(member, &of_job)).collect();
    let under_way: Vec<Member> = others.iter().flat_map(|other| under_way(row, other)).collect();
    let other =
        |member| RestoreMember { state: MemberState::UnderWay, ..as_it_stands(member, &BTreeMap::new()) };
    let others: Vec<_> = under_way.iter().map(other).collect();
    let is_cancelled = row.state == RestoreSetState::Cancelling;
    let decided = next(&members, &others, &document.rules, is_cancelled);
    let begin = decided.begin.iter().map(|place| new_job(&document.members[*place], row, now));
    SetStep { begin: begin.collect(), state: decided.state }
}

/// Members of another set that are under way. One that cannot be read takes no room: it begins nothing either.
fn under_way(set: &RestoreSetRow, (other, jobs): &OpenRestoreSet) -> Vec<Member> {
    let Ok(document) = document(other) else { return Vec::new() };
    let of_job = by_id(jobs);
    let is_under_way = |member: &Member| as_it_stands(member, &of_job).state == MemberState::UnderWay;
    let mut members: Vec<_> = document.members.into_iter().filter(is_under_way).collect();
    if other.vault != set.vault {
        // Stores are named within their vault.
        members.iter_mut().for_each(|member| member.store = format!("{} of {}", member.store, other.vault));
    }
    members
}

fn by_id(jobs: &[JobRow]) -> BTreeMap<JobId, &JobRow> {
    jobs.iter().map(|job| (job.id, job)).collect()
}

fn as_it_stands<'a>(member: &'a Member, jobs: &BTreeMap<JobId, &JobRow>) -> RestoreMember<'a> {
    RestoreMember {
        group: member.group,
        mover: member.mover.as_deref().unwrap_or_default(),
        store: &member.store,
        target: &member.target,
        state: jobs.get(&member.job).map_or(MemberState::Waiting, |job| state_of(job)),
    }
}

fn state_of(job: &JobRow) -> MemberState {
    match job.job.state {
        JobState::Completed | JobState::CompletedWithWarnings => MemberState::Done,
        JobState::Failed => MemberState::Failed,
        JobState::Cancelled => MemberState::Cancelled,
        _ => MemberState::UnderWay,
    }
}

/// Whether somebody wants it to end already.
pub(super) fn is_cancelling(job: &JobRow) -> bool {
    matches!(job.job.state, JobState::Cancelling { .. })
}

fn new_job(member: &Member, set: &RestoreSetRow, now: Timestamp) -> NewJob {
    NewJob {
        id: member.job,
        kind: JobKind::Restore,
        vault: Some(set.vault),
        subject: member.item.to_string(),
        name: member.name.clone(),
        mover: member.mover.clone(),
        host: member.host,
        request: member.request.clone(),
        ready: now,
        slot: None,
        asked_by: None,
    }
}

/// As the API tells it.
pub(super) fn shown(row: &RestoreSetRow, jobs: &[JobRow]) -> Result<RestoreSet> {
    let (document, of_job) = (document(row)?, by_id(jobs));
    let mut total = api::SetTotal::default();
    let mut members = Vec::with_capacity(document.members.len());
    for member in document.members {
        let member = shown_member(member, &of_job);
        let count = match member.state {
            api::SetMemberState::Waiting => &mut total.waiting,
            api::SetMemberState::UnderWay => &mut total.under_way,
            api::SetMemberState::Done => &mut total.done,
            api::SetMemberState::Failed => &mut total.failed,
            api::SetMemberState::Cancelled => &mut total.cancelled,
        };
        *count += 1;
        total.done_bytes += member.done_bytes;
        total.total_bytes += member.total_bytes;
        members.push(member);
    }
    let RestoreSetRow { id, vault, state, created, ended, .. } = *row;
    Ok(RestoreSet { id, vault, state, total, members, created, ended })
}

fn shown_member(member: Member, jobs: &BTreeMap<JobId, &JobRow>) -> api::SetMember {
    let job = jobs.get(&member.job);
    let state = job.map_or(MemberState::Waiting, |job| state_of(job));
    let progress: Option<api::JobProgress> =
        job.and_then(|job| serde_json::from_value(job.progress.clone()).ok());
    let done_bytes = match state {
        MemberState::Done => member.bytes,
        _ => progress.map_or(0, |progress| progress.done_bytes.min(member.bytes)),
    };
    api::SetMember {
        job: member.job,
        item: member.item,
        name: member.name,
        point: member.point,
        group: member.group,
        mover: member.mover,
        folder: member.folder,
        machine: member.machine,
        state: match state {
            MemberState::Waiting => api::SetMemberState::Waiting,
            MemberState::UnderWay => api::SetMemberState::UnderWay,
            MemberState::Done => api::SetMemberState::Done,
            MemberState::Failed => api::SetMemberState::Failed,
            MemberState::Cancelled => api::SetMemberState::Cancelled,
        },
        done_bytes,
        total_bytes: member.bytes,
        error: job.and_then(|job| serde_json::from_value(job.error.clone()?).ok()),
    }
}
