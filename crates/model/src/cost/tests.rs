//! What a month costs, by examples and by laws that hold for every month.

use super::*;
use jiff::civil::date;
use proptest::prelude::*;
use serde_json::json;

const VAULT: StorageClass = StorageClass { tier: StorageTier::Vault, redundancy: Redundancy::Local };
const SNAPSHOT: StorageClass = StorageClass { tier: StorageTier::Snapshot, redundancy: Redundancy::Local };

fn usage(subject: &str, share_bytes: u64, used_gib: Option<u64>) -> Usage {
    Usage { subject: subject.to_owned(), share_bytes, used_bytes: used_gib.map(|gib| gib * GIB) }
}

fn prices() -> Prices {
    let told = json!({
        "currency": "EUR",
        "machine": { "up_to_50_gib": 5, "up_to_500_gib": 10.0, "each_further_500_gib": 10 },
        "storage": [{ "tier": "vault", "redundancy": "local", "gib_month": 0.0224 }],
    });
    serde_json::from_value(told).unwrap()
}

#[test]
fn machines_are_sorted_as_azure_does() {
    use SizeClass::{Further, UpTo50, UpTo500};
    let classes = [
        (0, UpTo50),
        (50 * GIB, UpTo50),
        (50 * GIB + 1, UpTo500),
        (500 * GIB, UpTo500),
        (500 * GIB + 1, Further(1)),
        (1000 * GIB, Further(1)),
        (1000 * GIB + 1, Further(2)),
        (4700 * GIB, Further(9)),
    ];
    for (bytes, class) in classes {
        assert_eq!(SizeClass::of(bytes), class, "{bytes}");
    }
    let costs = [UpTo50, UpTo500, Further(1), Further(9)].map(|class| prices().machine.of(class).amount());
    assert_eq!(costs, [5.0, 10.0, 20.0, 100.0]);
    assert_eq!(Further(2).to_string(), "up to 1500 GiB");
    assert_eq!(SizeClass::of(u64::MAX), Further(34_359_738), "the largest disk there is");
}

#[test]
fn a_month_is_its_days() {
    let month: Month = "2026-02".parse().unwrap();
    assert_eq!((month.days(), month.last(), month.to_string()), (28, date(2026, 2, 28), "2026-02".into()));
    assert_eq!(month.days_until(date(2026, 2, 10)).count(), 10);
    assert_eq!(month.days_until(date(2026, 5, 1)).count(), 28);
    assert_eq!(month.days_until(date(2026, 1, 31)).count(), 0);
    assert_eq!(Month::of(date(2024, 2, 29)).days(), 29);
    for wrong in ["2026", "2026-13", "2026-00", "26-11", "2026-1", "2026-11-01", "+026-11", "-", "x-y"] {
        assert!(wrong.parse::<Month>().is_err(), "{wrong}");
    }
}

#[test]
fn days_are_added_up_and_priced() {
    let month: Month = "2026-11".parse().unwrap();
    let mut bills = Bills::default();
    for day in month.days_until(month.last()) {
        // Half a month small, then large; in two stores, which is one machine under protection.
        let used = if day.day() <= 15 { 40 } else { 70 };
        let near = [usage("shop", GIB, Some(used))];
        let far = [usage("shop", 100 * GIB, Some(30)), usage("#index", 2 * GIB, None)];
        bills.day(&[(SNAPSHOT, &near), (VAULT, &far)]);
    }
    let shop = &bills.0["shop"];
    assert_eq!(shop.average_bytes(VAULT, month), 100 * GIB);
    assert_eq!(shop.machine_days, [(SizeClass::UpTo50, 15), (SizeClass::UpTo500, 15)].into());
    assert_eq!(shop.protection_cost(&prices(), month).amount(), 7.5);
    assert_eq!(shop.storage_cost(VAULT, &prices(), month).amount(), 2.24);
    assert_eq!(shop.storage_cost(SNAPSHOT, &prices(), month).amount(), 0.0, "it has no price");
    assert!(bills.0["#index"].machine_days.is_empty());
}

#[test]
fn prices_that_make_no_sense_are_refused() {
    for wrong in [json!(-1), json!("5"), json!(1e7), json!(null)] {
        assert!(serde_json::from_value::<Money>(wrong.clone()).is_err(), "{wrong}");
    }
    let storage = prices().storage[0];
    let odd = Prices { currency: "E U R".into(), storage: vec![storage, storage], ..prices() };
    let at: Vec<_> = odd.faults().into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, ["/currency", "/storage/1"]);
    assert!(prices().faults().is_empty());
    let back: Prices = serde_json::from_value(serde_json::to_value(prices()).unwrap()).unwrap();
    assert_eq!(back, prices());
    assert!(serde_json::from_value::<Prices>(json!({ "currency": "EUR", "disks": 3 })).is_err());
}

proptest! {
    #[test]
    fn byte_days_are_neither_lost_nor_made(
        days in prop::collection::vec(prop::collection::vec((0usize..5, 0u64..1 << 50), 0..8), 0..31),
    ) {
        let mut bills = Bills::default();
        let mut all = 0u128;
        for day in &days {
            let usages: Vec<_> = day.iter().map(|(who, bytes)| usage(&who.to_string(), *bytes, Some(1))).collect();
            all += day.iter().map(|(_, bytes)| u128::from(*bytes)).sum::<u128>();
            bills.day(&[(VAULT, &usages)]);
        }
        let mut whole = Bill::default();
        bills.0.values().for_each(|bill| whole.add(bill));
        prop_assert_eq!(whole.byte_days.get(&VAULT).copied().unwrap_or(0), all);
        let billed = |bill: &Bill| bill.machine_days.values().sum::<u32>() as usize;
        prop_assert!(bills.0.values().all(|bill| billed(bill) <= days.len()), "once a day each");
        // What each is told to cost comes to what all cost, but for a rounding each.
        let month: Month = "2026-03".parse().unwrap();
        let told: Money = bills.0.values().map(|bill| bill.storage_cost(VAULT, &prices(), month)).sum();
        prop_assert!(told.0.abs_diff(whole.storage_cost(VAULT, &prices(), month).0) <= bills.0.len() as u64);
    }
}
