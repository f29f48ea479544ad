//! A vault's second store: what is copied to it and when, how far it is behind, and what it lets go.
//!
//! INVARIANT: nothing that is deleted in a vault is deleted in its second store for that. A copy goes when the vault
//! has not had the point for the second store's own days, by the server's clock, and a newer copy of the machine is
//! there; whether the vault deleted it, let it expire or lost it does not matter.
//!
//! What is copied follows from the catalog alone, so a job that died is made up for by the next one.

use crate::alerts::Trouble;
use crate::faults::Faults;
use crate::order::{Ordered, Prepared, ordered_of};
use crate::page::Paging;
use crate::points::PATH_MAX;
use crate::request::{Request, When, settings};
use crate::{Actor, Control, Error, Result, store};
use api::work::{CopyOutcome, CopyWork, HealWork, PointOfItem, StoreAccess, VaultAccess, Work};
use api::{Code, CopiedPoint, CopyState, CopyStore, Page, PointDisk, VaultSettings};
use catalog::{CopyRow, ErrorKind, JobFilter, JobRow, VaultRow};
use jiff::{SignedDuration, Timestamp};
use model::job::{JobKind, JobState};
use model::{JobId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// What the names of the variables begin with that hold a second store's credentials.
const CREDENTIALS: &str = "COPY_";
/// Points that one job copies: it is told of them when it ends, and a job that is tried again looks at each.
const COPIED_AT_ONCE: u32 = 1000;
/// Points that one job lets go.
const LET_GO_AT_ONCE: u32 = 1000;
/// Points that one job copies back.
const HEALED_AT_ONCE: u32 = 100_000;
/// What failed for good is asked for again after this: whatever was wrong takes a person, who needs about so long.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Space is given back in the second store so often.
const COLLECTED_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Jobs that are looked at for that.
const JOBS_READ: u32 = 50;

/// What stands in the catalog of a copy besides its columns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct CopyDetail {
    name: String,
    consistency: String,
    evidence: Value,
    disks: Vec<PointDisk>,
}

impl Control {
    /// Has copies made where they are to come, and tells where they are late.
    ///
    /// # Errors
    /// The catalog's. What fails for one vault is told to the log, and tried again.
    pub async fn tick_copies(&self, now: Timestamp) -> Result<()> {
        for vault in self.catalog.vaults().await? {
            let Some(copy) = settings(&vault)?.copy else { continue };
            if let Err(error) = self.tick_copy(&vault, &copy, now).await {
                tracing::error!(vault = %vault.id, %error, "a vault's copying could not be seen to");
            }
        }
        Ok(())
    }

    async fn tick_copy(&self, vault: &VaultRow, copy: &CopyStore, now: Timestamp) -> Result<()> {
        self.catalog.note_left_copies(vault.id, now).await?;
        self.tell_lag(vault, copy, now).await?;
        if !self.is_copying_due(vault, copy, now).await? {
            return Ok(());
        }
        let when = When { ready: now, slot: None };
        match self.queue(vault.id, vault.id.0, &Request::Copy {}, when).await {
            // Another server was quicker.
            Err(error) if error.code() == Code::Conflict => Ok(()),
            queued => queued.map(drop),
        }
    }

    /// Raises an alert when a point has waited too long for its copy.
    async fn tell_lag(&self, vault: &VaultRow, copy: &CopyStore, now: Timestamp) -> Result<()> {
        let figures = self.catalog.copy_figures(vault.id).await?;
        let limit = SignedDuration::from_hours(copy.lag_hours_max.into());
        match figures.oldest_waiting.map(|oldest| now.duration_since(oldest)) {
            Some(lag) if lag > limit => {
                let text = format!(
                    "the copy of {} in {} is {} hours behind: {} points have no copy there, the limit is {} hours; \
                     look at its copying jobs",
                    vault.name,
                    copy.location,
                    lag.as_hours(),
                    figures.waiting,
                    copy.lag_hours_max
                );
                self.raise_anew(Trouble::CopyLags, &vault.id.to_string(), text).await
            }
            _ => self.resolve(Trouble::CopyLags, vault.id.0).await,
        }
    }

    /// Whether there is something to do, and the last job was long enough ago.
    async fn is_copying_due(&self, vault: &VaultRow, copy: &CopyStore, now: Timestamp) -> Result<bool> {
        let jobs = self.copying_jobs(vault.id).await?;
        if jobs.iter().any(|row| !row.job.is_over()) {
            return Ok(false);
        }
        if let Some(last) = jobs.first() {
            let every = SignedDuration::from_hours(copy.every_hours.into());
            let again = last.ended.unwrap_or(last.created) + ASK_AGAIN;
            if now < last.created + every || (is_in_vain(last) && now < again) {
                return Ok(false);
            }
        }
        Ok(is_collection_due(&jobs, now)
            || !self.catalog.points_to_copy(vault.id, 1).await?.is_empty()
            || !self.catalog.copies_to_let_go(vault.id, over_by(copy, now), 1).await?.is_empty())
    }

    /// The last jobs that copied, the newest first.
    async fn copying_jobs(&self, vault: VaultId) -> Result<Vec<JobRow>> {
        let filter = JobFilter {
            subject: Some(vault.to_string()),
            kind: Some("copy".to_owned()),
            ..JobFilter::default()
        };
        Ok(self.catalog.jobs(&filter, None, JOBS_READ).await?.rows)
    }

    /// What a job that copies comes to.
    pub(crate) async fn copy_work(&self, row: &JobRow, ordered: Ordered) -> Result<Prepared> {
        let (vault, now) = (self.vault_of(row).await?, self.now());
        let Some(copy) = settings(&vault)?.copy else {
            return Ok(Prepared::Unwanted(format!("the vault {} has no second store any more", vault.name)));
        };
        self.catalog.note_left_copies(vault.id, now).await?;
        let points = self.catalog.points_to_copy(vault.id, COPIED_AT_ONCE).await?;
        let let_go = self.catalog.copies_to_let_go(vault.id, over_by(&copy, now), LET_GO_AT_ONCE).await?;
        let collects = is_collection_due(&self.copying_jobs(vault.id).await?, now);
        if points.is_empty() && let_go.is_empty() && !collects {
            return Ok(Prepared::Done);
        }
        let soft_delete = self.soft_delete(&vault).await?.as_secs();
        let work = CopyWork {
            to: access(&copy),
            points: points.into_iter().map(|(item, point)| PointOfItem { item, point }).collect(),
            let_go: let_go.clone(),
            collect: collects.then_some(soft_delete),
            now,
            bytes_per_second: copy.mib_per_second.map(|mib| u64::from(mib) << 20),
        };
        let ordered = Ordered { points: let_go, collects, ..ordered };
        Ok(Prepared::Work(Box::new(Work::Copy(Box::new(work))), ordered))
    }

    /// What a job that heals comes to: whatever the vault ought to have and its copy has, is there afterwards.
    pub(crate) async fn heal_work(&self, row: &JobRow, ordered: Ordered) -> Result<Prepared> {
        let vault = self.vault_of(row).await?;
        let Some(copy) = settings(&vault)?.copy else {
            return Ok(Prepared::Unwanted(format!("the vault {} has no second store any more", vault.name)));
        };
        let points = self.catalog.copied_points(vault.id, HEALED_AT_ONCE).await?;
        let points = points.into_iter().map(|(item, point)| PointOfItem { item, point }).collect();
        let work = HealWork { from: access(&copy), points };
        Ok(Prepared::Work(Box::new(Work::Heal(Box::new(work))), ordered))
    }

    /// Takes in what a job has copied and let go.
    pub(crate) async fn follow_copy(&self, row: &JobRow) -> Result<()> {
        self.tell_end(row, Trouble::CopyFailed, "copying").await?;
        let (Some(vault), Some(told)) = (row.vault, &row.result) else { return Ok(()) };
        let Ok(outcome) = serde_json::from_value::<CopyOutcome>(told.clone()) else { return Ok(()) };
        // It may have another second store by now: then what was copied counts for nothing.
        let Ordered { points: wanted, at, .. } = ordered_of(row);
        let now = at.unwrap_or(row.created);
        let copies = outcome.copied.into_iter().map(|one| CopyRow {
            vault,
            point: one.made.point,
            item: one.item,
            taken: one.made.taken,
            copied: row.ended.unwrap_or(now),
            left: None,
            stored_bytes: one.made.stored_bytes,
            detail: serde_json::to_value(CopyDetail {
                name: one.name,
                consistency: one.made.consistency,
                evidence: one.made.evidence,
                disks: one.made.disks,
            })
            .expect("plain data"),
        });
        let copies = copies.collect::<Vec<_>>();
        self.catalog.put_copies(&copies).await?;
        let gone: Vec<PointId> = outcome.let_go.into_iter().filter(|point| wanted.contains(point)).collect();
        self.catalog.remove_copies(vault, &gone).await?;
        self.catalog.note_left_copies(vault, self.now()).await?;
        if let Some(copy) = settings(&self.catalog.vault(vault).await?)?.copy {
            self.tell_lag(&self.catalog.vault(vault).await?, &copy, self.now()).await?;
        }
        Ok(())
    }

    /// How far a vault's second store is behind; none if it has none.
    pub(crate) async fn copy_state(
        &self,
        vault: VaultId,
        settings: &VaultSettings,
    ) -> Result<Option<CopyState>> {
        if settings.copy.is_none() {
            return Ok(None);
        }
        let figures = self.catalog.copy_figures(vault).await?;
        let lag = figures.oldest_waiting.map(|oldest| self.now().duration_since(oldest).as_secs());
        Ok(Some(CopyState {
            copied: figures.copied,
            newest: figures.newest,
            waiting: figures.waiting,
            lag_seconds: lag.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
        }))
    }

    /// The copies of a vault's points, newest first: of one item, or of all.
    pub async fn copies(
        &self,
        vault: VaultId,
        item: Option<Uuid>,
        paging: &Paging,
    ) -> Result<Page<CopiedPoint>> {
        let (after, limit) = paging.place_in_time()?;
        let row = self.vault_row(vault).await?;
        // Without a second store there are none.
        let Some(copy) = settings(&row)?.copy else { return Ok(Page { items: Vec::new(), next: None }) };
        let page = self.catalog.copies((vault, item), after.as_ref(), limit).await?;
        let mut drills = self.copy_drills(vault, item).await?;
        let shown = |row| {
            let copied = shown(row, &copy);
            CopiedPoint { drill: drills.remove(&copied.point), ..copied }
        };
        let items = page.rows.into_iter().map(shown).collect();
        Ok(Page { items, next: page.next.map(|next| next.to_string()) })
    }

    /// Copies what is to be copied, at once.
    pub async fn copy_now(&self, actor: &Actor, vault: VaultId) -> Result<JobId> {
        let row = self.vault_row(vault).await?;
        let copy = self.copy_of(&row)?;
        let detail = json!({ "name": row.name, "location": copy.location });
        self.audit(actor, "vault.copy", &vault.to_string(), &detail).await?;
        self.queue_for(actor, vault, vault.0, &Request::Copy {}).await
    }

    /// Puts a vault right from its second store, or makes it anew of it.
    pub async fn heal(&self, actor: &Actor, vault: VaultId) -> Result<JobId> {
        let row = self.vault_row(vault).await?;
        let copy = self.copy_of(&row)?;
        let detail = json!({ "name": row.name, "location": copy.location });
        self.audit(actor, "vault.heal", &vault.to_string(), &detail).await?;
        self.queue_for(actor, vault, vault.0, &Request::Heal {}).await
    }

    /// A copy that somebody wants to read: it must be one of this item.
    pub(crate) async fn copy_row(&self, vault: VaultId, item: Uuid, point: PointId) -> Result<CopyRow> {
        self.copy_of(&self.vault_row(vault).await?)?;
        match self.catalog.copy(vault, point).await {
            Ok(row) if row.item == item => Ok(row),
            Ok(_) => Err(self.no_copy(vault, point).await?),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.no_copy(vault, point).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// Why there is no copy of a point: it may only be late.
    async fn no_copy(&self, vault: VaultId, point: PointId) -> Result<Error> {
        let error = Error::not_found(format!("copy of the point {point} in the vault's second store"));
        let figures = self.catalog.copy_figures(vault).await?;
        let Some(oldest) = figures.oldest_waiting else {
            return Ok(error.hint("`strongroom vault copies` lists those there are"));
        };
        let (minutes, waiting) = (self.now().duration_since(oldest).as_mins(), figures.waiting);
        let lag =
            if minutes < 120 { format!("{minutes} minutes") } else { format!("{} hours", minutes / 60) };
        let points = if waiting == 1 { "1 point waits".to_owned() } else { format!("{waiting} points wait") };
        Ok(error.hint(format!(
            "it is {lag} behind, {points} for a copy: `strongroom vault copy VAULT` makes them now, `strongroom vault \
             copies VAULT` lists those there are"
        )))
    }

    /// How a mover opens a vault's second store as if it were the vault.
    pub(crate) async fn access_to_copy(&self, vault: &VaultRow) -> Result<VaultAccess> {
        let StoreAccess { location, credentials } = self.second_store(vault)?;
        let key = self.vault_key(vault.id).await?;
        let (snapshot_store, transfer_bytes_per_second) = (None, None);
        Ok(VaultAccess {
            id: vault.id,
            location,
            snapshot_store,
            credentials,
            transfer_bytes_per_second,
            key,
        })
    }

    /// How a mover opens a vault's second store beside the vault.
    pub(crate) fn second_store(&self, vault: &VaultRow) -> Result<StoreAccess> {
        Ok(access(&self.copy_of(vault)?))
    }

    fn copy_of(&self, vault: &VaultRow) -> Result<CopyStore> {
        settings(vault)?.copy.ok_or_else(|| {
            let detail = format!("the vault {} has no second store", vault.name);
            Error::new(Code::Conflict, detail)
                .hint("`strongroom vault update VAULT --copy-to URL` gives it one")
        })
    }
}

/// Whether no job that went well has given space back lately.
fn is_collection_due(jobs: &[JobRow], now: Timestamp) -> bool {
    let went_well =
        |row: &&JobRow| matches!(row.job.state, JobState::Completed | JobState::CompletedWithWarnings);
    !jobs.iter().filter(went_well).any(|row| {
        let ordered = ordered_of(row);
        ordered.collects && ordered.at.is_some_and(|at| now < at + COLLECTED_EVERY)
    })
}

/// Whether asking again at once would come to the same: it failed, somebody did not want it, or the vault lacks points
/// that it ought to have.
fn is_in_vain(last: &JobRow) -> bool {
    let missing = last.result.as_ref().and_then(|result| result.get("missing")?.as_array());
    matches!(last.job.state, JobState::Failed | JobState::Cancelled)
        || missing.is_some_and(|missing| !missing.is_empty())
}

/// Copies that the vault has left behind by then are over.
fn over_by(copy: &CopyStore, now: Timestamp) -> Timestamp {
    now - SignedDuration::from_hours(24 * i64::from(copy.keep_days))
}

fn access(copy: &CopyStore) -> StoreAccess {
    StoreAccess { location: copy.location.clone(), credentials: Some(CREDENTIALS.to_owned()) }
}

fn shown(row: CopyRow, copy: &CopyStore) -> CopiedPoint {
    let detail: CopyDetail = serde_json::from_value(row.detail).unwrap_or_default();
    let lasts = SignedDuration::from_hours(24 * i64::from(copy.keep_days));
    CopiedPoint {
        point: row.point,
        item: row.item,
        name: detail.name,
        taken: row.taken,
        consistency: detail.consistency,
        copied: row.copied,
        left: row.left,
        goes: row.left.map(|left| left + lasts),
        disks: detail.disks,
        stored_bytes: row.stored_bytes,
        drill: None,
    }
}

/// Whether a vault may have such a second store; every fault is told.
pub(crate) fn check(location: &str, settings: &VaultSettings, faults: &mut Faults) {
    let Some(copy) = &settings.copy else { return };
    faults.text("/settings/copy/location", &copy.location, PATH_MAX);
    if let Err(rule) = store::address(&copy.location) {
        faults.add("/settings/copy/location", rule);
    }
    let archive = settings.archive.as_ref().map(|archive| archive.location.as_str());
    let others = [Some(location), settings.snapshot_store.as_deref(), archive];
    if others
        .into_iter()
        .flatten()
        .any(|other| other.trim_end_matches('/') == copy.location.trim_end_matches('/'))
    {
        faults.add(
            "/settings/copy/location",
            "must be another place than the vault's, its snapshot tier's and its archive's",
        );
    }
    faults.range("/settings/copy/keep_days", (7, 9999), copy.keep_days);
    faults.range("/settings/copy/every_hours", (0, 168), copy.every_hours);
    faults.range("/settings/copy/lag_hours_max", (1, 9999), copy.lag_hours_max);
    if copy.mib_per_second == Some(0) {
        faults.add("/settings/copy/mib_per_second", "must be 1 or more; leave it out for no limit");
    }
    if let Some(mover) = &copy.mover {
        faults.name("/settings/copy/mover", mover);
    }
}

/// Whether a vault's second store is another one, or none, from now on.
pub(crate) fn is_elsewhere(before: &VaultSettings, after: &VaultSettings) -> bool {
    let place = |settings: &VaultSettings| settings.copy.as_ref().map(|copy| copy.location.clone());
    place(before).is_some() && place(before) != place(after)
}

/// Whether a job works on a vault, and on no item.
pub(crate) fn is_of_vault(kind: JobKind) -> bool {
    matches!(kind, JobKind::Collect | JobKind::Copy | JobKind::Heal)
}
