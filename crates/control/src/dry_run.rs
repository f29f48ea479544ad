//! Dry runs: what another policy would make of the points that are there, before it does.

use crate::schedule::Policies;
use crate::{Control, Result};
use api::{DryRun, ItemDryRun, PointChange};
use catalog::{Item, ItemFilter, PAGE_MAX};
use jiff::Timestamp;
use model::policy::Policy;
use model::retention::{Change, Difference, Fate, Tier, Until, difference, plan};
use model::{Point, VaultId};

/// Changes that are listed: more than anybody reads, and a few megabytes.
const LISTED_MAX: usize = 10_000;

/// By what an item's points are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeptBy<'a> {
    /// A policy.
    Policy(&'a Policy),
    /// Somebody's word, until they say otherwise.
    Word,
}

/// The sum of what would change for some items.
#[derive(Debug)]
pub(crate) struct Tally {
    is_immutable: bool,
    listed: usize,
    dry_run: DryRun,
}

impl Tally {
    pub(crate) fn new(is_immutable: bool) -> Self {
        Self { is_immutable, listed: 0, dry_run: DryRun::default() }
    }

    /// Adds an item.
    pub(crate) fn add(&mut self, item: &Item, found: Difference) {
        let count = |changes: &[Change]| changes.len() as u64;
        self.dry_run.lost += count(&found.lost);
        self.dry_run.shorter += count(&found.shorter);
        self.dry_run.longer += count(&found.longer);
        self.dry_run.same += found.same as u64;
        let lists = [("lost", found.lost), ("shorter", found.shorter), ("longer", found.longer)];
        let all: usize = lists.iter().map(|(_, changes)| changes.len()).sum();
        let changes = lists.into_iter().flat_map(|(word, list)| list.into_iter().map(move |one| (word, one)));
        let points: Vec<_> =
            changes.take(LISTED_MAX - self.listed).map(|(word, one)| shown(word, &one)).collect();
        self.dry_run.cut |= points.len() < all;
        self.listed += points.len();
        if !points.is_empty() {
            self.dry_run.items.push(ItemDryRun { item: item.id, name: item.name.clone(), points });
        }
    }

    /// What it comes to.
    pub(crate) fn result(self) -> DryRun {
        let takes = self.dry_run.lost + self.dry_run.shorter > 0;
        DryRun { allowed: !(self.is_immutable && takes), ..self.dry_run }
    }
}

impl Control {
    /// What a policy would make of an item's points.
    pub(crate) async fn item_difference(
        &self,
        item: &Item,
        before: KeptBy<'_>,
        after: &Policy,
    ) -> Result<Difference> {
        let points: Vec<_> =
            self.catalog.points_to_plan(item.id).await?.into_iter().map(|kept| kept.point).collect();
        Ok(match before {
            KeptBy::Policy(before) => difference(&points, before, after, self.now()),
            KeptBy::Word => from_word(&points, after, self.now()),
        })
    }

    /// Refuses to let a vault's points expire again if some are over already.
    pub(crate) async fn nothing_is_over(&self, vault: VaultId) -> Result<()> {
        let filter = ItemFilter { vault: Some(vault), ..ItemFilter::default() };
        let (mut tally, mut policies, mut place) = (Tally::new(false), Policies::default(), None);
        loop {
            let page = self.catalog.items(&filter, place.as_ref(), PAGE_MAX).await?;
            for item in &page.rows {
                let Some(policy) = item.protection.retention_policy() else { continue };
                let policy = self.policy_of(policy, &mut policies).await?;
                tally.add(item, self.item_difference(item, KeptBy::Word, &policy).await?);
            }
            place = page.next;
            if place.is_none() {
                break;
            }
        }
        match tally.result().lost {
            0 => Ok(()),
            lost => {
                let detail =
                    format!("{lost} copies of points are over by their policies and would be gone at once");
                let hint =
                    "pin what is to stay, or stop the protection of its machine; then say `accept_loss`";
                Err(crate::Error::new(api::Code::Conflict, detail).hint(hint))
            }
        }
    }
}

/// What a policy makes of points that were kept until somebody says otherwise, now that somebody does.
fn from_word(points: &[Point], after: &Policy, now: Timestamp) -> Difference {
    let mut found = Difference::default();
    let is_deleted = |id| points.iter().any(|point| point.id == id && point.is_deleted());
    for copy in plan(points, after, now).copies {
        let expiry = copy.expiry();
        let list = match copy.fate {
            _ if is_deleted(copy.point) => None,
            Fate::Expired(_) => Some(&mut found.lost),
            Fate::Kept(Until::At(_)) => Some(&mut found.shorter),
            Fate::Kept(Until::Open) => None,
        };
        let Some(list) = list else {
            found.same += 1;
            continue;
        };
        list.push(Change {
            point: copy.point,
            taken: copy.taken,
            tier: copy.tier,
            before: (Fate::Kept(Until::Open), None),
            after: (copy.fate, expiry),
            reasons: copy.reasons,
        });
    }
    found
}

fn shown(word: &str, change: &Change) -> PointChange {
    let by_time = |(fate, expiry): (Fate, Option<Timestamp>)| match fate {
        Fate::Kept(Until::Open) => None,
        Fate::Kept(Until::At(_)) | Fate::Expired(_) => expiry,
    };
    PointChange {
        point: change.point,
        taken: change.taken,
        tier: match change.tier {
            Tier::Snapshot => "snapshot".to_owned(),
            Tier::Vault => "vault".to_owned(),
        },
        change: word.to_owned(),
        before: by_time(change.before),
        after: by_time(change.after),
        reasons: change.reasons.iter().map(|reason| reason.why.to_string()).collect(),
    }
}

/// Says what would be lost, for who did not know.
pub(crate) fn loss(found: &DryRun) -> crate::Error {
    let DryRun { lost, shorter, .. } = found;
    let detail = format!("{lost} copies of points would be gone at once, and {shorter} would expire sooner");
    let hint = "look at the dry run, then say `accept_loss` if that is meant";
    crate::Error::new(api::Code::Conflict, detail).hint(hint)
}

/// Says that an immutable vault loses nothing.
pub(crate) fn forbidden(found: &DryRun) -> crate::Error {
    let DryRun { lost, shorter, .. } = found;
    let detail = format!(
        "the vault is immutable: {lost} copies of points would be gone at once, and {shorter} would expire sooner"
    );
    crate::Error::new(api::Code::Locked, detail)
}
