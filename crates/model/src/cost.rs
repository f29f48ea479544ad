//! What machines cost: by size class while they are protected, and by their part of what is stored, at one's own prices.
//!
//! A day counts as it was last measured; a month is its days. Money is whole millionths of a currency's unit, rounded
//! where it is told, so that what is told adds up.

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

/// Bytes of a gibibyte, by which tiers are priced and machines measured.
pub const GIB: u64 = 1 << 30;
/// The most that a price may be: what somebody pays is less by far, and sums stay in range.
pub const PRICE_MAX: f64 = 1_000_000.0;

/// An amount of money, in millionths of a currency's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub u64);

impl Money {
    /// What somebody has written; none if it is no price.
    pub fn of(amount: f64) -> Option<Self> {
        (0.0..=PRICE_MAX).contains(&amount).then(|| Self((amount * 1e6).round() as u64))
    }

    /// In units of the currency.
    pub fn amount(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// `parts` of `whole` times this, rounded.
    fn times(self, parts: u128, whole: u128) -> Self {
        let product = u128::from(self.0) * parts;
        Self(u64::try_from((product + whole / 2) / whole).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum + one)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.amount())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = f64::deserialize(deserializer)?;
        let rule = || serde::de::Error::custom(format!("a price is 0 to {PRICE_MAX}; {amount} is none"));
        Self::of(amount).ok_or_else(rule)
    }
}

/// Which copy of the data a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Redundancy {
    /// The first.
    Local,
    /// The one in another region.
    Geo,
}

/// What a store is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum StorageTier {
    /// Beside the hosts, for days.
    Snapshot,
    /// The vault.
    Vault,
    /// For what is hardly ever read.
    Archive,
}

/// What bytes are priced by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StorageClass {
    /// The tier.
    pub tier: StorageTier,
    /// Which copy.
    pub redundancy: Redundancy,
}

impl StorageClass {
    /// All that there are.
    pub const ALL: [Self; 6] = [
        Self { tier: StorageTier::Snapshot, redundancy: Redundancy::Local },
        Self { tier: StorageTier::Snapshot, redundancy: Redundancy::Geo },
        Self { tier: StorageTier::Vault, redundancy: Redundancy::Local },
        Self { tier: StorageTier::Vault, redundancy: Redundancy::Geo },
        Self { tier: StorageTier::Archive, redundancy: Redundancy::Local },
        Self { tier: StorageTier::Archive, redundancy: Redundancy::Geo },
    ];
}

/// What a protected machine is priced by: what its disks hold, as Azure sorts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SizeClass {
    /// 50 GiB and less.
    UpTo50,
    /// More, up to 500 GiB.
    UpTo500,
    /// More than that: with so many further 500 GiB that are begun.
    Further(u32),
}

impl SizeClass {
    /// The class of a machine whose disks hold so much.
    pub fn of(used_bytes: u64) -> Self {
        match used_bytes.div_ceil(GIB) {
            0..=50 => Self::UpTo50,
            51..=500 => Self::UpTo500,
            more => Self::Further(u32::try_from((more - 500).div_ceil(500)).unwrap_or(u32::MAX)),
        }
    }
}

impl fmt::Display for SizeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo50 => f.write_str("up to 50 GiB"),
            Self::UpTo500 => f.write_str("up to 500 GiB"),
            Self::Further(more) => write!(f, "up to {} GiB", 500 + 500 * u64::from(*more)),
        }
    }
}

/// What a protected machine costs a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MachinePrices {
    /// Up to 50 GiB.
    #[cfg_attr(feature = "schema", schema(value_type = f64, minimum = 0, maximum = 1_000_000))]
    pub up_to_50_gib: Money,
    /// More, up to 500 GiB.
    #[cfg_attr(feature = "schema", schema(value_type = f64, minimum = 0, maximum = 1_000_000))]
    pub up_to_500_gib: Money,
    /// Beside that: for each further 500 GiB that are begun.
    #[cfg_attr(feature = "schema", schema(value_type = f64, minimum = 0, maximum = 1_000_000))]
    pub each_further_500_gib: Money,
}

impl MachinePrices {
    fn of(&self, class: SizeClass) -> Money {
        match class {
            SizeClass::UpTo50 => self.up_to_50_gib,
            SizeClass::UpTo500 => self.up_to_500_gib,
            SizeClass::Further(more) => self.up_to_500_gib + self.each_further_500_gib.times(more.into(), 1),
        }
    }
}

/// What a GiB costs a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StoragePrice {
    /// In this tier.
    pub tier: StorageTier,
    /// In this copy.
    pub redundancy: Redundancy,
    /// The price.
    #[cfg_attr(feature = "schema", schema(value_type = f64, minimum = 0, maximum = 1_000_000))]
    pub gib_month: Money,
}

/// Somebody's own prices. What has no price costs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Prices {
    /// As `EUR`: a word that is told beside every amount.
    #[cfg_attr(feature = "schema", schema(pattern = "^[0-9A-Za-z]{1,8}$"))]
    pub currency: String,
    /// What protected machines cost.
    #[serde(default)]
    pub machine: MachinePrices,
    /// What stored bytes cost.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 6))]
    pub storage: Vec<StoragePrice>,
}

impl Prices {
    /// What is wrong with them, as where and what.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let is_word = |c: char| c.is_ascii_alphanumeric();
        if !(1..=8).contains(&self.currency.len()) || !self.currency.chars().all(is_word) {
            faults.push(("/currency".to_owned(), "must be 1 to 8 letters or digits, as EUR".to_owned()));
        }
        for (at, price) in self.storage.iter().enumerate() {
            let same =
                |other: &StoragePrice| (other.tier, other.redundancy) == (price.tier, price.redundancy);
            if self.storage[..at].iter().any(same) {
                faults.push((format!("/storage/{at}"), "has a price already".to_owned()));
            }
        }
        faults
    }

    fn gib_month(&self, class: StorageClass) -> Money {
        let fits = |price: &&StoragePrice| (price.tier, price.redundancy) == (class.tier, class.redundancy);
        self.storage.iter().find(fits).map(|price| price.gib_month).unwrap_or_default()
    }
}

/// A month, as `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(Date);

impl Month {
    /// The month of a day.
    pub fn of(day: Date) -> Self {
        Self(day.first_of_month())
    }

    /// Its first day.
    pub fn first(self) -> Date {
        self.0
    }

    /// Its last day.
    pub fn last(self) -> Date {
        self.0.last_of_month()
    }

    /// How many days it has.
    pub fn days(self) -> u32 {
        self.0.days_in_month().unsigned_abs().into()
    }

    /// Its days, the first one first, up to this one.
    pub fn days_until(self, last: Date) -> impl Iterator<Item = Date> {
        let last = self.last().min(last);
        self.0.series(jiff::Span::new().days(1)).take_while(move |day| *day <= last)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || format!("a month is written as 2026-11; `{text}` is none");
        let is_digits = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let (year, month) = text.split_once('-').ok_or_else(rule)?;
        if !is_digits(year, 4) || !is_digits(month, 2) {
            return Err(rule());
        }
        let first = Date::new(year.parse().map_err(|_| rule())?, month.parse().map_err(|_| rule())?, 1);
        first.map(Self).map_err(|_| rule())
    }
}

/// What was measured of a machine in a store, or of what is no machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Whose: the machine's name in the vault, or a word for what is no machine's.
    pub subject: String,
    /// Its part of what is stored.
    pub share_bytes: u64,
    /// What its disks hold; none for what is no machine, or has no points but deleted ones.
    pub used_bytes: Option<u64>,
}

/// What a subject has used in a month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Bytes of each day, added up.
    pub byte_days: BTreeMap<StorageClass, u128>,
    /// Days under protection, by size class.
    pub machine_days: BTreeMap<SizeClass, u32>,
}

impl Bill {
    /// Adds what another has used.
    pub fn add(&mut self, other: &Self) {
        for (class, days) in &other.byte_days {
            *self.byte_days.entry(*class).or_default() += days;
        }
        for (class, days) in &other.machine_days {
            *self.machine_days.entry(*class).or_default() += days;
        }
    }

    /// Bytes in a class on average over the month.
    pub fn average_bytes(&self, class: StorageClass, month: Month) -> u64 {
        let days = u128::from(month.days());
        let sum = self.byte_days.get(&class).copied().unwrap_or(0);
        u64::try_from((sum + days / 2) / days).unwrap_or(u64::MAX)
    }

    /// What the bytes of a class cost.
    pub fn storage_cost(&self, class: StorageClass, prices: &Prices, month: Month) -> Money {
        let sum = self.byte_days.get(&class).copied().unwrap_or(0);
        prices.gib_month(class).times(sum, u128::from(GIB) * u128::from(month.days()))
    }

    /// What protection costs.
    pub fn protection_cost(&self, prices: &Prices, month: Month) -> Money {
        let cost = |(class, days): (&SizeClass, &u32)| {
            prices.machine.of(*class).times((*days).into(), month.days().into())
        };
        self.machine_days.iter().map(cost).sum()
    }
}

/// Adds up the days of a month.
#[derive(Clone, Debug, Default)]
pub struct Bills(pub BTreeMap<String, Bill>);

impl Bills {
    /// Adds a day of one vault: what each of its stores held. A machine is under protection once a day, as large as the
    /// largest of what its stores say.
    pub fn day(&mut self, stores: &[(StorageClass, &[Usage])]) {
        let mut sizes: HashMap<&str, u64> = HashMap::new();
        for (class, usages) in stores {
            for usage in *usages {
                let bill = match self.0.get_mut(&usage.subject) {
                    Some(bill) => bill,
                    None => self.0.entry(usage.subject.clone()).or_default(),
                };
                *bill.byte_days.entry(*class).or_default() += u128::from(usage.share_bytes);
                if let Some(used) = usage.used_bytes {
                    let size = sizes.entry(&usage.subject).or_default();
                    *size = used.max(*size);
                }
            }
        }
        for (subject, used) in sizes {
            let bill = self.0.get_mut(subject).expect("it was billed for its bytes");
            *bill.machine_days.entry(SizeClass::of(used)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests;
