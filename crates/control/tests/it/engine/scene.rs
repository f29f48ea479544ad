//! A service over an empty catalog of either kind, with a clock that stands until it is moved.

use anyhow::Result;
use api::{Job, VaultSettings};
use catalog::{Catalog, Host, Item, JobFilter, Machine, PolicyRow, VaultRow};
use control::{Control, Settings};
use jiff::{SignedDuration, Timestamp};
use model::job::JobKind;
use model::policy::PolicyDocument;
use model::protection::Protection;
use model::schedule::Limits;
use model::{HostId, MachineId, Policy, PolicyId, VaultId};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use testkit::PostgresServer;
use uuid::Uuid;

/// Runs a test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($name:ident($catalog:ident) $body:block)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() -> anyhow::Result<()> {
                let folder = tempfile::tempdir()?;
                super::$name(catalog::Catalog::open_file(&folder.path().join("catalog.db")).await?).await
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() -> anyhow::Result<()> {
                let url = crate::engine::scene::postgres(concat!(module_path!(), stringify!($name)))?;
                super::$name(catalog::Catalog::open(&url).await?).await
            })+
        }
        $(async fn $name($catalog: catalog::Catalog) -> anyhow::Result<()> $body)+
    };
}
pub(crate) use on_both;

/// An empty database of the one server of this test program.
pub(crate) fn postgres(name: &str) -> Result<String> {
    static SERVER: Mutex<Option<Arc<PostgresServer>>> = Mutex::new(None);
    let mut server = SERVER.lock().expect("no test panics while it starts");
    let running = match &*server {
        Some(running) => running.clone(),
        None => server.insert(Arc::new(PostgresServer::start()?)).clone(),
    };
    running.database(&name.replace("::", "_"))
}

/// An instant, as it is written.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

pub(crate) fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

pub(crate) fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

/// The clock of all services of a test.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_microsecond())))
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst)).expect("an instant")
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.as_microsecond(), Ordering::SeqCst);
    }
}

/// The second of the day at which the vault's space is freed: tests that are about something else stay away from it.
const COLLECTED_AT: u64 = (11 * 60 + 50) * 60;

/// Many at once.
pub(crate) const WIDE: Limits = Limits { per_host: 100, per_store: 100, overall: 100 };

/// A service, and the things every test needs.
pub(crate) struct Scene {
    pub(crate) control: Control,
    pub(crate) catalog: Catalog,
    pub(crate) hand: Hand,
    pub(crate) vault: VaultId,
    pub(crate) policy: PolicyRow,
    folder: tempfile::TempDir,
    made: AtomicU64,
}

impl Scene {
    /// A vault in a directory, a policy and nothing under it yet.
    pub(crate) async fn new(catalog: Catalog, document: PolicyDocument, now: Timestamp) -> Result<Self> {
        Self::with(catalog, document, now, VaultSettings::default()).await
    }

    pub(crate) async fn with(
        catalog: Catalog,
        document: PolicyDocument,
        now: Timestamp,
        settings: VaultSettings,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let hand = Hand::at(now);
        let vault = VaultRow {
            id: VaultId(Uuid::from_u64_pair(7, COLLECTED_AT)),
            name: "main".to_owned(),
            location: "/vaults/main".to_owned(),
            settings: serde_json::to_value(settings)?,
            created: now,
            revision: 1,
        };
        std::fs::create_dir(folder.path().join("keys"))?;
        std::fs::write(folder.path().join("keys").join(format!("{}.key", vault.id)), "the key")?;
        let policy = PolicyRow {
            id: PolicyId(Uuid::now_v7()),
            vault: vault.id,
            name: "daily".to_owned(),
            document,
            created: now,
            revision: 1,
        };
        catalog.add_vault(&vault).await?;
        catalog.add_policy(&policy).await?;
        let control = server(&catalog, &folder, &hand, WIDE);
        Ok(Self { control, catalog, hand, vault: vault.id, policy, folder, made: AtomicU64::new(0) })
    }

    /// Another server, over another connection to the same catalog or over the same one.
    pub(crate) fn server(&self, catalog: &Catalog, limits: Limits) -> Control {
        server(catalog, &self.folder, &self.hand, limits)
    }

    /// Where the vaults' keys lie.
    pub(crate) fn keys(&self) -> std::path::PathBuf {
        self.folder.path().join("keys")
    }

    /// A host that a mover speaks with.
    pub(crate) async fn host(&self, mover: &str) -> Result<HostId> {
        self.host_at(mover, "local").await
    }

    pub(crate) async fn host_at(&self, mover: &str, address: &str) -> Result<HostId> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let host = Host {
            id: HostId(Uuid::now_v7()),
            name: format!("host {number}"),
            address: address.to_owned(),
            mover: mover.to_owned(),
            seen: None,
        };
        self.catalog.add_host(&host).await?;
        Ok(host.id)
    }

    /// A machine on a host, protected from now on. Its id is drawn from its name, so that its starts are the same in
    /// every run.
    pub(crate) async fn protect(&self, host: HostId, name: &str) -> Result<Item> {
        let number = name.bytes().fold(0u64, |sum, byte| sum * 31 + u64::from(byte));
        let now = self.hand.now();
        let machine = Machine {
            id: MachineId(Uuid::from_u64_pair(number, number)),
            host,
            known_as: format!("uuid of {name}"),
            name: name.to_owned(),
            tags: Default::default(),
            description: serde_json::json!({}),
            seen: now,
        };
        self.catalog.see_machine(&machine).await?;
        let item = Item {
            id: Uuid::now_v7(),
            vault: self.vault,
            machine: machine.id,
            name: name.to_owned(),
            protection: Protection::AwaitsFirst { policy: self.policy.id },
            last_point: None,
            created: now,
            revision: 1,
        };
        self.catalog.add_item(&item).await?;
        self.control.tick_plans(now).await?;
        Ok(item)
    }

    /// Moves the clock, and has the engine do all it does.
    pub(crate) async fn go_to(&self, now: Timestamp) -> Result<()> {
        self.hand.set(now);
        tick(&self.control).await
    }

    /// All jobs, the oldest first.
    pub(crate) async fn jobs(&self) -> Result<Vec<Job>> {
        jobs(&self.control).await
    }

    /// When a machine's run for a slot starts.
    pub(crate) fn start(&self, item: &Item, slot: &str) -> Timestamp {
        let policy: Policy = self.policy.document.clone().check().expect("it is valid");
        let slot = policy.next_slot(at(slot) - SignedDuration::from_secs(1)).expect("there is one");
        policy.start_of(&slot, item.machine)
    }
}

fn server(catalog: &Catalog, folder: &tempfile::TempDir, hand: &Hand, limits: Limits) -> Control {
    let settings = Settings { data: folder.path().to_owned(), limits };
    let hand = hand.clone();
    Control::new(catalog.clone(), settings, Arc::new(move || hand.now()), Arc::new(Uuid::now_v7))
}

/// All that an engine does, once.
pub(crate) async fn tick(control: &Control) -> Result<()> {
    let now = control.now();
    control.tick_follow().await?;
    control.tick_policies().await?;
    control.tick_plans(now).await?;
    control.tick_schedule(now).await?;
    control.tick_drills(now).await?;
    control.tick_retention(now).await?;
    control.tick_collect(now).await?;
    control.tick_copies(now).await?;
    control.tick_archive(now).await?;
    control.tick_purge(now).await?;
    control.tick_waiting(now).await?;
    Ok(())
}

/// All jobs but the daily ones of the vault, the oldest first.
pub(crate) async fn jobs(control: &Control) -> Result<Vec<Job>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = control.jobs(&JobFilter::default(), after.as_deref(), 1000).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            all.reverse();
            all.retain(|job: &Job| job.kind != JobKind::Collect);
            return Ok(all);
        }
    }
}
