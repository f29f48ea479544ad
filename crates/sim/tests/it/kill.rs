//! A real process, killed two hundred times while it works on one vault in a directory.

use crate::victim::{Victim, age_staged};
use sim::process::{Said, collect_all, create};
use std::time::Duration;

const ROUNDS: u64 = 200;
/// After so many everything is looked at.
const LOOK_EVERY: u64 = 20;
/// Longer than a process needs for a few points.
const LIFE_MICROS_MAX: u64 = 120_000;

#[tokio::test]
async fn two_hundred_kills_lose_nothing() {
    let folder = tempfile::tempdir().expect("tempdir");
    let vault_folder = folder.path().join("vault");
    std::fs::create_dir(&vault_folder).expect("mkdir");
    create(&vault_folder).await.expect("create");
    let (mut said, mut killed, mut chance) = (Said::default(), 0, 1u64);
    for round in 1..=ROUNDS {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_micros((chance >> 33) % LIFE_MICROS_MAX);
        killed += u64::from(Victim::start(&vault_folder, round, 1000).kill_after(life, &mut said));
        if round % LOOK_EVERY == 0 {
            let vault = said.check(&vault_folder).await.expect("after kills everything is as it should be");
            let options = collect_all();
            let staged = age_staged(&vault_folder);
            let plan = vault.plan_collection(&options).await.expect("plan");
            let done = vault.collect(&options).await.expect("collect");
            assert_eq!((plan.staged.len(), done.staged), (staged, staged), "what is planned is done");
            assert!(vault.plan_collection(&options).await.expect("plan").garbage.is_empty());
            assert_eq!(age_staged(&vault_folder), 0, "round {round}");
            said.check(&vault_folder).await.expect("after collection too");
        }
    }
    assert!(killed > ROUNDS / 2, "most were killed at work: {killed}");
    assert!(said.acknowledged() > 20, "and had done something: {}", said.acknowledged());
}
