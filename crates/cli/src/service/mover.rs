//! `strongroom mover token`, `list` and `remove`: movers, as the server knows them.

use super::confirm::{Undo, Yes, confirm};
use super::words::when;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method, escaped};
use api::{Mover, TokenMade};

pub(crate) async fn token(output: &Output, client: &Client) -> Result<()> {
    let made: Option<TokenMade> = client.act(Method::POST, "/v1/movers/tokens").await?;
    let made = made.context("the server gave no token")?;
    eprintln!(
        "Good once, until {}. On the other host: `strongroom mover join URL --token TOKEN`.",
        output::instant(made.expires)
    );
    output::print(output, &made, || format!("{}\n", made.token))
}

/// Lists the movers.
pub(crate) async fn list(output: &Output, client: &Client) -> Result<()> {
    let all: Vec<Mover> = client.all("/v1/movers").await?;
    output::print(output, &all, || {
        let rows =
            all.iter().map(|mover| vec![mover.name.clone(), output::instant(mover.joined), when(mover.seen)]);
        output::table(&["MOVER", "SINCE", "HEARD OF"], &[], rows)
    })
}

/// Shuts a mover out.
pub(crate) async fn remove(output: &Output, client: &Client, name: &str, yes: Yes) -> Result<()> {
    let text =
        format!("The mover {name} is shut out: machines that only it reaches are not backed up any more.");
    confirm(yes, Undo::Possible, &text)?;
    client.act::<serde_json::Value>(Method::DELETE, &format!("/v1/movers/{}", escaped(name))).await?;
    output::print(output, &serde_json::json!({ "name": name }), || format!("{name} is shut out\n"))
}
