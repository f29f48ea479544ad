//! `strongroom context`.

use super::contexts::{self, Contexts};
use crate::output::{self, Output};
use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the servers that were logged in to.
    List,
    /// Make a context the one that counts if nothing else is said.
    Use {
        /// Its name.
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
    /// Forget a server, its certificate and its token. `strongroom logout` ends the session there.
    Remove {
        /// Its name.
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
}

pub(crate) fn run(output: &Output, command: &ContextCommand) -> Result<()> {
    let path = contexts::path();
    let mut contexts = Contexts::read(&path)?;
    match command {
        ContextCommand::List => {}
        ContextCommand::Use { name } => {
            contexts.named(Some(name))?;
            contexts.current = Some(name.clone());
            contexts.write(&path)?;
        }
        ContextCommand::Remove { name } => {
            contexts.remove(name)?;
            contexts.write(&path)?;
        }
    }
    let is_current = |name: &str| contexts.current.as_deref() == Some(name);
    let values = contexts.contexts.iter().map(|(name, saved)| {
        serde_json::json!({
            "name": name, "url": saved.url, "user": saved.user, "current": is_current(name),
            "logged_in": saved.token.is_some(), "expires": saved.expires,
        })
    });
    let values: Vec<_> = values.collect();
    output::print(output, &values, || {
        if contexts.contexts.is_empty() {
            return "No server is known. `strongroom login https://HOST:8700` logs in to one.\n".into();
        }
        let rows = contexts.contexts.iter().map(|(name, saved)| {
            let until = saved.expires.map_or("-".into(), output::instant);
            vec![
                if is_current(name) { "*" } else { "" }.to_owned(),
                name.clone(),
                saved.url.clone(),
                saved.user.clone().unwrap_or_else(|| "-".into()),
                if saved.token.is_some() { until } else { "logged out".into() },
            ]
        });
        output::table(&["", "CONTEXT", "SERVER", "USER", "UNTIL"], &[], rows)
    })
}
