//! `strongroom host`.

use super::confirm::{Undo, Yes, confirm};
use super::names::choose;
use super::words::when;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Host, NewHost};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Have a mover tell of a host's machines, so that they can be protected.
    Add {
        /// What to call the host.
        #[arg(value_name = "NAME")]
        name: String,
        /// `local` for all machines of the mover's own host, or a libvirt URI such as qemu:///system.
        #[arg(long, value_name = "local|URI", default_value = "local")]
        address: String,
        /// The mover that reaches it; the server's own if not said.
        #[arg(long, value_name = "MOVER")]
        mover: Option<String>,
    },
    /// List the hosts.
    List,
    /// Forget a host of which no machine is protected.
    Remove {
        /// The host, by its name or id.
        #[arg(value_name = "HOST")]
        host: String,
        #[command(flatten)]
        yes: Yes,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, command: HostCommand) -> Result<()> {
    match command {
        HostCommand::Add { name, address, mover } => {
            let new = NewHost { name, address, mover };
            let added: Option<Host> = client.send(Method::POST, "/v1/hosts", &new).await?;
            let host = added.context("the server told nothing of the host")?;
            eprintln!(
                "Its machines are listed as soon as its mover has told of them: `strongroom machine list`."
            );
            output::print(output, &host, || table(std::slice::from_ref(&host)))
        }
        HostCommand::List => {
            let all: Vec<Host> = client.all("/v1/hosts").await?;
            output::print(output, &all, || table(&all))
        }
        HostCommand::Remove { host, yes } => {
            let all: Vec<Host> = client.all("/v1/hosts").await?;
            let host = choose("host", all, &host, |one| (one.name.clone(), one.id))?;
            let text = format!("The machines of {} are forgotten, until it is added again.", host.name);
            confirm(yes, Undo::Possible, &text)?;
            client.act::<serde_json::Value>(Method::DELETE, &format!("/v1/hosts/{}", host.id)).await?;
            output::print(output, &host, || format!("{} is forgotten\n", host.name))
        }
    }
}

fn table(all: &[Host]) -> String {
    if all.is_empty() {
        return "No hosts yet. `strongroom host add NAME` adds the server's own.\n".into();
    }
    let rows = all.iter().map(|host| {
        vec![
            host.name.clone(),
            host.address.clone(),
            host.mover.clone(),
            when(host.seen),
            host.id.to_string(),
        ]
    });
    output::table(&["HOST", "MACHINES BY", "MOVER", "HEARD OF", "ID"], &[], rows)
}
