//! Both databases, empty, and rows to put into them.

use anyhow::Result;
use catalog::{Catalog, Host, Item, Machine, PointRow, PolicyRow, VaultRow};
use jiff::{SignedDuration, Timestamp};
use model::protection::Protection;
use model::{HostId, MachineId, Origin, Point, PointId, Policy, PolicyId, VaultCopy, VaultId};
use serde_json::json;
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
                let url = crate::scene::postgres(concat!(module_path!(), stringify!($name)))?;
                super::$name(catalog::Catalog::open(&url).await?).await
            })+
        }
        $(async fn $name($catalog: catalog::Catalog) -> anyhow::Result<()> $body)+
    };
}
pub(crate) use on_both;

/// The one server of this test program.
fn server() -> Result<Arc<PostgresServer>> {
    static SERVER: Mutex<Option<Arc<PostgresServer>>> = Mutex::new(None);
    let mut server = SERVER.lock().expect("no test panics while it starts");
    match &*server {
        Some(running) => Ok(running.clone()),
        None => Ok(server.insert(Arc::new(PostgresServer::start()?)).clone()),
    }
}

/// An empty database.
pub(crate) fn postgres(name: &str) -> Result<String> {
    server()?.database(&name.replace("::", "_"))
}

/// Somebody else's statement in a database.
pub(crate) fn sql(database: &str, statement: &str) -> Result<String> {
    server()?.sql(database, statement)
}

/// An instant so many seconds after the beginning of the story.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let began: Timestamp = "2026-11-21T12:00:00.000001Z".parse().expect("an instant");
    began + SignedDuration::from_secs(seconds)
}

pub(crate) fn vault(name: &str) -> VaultRow {
    VaultRow {
        id: VaultId(Uuid::now_v7()),
        name: name.to_owned(),
        location: format!("/vaults/{name}"),
        settings: json!({ "soft_delete_days": 14 }),
        created: at(0),
        revision: 1,
    }
}

pub(crate) fn policy(vault: &VaultRow, name: &str) -> PolicyRow {
    PolicyRow {
        id: PolicyId(Uuid::now_v7()),
        vault: vault.id,
        name: name.to_owned(),
        document: Policy::standard("Europe/Berlin", "02:30"),
        created: at(1),
        revision: 1,
    }
}

pub(crate) fn host(name: &str) -> Host {
    Host {
        id: HostId(Uuid::now_v7()),
        name: name.to_owned(),
        address: "local".to_owned(),
        mover: "server".to_owned(),
        seen: None,
    }
}

pub(crate) fn machine(host: &Host, name: &str) -> Machine {
    Machine {
        id: MachineId(Uuid::now_v7()),
        host: host.id,
        known_as: format!("uuid of {name}"),
        name: name.to_owned(),
        tags: [("tier".to_owned(), "gold".to_owned())].into(),
        description: json!({ "cpus": 2, "odd": "ein Ö, a 'quote', a \"quote\", \\ and \u{1f980}" }),
        seen: at(2),
    }
}

pub(crate) fn item(vault: &VaultRow, policy: &PolicyRow, name: &str) -> Item {
    Item {
        id: Uuid::now_v7(),
        vault: vault.id,
        machine: MachineId(Uuid::now_v7()),
        name: name.to_owned(),
        protection: Protection::Protected { policy: policy.id },
        last_point: None,
        created: at(3),
        revision: 1,
    }
}

pub(crate) fn point(item: &Item, taken: Timestamp) -> PointRow {
    let keep_until = taken + SignedDuration::from_hours(24 * 30);
    PointRow {
        point: Point {
            id: PointId(Uuid::now_v7()),
            taken,
            origin: Origin::OnDemand { keep_until },
            in_snapshot_tier: false,
            vault: VaultCopy::There,
            pinned: false,
            locked_until: None,
            purge_at: None,
            archive: model::ArchiveCopy::Never,
        },
        item: item.id,
        consistency: "application".to_owned(),
        expires: Some(keep_until),
        stored_bytes: 1 << 40,
        detail: json!({ "disks": ["vda"] }),
    }
}

/// A vault with a policy and one protected machine.
pub(crate) async fn protected(catalog: &Catalog, name: &str) -> Result<(VaultRow, PolicyRow, Item)> {
    let vault = vault(&format!("vault of {name}"));
    let policy = policy(&vault, "daily");
    let item = item(&vault, &policy, name);
    catalog.add_vault(&vault).await?;
    catalog.add_policy(&policy).await?;
    catalog.add_item(&item).await?;
    Ok((vault, policy, item))
}
