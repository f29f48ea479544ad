//! What is stored for whom, and what it costs: movers measure, days are kept, reports add them up.
//!
//! A day counts as it was measured last; one without a measurement counts as the one before it, for a collection that is
//! late changes nothing of what is stored.

use crate::cost::{Ledger, OWN};
use crate::faults::Faults;
use crate::order::ordered_of;
use crate::request::Request;
use crate::{Actor, Control, Error, Result};
use api::work::{ReportedUsage, UsageReport};
use api::{Code, CostBy, CostReport, MeasuredStore, StoreUsage, TierStored, UsagePart};
use catalog::{ItemFilter, PAGE_MAX, UsageDay, UsageRow, VaultRow};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use model::cost::{Bills, Month, Prices, StorageClass, Usage};
use model::job::{Claim, JobKind};
use model::{JobId, Owner, VaultId};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// How long a measurement stands for days that have none of their own: a vault that nobody could measure for longer is
/// one of which nothing is known.
const STANDS_DAYS: i32 = 31;
/// What was measured is kept so long: a year can be compared with the one before it.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 800);
/// Characters of a subject: what a vault calls a machine has 128 at most.
const SUBJECT_MAX: usize = 128;

/// What a report is about.
#[derive(Clone, Debug, Default)]
pub struct WhichCosts {
    /// The month, as `2026-11`; this one if not said.
    pub month: Option<String>,
    /// What there is a line for.
    pub by: CostBy,
    /// The tag, if there is one for each of its values.
    pub tag: Option<String>,
    /// Only this vault.
    pub vault: Option<VaultId>,
}

impl Control {
    /// Keeps what a mover has measured, if its claim holds.
    ///
    /// # Errors
    /// `Invalid` for subjects that are none; `Conflict` when the claim does not hold.
    pub async fn keep_usage(&self, mover: &str, job: JobId, report: UsageReport) -> Result<()> {
        self.catalog.see_mover(mover, self.now()).await?;
        let lost = || Error::new(Code::Conflict, "the claim on the collection does not hold");
        let row = self.catalog.job(job).await.map_err(|_| lost())?;
        let claim = Claim { claimant: report.claimant, generation: report.generation };
        if !matches!(row.job.kind, JobKind::Collect | JobKind::Copy) || row.job.claimed() != Some(claim) {
            return Err(lost());
        }
        let (Some(vault), Some(measured)) = (row.vault, ordered_of(&row).at) else { return Err(lost()) };
        let mut faults = Faults::default();
        faults.entries("/usages", (0, UsageReport::USAGES_MAX), report.usages.len());
        for (at, usage) in report.usages.iter().enumerate() {
            faults.text(&format!("/usages/{at}/subject"), &usage.subject, SUBJECT_MAX);
        }
        faults.none()?;
        let class = StorageClass { tier: report.tier, redundancy: report.redundancy };
        let rows: Vec<_> = report.usages.into_iter().map(row_of).collect();
        let day = UsageDay { vault, class, day: day_of(measured), measured };
        Ok(self.catalog.put_usage(day, &rows).await?)
    }

    /// Has a vault measured now; what is due to be freed is freed before, as every day.
    pub async fn measure(&self, actor: &Actor, vault: VaultId) -> Result<JobId> {
        let row = self.vault_row(vault).await?;
        self.audit(actor, "vault.measure", &vault.to_string(), &json!({ "name": row.name })).await?;
        self.queue_for(actor, vault, vault.0, &Request::Collect {}).await
    }

    /// Whose the bytes of a vault's stores were when they were measured last.
    pub async fn usage(&self, vault: VaultId) -> Result<Vec<StoreUsage>> {
        let row = self.vault_row(vault).await?;
        let today = day_of(self.now());
        let mut last: BTreeMap<StorageClass, UsageDay> = BTreeMap::new();
        for day in self.catalog.usage_days(vault, today - STANDS_DAYS.days(), today).await? {
            last.insert(day.class, day);
        }
        let names = self.names_in(&row).await?;
        let mut stores = Vec::new();
        for day in last.into_values() {
            let rows = self.catalog.usage_on(&day).await?;
            let stored_bytes = rows.iter().map(|row| row.share_bytes).sum();
            let mut parts: Vec<_> = rows.into_iter().map(|row| part(row, &names)).collect();
            parts.sort_by(|a, b| (b.share_bytes, &a.key).cmp(&(a.share_bytes, &b.key)));
            let StorageClass { tier, redundancy } = day.class;
            stores.push(StoreUsage { tier, redundancy, measured: day.measured, stored_bytes, parts });
        }
        Ok(stores)
    }

    /// What lies in the stores of these vaults, or of all, tier by tier, as it was measured last.
    pub(crate) async fn stored_by_tier(&self, seen: Option<&[VaultId]>) -> Result<Vec<TierStored>> {
        let since = day_of(self.now()) - STANDS_DAYS.days();
        let mut stored: BTreeMap<StorageClass, TierStored> = BTreeMap::new();
        for vault in self.catalog.vaults().await? {
            if seen.is_some_and(|seen| !seen.contains(&vault.id)) {
                continue;
            }
            for class in StorageClass::ALL {
                let Some((bytes, measured)) = self.catalog.stored_last(vault.id, class, since).await? else {
                    continue;
                };
                let StorageClass { tier, redundancy } = class;
                let none = TierStored { tier, redundancy, stored_bytes: 0, measured };
                let sum = stored.entry(class).or_insert(none);
                sum.stored_bytes += bytes;
                sum.measured = sum.measured.min(measured);
            }
        }
        Ok(stored.into_values().collect())
    }

    /// Somebody's own prices, if anybody has said any.
    pub async fn prices(&self) -> Result<Option<Prices>> {
        Ok(self.catalog.prices().await?)
    }

    /// Says other prices. They hold for every month: what a report tells is what it would cost at these.
    pub async fn set_prices(&self, actor: &Actor, prices: &Prices) -> Result<Prices> {
        let mut faults = Faults::default();
        prices.faults().into_iter().for_each(|(at, rule)| faults.add(at, rule));
        faults.none()?;
        self.audit(actor, "prices.change", "prices", &json!(prices)).await?;
        self.catalog.put_prices(prices, self.now()).await?;
        Ok(prices.clone())
    }

    /// What a month has come to, in the vaults that the caller may see.
    pub async fn cost(&self, which: &WhichCosts, may_see: impl Fn(VaultId) -> bool) -> Result<CostReport> {
        let today = day_of(self.now());
        let month = match &which.month {
            None => Month::of(today),
            Some(text) => text.parse().map_err(|rule: String| Error::invalid("month", rule))?,
        };
        if (which.by == CostBy::Tag) != which.tag.is_some() {
            return Err(Error::invalid(
                "tag",
                "is needed where there is a line for each of its values, and only there",
            ));
        }
        let mut ledger = Ledger::new(month, self.catalog.prices().await?, which);
        let mut measured = Vec::new();
        for row in self.catalog.vaults().await? {
            if !may_see(row.id) || which.vault.is_some_and(|vault| vault != row.id) {
                continue;
            }
            let bills = self.bills(&row, (month, today), &mut measured).await?;
            let names = self.names_in(&row).await?;
            let tags = if which.tag.is_some() { self.item_tags(&row).await? } else { HashMap::new() };
            ledger.add(&row, &bills, &names, &tags);
        }
        let until = month.days_until(today).last();
        Ok(ledger.report(until, measured))
    }

    /// What the machines of a vault have used in a month, day by day.
    async fn bills(
        &self,
        vault: &VaultRow,
        (month, today): (Month, Date),
        measured: &mut Vec<MeasuredStore>,
    ) -> Result<Bills> {
        let from = month.first() - STANDS_DAYS.days();
        let days = self.catalog.usage_days(vault.id, from, month.last().min(today)).await?;
        let mut of_store: BTreeMap<StorageClass, Vec<UsageDay>> = BTreeMap::new();
        for day in days {
            of_store.entry(day.class).or_default().push(day);
        }
        for (class, days) in &of_store {
            let within = days.iter().filter(|day| day.day >= month.first()).count();
            measured.push(MeasuredStore {
                vault: vault.id,
                name: vault.name.clone(),
                tier: class.tier,
                redundancy: class.redundancy,
                days: u32::try_from(within).unwrap_or(u32::MAX),
                measured: days.last().expect("a store is there for a day").measured,
            });
        }
        let mut bills = Bills::default();
        // One measurement of each store at a time: memory does not grow with the month.
        let mut at_hand: BTreeMap<StorageClass, (Date, Vec<Usage>)> = BTreeMap::new();
        for day in month.days_until(today) {
            for (class, days) in &of_store {
                let stands = days.iter().rev().find(|one| one.day <= day);
                match stands.filter(|one| one.day >= day - STANDS_DAYS.days()) {
                    None => drop(at_hand.remove(class)),
                    Some(one) if at_hand.get(class).is_some_and(|(known, _)| *known == one.day) => {}
                    Some(one) => {
                        let rows = self.catalog.usage_on(one).await?;
                        at_hand.insert(*class, (one.day, rows.into_iter().map(usage_of).collect()));
                    }
                }
            }
            let stores: Vec<_> = at_hand.iter().map(|(class, (_, usages))| (*class, &usages[..])).collect();
            bills.day(&stores);
        }
        Ok(bills)
    }

    /// What people call the machines that a vault has or had points of: by item, and by machine.
    async fn names_in(&self, vault: &VaultRow) -> Result<HashMap<String, String>> {
        let mut names = HashMap::new();
        for item in self.items_in(vault).await? {
            names.insert(item.machine.to_string(), item.name.clone());
            names.insert(item.id.to_string(), item.name);
        }
        for machine in self.catalog.machines_with_snapshots(vault.id).await? {
            // One that was forgotten has no name any more.
            if let (false, Ok(row)) =
                (names.contains_key(&machine.to_string()), self.catalog.machine(machine).await)
            {
                names.insert(machine.to_string(), row.name);
            }
        }
        Ok(names)
    }

    /// How the machines of a vault's items are tagged.
    async fn item_tags(&self, vault: &VaultRow) -> Result<HashMap<String, BTreeMap<String, String>>> {
        let mut tags = HashMap::new();
        for item in self.items_in(vault).await? {
            // A machine that is gone has no tags any more.
            if let Ok(machine) = self.catalog.machine(item.machine).await {
                tags.insert(item.id.to_string(), machine.tags);
            }
        }
        Ok(tags)
    }

    async fn items_in(&self, vault: &VaultRow) -> Result<Vec<catalog::Item>> {
        let filter = ItemFilter { vault: Some(vault.id), ..ItemFilter::default() };
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let page = self.catalog.items(&filter, after.as_ref(), PAGE_MAX).await?;
            items.extend(page.rows);
            after = page.next;
            if after.is_none() {
                return Ok(items);
            }
        }
    }

    /// Forgets what was measured long ago.
    pub(crate) async fn forget_usage(&self, now: Timestamp) -> Result<()> {
        Ok(self.catalog.forget_usage(day_of(now - KEPT)).await?)
    }
}

fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn row_of(usage: ReportedUsage) -> UsageRow {
    let ReportedUsage { subject, share_bytes, alone_bytes, used_bytes, points } = usage;
    UsageRow { subject, share_bytes, alone_bytes, used_bytes, points }
}

fn usage_of(row: UsageRow) -> Usage {
    // Only items are under protection: what no policy owns is stored, no more.
    let is_item = row.subject.parse::<Uuid>().is_ok();
    let used_bytes = row.used_bytes.filter(|_| is_item);
    Usage { subject: row.subject, share_bytes: row.share_bytes, used_bytes }
}

fn part(row: UsageRow, names: &HashMap<String, String>) -> UsagePart {
    let UsageRow { subject, share_bytes, alone_bytes, used_bytes, points } = row;
    UsagePart { name: name_of(&subject, names), key: subject, points, share_bytes, alone_bytes, used_bytes }
}

/// What people call a subject.
pub(crate) fn name_of(subject: &str, names: &HashMap<String, String>) -> String {
    let own = OWN.iter().find(|(word, _)| *word == subject).map(|(_, name)| (*name).to_owned());
    own.unwrap_or_else(|| {
        let (owner, of) = Owner::split(subject);
        let name = names.get(of).map_or(of, String::as_str);
        match owner {
            Owner::Policy => name.to_owned(),
            Owner::Snapshot => format!("Snapshots of {name}"),
            Owner::Image => format!("Image {name}"),
        }
    })
}
