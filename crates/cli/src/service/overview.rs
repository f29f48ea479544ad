//! `strongroom overview` and `strongroom forecast`: whether all is well, and what will run.

use super::words::{count, when};
use crate::output::{self, Output};
use anyhow::Result;
use api::client::Client;
use api::{Forecast, Overview, TierStored};
use clap::Args as ClapArgs;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Debug, ClapArgs)]
pub(crate) struct ForecastArgs {
    /// How many hours to look ahead.
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    hours: u16,
}

pub(crate) async fn overview(output: &Output, client: &Client) -> Result<()> {
    let overview: Overview = client.get("/v1/overview").await?;
    output::print(output, &overview, || {
        output::facts(&[
            ("Protected machines", by_state(&overview.items)),
            ("Unprotected machines", overview.unprotected.to_string()),
            ("Jobs of the last 24 hours", by_state(&overview.jobs)),
            ("Open alerts", by_state(&overview.alerts)),
            ("Points", format!("{}, {} stored", overview.points, output::size(overview.stored_bytes))),
            ("Stored by tier", by_tier(&overview.storage)),
            ("Movers", overview.movers.to_string()),
        ])
    })
}

fn by_tier(storage: &[TierStored]) -> String {
    if storage.is_empty() {
        return "not measured yet".to_owned();
    }
    let one = |stored: &TierStored| {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (tier, redundancy) = (word(json!(stored.tier)), word(json!(stored.redundancy)));
        format!("{} in {tier} {redundancy}", output::size(stored.stored_bytes))
    };
    storage.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn by_state(counts: &BTreeMap<String, u64>) -> String {
    let all: Vec<_> = counts.iter().filter(|(_, number)| **number > 0).collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    let one = |(state, number): (&String, &u64)| format!("{number} {}", state.replace('_', " "));
    all.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

pub(crate) async fn forecast(output: &Output, client: &Client, args: &ForecastArgs) -> Result<()> {
    let forecast: Forecast = client.get(&format!("/v1/forecast?hours={}", args.hours)).await?;
    output::print(output, &forecast, || {
        if forecast.runs.is_empty() {
            return format!("Nothing runs in the next {}.\n", count(args.hours.into(), "hour"));
        }
        let rows = forecast.runs.iter().map(|run| {
            vec![
                run.name.clone(),
                output::instant(run.due),
                output::instant(run.start),
                output::instant(run.end),
            ]
        });
        let runs = output::table(&["MACHINE", "DUE", "STARTS", "ENDS"], &[], rows);
        let (runs_in_all, ends) = (count(forecast.runs.len() as u64, "run"), when(forecast.ends));
        format!("{runs}{runs_in_all}, at most {} at once; the last ends {ends}\n", forecast.peak)
    })
}
