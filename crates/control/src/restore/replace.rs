//! Machines put back to a point in their own place: asked for, finished, undone, and what they kept removed.

use crate::alerts::Trouble;
use crate::faults::Faults;
use crate::follow::FollowLater;
use crate::items::KEEP_DAYS;
use crate::order::item_of;
use crate::points::PATH_MAX;
use crate::request::{Request, settings};
use crate::schedule::Policies;
use crate::{Actor, Control, Error, PointPlace, Result};
use api::work::{AssignedHost, ReplaceWork, Service, ServicePolicy, ServicePromise, ToldReplacement, Work};
use api::{Code, Replace, Replacement, ReplacementState};
use catalog::{ErrorKind, Item, JobRow, ReplacementRow};
use jiff::{SignedDuration, Timestamp};
use model::job::JobState;
use model::protection::ON_DEMAND_KEEP_DAYS;
use model::{JobId, Origin, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// Files that one replacement keeps; machines have fewer disks.
const KEPT_MAX: usize = 1000;

/// What a job is asked that puts a machine back; see `Request::Replace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplaceRequest {
    /// The point.
    pub(crate) point: PointId,
    /// The replacement's id, the same for all jobs that work on it.
    pub(crate) replacement: Uuid,
    /// How the machine is stopped if it runs.
    pub(crate) stop: Option<api::StopMachine>,
    /// Until when the point of the present state is kept; none: there is to be none.
    pub(crate) keep_until: Option<Timestamp>,
    /// Only tell what would be done.
    pub(crate) plan: bool,
    /// Out of the vault's second store.
    #[serde(default)]
    pub(crate) from_copy: bool,
}

impl Control {
    /// Puts a machine back to a point in its own place, or tells what that would be.
    ///
    /// # Errors
    /// `Conflict` while an earlier one is neither finished nor undone, or its host is not known.
    pub async fn replace(&self, actor: &Actor, place: PointPlace, wish: &Replace) -> Result<JobId> {
        let days = wish.keep_days.unwrap_or(ON_DEMAND_KEEP_DAYS);
        let mut faults = Faults::default();
        faults.range("/keep_days", KEEP_DAYS, days);
        faults.none()?;
        let (item, _) = self.readable(place, wish.from_copy).await?;
        self.host_of_item(&item).await?;
        let earlier = self.catalog.replacements(item.id).await?;
        if let Some(open) = earlier.iter().find(|one| one.state == word(ReplacementState::Unfinished)) {
            let detail = format!("an earlier restore of {} in its place has ended half way", item.name);
            let hint = format!(
                "finish or undo it first: `strongroom restore finish {0}`, `strongroom restore undo {0}`; it is {1}",
                item.name, open.id
            );
            return Err(Error::new(Code::Conflict, detail).hint(hint));
        }
        let now = self.now();
        let lasts = SignedDuration::from_hours(24 * i64::from(days));
        let keep_until = now.saturating_add(lasts).expect("a duration, not a span");
        let asked = ReplaceRequest {
            point: place.point,
            replacement: self.draw(),
            stop: wish.stop,
            keep_until: (!wish.no_safety_point).then_some(keep_until),
            plan: wish.plan,
            from_copy: wish.from_copy,
        };
        if !wish.plan {
            let detail = json!({
                "vault": place.vault, "item": place.item, "name": item.name, "stop": wish.stop,
                "safety_point": !wish.no_safety_point, "replacement": asked.replacement, "from_copy": wish.from_copy,
            });
            self.audit(actor, "point.replace", &place.point.to_string(), &detail).await?;
        }
        self.queue_for(actor, place.vault, place.item, &Request::Replace(asked)).await
    }

    /// The replacements of an item that keep something, oldest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn replacements(&self, vault: VaultId, item: Uuid) -> Result<Vec<Replacement>> {
        let item = self.item_row(vault, item).await?;
        Ok(self.catalog.replacements(item.id).await?.into_iter().map(shown).collect())
    }

    /// Goes on with a replacement whose job ended early.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it did not end early.
    pub async fn finish_replacement(&self, actor: &Actor, place: (VaultId, Uuid, Uuid)) -> Result<JobId> {
        let (item, row) = self.replacement_row(place).await?;
        if row.state != word(ReplacementState::Unfinished) {
            let detail =
                format!("the restore of {} in its place is {}", item.name, row.state.replace('_', " "));
            return Err(Error::new(Code::Conflict, detail));
        }
        let request = serde_json::from_value(row.request.clone());
        let request: Request = request
            .map_err(|error| Error::new(Code::Internal, format!("the request of {}: {error}", row.id)))?;
        self.audit_replacement(actor, "replacement.finish", &item, &row).await?;
        self.queue_for(actor, item.vault, item.id, &request).await
    }

    /// Takes a replacement back, however far it came.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is undone, or a job works on the machine.
    pub async fn undo_replacement(
        &self,
        actor: &Actor,
        place: (VaultId, Uuid, Uuid),
        wish: &api::UndoReplacement,
    ) -> Result<JobId> {
        let (item, row) = self.replacement_row(place).await?;
        if row.state == word(ReplacementState::Undone) {
            return Err(Error::new(Code::Conflict, format!("{} is as it was before already", item.name)));
        }
        self.audit_replacement(actor, "replacement.undo", &item, &row).await?;
        let request = Request::UndoReplace { replacement: row.id, mover: row.mover.clone(), stop: wish.stop };
        self.queue_for(actor, item.vault, item.id, &request).await
    }

    /// Removes what a replacement kept, if it is what somebody was shown. It cannot be undone afterwards.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is neither done nor undone, or keeps something else by now.
    pub async fn remove_kept(
        &self,
        actor: &Actor,
        place: (VaultId, Uuid, Uuid),
        wish: api::RemoveKept,
    ) -> Result<JobId> {
        let mut faults = Faults::default();
        faults.entries("/files", (0, KEPT_MAX), wish.files.len());
        for (at, file) in wish.files.iter().enumerate().take(KEPT_MAX) {
            faults.text(&format!("/files/{at}"), file, PATH_MAX);
        }
        faults.none()?;
        let (item, row) = self.replacement_row(place).await?;
        let may_go = [ReplacementState::Done, ReplacementState::Undone].map(word).contains(&row.state);
        if !may_go {
            let detail = format!("the restore of {} in its place is not finished", item.name);
            return Err(Error::new(Code::Conflict, detail).hint("finish or undo it before the originals go"));
        }
        if told(&row).kept != wish.files {
            let error = Error::new(Code::Changed, "what is kept is not what was shown");
            return Err(error.hint("look at it again: `strongroom restore list`"));
        }
        self.audit_replacement(actor, "replacement.remove", &item, &row).await?;
        let (replacement, mover) = (row.id, row.mover.clone());
        let request = Request::RemoveKept { replacement, mover, files: wish.files };
        self.queue_for(actor, item.vault, item.id, &request).await
    }

    /// What a mover is to do that puts a machine back.
    pub(crate) async fn replace_work(
        &self,
        row: &JobRow,
        item: &Item,
        asked: ReplaceRequest,
    ) -> Result<Work> {
        let machine = self.catalog.machine(item.machine).await?;
        let host = self.host_of_item(item).await?;
        let safety = match asked.keep_until {
            Some(keep_until) => Some(self.service_of(row, item, Origin::OnDemand { keep_until }).await?),
            None => None,
        };
        let from = match asked.from_copy {
            true => Some(self.second_store(&self.vault_of(row).await?)?),
            false => None,
        };
        Ok(Work::Replace(Box::new(ReplaceWork {
            item: item.id,
            point: asked.point,
            host,
            known_as: machine.known_as,
            name: machine.name,
            replacement: asked.replacement,
            stop: asked.stop,
            safety,
            from,
            plan: asked.plan,
        })))
    }

    /// What a mover is to do that takes a replacement back.
    pub(crate) async fn undo_work(
        &self,
        item: &Item,
        replacement: Uuid,
        stop: Option<api::StopMachine>,
    ) -> Result<Work> {
        let row = self.catalog.replacement(replacement).await?;
        let known_as = self.catalog.machine(item.machine).await?.known_as;
        Ok(Work::UndoReplace { known_as, replacement, journal: told(&row).journal, stop })
    }

    /// What a mover is to do that removes what was kept; none if it is gone already.
    pub(crate) async fn remove_work(&self, replacement: Uuid, files: Vec<String>) -> Result<Option<Work>> {
        match self.catalog.replacement(replacement).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            row => Ok(Some(Work::RemoveKept { replacement, journal: told(&row?).journal, files })),
        }
    }

    /// The point of the state before is taken in, and it is noted how the replacement stands.
    pub(crate) async fn follow_replace(&self, row: &JobRow, asked: &ReplaceRequest) -> Result<FollowLater> {
        let item = item_of(row)?;
        if let Some(told) = told_by(row) {
            if let (Some(made), Some(keep_until)) = (&told.safety, asked.keep_until) {
                self.take_point_in(row, made, Origin::OnDemand { keep_until }).await?;
            }
            let state = match row.job.state {
                JobState::Completed | JobState::CompletedWithWarnings => ReplacementState::Done,
                JobState::Failed | JobState::Cancelled => ReplacementState::Unfinished,
                _ => ReplacementState::UnderWay,
            };
            let vault = row.vault.ok_or_else(|| Error::not_found(format!("vault of the job {}", row.id)))?;
            let noted = ReplacementRow {
                id: asked.replacement,
                vault,
                item,
                point: asked.point,
                job: row.id,
                mover: row.mover.clone().unwrap_or_default(),
                state: word(state),
                request: row.request.clone(),
                told: serde_json::to_value(&told).expect("plain data"),
                created: row.created,
            };
            self.catalog.put_replacement(&noted).await?;
        }
        self.tell_end(row, Trouble::RestoreFailed, "the restore in place of").await?;
        self.expire(item, &mut Policies::default(), self.now()).await?;
        Ok(None)
    }

    /// It is noted that all is as it was before.
    pub(crate) async fn follow_undo(&self, row: &JobRow, replacement: Uuid) -> Result<FollowLater> {
        let is_done = matches!(row.job.state, JobState::Completed | JobState::CompletedWithWarnings);
        if let (true, Some(told)) = (is_done, told_by(row)) {
            let before = self.catalog.replacement(replacement).await?;
            let undone = ReplacementRow {
                job: row.id,
                state: word(ReplacementState::Undone),
                // The point of the state before is still that.
                told: json!(ToldReplacement { safety: self::told(&before).safety, ..told }),
                ..before
            };
            self.catalog.put_replacement(&undone).await?;
        }
        self.tell_end(row, Trouble::RestoreFailed, "undoing the restore of").await?;
        Ok(None)
    }

    /// What was kept is forgotten once it is gone.
    pub(crate) async fn follow_remove(&self, row: &JobRow, replacement: Uuid) -> Result<FollowLater> {
        if matches!(row.job.state, JobState::Completed | JobState::CompletedWithWarnings) {
            self.catalog.remove_replacement(replacement).await?;
        }
        self.tell_end(row, Trouble::RestoreFailed, "removing the kept disks of").await?;
        Ok(None)
    }

    /// What a point says for the service that a job makes beside its schedule.
    async fn service_of(&self, row: &JobRow, item: &Item, origin: Origin) -> Result<Service> {
        let machine = self.catalog.machine(item.machine).await?;
        let settings = settings(&self.catalog.vault(item.vault).await?)?;
        let policy = match item.protection.retention_policy() {
            Some(id) => {
                let row = self.catalog.policy(id).await?;
                Some(ServicePolicy { id, name: row.name, document: row.document })
            }
            None => None,
        };
        Ok(Service {
            version: 1,
            job: row.id,
            item: item.id,
            machine: machine.id,
            name: machine.name,
            known_as: machine.known_as,
            origin,
            policy,
            promised: Some(ServicePromise {
                soft_delete_days: settings.soft_delete_days,
                immutable: settings.immutable,
            }),
        })
    }

    async fn host_of_item(&self, item: &Item) -> Result<AssignedHost> {
        let host = self.catalog.host_of(item.machine).await?;
        let host = host.ok_or_else(|| {
            let error = Error::new(Code::Conflict, format!("no host has the machine {} any more", item.name));
            error.hint("restore it as a new machine")
        })?;
        Ok(AssignedHost { id: host.id, address: host.address })
    }

    async fn replacement_row(&self, place: (VaultId, Uuid, Uuid)) -> Result<(Item, ReplacementRow)> {
        let (vault, item, id) = place;
        let item = self.item_row(vault, item).await?;
        let missing = || format!("replacement {id} of the item");
        let row = self.catalog.replacement(id).await.map_err(|error| Error::missing(error, missing()))?;
        if row.item == item.id { Ok((item, row)) } else { Err(Error::not_found(missing())) }
    }

    async fn audit_replacement(
        &self,
        actor: &Actor,
        verb: &str,
        item: &Item,
        row: &ReplacementRow,
    ) -> Result<()> {
        let detail = json!({
            "vault": item.vault, "item": item.id, "name": item.name, "point": row.point, "kept": told(row).kept,
        });
        self.audit(actor, verb, &row.id.to_string(), &detail).await
    }
}

/// What the mover said last; nothing if that cannot be read.
fn told(row: &ReplacementRow) -> ToldReplacement {
    serde_json::from_value(row.told.clone()).unwrap_or_else(|_| ToldReplacement {
        replacement: row.id,
        journal: String::new(),
        disks: Vec::new(),
        was_running: false,
        kept: Vec::new(),
        safety: None,
    })
}

fn told_by(row: &JobRow) -> Option<ToldReplacement> {
    serde_json::from_value(row.result.clone()?).ok()
}

fn shown(row: ReplacementRow) -> Replacement {
    let told = told(&row);
    Replacement {
        id: row.id,
        point: row.point,
        job: row.job,
        mover: row.mover,
        state: serde_json::from_value(json!(row.state)).unwrap_or(ReplacementState::Unfinished),
        journal: told.journal,
        kept: told.kept,
        safety_point: told.safety.map(|made| made.point),
        created: row.created,
    }
}

/// As the API spells it.
fn word(state: ReplacementState) -> String {
    let word = serde_json::to_value(state).expect("a word");
    word.as_str().expect("a word").to_owned()
}
