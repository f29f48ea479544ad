//! Many machines restored as one: groups, limits, failures, cancelling, and two servers that die.

use super::mover::{FakeMover, FakeVault};
use super::race::{Dice, dies_after};
use super::scene::{Scene, WIDE, at, on_both, postgres};
use anyhow::Result;
use api::work::{Instruction, Order, ReportEvent, Work};
use api::{NewRestoreSet, RestoreSet, SetLimits, SetMachine, SetMemberState, SetNewMachines};
use catalog::{Catalog, Item, PointRow};
use control::{Actor, Control};
use jiff::{SignedDuration, Timestamp};
use model::job::Failure;
use model::restores::RestoreSetState;
use model::{Origin, Point, PointId, Policy, VaultCopy};
use serde_json::json;
use std::collections::BTreeSet;
use uuid::Uuid;

const NOON: &str = "2026-11-20T12:00:00Z";

/// Machines with a point each, on one host.
async fn machines(scene: &Scene, names: &[&str]) -> Result<Vec<Item>> {
    let host = scene.host("server").await?;
    let mut items = Vec::new();
    for name in names {
        let item = scene.protect(host, name).await?;
        point(scene, &item, at(NOON) - SignedDuration::from_hours(1)).await?;
        items.push(item);
    }
    Ok(items)
}

async fn point(scene: &Scene, item: &Item, taken: Timestamp) -> Result<PointId> {
    let point = Point {
        id: PointId(Uuid::now_v7()),
        taken,
        origin: Origin::OnDemand { keep_until: at("2027-11-20T12:00:00Z") },
        in_snapshot_tier: false,
        vault: VaultCopy::There,
        pinned: false,
        locked_until: None,
        purge_at: None,
        archive: model::ArchiveCopy::Never,
    };
    let row = PointRow {
        item: item.id,
        consistency: "crash".to_owned(),
        expires: None,
        stored_bytes: 1,
        detail: json!({ "disks": [{ "name": "vda", "bytes": 1000, "read_bytes": 7 }] }),
        point,
    };
    scene.catalog.put_point(&row).await?;
    Ok(row.point.id)
}

fn wish(items: &[Item], groups: &[u16], at_once: u16) -> NewRestoreSet {
    let machine = |(item, group): (&Item, &u16)| SetMachine {
        item: item.id,
        point: None,
        group: *group,
        folder: None,
        name: None,
        mover: None,
    };
    NewRestoreSet {
        machines: items.iter().zip(groups).map(machine).collect(),
        before: None,
        from_copy: false,
        folder: "/srv/back".to_owned(),
        format: api::RestoreFormat::Raw,
        mover: None,
        as_machines: None,
        limits: SetLimits { at_once: Some(at_once), ..SetLimits::default() },
        stop_on_failure: false,
    }
}

fn alice() -> Actor {
    Actor("alice".to_owned())
}

/// The names of the members that are in a state.
fn named(set: &RestoreSet, state: SetMemberState) -> Vec<&str> {
    set.members.iter().filter(|member| member.state == state).map(|member| member.name.as_str()).collect()
}

async fn look(scene: &Scene, set: &RestoreSet) -> Result<RestoreSet> {
    scene.control.tick_restore_sets().await?;
    Ok(scene.control.restore_set(scene.vault, set.id).await?)
}

/// Claims all that is to be had.
async fn claim_all(mover: &FakeMover, control: &Control) -> Result<Vec<Order>> {
    let mut orders = Vec::new();
    while let Some(order) = mover.claim(control).await? {
        orders.push(order);
    }
    Ok(orders)
}

async fn scene_of(catalog: Catalog) -> Result<(Scene, FakeMover)> {
    let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at(NOON)).await?;
    Ok((scene, FakeMover::new("server", &FakeVault::default())))
}

on_both! {
    groups_come_one_after_the_other_and_so_many_at_once(catalog) {
        let (scene, mover) = scene_of(catalog).await?;
        let items = machines(&scene, &["dc1", "dc2", "dc3", "db"]).await?;
        let mut asked = wish(&items, &[0, 0, 0, 1], 2);
        asked.as_machines = Some(SetNewMachines { suffix: "-test".to_owned(), ..SetNewMachines::default() });
        let set = scene.control.restore_many(&alice(), scene.vault, asked).await?;
        assert_eq!((named(&set, SetMemberState::UnderWay), set.total.waiting), (vec!["dc1", "dc2"], 2));
        assert_eq!((set.total.done_bytes, set.total.total_bytes), (0, 4000));
        let orders = claim_all(&mover, &scene.control).await?;
        let Work::Restore { folder, machine, .. } = &orders[0].work else { panic!("{:?}", orders[0].work) };
        let name = machine.as_ref().map(|machine| machine.name.as_str());
        assert_eq!((folder.as_str(), name), ("/srv/back/dc1", Some("dc1-test")));
        assert!(claim_all(&mover, &scene.control).await?.is_empty(), "two at once");
        mover.carry_out(&scene.control, &orders[0]).await?;
        let set = look(&scene, &set).await?;
        assert_eq!(named(&set, SetMemberState::UnderWay), ["dc2", "dc3"]);
        assert_eq!((named(&set, SetMemberState::Done), set.total.done_bytes), (vec!["dc1"], 1000));

        // A server that starts again goes on where the one before was.
        let server = scene.server(&scene.catalog, WIDE);
        mover.carry_out(&server, &orders[1]).await?;
        server.tick_restore_sets().await?;
        assert!(named(&look(&scene, &set).await?, SetMemberState::Waiting) == ["db"], "a group comes after the other");
        for order in claim_all(&mover, &server).await? {
            mover.carry_out(&server, &order).await?;
        }
        assert_eq!(named(&look(&scene, &set).await?, SetMemberState::UnderWay), ["db"]);
        assert_eq!(mover.work(&server).await?.len(), 1);
        let over = look(&scene, &set).await?;
        assert_eq!((over.state, over.total.done, over.ended), (RestoreSetState::Completed, 4, Some(at(NOON))));
        assert!(scene.catalog.open_restore_sets().await?.is_empty());
        Ok(())
    }

    one_that_fails_stops_the_others_only_if_that_was_asked(catalog) {
        let (scene, mover) = scene_of(catalog).await?;
        let items = machines(&scene, &["a", "b", "c"]).await?;
        for stop_on_failure in [false, true] {
            let asked = NewRestoreSet { stop_on_failure, ..wish(&items, &[0, 0, 1], 1) };
            let set = scene.control.restore_many(&alice(), scene.vault, asked).await?;
            let order = mover.claim(&scene.control).await?.expect("the first");
            mover.fail(&scene.control, &order, Failure::Invalid).await?;
            let set = look(&scene, &set).await?;
            assert_eq!(named(&set, SetMemberState::Failed), ["a"]);
            let error = set.members[0].error.as_ref().map(|error| error.text.as_str());
            assert_eq!(error, Some("as the script says"));
            for _ in 0..3 {
                mover.work(&scene.control).await?;
                scene.control.tick_restore_sets().await?;
            }
            let over = look(&scene, &set).await?;
            let (done, waiting) = if stop_on_failure { (0, 2) } else { (2, 0) };
            assert_eq!((over.total.done, over.total.waiting, over.total.failed), (done, waiting, 1));
            assert_eq!(over.state, RestoreSetState::CompletedWithFailures);
        }
        Ok(())
    }

    cancelling_ends_what_is_under_way_and_begins_nothing(catalog) {
        let (scene, mover) = scene_of(catalog).await?;
        let items = machines(&scene, &["a", "b", "c"]).await?;
        let set = scene.control.restore_many(&alice(), scene.vault, wish(&items, &[0, 0, 0], 2)).await?;
        let order = mover.claim(&scene.control).await?.expect("the first");
        let set = scene.control.cancel_restore_set(&alice(), scene.vault, set.id).await?;
        assert_eq!((set.state, named(&set, SetMemberState::Cancelled)), (RestoreSetState::Cancelling, vec!["b"]));
        let told = mover.say(&scene.control, &order, ReportEvent::GoesOn {}).await?;
        assert_eq!(told, Instruction::Cancel {});
        mover.say(&scene.control, &order, ReportEvent::Cancelled {}).await?;
        let over = look(&scene, &set).await?;
        assert_eq!((over.state, named(&over, SetMemberState::Waiting)), (RestoreSetState::Cancelled, vec!["c"]));
        assert!(claim_all(&mover, &scene.control).await?.is_empty());
        let again = scene.control.cancel_restore_set(&alice(), scene.vault, set.id).await;
        assert!(again.is_err_and(|error| error.code() == api::Code::Conflict));
        let audit = scene.catalog.audit(0, 100).await?;
        let verbs: Vec<_> = audit.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(verbs, ["points.restore-many", "restore-set.cancel"]);
        Ok(())
    }

    limits_of_a_mover_hold_over_all_sets(catalog) {
        let (scene, mover) = scene_of(catalog).await?;
        let items = machines(&scene, &["a", "b", "c", "d"]).await?;
        let first = scene.control.restore_many(&alice(), scene.vault, wish(&items[..2], &[0, 0], 2)).await?;
        let second = scene.control.restore_many(&alice(), scene.vault, wish(&items[2..], &[0, 0], 2)).await?;
        assert_eq!((first.total.under_way, second.total.under_way, second.total.waiting), (2, 0, 2));
        let orders = claim_all(&mover, &scene.control).await?;
        mover.carry_out(&scene.control, &orders[0]).await?;
        assert_eq!(named(&look(&scene, &second).await?, SetMemberState::UnderWay), ["c"]);
        // One whose own limits are wider takes what room there is by them.
        let mut wide = wish(&items[..1], &[0], 1);
        wide.limits.per_mover = Some(3);
        wide.folder = "/srv/elsewhere".to_owned();
        (wide.limits.per_store, wide.limits.per_target) = (Some(3), Some(3));
        let wide = scene.control.restore_many(&alice(), scene.vault, wide).await?;
        assert_eq!(wide.total.under_way, 1);
        mover.carry_out(&scene.control, &orders[1]).await?;
        while !mover.work(&scene.control).await?.is_empty() {
            scene.control.tick_restore_sets().await?;
        }
        for set in [first, second, wide] {
            assert_eq!(look(&scene, &set).await?.state, RestoreSetState::Completed);
        }
        Ok(())
    }

    every_fault_of_every_machine_is_told_and_nothing_begins(catalog) {
        let (scene, _) = scene_of(catalog).await?;
        let mut items = machines(&scene, &["a", "b"]).await?;
        items.push(scene.protect(scene.host("server").await?, "bare").await?);
        let mut asked = wish(&items, &[0, 0, 0], 1);
        asked.machines[1].folder = Some("/srv/back/a".to_owned());
        asked.machines.push(SetMachine { item: Uuid::nil(), ..asked.machines[0].clone() });
        asked.machines.push(SetMachine { folder: Some("here".to_owned()), ..asked.machines[0].clone() });
        let error = scene.control.restore_many(&alice(), scene.vault, asked).await.expect_err("faults");
        let told: Vec<_> = error.into_problem().violations.into_iter().map(|one| one.pointer).collect();
        assert_eq!(told, ["/machines/2", "/machines/3", "/machines/4", "/machines/1"]);
        assert!(scene.jobs().await?.is_empty() && scene.catalog.open_restore_sets().await?.is_empty());
        let before = Some(at(NOON) - SignedDuration::from_hours(2));
        let old = NewRestoreSet { before, ..wish(&items[..1], &[0], 1) };
        assert!(scene.control.restore_many(&alice(), scene.vault, old.clone()).await.is_err(), "it has none so old");
        let wanted = point(&scene, &items[0], at(NOON) - SignedDuration::from_hours(3)).await?;
        let set = scene.control.restore_many(&alice(), scene.vault, old).await?;
        assert_eq!(set.members[0].point, wanted, "the newest that is not younger");
        Ok(())
    }
}

/// Two servers on one PostgreSQL die at any step of what they do; each machine is restored once, and never are more
/// under way than may be.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_die_begin_each_machine_once() -> Result<()> {
    const MACHINES: usize = 12;
    const AT_ONCE: u16 = 3;
    let url = postgres("two_servers_restore_many")?;
    let (scene, mover) = scene_of(Catalog::open(&url).await?).await?;
    let names: Vec<String> = (0..MACHINES).map(|number| format!("vm{number}")).collect();
    let items = machines(&scene, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let groups: Vec<u16> = (0..MACHINES).map(|number| (number / 5) as u16).collect();
    let set = scene.control.restore_many(&alice(), scene.vault, wish(&items, &groups, AT_ONCE)).await?;
    let servers =
        [scene.server(&Catalog::open(&url).await?, WIDE), scene.server(&Catalog::open(&url).await?, WIDE)];
    let (mut dice, mut orders, mut restored) = (Dice(7), Vec::new(), BTreeSet::new());
    for round in 0..10_000 {
        assert!(round < 9_999, "it never ends: {:?}", look(&scene, &set).await?);
        let (one, other) = (dice.death(), dice.death());
        let both = tokio::join!(
            dies_after(one, servers[0].tick_restore_sets()),
            dies_after(other, servers[1].tick_restore_sets()),
        );
        drop(both);
        let server = &servers[usize::from(dice.one_in(2))];
        orders.extend(claim_all(&mover, server).await?);
        let now = scene.control.restore_set(scene.vault, set.id).await?;
        assert!(now.total.under_way <= u32::from(AT_ONCE), "{now:?}");
        if !orders.is_empty() {
            let order: Order = orders.remove(dice.below(orders.len() as u64) as usize);
            mover.carry_out(server, &order).await?;
            assert!(restored.insert(order.job), "{} twice", order.job);
        }
        if now.state.is_over() {
            break;
        }
    }
    assert_eq!(restored.len(), MACHINES);
    let over = scene.control.restore_set(scene.vault, set.id).await?;
    assert_eq!((over.state, over.total.done as usize), (RestoreSetState::Completed, MACHINES));
    Ok(())
}
