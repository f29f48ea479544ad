//! A month's bills as lines of a report.

use crate::usage::{WhichCosts, name_of};
use api::{CostBy, CostLine, CostReport, MachineDays, MeasuredStore, StorageUse};
use catalog::VaultRow;
use jiff::civil::Date;
use model::VaultId;
use model::cost::{Bill, Bills, Money, Month, Prices};
use std::collections::{BTreeMap, HashMap};

/// What of a store is no machine's, and what people call it.
pub(crate) const OWN: [(&str, &str); 3] = [
    ("#unreferenced", "(freed by later collections)"),
    ("#index", "(the vault's index)"),
    ("#other", "(the vault's log and keys)"),
];
/// The line of all machines that have no such tag.
const UNTAGGED: &str = "(without the tag)";
/// The line of what is no machine's, where lines are values of a tag.
const NOBODYS: &str = "(no machine's)";
/// The line of protection, where lines are tiers.
const PROTECTION: &str = "protected machines";

/// A line that is being added up.
struct Line {
    name: String,
    vault: Option<VaultId>,
    bill: Bill,
}

/// Adds vaults up.
pub(crate) struct Ledger {
    month: Month,
    prices: Option<Prices>,
    by: CostBy,
    tag: Option<String>,
    lines: BTreeMap<String, Line>,
}

impl Ledger {
    pub(crate) fn new(month: Month, prices: Option<Prices>, which: &WhichCosts) -> Self {
        Self { month, prices, by: which.by, tag: which.tag.clone(), lines: BTreeMap::new() }
    }

    /// Adds what the subjects of a vault have used.
    pub(crate) fn add(
        &mut self,
        vault: &VaultRow,
        bills: &Bills,
        names: &HashMap<String, String>,
        tags: &HashMap<String, BTreeMap<String, String>>,
    ) {
        for (subject, bill) in &bills.0 {
            match self.by {
                CostBy::Machine => {
                    // What is no machine's is there once in each vault, and so may be a machine.
                    let key = format!("{subject}@{}", vault.name);
                    self.line(key, name_of(subject, names), Some(vault.id)).add(bill);
                }
                CostBy::Vault => {
                    self.line(vault.id.to_string(), vault.name.clone(), Some(vault.id)).add(bill);
                }
                CostBy::Tier => self.add_tiers(bill),
                CostBy::Tag => {
                    let tag = self.tag.clone().unwrap_or_default();
                    let value = tags.get(subject).and_then(|tags| tags.get(&tag)).cloned();
                    let nobodys = if subject.starts_with('#') { NOBODYS } else { UNTAGGED };
                    let value = value.unwrap_or_else(|| nobodys.to_owned());
                    self.line(value.clone(), value, None).add(bill);
                }
            }
        }
    }

    fn add_tiers(&mut self, bill: &Bill) {
        for (class, days) in &bill.byte_days {
            let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let tier = word(serde_json::json!(class.tier));
            let name = format!("{tier} {}", word(serde_json::json!(class.redundancy)));
            let part = Bill { byte_days: [(*class, *days)].into(), ..Bill::default() };
            self.line(name.clone(), name, None).add(&part);
        }
        if !bill.machine_days.is_empty() {
            let part = Bill { machine_days: bill.machine_days.clone(), ..Bill::default() };
            self.line(PROTECTION.to_owned(), PROTECTION.to_owned(), None).add(&part);
        }
    }

    fn line(&mut self, key: String, name: String, vault: Option<VaultId>) -> &mut Bill {
        &mut self.lines.entry(key).or_insert_with(|| Line { name, vault, bill: Bill::default() }).bill
    }

    /// The report. What lines tell is what adds up: each is rounded by itself.
    pub(crate) fn report(self, until: Option<Date>, measured: Vec<MeasuredStore>) -> CostReport {
        let (month, prices) = (self.month, self.prices);
        let currency = prices.as_ref().map(|prices| prices.currency.clone());
        // Without prices nothing costs anything, and what was used is told all the same.
        let none = Prices { currency: String::new(), machine: Default::default(), storage: Vec::new() };
        let prices = prices.unwrap_or(none);
        let lines = self.lines.into_iter();
        let mut lines: Vec<_> = lines.map(|(key, line)| told(key, line, &prices, month)).collect();
        let bytes = |line: &CostLine| line.storage.iter().map(|one| one.average_bytes).sum::<u64>();
        lines.sort_by(|a, b| (b.cost, bytes(b), &a.name).cmp(&(a.cost, bytes(a), &b.name)));
        let total: Money = lines.iter().map(|line| line.cost).sum();
        CostReport { month: month.to_string(), until, currency, lines, total, measured }
    }
}

fn told(key: String, Line { name, vault, bill }: Line, prices: &Prices, month: Month) -> CostLine {
    let storage: Vec<_> = bill
        .byte_days
        .keys()
        .map(|class| StorageUse {
            tier: class.tier,
            redundancy: class.redundancy,
            average_bytes: bill.average_bytes(*class, month),
            cost: bill.storage_cost(*class, prices, month),
        })
        .collect();
    let protection_cost = bill.protection_cost(prices, month);
    let stored: Money = storage.iter().map(|one| one.cost).sum();
    let protected = bill.machine_days.iter();
    let protected =
        protected.map(|(size, days)| MachineDays { size: size.to_string(), days: *days }).collect();
    CostLine { key, name, vault, protected, protection_cost, storage, cost: protection_cost + stored }
}
