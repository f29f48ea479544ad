//! A mover that is scripted, and a vault that is a list: it keeps the one promise that matters here, that an aborted
//! session commits nothing.

use anyhow::Result;
use api::work::{
    ArchiveOutcome, ArchiveWork, ArchivedPoint, ClaimRequest, CopiedOfItem, CopyOutcome, CopyWork,
    Instruction, MadePoint, Order, PointOfItem, Report, ReportEvent, Work,
};
use control::Control;
use jiff::Timestamp;
use model::job::{Failure, Step};
use model::{ClaimantId, JobId, PointId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// What lies in the vault.
#[derive(Default)]
pub(crate) struct Contents {
    /// Which points there are, deleted ones included, and of which job each is.
    pub(crate) points: BTreeMap<Uuid, (JobId, MadePoint)>,
    pub(crate) deleted: BTreeSet<Uuid>,
    /// What the second store has, and has deleted.
    pub(crate) copies: BTreeSet<Uuid>,
    pub(crate) copies_deleted: BTreeSet<Uuid>,
    /// The same of the archive store.
    pub(crate) archived: BTreeSet<Uuid>,
    pub(crate) archived_deleted: BTreeSet<Uuid>,
    aborted: BTreeSet<Uuid>,
}

/// A vault that all movers of a test write to.
#[derive(Clone, Default)]
pub(crate) struct FakeVault(pub(crate) Arc<Mutex<Contents>>);

impl FakeVault {
    fn abort(&self, sessions: &[Uuid]) {
        self.0.lock().unwrap().aborted.extend(sessions);
    }

    /// The point of a job, if it has one.
    pub(crate) fn of_job(&self, job: JobId) -> Option<MadePoint> {
        let contents = self.0.lock().unwrap();
        contents.points.values().find(|(of, _)| *of == job).map(|(_, made)| made.clone())
    }

    /// Copies points to the second store, and deletes there.
    fn copy(&self, work: &CopyWork) -> Result<serde_json::Value> {
        let mut contents = self.0.lock().unwrap();
        let mut outcome = CopyOutcome { let_go: work.let_go.clone(), ..CopyOutcome::default() };
        for PointOfItem { item, point } in &work.points {
            match contents.points.get(&point.0) {
                Some((_, made)) => {
                    outcome.copied.push(CopiedOfItem {
                        item: *item,
                        name: "db".to_owned(),
                        made: made.clone(),
                    });
                }
                None => outcome.missing.push(*point),
            }
        }
        contents.copies.extend(outcome.copied.iter().map(|copied| copied.made.point.0));
        contents.copies_deleted.extend(work.let_go.iter().map(|point| point.0));
        Ok(serde_json::to_value(outcome)?)
    }

    /// Copies points to the archive store.
    pub(crate) fn archive(&self, work: &ArchiveWork) -> ArchiveOutcome {
        let mut contents = self.0.lock().unwrap();
        let mut outcome = ArchiveOutcome::default();
        for point in &work.moves {
            assert!(!contents.deleted.contains(&point.0), "it was read in the vault tier");
            contents.archived.insert(point.0);
            outcome.archived.push(ArchivedPoint { point: *point, stored_bytes: 10 });
        }
        outcome
    }

    /// Drops in the vault tier what the archive has, of an order: what moves, and the rest.
    pub(crate) fn drop_near(&self, work: &ArchiveWork, outcome: &mut ArchiveOutcome) {
        let mut contents = self.0.lock().unwrap();
        for point in work.moves.iter().chain(&work.drops) {
            let is_there =
                contents.archived.contains(&point.0) && !contents.archived_deleted.contains(&point.0);
            assert!(is_there, "nothing is dropped that is nowhere else");
            contents.deleted.insert(point.0);
            outcome.dropped.push(*point);
        }
    }

    /// Commits a point; none if the session was aborted.
    fn commit(&self, session: Uuid, job: JobId, taken: Timestamp) -> Option<MadePoint> {
        let mut contents = self.0.lock().unwrap();
        if contents.aborted.contains(&session) {
            return None;
        }
        let made = MadePoint {
            point: PointId(Uuid::now_v7()),
            taken,
            consistency: "application".to_owned(),
            evidence: serde_json::json!({}),
            disks: Vec::new(),
            stored_bytes: 10,
            in_snapshot_tier: false,
            in_vault_tier: true,
        };
        contents.points.insert(made.point.0, (job, made.clone()));
        Some(made)
    }
}

/// One run of a mover.
#[derive(Clone)]
pub(crate) struct FakeMover {
    pub(crate) name: String,
    pub(crate) claimant: ClaimantId,
    pub(crate) vault: FakeVault,
}

impl FakeMover {
    pub(crate) fn new(name: &str, vault: &FakeVault) -> Self {
        Self { name: name.to_owned(), claimant: ClaimantId(Uuid::now_v7()), vault: vault.clone() }
    }

    pub(crate) async fn claim(&self, control: &Control) -> Result<Option<Order>> {
        let request = ClaimRequest { claimant: self.claimant, wait_seconds: 0 };
        Ok(control.claim(&self.name, &request).await?)
    }

    pub(crate) async fn say(
        &self,
        control: &Control,
        order: &Order,
        event: ReportEvent,
    ) -> Result<Instruction> {
        let report = Report { claimant: self.claimant, generation: order.generation, event, progress: None };
        Ok(control.report(&self.name, order.job, &report).await?)
    }

    pub(crate) async fn fail(
        &self,
        control: &Control,
        order: &Order,
        failure: Failure,
    ) -> Result<Instruction> {
        self.say(control, order, ReportEvent::failed(failure, "as the script says")).await
    }

    /// What a mover does first: nobody who claimed before can commit any more.
    pub(crate) fn fence(&self, order: &Order) {
        self.vault.abort(&order.fenced);
    }

    /// Makes the point of a backup, or finds it. None: this claim was fenced off.
    pub(crate) fn make(&self, order: &Order, now: Timestamp) -> Option<MadePoint> {
        let made =
            self.vault.of_job(order.job).or_else(|| self.vault.commit(order.session, order.job, now))?;
        let transfer = matches!(&order.work, Work::BackUp(work) if work.transfer);
        let is_tiered = order.vault.snapshot_store.is_some();
        Some(MadePoint { in_snapshot_tier: is_tiered, in_vault_tier: !is_tiered || transfer, ..made })
    }

    /// Reports that all of a backup is done.
    pub(crate) async fn tell_made(
        &self,
        control: &Control,
        order: &Order,
        made: &MadePoint,
    ) -> Result<Instruction> {
        if order.steps_done == 0 {
            let snapshot = MadePoint { in_vault_tier: false, ..made.clone() };
            let result = made.in_snapshot_tier.then(|| serde_json::to_value(snapshot)).transpose()?;
            let first = ReportEvent::StepDone { step: Step::TakeSnapshot, result };
            let answer = self.say(control, order, first).await?;
            if matches!(answer, Instruction::Lost {}) {
                return Ok(answer);
            }
        }
        let result = Some(serde_json::to_value(made)?);
        self.say(control, order, ReportEvent::StepDone { step: Step::TransferToVault, result }).await
    }

    /// Does to points what an order says, and tells nobody.
    pub(crate) fn carry_out_silently(&self, order: &Order) {
        let mut contents = self.vault.0.lock().unwrap();
        match &order.work {
            Work::DeletePoints { points, archive, .. } => {
                contents.deleted.extend(points.iter().map(|point| point.0));
                let far = archive.iter().flat_map(|archive| &archive.points);
                contents.archived_deleted.extend(far.map(|point| point.0));
            }
            Work::UndeletePoints { points, archive, .. } => {
                let far: Vec<PointId> = archive.iter().flat_map(|archive| &archive.points).copied().collect();
                contents.archived_deleted.retain(|point| !far.contains(&PointId(*point)));
                let near = |point: &PointId| points.contains(point) && !far.contains(point);
                contents.deleted.retain(|point| !near(&PointId(*point)));
            }
            Work::Rehydrate(work) => {
                assert!(contents.archived.contains(&work.point.0), "it is in the archive");
                contents.deleted.remove(&work.point.0);
            }
            _ => {}
        }
    }

    /// Does what an order says, and reports that it is done.
    pub(crate) async fn carry_out(&self, control: &Control, order: &Order) -> Result<Instruction> {
        self.fence(order);
        let mut result = None;
        match &order.work {
            Work::BackUp(_) => {
                let made = self.make(order, control.now()).expect("nobody has fenced it off");
                return self.tell_made(control, order, &made).await;
            }
            Work::DeletePoints { .. } | Work::UndeletePoints { .. } | Work::Rehydrate(_) => {
                self.carry_out_silently(order);
            }
            Work::Archive(work) => {
                let mut outcome = self.vault.archive(work);
                if order.steps_done == 0 {
                    self.tell_archived(control, order, &outcome).await?;
                }
                self.vault.drop_near(work, &mut outcome);
                let (step, result) = (Step::DropFromVault, Some(serde_json::to_value(outcome)?));
                return self.say(control, order, ReportEvent::StepDone { step, result }).await;
            }

            Work::Collect { purge, .. } => result = Some(serde_json::json!({ "gone": purge })),
            Work::Copy(work) => result = Some(self.vault.copy(work)?),
            Work::Heal(_) => {}
            Work::Restore { .. } | Work::Verify { .. } | Work::Drill { .. } => {}
            Work::RestoreInto { .. } | Work::Snapshot(_) | Work::Image(_) => {}
            Work::Replace(_) | Work::UndoReplace { .. } | Work::RemoveKept { .. } => {}
        }
        let mut answer = Instruction::Over {};
        for step in &order.kind.steps()[order.steps_done..] {
            answer = self
                .say(control, order, ReportEvent::StepDone { step: *step, result: result.clone() })
                .await?;
        }
        Ok(answer)
    }

    /// Reports what was copied to the archive.
    pub(crate) async fn tell_archived(
        &self,
        control: &Control,
        order: &Order,
        outcome: &ArchiveOutcome,
    ) -> Result<Instruction> {
        let (step, result) = (Step::CopyToArchive, Some(serde_json::to_value(outcome)?));
        self.say(control, order, ReportEvent::StepDone { step, result }).await
    }

    /// Brings points back; their snapshots too, unless these were purged.
    pub(crate) async fn bring_back(
        &self,
        control: &Control,
        order: &Order,
        gone_near: bool,
    ) -> Result<Instruction> {
        self.carry_out_silently(order);
        let Work::UndeletePoints { points, snapshots, .. } = &order.work else {
            unreachable!("it is no other")
        };
        let gone: &[PointId] = if gone_near { snapshots } else { &[] };
        let result = serde_json::json!({ "points": points, "gone": [], "gone_near": gone });
        self.say(control, order, ReportEvent::StepDone { step: Step::BringPointsBack, result: Some(result) })
            .await
    }

    /// Does all there is to do now. Gives the jobs.
    pub(crate) async fn work(&self, control: &Control) -> Result<Vec<JobId>> {
        let mut done = Vec::new();
        while let Some(order) = self.claim(control).await? {
            self.carry_out(control, &order).await?;
            done.push(order.job);
        }
        Ok(done)
    }
}
