//! What a store makes of answers that are lost, late, wrong or cut short. The clock is the test's own.

use crate::faults::{Fault, FaultStore};
use object_store::ObjectStoreExt;
use std::time::Duration;
use tokio::time::Instant;
use vault::ErrorKind;

const NAME: &str = "packs/one/1";

#[tokio::test(start_paused = true)]
async fn our_own_write_is_not_taken_for_somebody_elses() {
    for faults in [
        &[Fault::AnswerLost][..],
        &[Fault::Fails, Fault::AnswerLost],
        &[Fault::AnswerLost, Fault::Fails, Fault::Conflict],
        &[Fault::AnswerLost, Fault::Hangs],
    ] {
        let (store, faulty) = FaultStore::with(faults, &[], &[]);
        store.create(NAME, "ours").await.expect("it was we who wrote it");
        assert_eq!(store.get(NAME).await.expect("there"), "ours");
        assert_eq!(faulty.left(), 0, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_in_which_nothing_was_written_is_tried_again() {
    for faults in
        [&[Fault::Conflict][..], &[Fault::Conflict, Fault::Conflict], &[Fault::Conflict, Fault::AnswerLost]]
    {
        let (store, _) = FaultStore::with(faults, &[], &[]);
        store.create(NAME, "ours").await.expect("written in the end");
        assert_eq!(store.get(NAME).await.expect("there"), "ours");
    }
    let (store, _) = FaultStore::with(&[Fault::Conflict; 100], &[], &[]);
    let error = store.create(NAME, "ours").await.expect_err("for ever");
    assert_eq!(error.kind(), ErrorKind::Store, "nobody else wrote it: {error}");
    assert!(error.to_string().contains("it says that the object exists, and that it does not"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_object_is_left_alone_whatever_the_answers() {
    for faults in [&[][..], &[Fault::Fails], &[Fault::Conflict], &[Fault::Hangs]] {
        let (store, faulty) = FaultStore::with(faults, &[], &[]);
        faulty.inner.put(&NAME.into(), "theirs".into()).await.expect("memory");
        for ours in ["ours", "their5", "theirs and more"] {
            let error = store.create(NAME, ours).await.expect_err("taken");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{faults:?}");
            assert!(error.to_string().contains(NAME));
        }
        assert_eq!(store.get(NAME).await.expect("there"), "theirs");
    }
}

#[tokio::test(start_paused = true)]
async fn whether_an_object_is_ours_is_not_guessed_if_it_cannot_be_read() {
    let (store, _) = FaultStore::with(&[Fault::AnswerLost], &[Fault::Denied], &[]);
    assert_eq!(store.create(NAME, "ours").await.expect_err("unknown").kind(), ErrorKind::Denied);
    let (store, _) =
        FaultStore::with(&[Fault::AnswerLost], &[Fault::Fails, Fault::Slow(Duration::from_secs(9))], &[]);
    store.create(NAME, "ours").await.expect("it could be read in the end");
}

#[tokio::test(start_paused = true)]
async fn failures_that_pass_are_waited_for_and_others_are_told_at_once() {
    let started = Instant::now();
    let (store, _) = FaultStore::with(&[Fault::Fails; 5], &[Fault::Fails; 5], &[Fault::Fails; 5]);
    store.create(NAME, "ours").await.expect("written in the end");
    assert_eq!(store.get(NAME).await.expect("read in the end"), "ours");
    assert_eq!(store.list("packs").await.expect("listed in the end"), [(NAME.to_owned(), 4)]);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());

    let started = Instant::now();
    let (store, _) = FaultStore::with(&[Fault::Denied], &[Fault::Denied], &[]);
    assert_eq!(store.create(NAME, "ours").await.expect_err("denied").kind(), ErrorKind::Denied);
    assert_eq!(store.get(NAME).await.expect_err("denied").kind(), ErrorKind::Denied);
    assert_eq!(store.get(NAME).await.expect_err("nothing there").kind(), ErrorKind::NotFound);
    assert_eq!(started.elapsed(), Duration::ZERO);

    let (store, faulty) = FaultStore::with(&[Fault::Fails; 100], &[], &[]);
    let error = store.create(NAME, "ours").await.expect_err("for ever");
    assert_eq!((error.kind(), 100 - faulty.left()), (ErrorKind::Store, 8));
    assert!(started.elapsed() < Duration::from_secs(31), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_request_hangs_for_ever_and_a_slow_pack_is_given_its_time() {
    let (store, _) = FaultStore::with(&[Fault::Hangs; 100], &[Fault::Hangs; 100], &[Fault::Hangs; 100]);
    let error = store.create(NAME, "ours").await.expect_err("hangs");
    assert_eq!(error.kind(), ErrorKind::Store);
    let why = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(why.contains("no answer within 60 s"), "{why}");
    assert_eq!(store.get(NAME).await.expect_err("hangs").kind(), ErrorKind::Store);
    assert_eq!(store.list("").await.expect_err("hangs").kind(), ErrorKind::Store);

    let pack = vec![7u8; 48 << 20];
    let (store, _) = FaultStore::with(&[Fault::Slow(Duration::from_secs(400))], &[], &[]);
    let started = Instant::now();
    store.create(NAME, pack).await.expect("1 Mbit/s is slow, not dead");
    assert_eq!(started.elapsed().as_secs(), 400, "once");
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_whole_or_an_error() {
    let (store, _) =
        FaultStore::with(&[], &[], &[Fault::BreaksAfter(3), Fault::BreaksAfter(0), Fault::BreaksAfter(9)]);
    let names: Vec<String> = (0..10).map(|n| format!("points/{n}")).collect();
    for name in &names {
        store.create(name, "x").await.expect("written");
    }
    let listed = store.list("points").await.expect("whole in the end");
    assert_eq!(listed.iter().map(|(name, _)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    let (store, _) = FaultStore::with(&[], &[], &[Fault::BreaksAfter(3); 100]);
    for name in &names {
        store.create(name, "x").await.expect("written");
    }
    assert_eq!(store.list("points").await.expect_err("never whole").kind(), ErrorKind::Store);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_short_is_an_error_that_names_the_object() {
    let (store, _) = FaultStore::with(&[], &[Fault::Short, Fault::Short], &[]);
    store.create(NAME, "ours").await.expect("written");
    for error in [
        store.get(NAME).await.expect_err("short"),
        store.get_range(NAME, 1..3).await.expect_err("short"),
        store.get_range(NAME, 1..5).await.expect_err("behind the end"),
        store.get_range(NAME, 9..10).await.expect_err("behind the end"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(NAME), "{error}");
    }
    assert_eq!(store.get_range(NAME, 1..3).await.expect("whole now"), "ur");
}
