//! A service over an empty catalog of either kind, and what there is to act on.

use anyhow::{Context, Result};
use api::work::{Inventory, SeenMachine};
use api::{
    Code, Item, MachineDisk, MachineState, NewHost, NewPolicy, NewVault, Protect, Vault, VaultSettings,
    Violation,
};
use catalog::{Catalog, Cursor, JobFilter, JobRow, PointRow};
use control::{Actor, Control, Paging, PointPlace, Settings, WhichMachines};
use jiff::{SignedDuration, Timestamp, ToSpan};
use model::policy::{Daily, PolicyDocument, VaultRetention};
use model::schedule::Limits;
use model::{Days, HostId, MachineId, Origin, Point, PointId, Policy, PolicyId, Slot, VaultCopy, VaultId};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use testkit::PostgresServer;
use uuid::Uuid;

/// Runs a test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($name:ident($scene:ident) $body:block)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() -> anyhow::Result<()> {
                let folder = tempfile::tempdir()?;
                let catalog = catalog::Catalog::open_file(&folder.path().join("catalog.db")).await?;
                super::$name(crate::acts::scene::Scene::over(catalog)?).await
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() -> anyhow::Result<()> {
                let url = crate::acts::scene::postgres(concat!(module_path!(), stringify!($name)))?;
                super::$name(crate::acts::scene::Scene::over(catalog::Catalog::open(&url).await?)?).await
            })+
        }
        $(async fn $name($scene: crate::acts::scene::Scene) -> anyhow::Result<()> $body)+
    };
}
pub(crate) use on_both;

/// An empty database of the one server of these tests.
pub(crate) fn postgres(name: &str) -> Result<String> {
    static SERVER: Mutex<Option<Arc<PostgresServer>>> = Mutex::new(None);
    let mut server = SERVER.lock().expect("no test panics while it starts");
    let running = match &*server {
        Some(running) => running.clone(),
        None => server.insert(Arc::new(PostgresServer::start()?)).clone(),
    };
    // PostgreSQL cuts names at 63 characters.
    let name = name.replace("it::acts::", "").replace("::", "_");
    running.database(&name[..name.len().min(63)])
}

/// A service whose clock stands until it is moved. It is noon of a Saturday, in UTC.
pub(crate) struct Scene {
    pub(crate) control: Control,
    pub(crate) me: Actor,
    pub(crate) folder: TempDir,
    clock: Arc<AtomicI64>,
}

impl Scene {
    pub(crate) fn over(catalog: Catalog) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let noon: Timestamp = "2026-11-21T12:00:00Z".parse()?;
        let clock = Arc::new(AtomicI64::new(noon.as_microsecond()));
        let told = Arc::clone(&clock);
        let now = move || Timestamp::from_microsecond(told.load(Ordering::SeqCst)).expect("an instant");
        let limits = Limits { per_host: 1, per_store: 1, overall: 1 };
        let settings = Settings { data: folder.path().join("data"), limits };
        let control = Control::new(catalog, settings, Arc::new(now), Arc::new(Uuid::now_v7));
        Ok(Self { control, me: Actor("alice".to_owned()), folder, clock })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.control.now()
    }

    /// Lets days pass.
    pub(crate) fn pass(&self, days: i64) {
        let time = SignedDuration::from_hours(24 * days);
        self.clock.fetch_add(i64::try_from(time.as_micros()).expect("not for ever"), Ordering::SeqCst);
    }

    /// Lets seconds pass.
    pub(crate) fn pass_seconds(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// So many days ago, at this time of day.
    pub(crate) fn ago(&self, days: i64) -> Timestamp {
        self.now() - SignedDuration::from_hours(24 * days)
    }

    pub(crate) fn new_vault(&self, name: &str) -> NewVault {
        NewVault {
            name: name.to_owned(),
            location: self.folder.path().join(name).display().to_string(),
            settings: VaultSettings::default(),
            adopt: false,
            key: None,
        }
    }

    pub(crate) async fn vault(&self, name: &str) -> Result<Vault> {
        Ok(self.control.make_vault(&self.me, self.new_vault(name)).await?.vault)
    }

    pub(crate) async fn immutable(&self, vault: VaultId) -> Result<()> {
        let settings = VaultSettings { immutable: true, ..self.control.vault(vault).await?.settings };
        let change = api::VaultChange { settings: Some(settings), ..api::VaultChange::default() };
        self.control.change_vault(&self.me, vault, change).await?;
        Ok(())
    }

    pub(crate) async fn policy(&self, vault: VaultId, name: &str, days: u16) -> Result<PolicyId> {
        Ok(self.control.make_policy(&self.me, vault, new_policy(name, days)).await?.id)
    }

    /// A host with these machines.
    pub(crate) async fn machines(&self, host: &str, names: &[&str]) -> Result<(HostId, Vec<MachineId>)> {
        // Each host has an address of its own.
        let new =
            NewHost { name: host.to_owned(), address: format!("qemu+ssh://{host}/system"), mover: None };
        let host = self.control.add_host(&self.me, new).await?.id;
        self.control.take_inventory("server", inventory(host, names)).await?;
        let mut ids = Vec::new();
        for name in names {
            ids.push(self.machine(name).await?);
        }
        Ok((host, ids))
    }

    pub(crate) async fn machine(&self, name: &str) -> Result<MachineId> {
        let which = WhichMachines { name: Some(name.to_owned()), ..WhichMachines::default() };
        let page = self.control.machines(&which, |_| true, &Paging::default()).await?;
        Ok(page.items.first().with_context(|| name.to_owned())?.id)
    }

    /// Puts a machine under a policy.
    pub(crate) async fn protect(&self, vault: VaultId, policy: PolicyId, machine: MachineId) -> Result<Item> {
        let wish = Protect { machines: vec![machine], policy, back_up_now: false };
        let outcome = self.control.protect_many(&self.me, vault, &wish).await?.remove(0);
        outcome.item.with_context(|| format!("{:?}", outcome.problem))
    }

    /// A vault with a policy that keeps 30 days, and a machine under it.
    pub(crate) async fn protected(&self, name: &str) -> Result<(VaultId, PolicyId, Item)> {
        let vault = self.vault(&format!("vault-{name}")).await?.id;
        let policy = self.policy(vault, "daily", 30).await?;
        let (_, machines) = self.machines(&format!("host-{name}"), &[name]).await?;
        Ok((vault, policy, self.protect(vault, policy, machines[0]).await?))
    }

    /// A point of a day in the past, with disks `vda` and `vdb`.
    pub(crate) async fn point(&self, item: &Item, days_ago: i64) -> Result<PointPlace> {
        let taken = self.ago(days_ago);
        let day = taken.to_zoned(jiff::tz::TimeZone::UTC).date();
        let slot = Slot { day, number: 0, closes_day: true, at: taken };
        let row = PointRow {
            point: Point {
                id: PointId(Uuid::now_v7()),
                taken,
                origin: Origin::Scheduled { slot, stands_for: Some(Days { first: day, last: day }) },
                in_snapshot_tier: false,
                vault: VaultCopy::There,
                pinned: false,
                locked_until: None,
                purge_at: None,
                archive: model::ArchiveCopy::Never,
            },
            item: item.id,
            consistency: "application".to_owned(),
            expires: Some(taken.to_zoned(jiff::tz::TimeZone::UTC).checked_add(30.days())?.timestamp()),
            stored_bytes: 7,
            detail: json!({ "evidence": { "frozen": true }, "disks": disks() }),
        };
        self.control.catalog().put_point(&row).await?;
        Ok(PointPlace { vault: item.vault, item: item.id, point: row.point.id })
    }

    /// What the catalog says a point is kept for.
    pub(crate) async fn kept(&self, place: PointPlace) -> Result<PointRow> {
        Ok(self.control.catalog().point(place.point).await?)
    }

    /// The jobs of an item, newest first.
    pub(crate) async fn jobs(&self, item: &Item) -> Result<Vec<JobRow>> {
        let filter = JobFilter { subject: Some(item.id.to_string()), ..JobFilter::default() };
        let page = self.control.catalog().jobs(&filter, None::<&Cursor>, 100).await?;
        Ok(page.rows)
    }

    /// All that was done, as `ACTOR ACTION`.
    pub(crate) async fn audited(&self) -> Result<Vec<String>> {
        let entries = self.control.catalog().audit(0, 1000).await?;
        Ok(entries.into_iter().map(|entry| format!("{} {}", entry.actor, entry.action)).collect())
    }
}

fn disks() -> Value {
    json!([{ "name": "vda", "bytes": 1024, "read_bytes": 512 }, { "name": "vdb", "bytes": 1024, "read_bytes": 0 }])
}

pub(crate) fn document(days: u16) -> PolicyDocument {
    let vault = VaultRetention { daily: Some(Daily { keep_days: days }), ..VaultRetention::default() };
    PolicyDocument { vault, ..Policy::standard("UTC", "02:30") }
}

pub(crate) fn new_policy(name: &str, days: u16) -> NewPolicy {
    NewPolicy { name: name.to_owned(), document: document(days), revision: None, accept_loss: false }
}

pub(crate) fn seen(name: &str) -> SeenMachine {
    SeenMachine {
        known_as: format!("uuid of {name}"),
        name: name.to_owned(),
        state: MachineState::Running,
        disks: vec![MachineDisk { name: "vda".to_owned(), bytes: 1024, is_os: true }],
        obstacle: None,
        description: json!({ "cpus": 2 }),
    }
}

pub(crate) fn inventory(host: HostId, names: &[&str]) -> Inventory {
    Inventory { host, machines: names.iter().map(|name| seen(name)).collect() }
}

/// The code of a refusal.
pub(crate) fn code<T>(result: control::Result<T>) -> Code {
    match result {
        Ok(_) => panic!("it should have been refused"),
        Err(error) => error.code(),
    }
}

/// The places of all that is wrong with a request.
pub(crate) fn pointers<T>(result: control::Result<T>) -> Vec<String> {
    let Err(error) = result else { panic!("it should have been refused") };
    assert_eq!(error.code(), Code::Invalid, "{error}");
    error.into_problem().violations.into_iter().map(|Violation { pointer, .. }| pointer).collect()
}

/// What a problem says.
pub(crate) fn detail<T>(result: control::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it should have been refused"),
        Err(error) => error.into_problem().detail,
    }
}
