//! One seed: everybody works while the weather lasts, then everything is looked at.

use crate::begin::Beginning;
use crate::keeper::{Duty, Keeper};
use crate::oracle::{Expect, Kept, Oracle};
use crate::random::Random;
use crate::scenario::{Actor, Numbers, Scenario};
use crate::store::SimStore;
use crate::trace::Trace;
use crate::weather::Weather;
use crate::world::{Process, World};
use crate::writer::{Writer, back_up_after};
use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use jiff::SignedDuration;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use vault::{CollectOptions, Point, PointId, Vault, scrub};

/// Longer than any request may be under way.
const ALL_HAS_ARRIVED: Duration = Duration::from_secs(3600);
/// Collections until nothing is left: one condemns and deletes; another goes on with what one has retired.
const COLLECTIONS_MAX: usize = 4;

/// What came of a seed.
pub struct Outcome {
    /// The same for the same seed, on every machine.
    pub hash: String,
    /// Requests and acts.
    pub events: u64,
    /// Every event, if they were to be kept.
    pub lines: Vec<String>,
    /// What was not as it must be.
    pub failure: Option<String>,
}

/// Simulates a vault for this seed.
pub fn run(seed: u64, keep_lines: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input or output");
    runtime.block_on(async {
        let mut random = Random::new(seed);
        let weather = Weather::draw(&mut random);
        let world = World::new(random.fork(), weather, Trace::new(keep_lines));
        let simulated = Box::pin(simulate(&world, random));
        let simulated = std::panic::AssertUnwindSafe(simulated).catch_unwind().await;
        let failure = match simulated {
            Ok(done) => done.err(),
            Err(panic) => Some(format!("panic: {}", panic_text(&*panic))),
        };
        let trace = &mut world.inner().trace;
        Outcome { hash: trace.hash(), events: trace.events, lines: trace.take_lines(), failure }
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words").to_owned()
}

async fn simulate(world: &Arc<World>, mut random: Random) -> Result<(), String> {
    let begin = Beginning::read().map_err(|error| error.to_string())?;
    world.inner().objects.extend(Beginning::objects());
    let numbers = Numbers::draw(&mut random);
    let scenario = Scenario {
        world: Arc::clone(world),
        oracle: Oracle::default(),
        ids: random.fork().ids(),
        begin: Arc::new(begin),
        numbers,
    };
    world.note("seed", format_args!("{numbers:?} {:?}", world.weather()));
    let mut actor = |name: String| Actor { scenario: scenario.clone(), name, random: random.fork() };
    let mut all: Vec<BoxFuture<'_, Result<(), String>>> = Vec::new();
    for number in 0..numbers.writers {
        all.push(Writer::new(actor(format!("w{number}"))).live().boxed());
    }
    for number in 0..numbers.collectors {
        all.push(Keeper { actor: actor(format!("c{number}")), duty: Duty::Collect }.live().boxed());
    }
    all.push(Keeper { actor: actor("k".into()), duty: Duty::Keep }.live().boxed());
    try_join_all(all).await?;
    world.calm_down();
    tokio::time::sleep(ALL_HAS_ARRIVED).await;
    world.note("seed", format_args!("the weather is over"));
    Box::pin(look(&scenario, random)).await
}

/// Everything must be as it should, and go on.
async fn look(scenario: &Scenario, mut random: Random) -> Result<(), String> {
    let world = &scenario.world;
    let said = |what: &'static str| move |error: vault::Error| format!("afterwards, {what}: {error}");
    let store = SimStore::open(world, &Process::new("after", None));
    let vault = Vault::open(store, &scenario.begin.key).await.map_err(said("open"))?;
    let vault = Arc::new(scenario.prepare(vault));
    check_points(scenario, &vault).await?;
    let (millis, now) = (world.millis(), world.now());
    let made = Box::pin(back_up_after(&vault, &mut random, millis, now)).await;
    let (point, disks) = made.map_err(said("backup"))?;
    let kept = Kept { expect: Expect::Live, disks, point: Some(point.clone()) };
    scenario.oracle.points().insert(point.id, kept);
    check_points(scenario, &vault).await?;
    collect_all(&vault, now).await?;
    let listed = check_points(scenario, &vault).await?;
    check_leftovers(world, &listed)?;
    let verified = vault.verify(&|_| ()).await.map_err(said("verify"))?;
    let scrubbed = scrub(vault.store(), &|_| ()).await.map_err(said("scrub"))?;
    for done in [&verified, &scrubbed] {
        if !done.damage.is_empty() || !done.points.is_empty() {
            return Err(format!("afterwards, damage: {:?} {:?}", done.damage, done.points));
        }
    }
    Ok(())
}

/// Every point that must be there is; none that must not; all that are listed restore. What was unknown is
/// known from here on.
async fn check_points(scenario: &Scenario, vault: &Arc<Vault>) -> Result<Vec<Point>, String> {
    let listed = vault.points().await.map_err(|error| format!("afterwards, list: {error}"))?;
    let ids: BTreeSet<PointId> = listed.iter().map(|point| point.id).collect();
    for (id, kept) in scenario.oracle.points().iter_mut() {
        match (kept.expect, ids.contains(id)) {
            (Expect::Live, false) => return Err(format!("point {id} was acknowledged and is not listed")),
            (Expect::Deleted, true) => return Err(format!("point {id} was deleted and is listed")),
            (Expect::Unknown, true) => kept.expect = Expect::Live,
            _ => {}
        }
    }
    for point in &listed {
        match scenario.oracle.compare(vault, point).await {
            Ok(right) => right?,
            Err(error) => return Err(format!("afterwards, restore {}: {error}", point.id)),
        }
    }
    Ok(listed)
}

/// A long time later nothing waits for anything.
async fn collect_all(vault: &Arc<Vault>, now: jiff::Timestamp) -> Result<(), String> {
    let (zero, day) = (SignedDuration::ZERO, SignedDuration::from_hours(24));
    let later = now + SignedDuration::from_hours(24 * 400);
    let options = CollectOptions {
        soft_delete: zero,
        grace: zero,
        session_age: day,
        share_max: 1.0,
        ..CollectOptions::new(later)
    };
    for _ in 0..COLLECTIONS_MAX {
        Box::pin(vault.collect(&options)).await.map_err(|error| format!("afterwards, collect: {error}"))?;
        let plan = Box::pin(vault.plan_collection(&options)).await;
        let plan = plan.map_err(|error| format!("afterwards, plan: {error}"))?;
        if plan.garbage.is_empty() && plan.purge.is_empty() && plan.abort.is_empty() {
            return Ok(());
        }
    }
    Err(format!("after {COLLECTIONS_MAX} collections there is still something to collect"))
}

/// Of sessions and points that came to nothing, nothing is left.
fn check_leftovers(world: &World, listed: &[Point]) -> Result<(), String> {
    let objects = &world.inner().objects;
    let points = objects.keys().filter(|name| name.starts_with("points/"));
    let ids: BTreeSet<String> = listed.iter().map(|point| point.id.to_string()).collect();
    for name in points {
        if !name.rsplit('/').next().is_some_and(|id| ids.contains(id)) {
            return Err(format!("{name} is left of a point that is not there"));
        }
    }
    Ok(())
}
