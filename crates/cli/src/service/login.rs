//! `strongroom login` and `strongroom logout`.

use super::certificate::{self, TrustArgs};
use super::connect::connect;
use super::contexts::{self, Contexts, Saved};
use super::sign_on::{SignOnArgs, sign_on};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::Method;
use api::{Credentials, Session};
use clap::Args as ClapArgs;
use std::io::{BufRead, IsTerminal, Write};
use zeroize::Zeroizing;

/// The first line of standard input is no longer than this: it is a password, or a mistake.
const SECRET_BYTES_MAX: u64 = 4096;

#[derive(Debug, ClapArgs)]
pub(crate) struct LoginArgs {
    /// The server, as https://HOST:8700; may be left out to log in again.
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Who logs in.
    #[arg(long, value_name = "USER")]
    pub(crate) name: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Read a token from standard input, which an administrator made with `strongroom user token make`.
    #[arg(long, conflicts_with_all = ["password_stdin", "name"])]
    pub(crate) token_stdin: bool,
    #[command(flatten)]
    pub(crate) sign_on: SignOnArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

/// Logs in, and keeps that as a context: the one that is named, or one by the name of the server's host.
pub(crate) async fn login(output: &Output, context: Option<&str>, args: LoginArgs) -> Result<()> {
    let path = contexts::path();
    let mut contexts = Contexts::read(&path)?;
    let (name, mut saved) = server(&contexts, context, &args)?;
    if saved.certificate.is_none() || args.trust.certificate.is_some() || args.trust.fingerprint.is_some() {
        saved.certificate = certificate::trusted(&saved.url, &args.trust).await?;
    }
    saved.token = None;
    if args.token_stdin {
        saved.token = Some(line_of_input()?.to_string());
        let me: api::Me = connect(&saved)?.get("/v1/me").await?;
        (saved.user, saved.expires) = (Some(me.name), None);
    } else if args.sign_on.sso {
        let session = sign_on(&connect(&saved)?, &args.sign_on).await?;
        (saved.token, saved.expires) = (Some(session.token), Some(session.expires));
        let me: api::Me = connect(&saved)?.get("/v1/me").await?;
        saved.user = Some(me.name);
    } else {
        let user = args.name.or(saved.user.take()).map_or_else(ask_name, Ok)?;
        let password = if args.password_stdin { line_of_input()? } else { ask_password(&user)? };
        let credentials = Credentials { name: user.clone(), password: password.to_string() };
        let session = connect(&saved)?.send(Method::POST, "/v1/login", &credentials).await?;
        let session: Session = session.context("the server gave no session")?;
        saved.user = Some(user);
        (saved.token, saved.expires) = (Some(session.token), Some(session.expires));
    }
    let told = serde_json::json!({
        "context": name, "url": saved.url, "user": saved.user, "expires": saved.expires,
    });
    let user = saved.user.clone().unwrap_or_default();
    let until = saved.expires.map(|at| format!(" until {}", output::instant(at))).unwrap_or_default();
    let text = format!("Logged in to {} as {user}{until}: context {name}\n", saved.url);
    contexts.save(&name, saved);
    contexts.write(&path)?;
    output::print(output, &told, || text)
}

/// Ends the session at the server, and forgets its token.
pub(crate) async fn logout(output: &Output, context: Option<&str>) -> Result<()> {
    let path = contexts::path();
    let mut contexts = Contexts::read(&path)?;
    let name = contexts.named(context)?.0.to_owned();
    let saved = contexts.contexts.get_mut(&name).expect("it was just found");
    let ended = match saved.token {
        Some(_) => connect(saved)?.act::<serde_json::Value>(Method::POST, "/v1/logout").await.map(drop),
        None => Ok(()),
    };
    (saved.token, saved.expires) = (None, None);
    let url = saved.url.clone();
    contexts.write(&path)?;
    if let Err(error) = ended {
        eprintln!("warning: the token is forgotten, but the server was not told: {error}");
    }
    output::print(output, &serde_json::json!({ "context": name }), || format!("Logged out of {url}\n"))
}

/// The context's name, and what is known of its server.
fn server(contexts: &Contexts, context: Option<&str>, args: &LoginArgs) -> Result<(String, Saved)> {
    let Some(url) = &args.url else {
        let (name, saved) = contexts.named(context)?;
        return Ok((name.to_owned(), saved.clone()));
    };
    let url = url.trim_end_matches('/').to_owned();
    let parsed = reqwest::Url::parse(&url).ok().filter(|url| ["https", "http"].contains(&url.scheme()));
    let host = parsed.as_ref().and_then(|url| url.host_str().map(str::to_owned));
    let Some(host) = host else {
        return Err(Told::usage(format!("{url} is no address of a server"), "write it as https://HOST:8700"));
    };
    let same = |saved: &&Saved| saved.url == url;
    let known = contexts.contexts.iter().find(|(_, saved)| same(saved));
    let name = context.map(str::to_owned).or_else(|| known.map(|(name, _)| name.clone())).unwrap_or(host);
    // A name that stood for another server keeps nothing of it.
    let saved = contexts.contexts.get(&name).filter(same).cloned();
    Ok((name, saved.unwrap_or_else(|| Saved { url, ..Saved::default() })))
}

fn ask_name() -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Told::usage("nobody says who logs in", "add --name USER"));
    }
    eprint!("Name: ");
    std::io::stderr().flush()?;
    let mut name = String::new();
    std::io::stdin().lock().read_line(&mut name)?;
    Ok(name.trim().to_owned())
}

fn ask_password(user: &str) -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(Told::usage("there is no terminal to ask for a password on", "add --password-stdin"));
    }
    let asked = rpassword::prompt_password(format!("Password of {user}: "));
    asked.map(Zeroizing::new).context("ask for a password on the terminal")
}

/// The first line of standard input.
pub(super) fn line_of_input() -> Result<Zeroizing<String>> {
    use std::io::Read;
    let mut line = Zeroizing::new(String::new());
    let mut input = std::io::BufReader::new(std::io::stdin().lock().take(SECRET_BYTES_MAX));
    input.read_line(&mut line).context("read standard input")?;
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    Ok(line)
}
