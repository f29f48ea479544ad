//! Policies: written, tried, changed.

use crate::dry_run::{KeptBy, Tally, forbidden, loss};
use crate::faults::Faults;
use crate::request::settings;
use crate::{Actor, Control, Error, Paging, Result};
use api::{Code, DryRun, NewPolicy, Page, Policy, PolicyPreview, PreviewPoint, Violation};
use catalog::{ErrorKind, ItemFilter, PAGE_MAX, PolicyRow};
use jiff::ToSpan;
use model::policy::PolicyDocument;
use model::retention::{Tier, Until, Why, goes_to_vault, plan, stands_for};
use model::{Origin, Point, PointId, PolicyId, VaultCopy, VaultId};
use serde_json::json;
use uuid::Uuid;

/// Azure's limit; lists of a vault's policies are made for it.
const POLICIES_MAX: usize = 200;

impl Control {
    /// The policies of a vault, by name.
    pub async fn policies(&self, vault: VaultId, paging: &Paging) -> Result<Page<Policy>> {
        self.vault_row(vault).await?;
        let rows = self.catalog.policies(vault).await?;
        paging
            .of(rows.into_iter().map(shown).collect(), |policy| (policy.name.clone(), policy.id.to_string()))
    }

    /// One policy.
    pub async fn policy(&self, vault: VaultId, id: PolicyId) -> Result<Policy> {
        Ok(shown(self.policy_row(vault, id).await?))
    }

    /// Makes a policy.
    pub async fn make_policy(&self, actor: &Actor, vault: VaultId, new: NewPolicy) -> Result<Policy> {
        checked(&new)?;
        self.vault_row(vault).await?;
        if self.catalog.policies(vault).await?.len() >= POLICIES_MAX {
            let detail = format!("the vault has {POLICIES_MAX} policies, as many as may be");
            return Err(Error::new(Code::Conflict, detail));
        }
        let id = PolicyId(self.draw());
        let detail = json!({ "vault": vault, "name": new.name, "document": new.document });
        self.audit(actor, "policy.create", &id.to_string(), &detail).await?;
        let NewPolicy { name, document, .. } = new;
        let row = PolicyRow { id, vault, name, document, created: self.now(), revision: 1 };
        self.catalog.add_policy(&row).await.map_err(|error| taken_or(error, &row.name))?;
        Ok(shown(row))
    }

    /// Changes a policy, and so what becomes of the points of all machines under it.
    pub async fn change_policy(
        &self,
        actor: &Actor,
        vault: VaultId,
        id: PolicyId,
        new: NewPolicy,
    ) -> Result<Policy> {
        let policy = checked(&new)?;
        let mut row = self.policy_row(vault, id).await?;
        if new.revision.is_some_and(|revision| revision != row.revision) {
            return Err(Error::new(Code::Changed, "the policy was changed meanwhile").hint("read it again"));
        }
        let found = match keeps_the_same(&row.document, &new.document) {
            true => DryRun { allowed: true, ..DryRun::default() },
            false => self.policy_difference(&row, &policy).await?,
        };
        if !found.allowed {
            return Err(forbidden(&found));
        }
        if found.lost > 0 && !new.accept_loss {
            return Err(loss(&found));
        }
        let detail = json!({
            "vault": vault, "name": new.name, "document": new.document,
            "lost": found.lost, "shorter": found.shorter,
        });
        self.audit(actor, "policy.change", &id.to_string(), &detail).await?;
        (row.name, row.document) = (new.name, new.document);
        row.revision = self.catalog.update_policy(&row).await.map_err(|error| taken_or(error, &row.name))?;
        // Their slots and expiries are worked out anew.
        self.tick_policies().await?;
        Ok(shown(row))
    }

    /// Removes a policy that nothing needs.
    pub async fn remove_policy(&self, actor: &Actor, vault: VaultId, id: PolicyId) -> Result<()> {
        let row = self.policy_row(vault, id).await?;
        let used = |by: &str| {
            let detail = format!("the policy {} is used by {by}", row.name);
            Error::new(Code::Conflict, detail).hint("put what uses it under another policy first")
        };
        let filter = ItemFilter { policy: Some(id), ..ItemFilter::default() };
        if let Some(item) = self.catalog.items(&filter, None, 1).await?.rows.first() {
            return Err(used(&format!("machines, such as {}", item.name)));
        }
        let rules = settings(&self.vault_row(vault).await?)?.auto_protect;
        if rules.iter().any(|rule| rule.policy == id) {
            return Err(used("a rule of the vault that protects machines by itself"));
        }
        self.audit(actor, "policy.remove", &id.to_string(), &json!({ "vault": vault, "name": row.name }))
            .await?;
        match self.catalog.remove_policy(id).await {
            Err(error) if error.kind() == ErrorKind::Invalid => Err(used("machines")),
            removed => Ok(removed?),
        }
    }

    /// What another text of a policy would make of the points of all machines under it.
    pub async fn try_policy(&self, vault: VaultId, id: PolicyId, new: NewPolicy) -> Result<DryRun> {
        let policy = checked(&new)?;
        let row = self.policy_row(vault, id).await?;
        self.policy_difference(&row, &policy).await
    }

    /// What a policy would do for a machine that has nothing yet.
    pub fn preview(&self, document: PolicyDocument) -> Result<PolicyPreview> {
        // The body is the document itself.
        let policy = document.check().map_err(|found| {
            let violation =
                |one: model::policy::Violation| Violation { pointer: one.pointer, rule: one.rule };
            Error::violations(found.0.into_iter().map(violation).collect())
        })?;
        let now = self.now();
        let year = now.to_zoned(policy.zone().clone()).checked_add(1.year());
        let mut points = Vec::new();
        let mut covered = None;
        for (slot, number) in policy.slots(now, year.map_or(now, |end| end.timestamp())).zip(0u128..) {
            let days = stands_for(&slot, covered);
            let goes = goes_to_vault(&policy, days);
            covered = days.map(|days| days.last).or(covered);
            points.push(Point {
                id: PointId(Uuid::from_u128(number)),
                taken: slot.at,
                origin: Origin::Scheduled { slot, stands_for: days },
                in_snapshot_tier: false,
                vault: if goes { VaultCopy::There } else { VaultCopy::Never },
                pinned: false,
                locked_until: None,
                purge_at: None,
                archive: model::ArchiveCopy::Never,
            });
        }
        let plan = plan(&points, &policy, now);
        let mut copies = plan.copies.iter().filter(|copy| copy.tier == Tier::Vault).peekable();
        let points = points.iter().filter_map(|point| {
            // The plan lists them in the same order.
            let copy = copies.next_if(|copy| copy.point == point.id);
            let classes = copy.into_iter().flat_map(|copy| &copy.reasons);
            let classes = classes.filter_map(|reason| match (reason.why, reason.until) {
                (Why::Class(class), Until::At(_)) => Some(class.rule.to_string()),
                _ => None,
            });
            let (classes, expires) = (classes.collect(), copy.and_then(|copy| copy.expiry()));
            Some(PreviewPoint { at: point.taken, day: point.slot()?.day, classes, expires })
        });
        Ok(PolicyPreview { points: points.collect(), points_at_most: policy.points_at_most() })
    }

    async fn policy_difference(&self, row: &PolicyRow, after: &model::Policy) -> Result<DryRun> {
        let before = stored(row)?;
        let mut tally = Tally::new(settings(&self.vault_row(row.vault).await?)?.immutable);
        let filter = ItemFilter { policy: Some(row.id), ..ItemFilter::default() };
        let mut place = None;
        loop {
            let page = self.catalog.items(&filter, place.as_ref(), PAGE_MAX).await?;
            for item in &page.rows {
                tally.add(item, self.item_difference(item, KeptBy::Policy(&before), after).await?);
            }
            place = page.next;
            if place.is_none() {
                return Ok(tally.result());
            }
        }
    }

    /// A policy of a vault that must be there.
    pub(crate) async fn policy_row(&self, vault: VaultId, id: PolicyId) -> Result<PolicyRow> {
        let missing = || format!("policy {id} in the vault");
        let row = self.catalog.policy(id).await.map_err(|error| Error::missing(error, missing()))?;
        if row.vault == vault { Ok(row) } else { Err(Error::not_found(missing())) }
    }

    /// A policy of a vault that a request names, ready to be asked.
    pub(crate) async fn named_policy(&self, vault: VaultId, id: PolicyId) -> Result<model::Policy> {
        match self.policy_row(vault, id).await {
            Err(error) if error.code() == Code::NotFound => {
                Err(Error::invalid("/policy", format!("must be a policy of the vault; {id} is none")))
            }
            found => stored(&found?),
        }
    }
}

/// A policy that was checked before it was stored.
pub(crate) fn stored(row: &PolicyRow) -> Result<model::Policy> {
    row.document.clone().check().map_err(|error| {
        Error::new(Code::Internal, format!("the policy {} is no longer valid: {error}", row.name))
    })
}

fn checked(new: &NewPolicy) -> Result<model::Policy> {
    let mut faults = Faults::default();
    faults.name("/name", &new.name);
    let policy = new.document.clone().check().map_err(|found| faults.extend(found.into())).ok();
    faults.none()?;
    Ok(policy.expect("or it would be a fault"))
}

/// Whether two texts keep points in the same way, whatever else differs.
fn keeps_the_same(one: &PolicyDocument, other: &PolicyDocument) -> bool {
    let keeps = |document: &PolicyDocument| {
        (document.time_zone.clone(), document.snapshot_days, document.vault.clone())
    };
    keeps(one) == keeps(other)
}

fn shown(row: PolicyRow) -> Policy {
    let PolicyRow { id, vault, name, document, created, revision } = row;
    Policy { id, vault, name, document, created, revision }
}

fn taken_or(error: catalog::Error, name: &str) -> Error {
    match error.kind() {
        ErrorKind::Exists => Error::new(Code::Exists, format!("the vault has a policy {name} already")),
        _ => error.into(),
    }
}
