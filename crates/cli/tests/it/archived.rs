//! The archive tier from end to end, over two years: the real service and the real mover over real stores, with a clock
//! that goes by months. No guest: points are written by the vault itself.

use anyhow::{Context, Result, ensure};
use api::client::ClientError;
use api::work::{
    AssignedHost, ClaimRequest, Instruction, Inventory, Order, PictureReport, Report, UsageReport,
};
use api::{ArchiveStore, JobState, NewPolicy, NewVault, Rehydrate, Restore, RestoreFormat, VaultSettings};
use async_trait::async_trait;
use catalog::{Catalog, Host, Item, JobFilter, Machine, PointRow};
use control::{Actor, Control, PointPlace};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::policy::{
    ArchiveAfter, DaysOfMonth, Monthly, PolicyDocument, Schedule, WeekOfMonth, Weekday, Weekly,
};
use model::protection::{Keep, Protection};
use model::schedule::Limits;
use model::{ArchiveCopy, Days, HostId, JobId, MachineId, Near, Origin, Policy, Slot, VaultCopy};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;
use vault::{
    Base, CHUNK_BYTES, DiskRecord, KeyFile, MachineKey, Point, PointDraft, PointId, Session, SessionId,
    Standing, Store, Vault,
};

/// Chunks of the disk.
const CHUNKS: usize = 100;
/// The one clock of this program's one such test: a mover's is a plain function.
static NOW: AtomicI64 = AtomicI64::new(0);

fn now() -> Timestamp {
    Timestamp::from_second(NOW.load(Ordering::SeqCst)).expect("an instant")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// The service, asked without a wire between.
#[derive(Clone)]
struct Direct(Control);

fn refused(error: control::Error) -> ClientError {
    ClientError::Refused(Box::new(error.into_problem()))
}

#[async_trait]
impl mover::work::Server for Direct {
    async fn claim(&self, wish: &ClaimRequest) -> Result<Option<Order>, ClientError> {
        self.0.claim("server", wish).await.map_err(refused)
    }

    async fn report(&self, job: JobId, report: &Report) -> Result<Instruction, ClientError> {
        self.0.report("server", job, report).await.map_err(refused)
    }

    async fn picture(&self, _: JobId, _: &PictureReport) -> Result<(), ClientError> {
        Ok(())
    }

    async fn usage(&self, job: JobId, report: &UsageReport) -> Result<(), ClientError> {
        self.0.keep_usage("server", job, report.clone()).await.map_err(refused)
    }

    async fn hosts(&self) -> Result<Vec<AssignedHost>, ClientError> {
        Ok(Vec::new())
    }

    async fn tell(&self, _: &Inventory) -> Result<(), ClientError> {
        Ok(())
    }
}

/// Bytes that do not compress, others for each seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// First Sundays are kept for so many months, and move when they are three months old.
pub(crate) fn policy(keep_months: u16) -> PolicyDocument {
    let mut document = Policy::standard("UTC", "02:00");
    let weekdays = vec![Weekday::Sunday];
    document.schedule = Schedule::Weekly { weekdays: weekdays.clone(), time: "02:00".to_owned() };
    document.snapshot_days = 5;
    document.vault.daily = None;
    document.vault.weekly = Some(Weekly { weekdays: weekdays.clone(), keep_weeks: 4 });
    let on = DaysOfMonth::Weekly { weekdays, weeks: vec![WeekOfMonth::First] };
    document.vault.monthly = Some(Monthly { on, keep_months });
    document.vault.archive = Some(ArchiveAfter { after_months: 3 });
    document
}

/// A vault with an archive, one machine in it, and who works for them.
struct Years {
    folder: tempfile::TempDir,
    catalog: Catalog,
    control: Control,
    vault: model::VaultId,
    item: Item,
    me: Actor,
}

impl Years {
    async fn new() -> Result<Self> {
        NOW.store(at("2026-01-01T00:00:00Z").as_second(), Ordering::SeqCst);
        let folder = tempfile::tempdir()?;
        let catalog = Catalog::open_file(&folder.path().join("catalog.db")).await?;
        let limits = Limits { per_host: 4, per_store: 4, overall: 4 };
        let settings = control::Settings { data: folder.path().to_owned(), limits };
        let control = Control::new(catalog.clone(), settings, Arc::new(now), Arc::new(Uuid::now_v7));
        let me = Actor("alice".to_owned());
        let text = |name: &str| folder.path().join(name).display().to_string();
        let settings =
            VaultSettings { archive: Some(ArchiveStore::at(text("archive"))), ..VaultSettings::default() };
        let (name, location) = ("main".to_owned(), text("vault"));
        std::fs::create_dir(folder.path().join("vault"))?;
        let new = NewVault { name, location, settings, adopt: false, key: None };
        let made = control.make_vault(&me, new).await?;
        std::fs::write(folder.path().join("main.key"), made.key.context("a key")?)?;
        let vault = made.vault.id;

        let document = policy(24);
        let new = NewPolicy { name: "years".to_owned(), document, revision: None, accept_loss: false };
        let policy = control.make_policy(&me, vault, new).await?.id;
        let (host, machine) = (HostId(Uuid::now_v7()), MachineId(Uuid::now_v7()));
        let (name, address, mover) = ("here".to_owned(), "local".to_owned(), "server".to_owned());
        catalog.add_host(&Host { id: host, name, address, mover, seen: None }).await?;
        let (known_as, name) = ("uuid of db".to_owned(), "db".to_owned());
        let (tags, description) = (Default::default(), serde_json::json!({}));
        let seen = Machine { id: machine, host, known_as, name, tags, description, seen: now() };
        catalog.see_machine(&seen).await?;
        // Its points are made here; what they are kept for is the policy's.
        let item = Item {
            id: Uuid::now_v7(),
            vault,
            machine,
            name: "db".to_owned(),
            protection: Protection::Stopped { keep: Keep::ByPolicy { policy } },
            last_point: None,
            created: now(),
            revision: 1,
        };
        catalog.add_item(&item).await?;
        Ok(Self { folder, catalog, control, vault, item, me })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn open(&self, name: &str) -> Result<Arc<Vault>> {
        let key = KeyFile::from_text(&std::fs::read_to_string(self.path("main.key"))?)?;
        Ok(Arc::new(Vault::open(Store::local(&self.path(name))?, &key).await?))
    }

    /// A point of a Sunday, in the vault and in the catalog: one chunk differs from the one before.
    async fn make(&self, sunday: Date, disk: &[u8], parent: Option<(&Point, usize)>) -> Result<Point> {
        let slot_at = sunday.at(2, 0, 0, 0).to_zoned(TimeZone::UTC)?.timestamp();
        let vault = self.open("vault").await?;
        let session = Session::begin(&vault, SessionId(Uuid::now_v7()), slot_at).await?;
        let base = parent.map(|(point, _)| Base { point: point.id, map: &point.disks[0].map });
        let mut map = session.disk(disk.len() as u64, base).await?;
        for chunk in parent.map_or(0..CHUNKS, |(_, chunk)| chunk..chunk + 1) {
            let start = chunk * CHUNK_BYTES;
            let batch = session.store(start as u64, disk[start..start + CHUNK_BYTES].to_vec()).await?;
            map.record(&session, &batch).await?;
        }
        let draft = PointDraft {
            id: PointId(Uuid::now_v7()),
            machine: MachineKey::new(self.item.id.to_string())?,
            machine_name: "db".into(),
            instant: slot_at,
            parent: parent.map(|(point, _)| point.id),
            consistency: serde_json::json!({ "level": "crash" }),
            description: serde_json::Value::Null,
            service: serde_json::Value::Null,
        };
        let map = map.finish(&session).await?;
        let record = DiskRecord { name: "vda".into(), map, tracking: String::new(), read_bytes: 0 };
        let made = session.commit(draft, vec![record]).await?;
        let days = Days { first: sunday, last: sunday };
        let slot = Slot { day: sunday, number: 0, closes_day: true, at: slot_at };
        let point = model::Point {
            id: model::PointId(made.id.0),
            taken: slot_at,
            origin: Origin::Scheduled { slot, stands_for: Some(days) },
            in_snapshot_tier: false,
            vault: VaultCopy::There,
            pinned: false,
            locked_until: None,
            purge_at: None,
            archive: ArchiveCopy::Never,
        };
        let row = PointRow {
            point,
            item: self.item.id,
            consistency: "crash".to_owned(),
            expires: None,
            stored_bytes: made.stats.stored_bytes,
            detail: serde_json::json!({}),
        };
        self.catalog.put_point(&row).await?;
        Ok(made)
    }

    /// So many days later, all is done that there is to do.
    async fn days(&self, count: i64) -> Result<()> {
        NOW.fetch_add(count * 24 * 3600, Ordering::SeqCst);
        self.settle().await
    }

    /// Waits until all is done that there is to do now.
    async fn settle(&self) -> Result<()> {
        for _ in 0..2 {
            let control = &self.control;
            control.tick_follow().await?;
            control.plan_again(self.item.id).await?;
            control.tick_plans(now()).await?;
            control.tick_retention(now()).await?;
            control.tick_collect(now()).await?;
            control.tick_archive(now()).await?;
            while self.unfinished().await? > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn unfinished(&self) -> Result<usize> {
        let jobs = self.control.jobs(&JobFilter::default(), None, 20).await?.items;
        let bad = jobs.iter().find(|job| matches!(job.state, JobState::Failed | JobState::Waiting));
        ensure!(bad.is_none(), "{bad:?}");
        Ok(jobs.iter().filter(|job| !job.state.is_over()).count())
    }

    async fn kept(&self, point: &Point) -> Result<model::Point> {
        Ok(self.catalog.point(model::PointId(point.id.0)).await?.point)
    }

    async fn standing(&self, store: &str, point: &Point) -> Result<Standing> {
        Ok(self.open(store).await?.standing_of(point.id).await?.1)
    }

    fn place(&self, point: &Point) -> PointPlace {
        PointPlace { vault: self.vault, item: self.item.id, point: model::PointId(point.id.0) }
    }

    /// Restores the disk of a point by the service and its mover.
    async fn restored(&self, point: &Point, name: &str) -> Result<Vec<u8>> {
        let folder = self.path(name);
        let wish = Restore {
            folder: folder.display().to_string(),
            disks: Vec::new(),
            format: RestoreFormat::Raw,
            mover: None,
            machine: None,
            from_copy: false,
        };
        self.control.restore(&self.me, self.place(point), wish).await?;
        self.settle().await?;
        Ok(std::fs::read(folder.join("vda.raw"))?)
    }

    /// Restores it with this program alone, out of a store.
    fn rescued(&self, store: &str, point: &Point, name: &str) -> Result<Vec<u8>> {
        let folder = self.path(name);
        let argument = |path: &Path| path.display().to_string();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(["rescue", "restore", "disks", &point.id.to_string(), "--format", "raw"]);
        command.args([
            "--vault",
            &argument(&self.path(store)),
            "--key-file",
            &argument(&self.path("main.key")),
        ]);
        command.args(["--cache", &argument(&self.path("rescue cache")), "--to", &argument(&folder)]);
        let ran = command.output()?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Ok(std::fs::read(folder.join("vda.raw"))?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn years_of_points_move_to_the_archive_come_back_byte_for_byte_and_expire_there() -> Result<()> {
    let years = Years::new().await?;
    let mut disk = noise(1, CHUNKS * CHUNK_BYTES);
    let mut points: Vec<(Point, Vec<u8>)> = Vec::new();
    // The first Sundays of six months, and the newest, which is no first one.
    let sundays =
        ["2026-01-04", "2026-02-01", "2026-03-01", "2026-04-05", "2026-05-03", "2026-06-07", "2026-06-14"];
    for (number, sunday) in (0..).zip(sundays) {
        let chunk = 10 + number;
        disk[chunk * CHUNK_BYTES..(chunk + 1) * CHUNK_BYTES]
            .copy_from_slice(&noise(100 + chunk as u64, CHUNK_BYTES));
        let parent = points.last().map(|(point, _)| (point, chunk));
        let made = years.make(sunday.parse()?, &disk, parent).await?;
        points.push((made, disk.clone()));
    }
    NOW.store(at("2026-06-15T12:00:00Z").as_second(), Ordering::SeqCst);
    let mut settings = mover::work::Settings::below(years.path("mover"), now, Uuid::now_v7);
    settings.orders_at_once = 2;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let mover = tokio::spawn(mover::work::run(Direct(years.control.clone()), settings, shutdown));

    let plan = years.control.archive_plan(years.vault).await?;
    ensure!(plan.moves == 3, "January to March are three months old: {plan:?}");
    ensure!(years.kept(&points[0].0).await?.archive.is_never(), "a dry run changes nothing");
    years.days(2).await?;
    let (january, bytes) = &points[0];
    for (point, _) in &points[..3] {
        ensure!(matches!(years.kept(point).await?.archive.near(), Some(Near::Dropped { .. })));
        ensure!(years.standing("vault", point).await? == Standing::Deleted);
        ensure!(years.standing("archive", point).await? == Standing::Listed);
    }
    let error = years.restored(january, "too far").await.expect_err("it is in the archive alone");
    ensure!(error.to_string().contains("archive"), "{error}");
    ensure!(years.rescued("archive", january, "rescued")? == *bytes, "without the service, from the archive");

    // Months: others move, and the vault tier purges what it dropped.
    years.days(40).await?;
    ensure!(years.kept(january).await?.archive.near() == Some(Near::Gone {}));
    ensure!(years.standing("vault", january).await? == Standing::Purged);
    years.days(60).await?;
    for (point, _) in &points[..5] {
        ensure!(years.kept(point).await?.archive.is_there(), "all that is old enough");
    }
    let state = years.control.vault(years.vault).await?.archived.context("it has an archive")?;
    ensure!(state.points >= 5 && state.stored_bytes > (CHUNKS * CHUNK_BYTES) as u64, "{state:?}");

    // Back for some days, twice: byte for byte.
    for (round, (point, bytes)) in [&points[0], &points[2], &points[0]].into_iter().enumerate() {
        years.control.rehydrate(&years.me, years.place(point), Rehydrate { days: 10 }).await?;
        years.settle().await?;
        ensure!(years.restored(point, &format!("back {round}")).await? == *bytes, "round {round}");
        years.days(9).await?;
        ensure!(years.kept(point).await?.is_near(now()), "round {round}: its days are not over");
        years.days(2).await?;
        ensure!(!years.kept(point).await?.is_near(now()), "round {round}: dropped again");
        ensure!(years.standing("archive", point).await? == Standing::Listed);
        years.days(20).await?;
        ensure!(years.standing("vault", point).await? == Standing::Purged, "round {round}");
    }
    let (newest, bytes) = points.last().context("the newest")?;
    ensure!(years.restored(newest, "newest").await? == *bytes, "what stayed is whole");
    ensure!(years.open("vault").await?.verify(&|_| ()).await?.damage.is_empty());
    ensure!(years.open("archive").await?.verify(&|_| ()).await?.damage.is_empty());

    // January's two years are over: it expires in the archive, and is purged there when nobody was promised more.
    NOW.store(at("2028-01-10T12:00:00Z").as_second(), Ordering::SeqCst);
    years.days(2).await?;
    ensure!(years.kept(january).await?.is_deleted());
    ensure!(years.standing("archive", january).await? == Standing::Deleted);
    years.days(16).await?;
    ensure!(years.standing("archive", january).await? == Standing::Purged);
    ensure!(years.catalog.point(model::PointId(january.id.0)).await.is_err(), "the catalog has forgotten it");
    let (february, bytes) = &points[1];
    ensure!(years.rescued("archive", february, "rescued later")? == *bytes, "what stays there is whole");
    let _ = stop.send(());
    mover.await??;
    Ok(())
}
