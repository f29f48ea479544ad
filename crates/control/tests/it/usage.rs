//! What is stored for whom, as movers measured it, and what a month of it costs.

use crate::acts::scene::{Scene, code, detail, on_both, pointers};
use anyhow::{Context, Result, ensure};
use api::work::{ClaimRequest, Order, ReportedUsage, UsageReport};
use api::{Code, CostBy, CostReport, Tags};
use control::WhichCosts;
use model::cost::{Prices, Redundancy, StorageTier};
use model::{ClaimantId, Owner, VaultId};
use serde_json::json;
use uuid::Uuid;

const GIB: u64 = 1 << 30;

on_both! {
    what_movers_measure_is_kept_day_by_day(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let (order, claimant) = claimed(&scene, vault).await?;
        let subject = item.id.to_string();
        let [snapshots, image] = [Owner::Snapshot.key(item.machine), Owner::Image.key("web")];
        let subjects = [
            ("#unreferenced", GIB, None),
            (&subject, 9 * GIB, Some(GIB)),
            (&snapshots, GIB / 2, None),
            (&image, GIB / 4, None),
        ];
        let report = report(&order, claimant, &subjects);
        // Whoever does not hold the claim says nothing.
        let other = UsageReport { claimant: ClaimantId(Uuid::now_v7()), ..report.clone() };
        ensure!(code(scene.control.keep_usage("server", order.job, other).await) == Code::Conflict);
        let wrong = UsageReport { usages: vec![usage("", 1, None)], ..report.clone() };
        ensure!(pointers(scene.control.keep_usage("server", order.job, wrong).await) == ["/usages/0/subject"]);
        scene.control.keep_usage("server", order.job, report.clone()).await?;
        // A second part of the same; said once more it is there once.
        let more = UsageReport { usages: vec![usage("by-hand", GIB, Some(60 * GIB))], ..report.clone() };
        for _ in 0..2 {
            scene.control.keep_usage("server", order.job, more.clone()).await?;
        }
        let stores = scene.control.usage(vault).await?;
        ensure!(stores.len() == 1 && stores[0].stored_bytes == 11 * GIB + GIB / 4 * 3, "{stores:?}");
        let names: Vec<_> = stores[0].parts.iter().map(|part| part.name.as_str()).collect();
        let freed = "(freed by later collections)";
        ensure!(names == ["db", freed, "by-hand", "Snapshots of db", "Image web"], "{names:?}");
        ensure!(stores[0].measured == scene.now());
        Ok(())
    }

    a_month_is_added_up_by_days_and_by_whatever_is_asked_for(scene) {
        // It is the 21st of November.
        let (vault, policy, db) = scene.protected("db").await?;
        let (_, machines) = scene.machines("other", &["web"]).await?;
        let web = scene.protect(vault, policy, machines[0]).await?;
        for (item, team) in [(&db, "shop"), (&web, "ops")] {
            let tags = Tags { tags: [("team".to_owned(), team.to_owned())].into() };
            scene.control.tag_machine(&scene.me, item.machine, tags, |_| true).await?;
        }
        let [db_key, web_key] = [&db, &web].map(|item| item.id.to_string());
        measured(&scene, vault, &[("#index", GIB, None), (&db_key, 10 * GIB, Some(20)), (&web_key, 10 * GIB, Some(60))]).await?;
        scene.pass(4);
        // The one is gone, its share is the other's.
        measured(&scene, vault, &[("#index", GIB, None), (&web_key, 20 * GIB, Some(600))]).await?;
        scene.pass(5);
        let nobody = scene.control.cost(&which(CostBy::Machine), |_| true).await?;
        ensure!(nobody.currency.is_none() && nobody.total.0 == 0 && nobody.lines.len() == 3, "{nobody:?}");
        let prices: Prices = serde_json::from_value(json!({
            "currency": "EUR",
            "machine": { "up_to_50_gib": 3, "up_to_500_gib": 6, "each_further_500_gib": 9 },
            "storage": [{ "tier": "vault", "redundancy": "local", "gib_month": 0.3 }],
        }))?;
        scene.control.set_prices(&scene.me, &prices).await?;
        ensure!(scene.control.prices().await? == Some(prices.clone()));
        // Until the 30th: ten days from the 21st on, of which four with both.
        let report = scene.control.cost(&which(CostBy::Machine), |_| true).await?;
        let line = |name: &str| report.lines.iter().find(|line| line.name == name).context(name.to_owned());
        ensure!(line("db")?.protection_cost.amount() == 0.4 && line("db")?.cost.amount() == 0.8, "{report:?}");
        // 4 days of 6 and 6 days of 15 a month; 4 x 10 and 6 x 20 GiB days.
        ensure!(line("web")?.protection_cost.amount() == 3.8 && line("web")?.cost.amount() == 5.4, "{report:?}");
        ensure!(line("(the vault's index)")?.cost.amount() == 0.1);
        ensure!(report.total.amount() == 6.3 && report.until.map(|day| day.day()) == Some(30), "{report:?}");
        ensure!(report.measured.len() == 1 && report.measured[0].days == 2, "{:?}", report.measured);
        let mut names = Vec::new();
        for by in [CostBy::Vault, CostBy::Tier, CostBy::Tag] {
            let report = scene.control.cost(&which(by), |_| true).await?;
            ensure!(report.total.amount() == 6.3, "{by:?}: {report:?}");
            names.push(report.lines.into_iter().map(|line| (line.name, line.cost.amount())).collect::<Vec<_>>());
        }
        ensure!(names[0] == [("vault-db".to_owned(), 6.3)]);
        ensure!(names[1] == [("protected machines".to_owned(), 4.2), ("vault local".to_owned(), 2.1)], "{names:?}");
        let told = [("ops", 5.4), ("shop", 0.8), ("(no machine's)", 0.1)].map(|(name, cost)| (name.to_owned(), cost));
        ensure!(names[2] == told, "{names:?}");
        // In the next month what was measured last stands, for 31 days.
        scene.pass(1);
        let december = WhichCosts { month: Some("2026-12".into()), ..which(CostBy::Vault) };
        let first = scene.control.cost(&december, |_| true).await?;
        ensure!(first.total.amount() > 0.0 && first.until.map(|day| day.day()) == Some(1), "{first:?}");
        scene.pass(60);
        let january = WhichCosts { month: Some("2027-01".into()), ..which(CostBy::Vault) };
        ensure!(scene.control.cost(&january, |_| true).await?.lines.is_empty());
        // What somebody may not see costs them nothing.
        let hidden: CostReport = scene.control.cost(&december, |_| false).await?;
        ensure!(hidden.lines.is_empty() && hidden.measured.is_empty());
        Ok(())
    }

    questions_that_make_no_sense_are_refused(scene) {
        let month = |text: &str| WhichCosts { month: Some(text.to_owned()), ..WhichCosts::default() };
        for wrong in ["november", "2026-13", ""] {
            ensure!(pointers(scene.control.cost(&month(wrong), |_| true).await) == ["month"]);
        }
        let tag = WhichCosts { by: CostBy::Tag, ..WhichCosts::default() };
        ensure!(pointers(scene.control.cost(&tag, |_| true).await) == ["tag"]);
        let prices = Prices { currency: "two words".into(), machine: Default::default(), storage: Vec::new() };
        ensure!(pointers(scene.control.set_prices(&scene.me, &prices).await) == ["/currency"]);
        let vault = scene.vault("main").await?.id;
        scene.control.measure(&scene.me, vault).await?;
        ensure!(detail(scene.control.measure(&scene.me, vault).await).contains("under way"));
        Ok(())
    }
}

fn which(by: CostBy) -> WhichCosts {
    WhichCosts { by, tag: (by == CostBy::Tag).then(|| "team".to_owned()), ..WhichCosts::default() }
}

fn usage(subject: &str, share_bytes: u64, used_bytes: Option<u64>) -> ReportedUsage {
    let points = used_bytes.is_some().into();
    ReportedUsage { subject: subject.to_owned(), share_bytes, alone_bytes: share_bytes, used_bytes, points }
}

fn report(order: &Order, claimant: ClaimantId, usages: &[(&str, u64, Option<u64>)]) -> UsageReport {
    let usages =
        usages.iter().map(|(subject, bytes, used)| usage(subject, *bytes, used.map(|used| used * GIB)));
    UsageReport {
        claimant,
        generation: order.generation,
        tier: StorageTier::Vault,
        redundancy: Redundancy::Local,
        usages: usages.collect(),
    }
}

/// A collection that somebody has asked for, claimed by the server's mover.
async fn claimed(scene: &Scene, vault: VaultId) -> Result<(Order, ClaimantId)> {
    let job = scene.control.measure(&scene.me, vault).await?;
    let claimant = ClaimantId(Uuid::now_v7());
    let order = scene.control.claim("server", &ClaimRequest { claimant, wait_seconds: 0 }).await?;
    let order = order.context("the collection")?;
    ensure!(order.job == job);
    Ok((order, claimant))
}

/// Measures, and ends the collection.
async fn measured(scene: &Scene, vault: VaultId, usages: &[(&str, u64, Option<u64>)]) -> Result<()> {
    let (order, claimant) = claimed(scene, vault).await?;
    scene.control.keep_usage("server", order.job, report(&order, claimant, usages)).await?;
    let step = order.kind.steps()[0];
    let event = api::work::ReportEvent::StepDone { step, result: Some(json!({ "gone": [] })) };
    let done = api::work::Report { claimant, generation: order.generation, event, progress: None };
    scene.control.report("server", order.job, &done).await?;
    Ok(())
}
