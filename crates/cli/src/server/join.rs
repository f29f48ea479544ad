//! `strongroom mover join` and `run`: a host that works for a server elsewhere.

use super::work::WorkArgs;
use super::{data, log, signals};
use crate::failure::Told;
use crate::output::{self, Output};
use crate::service::{self, TrustArgs};
use anyhow::{Context, Result};
use api::client::{Client, Endpoint};
use clap::Args as ClapArgs;
use model::HostId;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    /// The mover's data directory: its token, caches, and room for what guests overwrite during backups.
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA", default_value = "/var/lib/strongroom-mover")]
    data: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct JoinArgs {
    /// The server, as https://HOST:8700.
    #[arg(value_name = "URL")]
    url: String,
    /// The token, which `strongroom mover token` made.
    #[arg(long, value_name = "TOKEN", env = "STRONGROOM_TOKEN", hide_env_values = true)]
    token: String,
    /// What to call this mover [default: this host's name].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    work: WorkArgs,
}

/// What a mover knows of its server.
#[derive(Serialize, Deserialize)]
struct Joined {
    name: String,
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    token: String,
    host: HostId,
}

/// Joins a server, once.
pub(crate) async fn join(output: &Output, args: &JoinArgs) -> Result<()> {
    let file = file(&args.data);
    data::make(&args.data.data)?;
    let name = args.name.clone().map_or_else(host_name, Ok)?;
    let url = args.url.trim_end_matches('/').to_owned();
    let certificate = service::trusted(&url, &args.trust).await?;
    let endpoint = Endpoint { url: url.clone(), certificate: certificate.clone() };
    let api::work::Joined { token, host } = mover::work::join(&endpoint, &name, &args.token).await?;
    let value = serde_json::json!({ "name": name, "url": url, "host": host });
    write(&file, &Joined { name: name.clone(), url, certificate, token, host })?;
    eprintln!("Start it:  strongroom mover run --data {}", args.data.data.display());
    output::print(output, &value, || format!("{name} has joined\n"))
}

/// Works for the server that was joined.
pub(crate) async fn run(args: &RunArgs) -> Result<()> {
    log::start();
    let file = file(&args.data);
    let joined = match std::fs::read(&file) {
        Ok(text) => {
            serde_json::from_slice::<Joined>(&text).with_context(|| format!("read {}", file.display()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let hint = "`strongroom mover join URL --token TOKEN` does";
            return Err(Told::not_found(
                format!("nobody has joined a server: there is no {}", file.display()),
                hint,
            ));
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let mut stop = signals::stop()?;
    let endpoint = Endpoint { url: joined.url.clone(), certificate: joined.certificate };
    let client = Client::new(&endpoint, Some(joined.token))?;
    tracing::info!(server = joined.url, name = joined.name, "the mover runs");
    let settings = args.work.settings(&args.data.data.join("mover"))?;
    mover::work::run(client, settings, signals::told(&mut stop)).await?;
    tracing::info!("the mover has ended");
    Ok(())
}

fn file(args: &DataArgs) -> PathBuf {
    args.data.join("mover.json")
}

// CRASH: the file is there whole, or not at all: then the token is used up, and another one must be made.
fn write(path: &Path, joined: &Joined) -> Result<()> {
    let doing = || format!("write {}", path.display());
    let new = path.with_extension("json.new");
    let _ = std::fs::remove_file(&new);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let mut file = file.with_context(doing)?;
    file.write_all(&serde_json::to_vec_pretty(joined)?).with_context(doing)?;
    file.sync_all().with_context(doing)?;
    std::fs::rename(&new, path).with_context(doing)
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("read this host's name")?;
    Ok(name.trim().to_owned())
}
