//! `strongroom cost`: what is stored for whom, and what it costs at one's own prices.

use super::follow::{self, Wait};
use super::names::{self, InVault};
use super::words::{or_dash, word};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method, escaped};
use api::{Accepted, CostLine, CostReport, Page, StoreUsage, Vault};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use model::cost::{Money, Prices};
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CostArgs {
    #[command(flatten)]
    report: ReportArgs,
    #[command(subcommand)]
    command: Option<CostCommand>,
}

#[derive(Debug, ClapArgs)]
struct ReportArgs {
    /// What there is a line for.
    #[arg(long, value_enum, default_value_t = By::Machine)]
    by: By,
    /// The tag, with `--by tag`: a line for each of its values.
    #[arg(long, value_name = "KEY", required_if_eq("by", "tag"))]
    tag: Option<String>,
    /// The month, as 2026-11 [default: this one].
    #[arg(long, value_name = "YYYY-MM")]
    month: Option<String>,
    #[command(flatten)]
    vault: InVault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Machine,
    Vault,
    Tier,
    Tag,
}

#[derive(Debug, Subcommand)]
enum CostCommand {
    /// Show whose the bytes of each store are, as they were measured last.
    Usage {
        #[command(flatten)]
        vault: InVault,
    },
    /// Measure a vault now rather than with its next collection; what is due to be freed is freed before.
    Measure {
        #[command(flatten)]
        vault: InVault,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show the prices that reports are made at, or say others.
    Prices {
        /// A file of prices, JSON or YAML: `--output yaml` prints one.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, args: CostArgs) -> Result<()> {
    match args.command {
        None => report(output, client, args.report).await,
        Some(CostCommand::Usage { vault }) => usage(output, client, &vault).await,
        Some(CostCommand::Measure { vault, wait }) => measure(output, client, &vault, wait).await,
        Some(CostCommand::Prices { file: None }) => show_prices(output, client).await,
        Some(CostCommand::Prices { file: Some(file) }) => set_prices(output, client, &file).await,
    }
}

async fn report(output: &Output, client: &Client, args: ReportArgs) -> Result<()> {
    let mut asked = vec![("by", by_word(args.by).to_owned())];
    asked.extend(args.tag.map(|tag| ("tag", tag)));
    asked.extend(args.month.map(|month| ("month", month)));
    if args.vault.vault.is_some() {
        let vault = names::vault(client, args.vault.vault.as_deref()).await?;
        asked.push(("vault", vault.id.to_string()));
    }
    let asked: Vec<_> = asked.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    let found: CostReport = client.get(&format!("/v1/cost?{}", asked.join("&"))).await?;
    output::print(output, &found, || report_table(&found))
}

fn by_word(by: By) -> &'static str {
    match by {
        By::Machine => "machine",
        By::Vault => "vault",
        By::Tier => "tier",
        By::Tag => "tag",
    }
}

fn report_table(report: &CostReport) -> String {
    if report.lines.is_empty() {
        return format!(
            "Nothing was measured for {}. `strongroom cost measure` measures a vault now.\n",
            report.month
        );
    }
    let money = |amount: Money| match &report.currency {
        Some(currency) => format!("{:.2} {currency}", amount.amount()),
        None => "-".to_owned(),
    };
    let rows = report.lines.iter().map(|line| {
        let stored = line.storage.iter().map(|one| one.average_bytes).sum();
        let stored_cost: Money = line.storage.iter().map(|one| one.cost).sum();
        vec![
            line.name.clone(),
            protected(line),
            money(line.protection_cost),
            output::size(stored),
            money(stored_cost),
            money(line.cost),
        ]
    });
    let heading = ["NAME", "PROTECTED", "COSTS", "STORED ON AVERAGE", "STORING COSTS", "TOGETHER"];
    let right = ["COSTS", "STORED ON AVERAGE", "STORING COSTS", "TOGETHER"];
    let mut text = output::table(&heading, &right, rows);
    let until = report.until.map_or_else(|| "no day".to_owned(), |day| day.to_string());
    text += &format!("\n{} until {until}: {}\n", report.month, money(report.total));
    if report.currency.is_none() {
        text += "Nobody has said any prices: `strongroom cost prices --file FILE`.\n";
    }
    text
}

/// `30 days up to 50 GiB`...
fn protected(line: &CostLine) -> String {
    let each = line.protected.iter().map(|one| match one.days {
        1 => format!("1 day {}", one.size),
        days => format!("{days} days {}", one.size),
    });
    or_dash(Some(each.collect::<Vec<_>>().join(", ")))
}

async fn usage(output: &Output, client: &Client, vault: &InVault) -> Result<()> {
    let vaults: Vec<Vault> = match &vault.vault {
        Some(named) => vec![names::vault(client, Some(named)).await?],
        None => client.all("/v1/vaults").await?,
    };
    let mut found: Vec<(Vault, StoreUsage)> = Vec::new();
    for vault in vaults {
        let page: Page<StoreUsage> = client.get(&format!("/v1/vaults/{}/usage", vault.id)).await?;
        found.extend(page.items.into_iter().map(|store| (vault.clone(), store)));
    }
    let told: Vec<_> = found
        .iter()
        .map(|(vault, store)| serde_json::json!({ "vault": vault.name, "store": store }))
        .collect();
    output::print(output, &told, || usage_table(&found))
}

fn usage_table(found: &[(Vault, StoreUsage)]) -> String {
    if found.is_empty() {
        return "Nothing was measured yet. `strongroom cost measure` measures a vault now.\n".to_owned();
    }
    let mut text = String::new();
    for (vault, store) in found {
        let at = output::instant(store.measured);
        let place = format!("{} {} of {}", word(&store.redundancy), word(&store.tier), vault.name);
        text += &format!("{place}, measured {at}: {}\n", output::size(store.stored_bytes));
        let rows = store.parts.iter().map(|part| {
            vec![
                part.name.clone(),
                part.points.to_string(),
                output::size(part.share_bytes),
                output::size(part.alone_bytes),
                part.used_bytes.map_or_else(|| "-".to_owned(), output::size),
            ]
        });
        let right = ["POINTS", "ITS PART", "FREED WITHOUT IT", "ON ITS DISKS"];
        text +=
            &output::table(&["NAME", "POINTS", "ITS PART", "FREED WITHOUT IT", "ON ITS DISKS"], &right, rows);
        text.push('\n');
    }
    text
}

async fn measure(output: &Output, client: &Client, vault: &InVault, wait: Wait) -> Result<()> {
    let vault = names::vault(client, vault.vault.as_deref()).await?;
    let path = format!("/v1/vaults/{}/measure", vault.id);
    let accepted: Option<Accepted> = client.act(Method::POST, &path).await?;
    follow::accepted(output, client, accepted, wait).await
}

async fn show_prices(output: &Output, client: &Client) -> Result<()> {
    let page: Page<Prices> = client.get("/v1/prices").await?;
    match page.items.first() {
        Some(prices) => output::print(output, prices, || prices_table(prices)),
        None => output::print(output, &serde_json::Value::Null, || {
            "Nobody has said any prices: `strongroom cost prices --file FILE`.\n".to_owned()
        }),
    }
}

async fn set_prices(output: &Output, client: &Client, file: &std::path::Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let wrong = |error: &dyn std::fmt::Display| {
        Told::usage(
            format!("{} holds no prices: {error}", file.display()),
            "docs/cost.md shows a file of prices",
        )
    };
    let told: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| wrong(&error))?;
    let prices: Prices = serde_json::from_value(told).map_err(|error| wrong(&error))?;
    let said: Option<Prices> = client.send(Method::PUT, "/v1/prices", &prices).await?;
    let said = said.context("the server answered nothing")?;
    output::print(output, &said, || prices_table(&said))
}

fn prices_table(prices: &Prices) -> String {
    let money = |amount: Money| format!("{} {}", amount.amount(), prices.currency);
    let mut facts = vec![
        ("a machine up to 50 GiB, a month".to_owned(), money(prices.machine.up_to_50_gib)),
        ("a machine up to 500 GiB".to_owned(), money(prices.machine.up_to_500_gib)),
        ("each further 500 GiB".to_owned(), money(prices.machine.each_further_500_gib)),
    ];
    facts.extend(prices.storage.iter().map(|price| {
        let place = format!("a GiB in the {} tier, {} copy", word(&price.tier), word(&price.redundancy));
        (place, money(price.gib_month))
    }));
    let facts: Vec<_> = facts.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    output::facts(&facts)
}
