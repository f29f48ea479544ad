//! Drills: asked for, queued when they are due, and what follows from their ends.

use crate::alerts::Trouble;
use crate::faults::Faults;
use crate::machines::OWN_MOVER;
use crate::order::item_of;
use crate::points::must_be_readable;
use crate::request::{Request, When};
use crate::schedule::Policies;
use crate::{Actor, Control, Error, PointPlace, Result};
use api::work::PictureReport;
use api::{Code, Drill, PointDrill, Proof, Screenshot};
use catalog::{DrillRow, ErrorKind, JobRow};
use jiff::{SignedDuration, Timestamp};
use model::drill::{DrillHistory, DrillRecord};
use model::job::{Claim, JobKind, JobState};
use model::policy::{DrillOptions, DrillRhythm, Drills};
use model::{JobId, PointId, Policy, PolicyId, VaultId};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

/// Machines that are looked at in one go.
const BATCH: u32 = 200;
/// A machine's newest points, of which one can be read.
const POINTS_READ: u32 = 10;
/// Formats that a mover sends.
const FORMATS: [&str; 2] = ["png", "ppm"];

impl Control {
    /// Has a point tried out.
    pub async fn drill(&self, actor: &Actor, place: PointPlace, wish: Drill) -> Result<JobId> {
        let from_copy = wish.from_copy;
        let (item, _) = self.readable(place, from_copy).await?;
        let mut faults = Faults::default();
        if let Some(options) = &wish.options {
            options.faults().into_iter().for_each(|(at, rule)| faults.add(format!("/options{at}"), rule));
        }
        faults.none()?;
        self.must_be_a_mover(wish.mover.as_deref()).await?;
        let detail = json!({
            "vault": place.vault, "item": place.item, "name": item.name, "mover": wish.mover,
            "from_copy": from_copy,
        });
        self.audit(actor, "point.drill", &place.point.to_string(), &detail).await?;
        let options = match (wish.options, item.protection.backup_policy()) {
            (Some(options), _) => options,
            (None, Some(policy)) => {
                let policy = self.policy_of(policy, &mut Policies::default()).await?;
                policy.document().drills.as_ref().map(|drills| drills.options.clone()).unwrap_or_default()
            }
            (None, None) => DrillOptions::default(),
        };
        let request =
            Request::Drill { point: place.point, options, mover: wish.mover, until: None, from_copy };
        self.queue_for(actor, place.vault, place.item, &request).await
    }

    /// A mover that is named must be there.
    pub(crate) async fn must_be_a_mover(&self, mover: Option<&str>) -> Result<()> {
        if let Some(mover) = mover.filter(|mover| *mover != OWN_MOVER)
            && !self.catalog.hosts().await?.iter().any(|host| host.mover == mover)
        {
            let rule = format!("must be a mover of one of the hosts; {mover} is none");
            return Err(Error::invalid("/mover", rule));
        }
        Ok(())
    }

    /// Queues the drills that are due. Any server may do so at any time: there is one for each slot.
    ///
    /// # Errors
    /// The catalog's. What fails for one policy or machine is told to the log, and tried again.
    pub async fn tick_drills(&self, now: Timestamp) -> Result<()> {
        for vault in self.catalog.vaults().await? {
            for row in self.catalog.policies(vault.id).await? {
                if row.document.drills.is_none() {
                    continue;
                }
                let queued = async { self.drills_of_policy(row.id, &row.document.check()?, now).await };
                if let Err(error) = queued.await {
                    tracing::error!(policy = row.name, %error, "drills that are due could not be queued");
                }
            }
        }
        Ok(())
    }

    async fn drills_of_policy(&self, id: PolicyId, policy: &Policy, now: Timestamp) -> Result<()> {
        let Some(window) = policy.drill_window(now) else { return Ok(()) };
        let every = policy.document().drills.as_ref().map(|drills| drills.every);
        let (slot, points_min) = match every {
            Some(DrillRhythm::Points { count }) => (None, count.into()),
            _ => (Some(window.start.to_string()), 0),
        };
        let mut after = None;
        loop {
            let candidates =
                self.catalog.items_to_drill((id, slot.as_deref()), points_min, after, BATCH).await?;
            for candidate in &candidates {
                let item = &candidate.item;
                let newest = self.newest_readable(item.id).await?;
                let history =
                    DrillHistory { newest, points_since: candidate.points_since, is_running: false };
                let Some(due) = policy.drill_due(item.machine, &history, now) else { continue };
                let options = policy
                    .document()
                    .drills
                    .as_ref()
                    .map(|drills| drills.options.clone())
                    .unwrap_or_default();
                let (point, until) = (due.point, Some(due.until));
                let request = Request::Drill { point, options, mover: None, until, from_copy: false };
                let when = When { ready: due.start.max(now), slot: Some(due.slot) };
                match self.queue(item.vault, item.id, &request, when).await {
                    // Another server was quicker, or something is under way: the next look finds it.
                    Err(error) if error.code() == Code::Conflict => {}
                    queued => drop(queued?),
                }
            }
            after = candidates.last().map(|last| last.item.id);
            if candidates.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// The newest point of an item that a tier has and nobody has deleted.
    async fn newest_readable(&self, item: Uuid) -> Result<Option<PointId>> {
        let page = self.catalog.points(item, None, POINTS_READ).await?;
        let mut points = page.rows.into_iter().map(|row| row.point);
        Ok(points.find(|point| must_be_readable(point, self.now()).is_ok()).map(|point| point.id))
    }

    /// Keeps what a drill that is over has found out, and tells if it is bad.
    pub(crate) async fn follow_drill(&self, row: &JobRow, point: PointId) -> Result<()> {
        let item = item_of(row)?;
        if row.job.state == JobState::Failed {
            // Nothing is known of the point: the drill itself could not be made.
            return self.tell_end(row, Trouble::DrillFailed, "the drill of").await;
        }
        let Some(record) = record_of(row) else { return Ok(()) };
        let found = match self.catalog.point(point).await {
            // It was purged meanwhile: nobody is to know anything of it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let (instant, ended) = (found.point.taken, row.ended.unwrap_or_else(|| self.now()));
        let verdict = record.verdict.clone();
        let drill = DrillRow { job: row.id, point, item, instant, ended, record, has_picture: false };
        self.catalog.put_drill(&drill).await?;
        if verdict.is_good() {
            return self.resolve(Trouble::DrillFailed, item).await;
        }
        let text = format!(
            "the point {point} of {} as it was at {instant} {verdict}; `strongroom point show` tells more",
            row.name
        );
        self.raise_anew(Trouble::DrillFailed, &item.to_string(), text).await
    }

    /// The same of a drill out of the vault's second store: it stands with the copy, and says nothing of the vault.
    pub(crate) async fn follow_copy_drill(&self, row: &JobRow, point: PointId) -> Result<()> {
        let (item, Some(vault)) = (item_of(row)?, row.vault) else { return Ok(()) };
        if row.job.state == JobState::Failed {
            return self.tell_end(row, Trouble::CopyDrillFailed, "the drill of the copy of").await;
        }
        let Some(record) = record_of(row) else { return Ok(()) };
        let copy = match self.catalog.copy(vault, point).await {
            // It was let go meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        // The vault has another second store by now: this one's copy is not the one that was tried.
        if copy.copied > row.created {
            return Ok(());
        }
        let (instant, ended) = (copy.taken, row.ended.unwrap_or_else(|| self.now()));
        let verdict = record.verdict.clone();
        let drill = DrillRow { job: row.id, point, item, instant, ended, record, has_picture: false };
        self.catalog.put_copy_drill(vault, &drill).await?;
        if verdict.is_good() {
            return self.resolve(Trouble::CopyDrillFailed, item).await;
        }
        let text = format!(
            "the copy of the point {point} of {} as it was at {instant} {verdict}; `strongroom vault copies` lists the \
             copies",
            row.name
        );
        self.raise_anew(Trouble::CopyDrillFailed, &item.to_string(), text).await
    }

    /// Keeps a picture of a drill's end, if the claim that sends it holds.
    ///
    /// # Errors
    /// `Invalid` for what is no picture; `Conflict` when the claim does not hold.
    pub async fn keep_picture(&self, mover: &str, job: JobId, report: &PictureReport) -> Result<()> {
        self.catalog.see_mover(mover, self.now()).await?;
        let lost = || Error::new(Code::Conflict, "the claim on the drill does not hold");
        let row = self.catalog.job(job).await.map_err(|_| lost())?;
        let claim = Claim { claimant: report.claimant, generation: report.generation };
        if row.job.kind != JobKind::Drill || row.job.claimed() != Some(claim) {
            return Err(lost());
        }
        let Screenshot { format, data } = &report.screenshot;
        let mut faults = Faults::default();
        if !FORMATS.contains(&format.as_str()) {
            faults.add("/screenshot/format", format!("must be one of {}", FORMATS.join(", ")));
        }
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        if data.is_empty() || !data.bytes().all(is_base64) {
            faults.add("/screenshot/data", "must be base64");
        }
        faults.none()?;
        Ok(self.catalog.put_drill_picture(job, format, data).await?)
    }

    /// What the screen showed at the end of a point's last drill, or of the last one of its copy.
    ///
    /// # Errors
    /// `NotFound` when there is no such picture.
    pub async fn screenshot(&self, place: PointPlace, from_copy: bool) -> Result<Screenshot> {
        let what = if from_copy { "copy of the point" } else { "point" };
        let none = || Error::not_found(format!("screenshot of a drill of the {what} {}", place.point));
        let drills = match from_copy {
            true => {
                self.item_row(place.vault, place.item).await?;
                self.catalog.copy_drills(place.vault, Some(place.item)).await?
            }
            false => {
                self.point_row(place).await?;
                self.catalog.drills_of(place.item).await?
            }
        };
        let drill = drills.into_iter().find(|drill| drill.point == place.point).ok_or_else(none)?;
        let (format, data) = self.catalog.drill_picture(drill.job).await?.ok_or_else(none)?;
        Ok(Screenshot { format, data })
    }

    /// The last drill of each point of an item.
    pub(crate) async fn point_drills(&self, item: Uuid) -> Result<HashMap<PointId, PointDrill>> {
        Ok(self.catalog.drills_of(item).await?.into_iter().map(shown).collect())
    }

    /// The last drill of each copy in a vault's second store: of one item, or of all.
    pub(crate) async fn copy_drills(
        &self,
        vault: VaultId,
        item: Option<Uuid>,
    ) -> Result<HashMap<PointId, PointDrill>> {
        Ok(self.catalog.copy_drills(vault, item).await?.into_iter().map(shown).collect())
    }

    /// How old the proof of each machine of a vault is that is backed up: never proved ones first.
    pub async fn proofs(&self, vault: VaultId) -> Result<api::Page<Proof>> {
        self.vault_row(vault).await?;
        let policies: HashMap<PolicyId, (String, Option<Drills>)> = {
            let rows = self.catalog.policies(vault).await?;
            rows.into_iter().map(|row| (row.id, (row.name, row.document.drills))).collect()
        };
        let now = self.now();
        let shown = self.catalog.proofs(vault).await?.into_iter().map(|row| {
            let policy = row.policy.and_then(|id| policies.get(&id));
            let drills = policy.and_then(|(_, drills)| drills.as_ref());
            let allowed_days = drills.map_or(Drills::PROOF_DAYS, |drills| drills.proof_days);
            let allowed = SignedDuration::from_hours(24 * i64::from(allowed_days));
            Proof {
                item: row.item,
                name: row.name,
                policy: policy.map(|(name, _)| name.clone()),
                allowed_days,
                proved: row.proved,
                tried: row.tried.as_ref().map(|(at, _)| *at),
                verdict: row.tried.map(|(_, verdict)| verdict),
                copy_proved: row.copy_proved,
                is_overdue: row.proved.is_none_or(|proved| now.duration_since(proved) > allowed),
            }
        });
        Ok(api::Page { items: shown.collect(), next: None })
    }
}

/// What a drill that is over has found out; none if it came to nothing.
fn record_of(row: &JobRow) -> Option<DrillRecord> {
    let is_over = matches!(row.job.state, JobState::Completed | JobState::CompletedWithWarnings);
    serde_json::from_value(row.result.clone().filter(|_| is_over)?).ok()
}

fn shown(row: DrillRow) -> (PointId, PointDrill) {
    let DrillRow { job, point, ended, record, has_picture, .. } = row;
    (point, PointDrill { job, ended, record, has_screenshot: has_picture })
}
