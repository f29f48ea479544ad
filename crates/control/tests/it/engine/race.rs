//! Two servers on one PostgreSQL, a week of slots, and everything dies now and then: servers between any two steps of
//! what they do, movers before and after they commit, and some come back an hour late and go on as if nothing had been.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, at, hours, jobs, minutes, postgres, tick};
use api::JobState;
use api::work::{MadePoint, Order, Work};
use catalog::Catalog;
use control::Control;
use model::policy::{PolicyDocument, Schedule};
use model::{JobId, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

const MACHINES: usize = 4;
const DAYS: i64 = 7;
const STEP_MINUTES: i64 = 15;

/// A fixed sequence of chances.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // Knuth's MMIX generator; its upper half is random enough for who dies when.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// After how many steps somebody dies; mostly after all.
    pub(crate) fn death(&mut self) -> u64 {
        if self.one_in(3) { self.below(40) } else { u64::MAX }
    }
}

/// Polls some work so many times, then drops it wherever it is: what a server that dies does.
pub(crate) async fn dies_after<T>(polls: u64, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// A mover that was cut off in the middle, and what it still believes to have to do.
struct Late {
    mover: FakeMover,
    order: Order,
    made: Option<MadePoint>,
}

/// Claims and carries out whatever there is, dying now and then.
async fn work(
    server: &Control,
    vault: &FakeVault,
    dice: &mut Dice,
    late: &mut Vec<Late>,
) -> anyhow::Result<()> {
    loop {
        let mover = FakeMover::new("server", vault);
        let Some(Ok(Some(order))) = dies_after(dice.death(), mover.claim(server)).await else {
            return Ok(());
        };
        if dice.one_in(6) {
            late.push(Late { mover, order, made: None });
            continue;
        }
        mover.fence(&order);
        if !matches!(order.work, Work::BackUp(_)) {
            let _ = dies_after(dice.death(), mover.carry_out(server, &order)).await;
            continue;
        }
        let made = mover.make(&order, server.now()).expect("nobody has claimed since");
        if dice.one_in(6) {
            late.push(Late { mover, order, made: Some(made) });
            continue;
        }
        let _ = dies_after(dice.death(), mover.tell_made(server, &order, &made)).await;
    }
}

/// Those who were away go on.
async fn come_back(server: &Control, late: &mut Vec<Late>, dice: &mut Dice) -> anyhow::Result<()> {
    for Late { mover, order, made } in std::mem::take(late) {
        if dice.one_in(2) {
            late.push(Late { mover, order, made });
            continue;
        }
        if !matches!(order.work, Work::BackUp(_)) {
            let _ = mover.carry_out(server, &order).await;
            continue;
        }
        // It commits if the log lets it, and tells whatever it has.
        if let Some(made) = made.or_else(|| mover.make(&order, server.now())) {
            mover.tell_made(server, &order, &made).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_of_slots_with_two_servers_that_die_is_done_once() -> anyhow::Result<()> {
    let url = postgres("a_week_of_slots")?;
    let document = PolicyDocument {
        schedule: Schedule::Hourly { every_hours: 6, window_start: "00:00".into(), window_hours: 24 },
        ..Policy::enhanced("Europe/Berlin")
    };
    let from = at("2026-10-21T12:00:00Z");
    let scene = Scene::new(Catalog::open(&url).await?, document.clone(), from).await?;
    let host = scene.host("server").await?;
    let mut items = BTreeMap::new();
    for number in 0..MACHINES {
        let item = scene.protect(host, &format!("vm {number}")).await?;
        items.insert(item.id, item);
    }
    let limits = model::schedule::Limits { per_host: 2, per_store: 3, overall: 3 };
    let servers = [
        scene.server(&Catalog::open(&url).await?, limits),
        scene.server(&Catalog::open(&url).await?, limits),
    ];
    let (vault, mut dice, mut late) = (FakeVault::default(), Dice(20_261_121), Vec::new());
    for step in 0..DAYS * 24 * 60 / STEP_MINUTES {
        scene.hand.set(from + minutes(STEP_MINUTES * step));
        let (one, other) = (dice.death(), dice.death());
        let both = tokio::join!(dies_after(one, tick(&servers[0])), dies_after(other, tick(&servers[1])));
        for done in [both.0, both.1].into_iter().flatten() {
            done?;
        }
        let at = usize::try_from(dice.below(2))?;
        come_back(&servers[at], &mut late, &mut dice).await?;
        work(&servers[1 - at], &vault, &mut dice, &mut late).await?;
    }
    // The last ones are let through.
    scene.hand.set(from + hours(24 * DAYS + 2));
    late.clear();
    tick(&servers[0]).await?;
    FakeMover::new("server", &vault).work(&servers[0]).await?;
    tick(&servers[0]).await?;
    check(&scene, &servers[0], &vault, &items).await
}

/// Every slot has had one run or one record; every run one point; and the catalog says what the vault has.
async fn check(
    scene: &Scene,
    server: &Control,
    vault: &FakeVault,
    items: &BTreeMap<uuid::Uuid, catalog::Item>,
) -> anyhow::Result<()> {
    let policy: Policy = scene.policy.document.clone().check()?;
    let backups: Vec<_> =
        jobs(server).await?.into_iter().filter(|job| job.kind == model::job::JobKind::Backup).collect();
    let mut per_job: BTreeMap<JobId, usize> = BTreeMap::new();
    let contents = vault.0.lock().unwrap().points.clone();
    for (job, _) in contents.values() {
        *per_job.entry(*job).or_default() += 1;
    }
    assert!(per_job.values().all(|count| *count == 1), "a job made two points: {per_job:?}");
    let mut expected_points = BTreeSet::new();
    for (id, item) in items {
        let mut slots: Vec<_> = policy.slots(item.created, scene.hand.now()).map(|slot| slot.at).collect();
        slots.retain(|slot| *slot > item.created);
        let of_item = backups.iter().filter(|job| job.item == Some(*id));
        let mut seen = Vec::new();
        for job in of_item {
            let row = scene.catalog.job(job.id).await?;
            let slot = at(row.slot.as_deref().expect("nobody asked for one"));
            seen.push(slot);
            match job.state {
                JobState::Completed => {
                    assert!(per_job.contains_key(&job.id), "{job:?} is completed without a point");
                    expected_points
                        .insert(row.result.expect("its point")["point"].as_str().unwrap().to_owned());
                }
                JobState::Failed => assert_eq!(row.job.failure, Some(model::job::Failure::Lost)),
                state => panic!("a job is left over: {state:?}"),
            }
        }
        seen.extend(scene.catalog.skipped_runs(*id, 1000).await?.iter().map(|skipped| skipped.slot.at));
        seen.sort();
        assert_eq!(seen, slots, "each slot has one run or one record");
    }
    assert!(expected_points.len() > MACHINES * 15, "only {} of the runs went well", expected_points.len());
    let mut in_catalog = BTreeSet::new();
    for id in items.keys() {
        in_catalog
            .extend(scene.catalog.points_to_plan(*id).await?.iter().map(|one| one.point.id.to_string()));
    }
    assert_eq!(in_catalog, expected_points, "the catalog has what was made, and nothing else");
    Ok(())
}
