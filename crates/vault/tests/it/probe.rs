//! Stores that are not what they claim to be are found out.

use crate::backup::now;
use crate::counting::CountingStore;
use crate::faults::{FaultStore, Nature};
use object_store::memory::InMemory;
use std::sync::Arc;
use uuid::Uuid;
use vault::{ErrorKind, KeyFile, ProbeReport, Store, Vault, VaultId, Verdict};

async fn probe(nature: Nature) -> ProbeReport {
    FaultStore::of(nature).probe(Uuid::new_v4(), now()).await.expect("it can be reached")
}

#[tokio::test(start_paused = true)]
async fn a_store_that_overwrites_is_for_a_single_writer() {
    let report = probe(Nature { overwrites: true, ..Nature::default() }).await;
    let Verdict::SingleWriter { reasons } = &report.verdict else { panic!("{report:?}") };
    assert!(reasons.iter().any(|reason| reason.contains("let an object be overwritten")), "{reasons:?}");
    assert!(
        reasons.iter().any(|reason| reason.contains("32 were told that they were the one")),
        "{reasons:?}"
    );
    assert_eq!(report.winners, [32; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_show_what_was_written_is_refused() {
    for (nature, said) in [
        (Nature { lists_nothing: true, ..Nature::default() }, "was written and is not listed"),
        (Nature { shifts_ranges: true, ..Nature::default() }, "it gives other bytes than were written"),
        (Nature { keeps_deleted: true, ..Nature::default() }, "was deleted and is still listed"),
    ] {
        let report = probe(nature).await;
        let Verdict::Refused { reasons } = &report.verdict else { panic!("{nature:?}: {report:?}") };
        assert!(reasons.iter().any(|reason| reason.contains(said)), "{reasons:?}");
        let store = FaultStore::of(nature);
        let error = report.require_shared(&store).expect_err("refused");
        assert!(error.to_string().contains("a faulty store does not keep what is written"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_lost_though_it_won_is_found_by_reading_back() {
    // "It exists already" for our own bytes is how a proxy that repeats a request looks.
    let report = probe(Nature { nobody_wins: true, ..Nature::default() }).await;
    assert_eq!((report.verdict, report.winners), (Verdict::Shared, vec![1; 4]));
}

#[tokio::test]
async fn credentials_that_may_not_delete_are_told_and_do_no_harm() {
    let report = probe(Nature { refuses_deletion: true, ..Nature::default() }).await;
    assert_eq!((report.verdict, report.can_delete), (Verdict::Shared, false));
}

#[tokio::test]
async fn a_vault_is_not_created_where_two_can_win() {
    let store = FaultStore::of(Nature { overwrites: true, ..Nature::default() });
    let holder = KeyFile::generate();
    let refused = Vault::create(store.clone(), VaultId(Uuid::new_v4()), now(), &holder).await.err();
    let refused = refused.expect("refused");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("use another store"), "{refused}");
    assert!(store.list("").await.expect("list").is_empty(), "nothing is left");
}

#[tokio::test]
async fn what_a_probe_left_behind_does_not_stand_in_the_way() {
    let store = Store::new(Arc::new(InMemory::new()), "memory");
    store.create("probe/8f0f7f5e-0000-4000-8000-000000000000/0", "left").await.expect("written");
    Vault::create(store, VaultId(Uuid::new_v4()), now(), &KeyFile::generate()).await.expect("empty enough");
}

/// Created where it was fit, and found behind something that is not: before it is written to.
#[tokio::test(start_paused = true)]
async fn a_store_that_became_unfit_is_refused_when_a_vault_is_attached() {
    let (inner, cache) = (Arc::new(InMemory::new()), tempfile::tempdir().expect("tempdir"));
    let holder = KeyFile::generate();
    let store = Store::new(Arc::clone(&inner) as _, "memory");
    let fit = Vault::create(store, VaultId(Uuid::new_v4()), now(), &holder).await.expect("create");
    fit.attach(cache.path(), now()).await.expect("fit");
    let nature = Nature { overwrites: true, ..Nature::default() };
    let unfit = Vault::open(FaultStore::over(nature, &inner), &holder).await.expect("open");
    let error = unfit.attach(cache.path(), now()).await.expect_err("another store: the note is not of it");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("use another store"), "{error}");
}

#[tokio::test]
async fn a_store_that_passed_is_not_probed_again_for_a_month() {
    let cache = tempfile::tempdir().expect("tempdir");
    let (store, counts) = CountingStore::over(Arc::new(InMemory::new()));
    let vault =
        Vault::create(store, VaultId(Uuid::new_v4()), now(), &KeyFile::generate()).await.expect("create");
    let days = |days: i64| now() + jiff::SignedDuration::from_hours(24 * days);
    // A note of the future is of a clock that was wrong.
    for (day, probes) in [(0, true), (0, false), (29, false), (31, true), (32, false), (20, true)] {
        counts.take();
        vault.attach(cache.path(), days(day)).await.expect("fit");
        assert_eq!(!counts.take().requests.is_empty(), probes, "day {day}");
    }
    std::fs::remove_dir_all(cache.path()).expect("remove");
    std::fs::write(cache.path(), "a file").expect("write");
    vault.attach(cache.path(), days(31)).await.expect("what cannot be noted is probed each time");
    assert!(vault.index_trouble().is_some());
}
