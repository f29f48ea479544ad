//! `strongroom alert`.

use super::names::choose;
use super::words::{or_dash, when, word};
use crate::output::{self, Output};
use anyhow::Result;
use api::Alert;
use api::client::{Client, Method};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// List what somebody should know.
    List {
        /// Also what is over.
        #[arg(long)]
        all: bool,
    },
    /// Say that you have seen an alert.
    Ack {
        /// The alert, by its id or the end of it.
        #[arg(value_name = "ALERT")]
        alert: String,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, command: AlertCommand) -> Result<()> {
    let mut alerts: Vec<Alert> = client.all("/v1/alerts?all=true&limit=1000").await?;
    match command {
        AlertCommand::List { all } => {
            alerts.retain(|alert| all || alert.resolved.is_none());
            output::print(output, &alerts, || table(&alerts))
        }
        AlertCommand::Ack { alert } => {
            let alert = choose("alert", alerts, &alert, |alert| (String::new(), alert.id))?;
            let path = format!("/v1/alerts/{}/acknowledge", alert.id);
            client.act::<serde_json::Value>(Method::POST, &path).await?;
            output::print(output, &alert, || format!("Seen: {}\n", alert.text))
        }
    }
}

fn table(all: &[Alert]) -> String {
    if all.is_empty() {
        return "No open alerts.\n".into();
    }
    let rows = all.iter().map(|alert| {
        vec![
            word(&alert.severity),
            alert.subject.clone(),
            alert.text.clone(),
            output::instant(alert.raised),
            when(alert.resolved),
            or_dash(alert.acknowledged_by.clone()),
            alert.id.to_string(),
        ]
    });
    output::table(&["SEVERITY", "OF", "WHAT", "SINCE", "OVER", "SEEN BY", "ID"], &[], rows)
}
