//! `strongroom audit`: who did what.

use super::pages::first;
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::Result;
use api::client::Client;
use api::{AuditChain, AuditEntry};
use clap::Subcommand;

/// Oldest first, in pages as large as there are.
const LOG: &str = "/v1/audit?limit=1000";

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List what was done, oldest first.
    List {
        /// Only what somebody of this name did.
        #[arg(long, value_name = "USER")]
        actor: Option<String>,
        /// Only acts of this kind, as vault.create.
        #[arg(long, value_name = "ACTION")]
        action: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// Check that no entry was changed or taken out.
    Check {
        /// The newest hash of an earlier check, kept elsewhere: shows whether the end was cut off.
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::List { actor, action, limit } => {
            let fits = |entry: &AuditEntry| {
                actor.as_ref().is_none_or(|actor| *actor == entry.actor)
                    && action.as_ref().is_none_or(|action| *action == entry.action)
            };
            let entries = first(client, LOG, limit, &fits).await?;
            output::print(output, &entries, || table(&entries))
        }
        AuditCommand::Check { head } => check(output, client, head.as_deref()).await,
    }
}

async fn check(output: &Output, client: &Client, head: Option<&str>) -> Result<()> {
    let chain: AuditChain = client.get("/v1/audit/chain").await?;
    if !chain.whole {
        let what = format!("the audit log is not whole: only its first {} entries are", chain.entries);
        return Err(Told::corrupt(
            what,
            "somebody changed the catalog behind the server's back; keep a copy of it",
        ));
    }
    if let Some(head) = head {
        let known = first(client, LOG, 1, &|entry: &AuditEntry| entry.hash == head).await?;
        if known.is_empty() {
            let what = "the log has no entry of that hash: its end was cut off, or another log is looked at";
            return Err(Told::corrupt(what, "compare the server's address and the catalog's backups"));
        }
    }
    output::print(output, &chain, || {
        output::facts(&[
            ("Whole", "yes".to_owned()),
            ("Entries", chain.entries.to_string()),
            ("Newest hash", chain.head.clone().unwrap_or_else(|| "-".to_owned())),
        ])
    })
}

fn table(all: &[AuditEntry]) -> String {
    let rows = all.iter().map(|entry| {
        vec![
            entry.ordinal.to_string(),
            output::instant(entry.at),
            entry.actor.clone(),
            entry.action.clone(),
            entry.object.clone(),
            entry.detail.to_string(),
        ]
    });
    output::table(&["NO", "AT", "BY", "ACTION", "OF", "DETAIL"], &["NO"], rows)
}
