//! `strongroom user token`: what services come in by, and the sessions of people.

use super::confirm::{Undo, Yes, confirm};
use super::user::find;
use super::words::when;
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{NewToken, TokenInfo, TokenMade, User};
use clap::Subcommand;

/// Characters of an id that are shown: enough to tell a user's tokens apart.
const SHOWN: usize = 12;
/// Of an id its end is enough, as everywhere; a shorter one is a slip of the finger.
const END_MIN: usize = 4;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a service: shown once.
    Make {
        /// The user, by its name or id.
        #[arg(value_name = "USER")]
        user: String,
        /// What the token is for.
        #[arg(long = "for", value_name = "TEXT")]
        purpose: String,
        /// Days until it expires: 1 to 730.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        days: u16,
    },
    /// List a user's tokens and sessions.
    List {
        /// The user, by its name or id.
        #[arg(value_name = "USER")]
        user: String,
    },
    /// Make a token or a session worthless.
    Revoke {
        /// The user, by its name or id.
        #[arg(value_name = "USER")]
        user: String,
        /// The token, by what it is for, or by its id as `strongroom user token list` shows it.
        #[arg(value_name = "TOKEN")]
        token: String,
        #[command(flatten)]
        yes: Yes,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Make { user, purpose, days } => {
            let path = path(&find(client, &user).await?);
            let made = client.send(Method::POST, &path, &NewToken { name: purpose, days }).await?;
            let made: TokenMade = made.context("the server gave no token")?;
            eprintln!(
                "It is not shown again. STRONGROOM_TOKEN or `strongroom login --token-stdin` takes it."
            );
            output::print(output, &made, || format!("{}\n", made.token))
        }
        TokenCommand::List { user } => {
            let all: Vec<TokenInfo> = client.all(&path(&find(client, &user).await?)).await?;
            output::print(output, &all, || table(&all))
        }
        TokenCommand::Revoke { user, token, yes } => {
            let user = find(client, &user).await?;
            let all: Vec<TokenInfo> = client.all(&path(&user)).await?;
            let meant = choose(&all, &user.name, &token)?;
            let text = format!("Whoever comes by {} of {} cannot any more.", in_words(meant), user.name);
            confirm(yes, Undo::Impossible, &text)?;
            let place = format!("{}/{}", path(&user), meant.id);
            client.act::<serde_json::Value>(Method::DELETE, &place).await?;
            output::print(output, meant, || format!("{} of {} is worthless\n", in_words(meant), user.name))
        }
    }
}

fn path(user: &User) -> String {
    format!("/v1/users/{}/tokens", user.id)
}

/// The one token that is meant.
fn choose<'a>(all: &'a [TokenInfo], user: &str, wanted: &str) -> Result<&'a TokenInfo> {
    let is_meant = |token: &&TokenInfo| {
        !token.name.is_empty() && token.name == wanted
            || wanted.len() >= END_MIN && token.id.ends_with(wanted)
    };
    let hint = format!("`strongroom user token list {user}` shows them");
    let mut meant = all.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Told::not_found(format!("{user} has no token {wanted}"), hint)),
        (Some(_), Some(_)) => {
            Err(Told::usage(format!("{user} has several tokens {wanted}"), format!("name its id: {hint}")))
        }
    }
}

fn in_words(token: &TokenInfo) -> String {
    if token.name.is_empty() {
        return format!("the {} {}", token.kind, short(&token.id));
    }
    format!("the {} for {}", token.kind, token.name)
}

fn short(id: &str) -> &str {
    id.len().checked_sub(SHOWN).and_then(|from| id.get(from..)).unwrap_or(id)
}

fn table(all: &[TokenInfo]) -> String {
    let rows = all.iter().map(|token| {
        vec![
            token.kind.clone(),
            super::words::or_dash(Some(token.name.clone()).filter(|name| !name.is_empty())),
            output::instant(token.created),
            output::instant(token.expires),
            when(token.used),
            short(&token.id).to_owned(),
        ]
    });
    output::table(&["KIND", "FOR", "MADE", "GOOD UNTIL", "USED", "ID"], &[], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_by_its_purpose_or_its_id_and_never_guessed() {
        let token = |id: &str, name: &str| -> TokenInfo {
            serde_json::from_value(serde_json::json!({
                "id": id, "name": name, "kind": "token", "created": "2026-11-21T15:00:00Z",
                "expires": "2027-11-21T15:00:00Z", "used": null,
            }))
            .expect("a token")
        };
        let all = [token("112233aabbcc", "nightly"), token("4455aabbcc", "twice"), token("ddeeff", "twice")];
        let chosen = |wanted: &str| choose(&all, "robot", wanted).map(|one| one.id.clone()).ok();
        assert_eq!(chosen("nightly").as_deref(), Some("112233aabbcc"));
        assert_eq!(chosen("5aabbcc").as_deref(), Some("4455aabbcc"));
        assert_eq!(chosen("eeff").as_deref(), Some("ddeeff"));
        for wrong in ["twice", "aabbcc", "eff", "", "other"] {
            assert_eq!(chosen(wrong), None, "{wrong}");
        }
    }
}
