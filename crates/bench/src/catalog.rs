//! The catalog with 10,000 protected machines and a million points: how long what people look at takes, on both
//! databases. Asked: under 100 ms for 99 of 100.

use anyhow::{Result, ensure};
use catalog::{
    Catalog, ClaimWish, Cursor, Host, Item, ItemFilter, JobFilter, Machine, NewJob, PointRow, PolicyRow,
    VaultRow,
};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use model::job::JobKind;
use model::protection::Protection;
use model::schedule::Limits;
use model::{
    ClaimantId, HostId, JobId, MachineId, Origin, Point, PointId, Policy, PolicyId, VaultCopy, VaultId,
};
use serde_json::json;
use std::time::Instant;
use testkit::PostgresServer;
use uuid::Uuid;

/// Points written in one transaction.
const BATCH: usize = 5_000;
/// Times each question is asked.
const TIMES: usize = 200;
/// Rows of a page.
const PAGE: u32 = 100;
/// Every so manieth machine's last backup failed.
const FAILED: usize = 50;

/// How much there is.
#[derive(Args, Clone, Copy)]
pub(crate) struct Options {
    /// Protected machines.
    #[arg(long, default_value_t = 10_000)]
    machines: usize,
    /// Points of each.
    #[arg(long, default_value_t = 100)]
    points: usize,
}

pub(crate) fn run(options: Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = PostgresServer::start()?;
    let url = server.database("bench")?;
    println!("{} machines, {} points each", options.machines, options.points);
    println!("{:<9} {:<32} {:>8} {:>8} {:>8}", "database", "question", "p50 ms", "p99 ms", "max ms");
    tokio::runtime::Runtime::new()?.block_on(async {
        let file = Catalog::open_file(&folder.path().join("catalog.db")).await?;
        measure("sqlite", &file, options).await?;
        measure("postgres", &Catalog::open(&url).await?, options).await
    })
}

async fn measure(database: &str, catalog: &Catalog, options: Options) -> Result<()> {
    let began = Instant::now();
    let (vault, items) = fill(catalog, options).await?;
    println!("{database:<9} filled in {:.0} s", began.elapsed().as_secs_f64());
    // Places all over the list, the same for both databases.
    let some = |round: usize| &items[round.wrapping_mul(7919) % items.len()];
    let place = |round| -> Result<Cursor> { Ok(format!("{}~{}", some(round).id, some(round).name).parse()?) };
    let all = ItemFilter::default();
    let failed = ItemFilter { vault: Some(vault), state: Some("in_error".into()), ..ItemFilter::default() };
    let jobs = JobFilter::default();
    let failed_jobs = JobFilter { vault: Some(vault), state: Some("failed".into()), ..JobFilter::default() };
    let asked = Asked { database };
    asked
        .time("a page of machines", async |n| rows(catalog.items(&all, Some(&place(n)?), PAGE).await))
        .await?;
    asked.time("machines in error", async |_| rows(catalog.items(&failed, None, PAGE).await)).await?;
    asked.time("machines by state", async |_| Ok(catalog.items_by_state().await?.len())).await?;
    asked.time("a machine's points", async |n| rows(catalog.points(some(n).id, None, PAGE).await)).await?;
    asked.time("newest jobs", async |_| rows(catalog.jobs(&jobs, None, PAGE).await)).await?;
    asked
        .time("failed jobs, of which are none", async |_| rows(catalog.jobs(&failed_jobs, None, PAGE).await))
        .await?;
    // Nothing is due yet: what is looked for every few seconds.
    let wish = ClaimWish {
        claimant: ClaimantId(Uuid::now_v7()),
        mover: "mover",
        session: Uuid::now_v7(),
        lease: SignedDuration::from_mins(1),
        limits: Limits { per_host: 4, per_store: 16, overall: 64 },
    };
    asked
        .time("jobs to claim", async |_| Ok(usize::from(catalog.claim_job(&wish, at(1)).await?.is_some())))
        .await?;
    let expired = async |_| Ok(catalog.items_with_expired_points(at(1), PAGE).await?.len());
    asked.time("machines with expired points", expired).await?;
    let all_points = async |_| Ok(usize::try_from(catalog.points_in_all().await?.0)?);
    asked.time("all points and bytes", all_points).await?;
    let of_vault = async |_| Ok(usize::try_from(catalog.points_seen(Some(&[vault])).await?.0)?);
    asked.time("a vault's points and bytes", of_vault).await?;
    let unprotected = async |_| Ok(usize::try_from(catalog.machines_unprotected().await?)?);
    asked.time("unprotected machines", unprotected).await
}

fn rows<T>(page: catalog::Result<catalog::Page<T>>) -> Result<usize> {
    Ok(page?.rows.len())
}

struct Asked<'a> {
    database: &'a str,
}

impl Asked<'_> {
    /// Asks a question many times, and prints how long the answers took.
    async fn time(&self, question: &str, ask: impl AsyncFn(usize) -> Result<usize>) -> Result<()> {
        let mut took = Vec::with_capacity(TIMES);
        for round in 0..TIMES {
            let began = Instant::now();
            ask(round).await?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let [p50, p99, max] = [TIMES / 2, TIMES * 99 / 100, TIMES - 1].map(|place| took[place]);
        println!("{:<9} {question:<32} {p50:>8.2} {p99:>8.2} {max:>8.2}", self.database);
        Ok(())
    }
}

/// An instant so many days after the beginning.
fn at(days: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (365 * 56 + days))
}

async fn fill(catalog: &Catalog, options: Options) -> Result<(VaultId, Vec<Item>)> {
    ensure!(options.machines > 0, "without machines there is nothing to measure");
    let vault = VaultRow {
        id: VaultId(Uuid::now_v7()),
        name: "main".into(),
        location: "/vault".into(),
        settings: json!({}),
        created: at(0),
        revision: 1,
    };
    let policy = PolicyRow {
        id: PolicyId(Uuid::now_v7()),
        vault: vault.id,
        name: "daily".into(),
        document: Policy::standard("Europe/Berlin", "02:30"),
        created: at(0),
        revision: 1,
    };
    catalog.add_vault(&vault).await?;
    catalog.add_policy(&policy).await?;
    let host = Host {
        id: HostId(Uuid::now_v7()),
        name: "host".into(),
        address: "local".into(),
        mover: "mover".into(),
        seen: None,
    };
    catalog.add_host(&host).await?;
    let mut items = Vec::with_capacity(options.machines);
    for number in 0..options.machines {
        let item = item(&vault, &policy, number);
        catalog.see_machine(&machine(&host, &item)).await?;
        catalog.add_item(&item).await?;
        catalog.queue_job(&job(&item), at(0)).await?;
        items.push(item);
    }
    let mut batch = Vec::with_capacity(BATCH);
    for item in &items {
        batch.extend((0..options.points).map(|day| point(item, i64::try_from(day).unwrap_or(0))));
        if batch.len() >= BATCH {
            catalog.put_points(&batch).await?;
            batch.clear();
        }
    }
    catalog.put_points(&batch).await?;
    Ok((vault.id, items))
}

fn item(vault: &VaultRow, policy: &PolicyRow, number: usize) -> Item {
    let policy = policy.id;
    Item {
        id: Uuid::now_v7(),
        vault: vault.id,
        machine: MachineId(Uuid::now_v7()),
        name: format!("machine-{number:05}"),
        protection: match number % FAILED {
            0 => Protection::InError { policy },
            _ => Protection::Protected { policy },
        },
        last_point: None,
        created: at(0),
        revision: 1,
    }
}

fn machine(host: &Host, item: &Item) -> Machine {
    Machine {
        id: item.machine,
        host: host.id,
        known_as: item.machine.to_string(),
        name: item.name.clone(),
        tags: [("tier".to_owned(), "gold".to_owned())].into(),
        description: json!({ "cpus": 2, "memory_bytes": 1u64 << 32 }),
        seen: at(0),
    }
}

/// Ready tomorrow: what is claimable must be found among what is not.
fn job(item: &Item) -> NewJob {
    NewJob {
        id: JobId(Uuid::now_v7()),
        kind: JobKind::Backup,
        vault: Some(item.vault),
        subject: item.id.to_string(),
        name: item.name.clone(),
        mover: Some("mover".into()),
        host: None,
        request: json!({}),
        ready: at(2),
        slot: None,
        asked_by: None,
    }
}

fn point(item: &Item, day: i64) -> PointRow {
    let keep_until = at(day + 180);
    PointRow {
        point: Point {
            id: PointId(Uuid::now_v7()),
            taken: at(day),
            origin: Origin::OnDemand { keep_until },
            in_snapshot_tier: false,
            vault: VaultCopy::There,
            pinned: false,
            locked_until: None,
            purge_at: None,
            archive: model::ArchiveCopy::Never,
        },
        item: item.id,
        consistency: "application".into(),
        expires: Some(keep_until),
        stored_bytes: 1 << 30,
        detail: json!({ "disks": [{ "name": "vda", "size": 1u64 << 35, "read": 1u64 << 30 }] }),
    }
}
