//! A server is lost with its catalog, and most of a machine's points are in the archive alone: whoever takes the vault in
//! has them, as what they were, and restores them byte for byte. Real servers; points are written by the vault itself, for
//! nobody waits for months.

use crate::archived::{noise, policy};
use crate::guest::{BOOT, until};
use crate::scene::Scene;
use crate::service::{Server, text};
use anyhow::{Context, Result, ensure};
use api::work::{Service, ServicePolicy, ServicePromise};
use jiff::civil::{Date, Weekday as Day};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use model::{Days, JobId, MachineId, Origin, PolicyId, Slot};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use testkit::{StoreKind, StoreServer};
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, DiskRecord, KeyFile, MachineKey, PointDraft, PointId, Session, SessionId, Store,
    StoreAddress, StoreSettings, Vault,
};

/// Chunks of the disk.
const CHUNKS: usize = 30;
/// Months back that have a point each.
const MONTHS: i32 = 7;

/// Points of one machine, and what its disk held then; the oldest first.
struct Written {
    points: Vec<(PointId, Vec<u8>)>,
}

/// Where the vault is, and how this program itself gets at it.
struct Place {
    url: String,
    settings: StoreSettings,
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_points_of_a_vault_whose_catalog_was_lost_are_found_and_restored() -> Result<()> {
    // Two clouds, each with credentials of its own, which nobody notes anywhere.
    let warm = StoreServer::start(StoreKind::S3, &testkit::to_stderr)?;
    let cold = StoreServer::start(StoreKind::Azure, &testkit::to_stderr)?;
    warm.make_store("warm")?;
    cold.make_store("cold")?;
    let [mut scene, mut other] = [Scene::without_vault()?, Scene::without_vault()?];
    for scene in [&mut scene, &mut other] {
        scene.know_store("", &warm);
        scene.know_store("ARCHIVE_", &cold);
    }
    let settings = warm.variables().into_iter().collect();
    let place = Place { url: format!("{}/main", warm.url("warm")), settings };
    let archive = format!("{}/main", cold.url("cold"));
    let key = scene.path("vault.key");
    scene.run(["vault", "create", &place.url, "--key-file", text(&key)?])?.succeeded()?;
    let vault = place.open(&key).await?;
    let written = write(&vault).await?;

    // The first server: it has the points, and moves them.
    let first = Server::start(&scene)?;
    let adopt = ["vault", "adopt", "main", &place.url, "--key-file", text(&key)?];
    scene.ask_program(&adopt)?;
    scene.ask_program(&["resume", "db", "--policy", "years"])?;
    scene.ask_program(&["vault", "update", "main", "--archive-to", &archive])?;
    let begun = scene.ask_program(&["vault", "archive", "main"])?;
    let job = begun["jobs"][0].as_str().context("a job")?;
    let done = scene.ask_program(&["job", "watch", job])?;
    ensure!(done["state"] == "completed", "{done}");
    until("its points to be in the archive alone", || Ok(count(&scene, is_archived)? >= 3))?;
    let archived = count(&scene, is_archived)?;
    let user_deleted = written.points[0].0.to_string();
    scene.run_program(&["point", "delete", "db", &user_deleted])?.succeeded()?;
    let noted = async {
        while !vault.notes().await?.notes.iter().any(|note| note.machine.as_str() == "vault--itself") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(BOOT, noted).await.context("where the archive is should have been noted")??;
    first.stop()?;
    std::fs::remove_dir_all(scene.path("data"))?;

    // The second, which has the credentials, and was told of nothing but the vault and a key.
    let second = Server::start(&other)?;
    let ran = other.run_program(&adopt)?;
    ensure!(ran.succeeded()?.contains(&archive), "{ran:?}");
    ensure!(!ran.stderr.contains("archive"), "nothing of it was lost: {ran:?}");
    ensure!(count(&other, is_archived)? == archived - 1, "one of them is deleted");
    let deleted = other.ask_program(&["point", "list", "db", "--deleted"])?;
    ensure!(deleted[0]["id"] == *user_deleted && deleted.as_array().map(Vec::len) == Some(1), "{deleted}");
    let listed = other.run_program(&["point", "list", "db"])?;
    ensure!(listed.succeeded()?.matches("Archive").count() == archived - 1, "{listed:?}");

    let (point, bytes) = &written.points[1];
    let (id, to) = (point.to_string(), other.path("restored"));
    let restore = ["restore", "db", "--point", &id, "--format", "raw", "--to", text(&to)?];
    let refused = other.run_program(&restore)?;
    ensure!(refused.code != Some(0) && refused.stderr.contains("archive"), "it is far away: {refused:?}");
    let restored = other.ask_program(&[&restore[..], &["--rehydrate"]].concat())?;
    ensure!(restored["state"] == "completed", "{restored}");
    ensure!(std::fs::read(to.join("vda.raw"))? == *bytes, "byte for byte");
    let listed = other.run_program(&["point", "list", "db"])?;
    ensure!(listed.succeeded()?.contains("Archive and vault"), "{listed:?}");
    // What was deleted in the archive comes back there.
    other.run_program(&["point", "undelete", "db", &user_deleted])?.succeeded()?;
    until("it to be back", || Ok(count(&other, is_archived)? == archived - 1))?;

    // Once more finds nothing new.
    let before = other.ask_program(&["point", "list", "db"])?;
    other.ask_program(&adopt)?;
    ensure!(other.ask_program(&["point", "list", "db"])? == before);
    ensure!(place.open(&key).await?.verify(&|_| ()).await?.damage.is_empty());
    second.stop()
}

fn is_archived(point: &Value) -> bool {
    point["in_archive_tier"] == true && point["in_vault_tier"] == false
}

/// How many points of the machine are so.
fn count(scene: &Scene, are: fn(&Value) -> bool) -> Result<usize> {
    let points = scene.ask_program(&["point", "list", "db"])?;
    Ok(points.as_array().context("a list")?.iter().filter(|point| are(point)).count())
}

impl Place {
    async fn open(&self, key: &Path) -> Result<Arc<Vault>> {
        let key = KeyFile::from_text(&std::fs::read_to_string(key)?)?;
        let store = Store::open(&StoreAddress::parse(&self.url)?, &self.settings).await?;
        Ok(Arc::new(Vault::open(store, &key).await?))
    }
}

/// A point of each month's first Sunday, as a mover of a server that is long gone made them.
async fn write(vault: &Arc<Vault>) -> Result<Written> {
    let (item, machine, policy_id) = (Uuid::now_v7(), MachineId(Uuid::now_v7()), PolicyId(Uuid::now_v7()));
    #[expect(clippy::disallowed_methods, reason = "the servers of this test go by the host's clock")]
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let mut disk = noise(1, CHUNKS * CHUNK_BYTES);
    let mut points = Vec::new();
    for back in (0..MONTHS).rev() {
        let sunday: Date =
            today.first_of_month().checked_sub((back + 1).months())?.nth_weekday_of_month(1, Day::Sunday)?;
        let chunk = usize::try_from(back)?;
        disk[chunk * CHUNK_BYTES..(chunk + 1) * CHUNK_BYTES]
            .copy_from_slice(&noise(100 + chunk as u64, CHUNK_BYTES));
        let at = sunday.at(2, 0, 0, 0).to_zoned(TimeZone::UTC)?.timestamp();
        let slot = Slot { day: sunday, number: 0, closes_day: true, at };
        let stands_for = Some(Days { first: sunday, last: sunday });
        let service = Service {
            version: 1,
            job: JobId(Uuid::now_v7()),
            item,
            machine,
            name: "db".to_owned(),
            known_as: "uuid of db".to_owned(),
            origin: Origin::Scheduled { slot, stands_for },
            policy: Some(ServicePolicy { id: policy_id, name: "years".to_owned(), document: policy(60) }),
            promised: Some(ServicePromise { soft_delete_days: 14, immutable: false }),
        };
        let session = Session::begin(vault, SessionId(Uuid::now_v7()), at).await?;
        let mut map = session.disk(disk.len() as u64, None).await?;
        for (number, chunk) in disk.chunks(CHUNK_BYTES).enumerate() {
            let batch = session.store((number * CHUNK_BYTES) as u64, chunk.to_vec()).await?;
            map.record(&session, &batch).await?;
        }
        let map = map.finish(&session).await?;
        let draft = PointDraft {
            id: PointId(Uuid::now_v7()),
            machine: MachineKey::new(item.to_string())?,
            machine_name: "db".to_owned(),
            instant: at,
            parent: None,
            consistency: serde_json::json!({ "level": "crash" }),
            description: Value::Null,
            service: serde_json::to_value(&service)?,
        };
        let record = DiskRecord { name: "vda".into(), map, tracking: String::new(), read_bytes: 0 };
        let point = session.commit(draft, vec![record]).await?;
        points.push((point.id, disk.clone()));
    }
    Ok(Written { points })
}
