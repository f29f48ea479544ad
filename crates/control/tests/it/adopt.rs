//! The catalog is lost, the vault is not: all points come back, with their classes, expiries and consistency.

use crate::acts::scene::{Scene, detail, inventory, new_policy, postgres};
use anyhow::{Context, Result, ensure};
use api::snapshots::KeptSnapshot;
use api::work::{Service, ServicePolicy, ServicePromise};
use api::{ItemState, NewHost, NewPolicy, NewVault, Point, PointDisk, VaultChange, VaultSettings};
use catalog::{Catalog, PointRow};
use control::{Paging, PointPlace, WhichSnapshots};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::job::JobKind;
use model::policy::{Policy, Weekday, Weekly};
use model::retention::stands_for;
use model::{JobId, Origin, Owner, PointId, VaultCopy, VaultId};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;
use vault::{CHUNK_BYTES, DiskRecord, KeyFile, MachineKey, PointDraft, Session, SessionId, Store, Vault};

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_on_sqlite() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let open = async |name: &str| Catalog::open_file(&folder.path().join(name)).await;
    let (lost, new) = (open("lost.db").await?, open("new.db").await?);
    Box::pin(everything_comes_back(&Scene::over(lost)?, &Scene::over(new)?)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_on_postgres() -> Result<()> {
    let open = async |name: &str| -> Result<Catalog> { Ok(Catalog::open(&postgres(name)?).await?) };
    let (lost, new) = (open("adopt_lost").await?, open("adopt_new").await?);
    Box::pin(everything_comes_back(&Scene::over(lost)?, &Scene::over(new)?)).await
}

/// A vault that real points are put into, as a mover does.
pub(crate) struct Made {
    pub(crate) id: VaultId,
    pub(crate) vault: Arc<Vault>,
    pub(crate) key: String,
    pub(crate) policy: ServicePolicy,
}

async fn everything_comes_back(lost: &Scene, new: &Scene) -> Result<()> {
    let made = made(lost).await?;
    let (_, machines) = lost.machines("host", &["db", "web"]).await?;
    let mut items = Vec::new();
    for machine in machines {
        items.push(lost.protect(made.id, made.policy.id, machine).await?);
    }
    // Six weeks of the one, of which Sundays stay longer; of the other a few days, and one that somebody asked for.
    for days in (0..42).rev() {
        backed_up(lost, &made, &items[0], Some(days)).await?;
    }
    for days in [3, 2, 1, 0] {
        backed_up(lost, &made, &items[1], Some(days)).await?;
    }
    backed_up(lost, &made, &items[1], None).await?;
    let deleted = backed_up(lost, &made, &items[0], Some(0)).await?;
    delete(lost, &made, deleted).await?;
    let by_hand = commit(lost, &made, "by-hand", lost.ago(9), Value::Null).await?;
    let kept = KeptSnapshot { name: "kept".to_owned(), ..KeptSnapshot::unknown() };
    let key = Owner::Snapshot.key(items[0].machine);
    let snapshot = commit(lost, &made, &key, lost.ago(8), kept.to_value()).await?;
    let image = commit(lost, &made, &Owner::Image.key("web"), lost.ago(7), Value::Null).await?;

    let wish = NewVault {
        location: lost.new_vault("main").location,
        adopt: true,
        key: Some(made.key.clone()),
        ..new.new_vault("main")
    };
    // What is deleted was promised more days than the wish of whoever takes the vault in says.
    let adopted = new.control.make_vault(&new.me, wish.clone()).await?;
    ensure!(adopted.vault.settings.soft_delete_days == 30 && adopted.vault.settings.keep_everything);
    ensure!(
        adopted.advice.iter().any(|text| text.contains("strongroom resume by-hand")),
        "{:?}",
        adopted.advice
    );
    ensure!(adopted.vault.id == made.id && adopted.vault.items == 3, "{adopted:?}");
    ensure!(adopted.lost.len() == 1 && adopted.lost[0].contains("the audit log"), "{:?}", adopted.lost);
    compare(lost, new, &made, &items).await?;

    let all = new.control.items(made.id, &control::WhichItems::default(), &Paging::default()).await?;
    let stranger = all.items.iter().find(|item| item.name == "by-hand").context("the one by hand")?;
    ensure!(stranger.state == ItemState::Stopped && stranger.policy.is_none(), "{stranger:?}");
    let points = points(new, made.id, stranger.id).await?;
    ensure!(points.len() == 1 && points[0].id.0 == by_hand.id.0 && points[0].expires.is_none(), "{points:?}");

    // What no policy owns is no machine's point, and nobody's item.
    let snapshots =
        new.control.snapshots(made.id, &WhichSnapshots::default(), &Paging::default()).await?.items;
    ensure!(snapshots.len() == 1 && snapshots[0].id.0 == snapshot.id.0, "{snapshots:?}");
    ensure!(snapshots[0].name == "kept" && snapshots[0].machine == items[0].machine, "{snapshots:?}");

    let images = new.control.images(made.id, None, &Paging::default()).await?.items;
    ensure!(images.len() == 1 && images[0].id.0 == image.id.0 && images[0].latest, "{images:?}");
    ensure!((images[0].name.as_str(), images[0].version) == ("web", 3), "{images:?}");

    // Once more changes nothing; and a host that comes to tell of the machines tells of these.
    let again = new.control.make_vault(&new.me, wish).await?;
    ensure!(again.vault.items == 3, "{again:?}");
    compare(lost, new, &made, &items).await?;
    let host = NewHost { name: "host".into(), address: "local".into(), mover: None };
    let host = new.control.add_host(&new.me, host).await?.id;
    new.control.take_inventory("server", inventory(host, &["db", "web", "other"])).await?;
    for item in &items {
        ensure!(new.machine(&item.name).await? == item.machine, "{item:?}");
    }
    Box::pin(nothing_expires_unasked(new, made.id, &items)).await
}

/// Most of the first machine's points are over by its policy; they go when somebody has said so, and not before.
async fn nothing_expires_unasked(new: &Scene, vault: VaultId, items: &[api::Item]) -> Result<()> {
    look_around(new).await?;
    ensure!(new.jobs(&items[0]).await?.iter().all(|job| job.job.kind != JobKind::DeleteData));
    let settings = VaultSettings { keep_everything: false, ..new.control.vault(vault).await?.settings };
    let release = VaultChange { settings: Some(settings), ..VaultChange::default() };
    let refused = new.control.change_vault(&new.me, vault, release.clone()).await;
    ensure!(detail(refused).contains("would be gone at once"));
    new.control.change_vault(&new.me, vault, VaultChange { accept_loss: true, ..release }).await?;
    look_around(new).await?;
    ensure!(new.jobs(&items[0]).await?.iter().any(|job| job.job.kind == JobKind::DeleteData));
    Ok(())
}

/// What the engine does for points, once.
async fn look_around(scene: &Scene) -> Result<()> {
    scene.control.tick_policies().await?;
    scene.control.tick_plans(scene.now()).await?;
    Ok(scene.control.tick_retention(scene.now()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_were_silent_are_stopped_and_keep_everything() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let open = async |name: &str| Catalog::open_file(&folder.path().join(name)).await;
    let (lost, new) = (Scene::over(open("lost.db").await?)?, Scene::over(open("new.db").await?)?);
    let made = made(&lost).await?;
    let (_, machines) = lost.machines("host", &["db", "web"]).await?;
    for machine in machines {
        // All of them: the newest of all points is no measure.
        let item = lost.protect(made.id, made.policy.id, machine).await?;
        for days in [40, 39, 38, 37] {
            backed_up(&lost, &made, &item, Some(days)).await?;
        }
    }
    // Nothing tells what was promised of it.
    let unsaid = lost.vault("unsaid").await?;
    let wish = |key: &str, name: &str| NewVault {
        location: lost.new_vault(name).location,
        adopt: true,
        key: Some(key.to_owned()),
        ..new.new_vault(name)
    };
    let adopted = new.control.make_vault(&new.me, wish(&made.key, "main")).await?;
    ensure!(adopted.advice.iter().any(|text| text.contains("strongroom resume db")), "{:?}", adopted.advice);
    new.pass(60);
    look_around(&new).await?;
    for item in new.control.items(made.id, &control::WhichItems::default(), &Paging::default()).await?.items {
        ensure!(item.state == ItemState::Stopped, "{item:?}");
        let points = points(&new, made.id, item.id).await?;
        ensure!(points.len() == 4 && points.iter().all(|point| point.expires.is_none()), "{points:?}");
        ensure!(new.jobs(&item).await?.is_empty());
    }
    let key = std::fs::read_to_string(lost.folder.path().join(format!("data/keys/{}.key", unsaid.id)))?;
    let other =
        Vault::open(Store::local(&lost.folder.path().join("unsaid"))?, &KeyFile::from_text(&key)?).await?;
    let by_hand = Made { id: unsaid.id, vault: Arc::new(other), key, policy: made.policy.clone() };
    commit(&lost, &by_hand, "by-hand", lost.ago(9), Value::Null).await?;
    let adopted = new.control.make_vault(&new.me, wish(&by_hand.key, "unsaid")).await?;
    ensure!(adopted.vault.settings.soft_delete_days == 180, "{adopted:?}");
    ensure!(adopted.advice.iter().any(|text| text.contains("180 days")), "{:?}", adopted.advice);
    Ok(())
}

/// A vault made by the service, with a policy whose Sundays stay for twelve weeks.
pub(crate) async fn made(scene: &Scene) -> Result<Made> {
    let told = scene.control.make_vault(&scene.me, scene.new_vault("main")).await?;
    let key = told.key.context("a new vault's key")?;
    let store = Store::local(&scene.folder.path().join("main"))?;
    let vault = Arc::new(Vault::open(store, &KeyFile::from_text(&key)?).await?);
    let NewPolicy { name, mut document, .. } = new_policy("daily", 7);
    document.vault.weekly = Some(Weekly { weekdays: vec![Weekday::Sunday], keep_weeks: 12 });
    let wish =
        NewPolicy { name: name.clone(), document: document.clone(), revision: None, accept_loss: false };
    let id = scene.control.make_policy(&scene.me, told.vault.id, wish).await?.id;
    Ok(Made { id: told.vault.id, vault, key, policy: ServicePolicy { id, name, document } })
}

/// A backup, as mover and server make it: into the vault with what the service says, and into the catalog. `days` ago
/// by the schedule, or now because somebody asked.
pub(crate) async fn backed_up(
    scene: &Scene,
    made: &Made,
    item: &api::Item,
    days: Option<i64>,
) -> Result<PointPlace> {
    let policy: Policy = made.policy.document.clone().check().ok().context("a policy")?;
    let (origin, taken) = match days {
        None => (Origin::OnDemand { keep_until: scene.ago(-30) }, scene.now()),
        Some(days) => {
            let slot = policy.next_slot(scene.ago(days + 1)).context("a slot")?;
            let taken = slot.at + SignedDuration::from_mins(7);
            (Origin::Scheduled { slot, stands_for: stands_for(&slot, slot.day.yesterday().ok()) }, taken)
        }
    };
    let service = Service {
        version: 1,
        job: JobId(Uuid::now_v7()),
        item: item.id,
        machine: item.machine,
        name: item.name.clone(),
        known_as: format!("uuid of {}", item.name),
        origin,
        policy: Some(made.policy.clone()),
        promised: Some(ServicePromise { soft_delete_days: 30, immutable: false }),
    };
    let point = commit(scene, made, &item.id.to_string(), taken, serde_json::to_value(&service)?).await?;
    let disk = PointDisk { name: "vda".into(), bytes: CHUNK_BYTES as u64, read_bytes: 77 };
    let row = PointRow {
        point: model::Point {
            id: PointId(point.id.0),
            taken,
            origin,
            in_snapshot_tier: false,
            vault: VaultCopy::There,
            pinned: false,
            locked_until: None,
            purge_at: None,
            archive: model::ArchiveCopy::Never,
        },
        item: item.id,
        consistency: "file_system".into(),
        expires: None,
        stored_bytes: point.stats.stored_bytes,
        detail: json!({ "evidence": point.consistency, "disks": [disk], "job": service.job }),
    };
    scene.control.catalog().put_point(&row).await?;
    Ok(PointPlace { vault: made.id, item: item.id, point: row.point.id })
}

/// A point in the vault.
async fn commit(
    scene: &Scene,
    made: &Made,
    machine: &str,
    taken: Timestamp,
    service: Value,
) -> Result<vault::Point> {
    let session = Session::begin(&made.vault, SessionId(Uuid::now_v7()), scene.now()).await?;
    let mut map = session.disk(CHUNK_BYTES as u64, None).await?;
    let batch = session.store(0, taken.to_string().repeat(4000).into_bytes()[..CHUNK_BYTES].to_vec()).await?;
    map.record(&session, &batch).await?;
    let map = map.finish(&session).await?;
    let draft = PointDraft {
        id: vault::PointId(Uuid::now_v7()),
        machine: MachineKey::new(machine)?,
        machine_name: machine.to_owned(),
        instant: taken,
        parent: None,
        consistency: json!({ "level": "file-system", "frozen_filesystems": 2 }),
        description: match Owner::of_key(machine) {
            Owner::Image => json!({ "image": { "name": "web", "version": 3, "from": "golden" } }),
            _ => Value::Null,
        },
        service,
    };
    let disk = DiskRecord { name: "vda".into(), map, tracking: String::new(), read_bytes: 77 };
    Ok(session.commit(draft, vec![disk]).await?)
}

/// Deleted such that it can be brought back, in the vault and here.
async fn delete(scene: &Scene, made: &Made, place: PointPlace) -> Result<()> {
    made.vault.delete_point(vault::PointId(place.point.0), scene.now()).await?;
    let mut row = scene.kept(place).await?;
    row.point.purge_at = Some(scene.ago(-30));
    Ok(scene.control.catalog().put_point(&row).await?)
}

/// What people see is the same as before.
async fn compare(lost: &Scene, new: &Scene, made: &Made, items: &[api::Item]) -> Result<()> {
    let policies = new.control.policies(made.id, &Paging::default()).await?.items;
    let told: Vec<_> = policies.iter().map(|policy| (policy.id, &*policy.name, &policy.document)).collect();
    ensure!(told == [(made.policy.id, &*made.policy.name, &made.policy.document)], "{told:?}");
    for item in items {
        let before = points(lost, made.id, item.id).await?;
        let after = points(new, made.id, item.id).await?;
        ensure!(before == after, "{}: {before:#?}\n{after:#?}", item.name);
        ensure!(
            after.iter().any(|point| point.kept_for.iter().any(|why| why.why.contains("daily"))),
            "{after:?}"
        );
        let here = new.control.item(made.id, item.id).await?;
        ensure!(here.machine == item.machine && here.name == item.name, "{here:?}");
        ensure!(here.policy == Some(made.policy.id) && here.state == ItemState::Protected, "{here:?}");
        let newest = after.iter().map(|point| point.taken).max();
        ensure!(here.last_point == newest, "{here:?}");
    }
    let long = points(new, made.id, items[0].id).await?;
    let sundays = long.iter().filter(|point| {
        let day = point.taken.to_zoned(TimeZone::UTC).date();
        day.weekday() == jiff::civil::Weekday::Sunday && point.kept_for.iter().any(|why| why.why == "weekly")
    });
    ensure!(sundays.count() >= 5, "{long:#?}");
    Ok(())
}

/// All points of an item.
async fn points(scene: &Scene, vault: VaultId, item: Uuid) -> Result<Vec<Point>> {
    let paging = Paging { limit: Some(1000), ..Paging::default() };
    Ok(scene.control.points(vault, item, &paging).await?.items)
}
