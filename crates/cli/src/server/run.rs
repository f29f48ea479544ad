//! `strongroom server run`: the API, the engine and a mover, as one process.

use super::data::{DataArgs, LimitArgs};
use super::single_sign_on::SsoArgs;
use super::work::WorkArgs;
use super::{log, signals};
use anyhow::{Context, Result};
use api::client::{Client, Endpoint};
use clap::Args as ClapArgs;
use control::Control;
use server::{Options, Tls};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    sso: SsoArgs,
    /// Run no mover here: this host has no machines, and others do the work.
    #[arg(long)]
    no_mover: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ListenArgs {
    /// Where to listen; 0.0.0.0:8700 for everybody.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8700")]
    listen: SocketAddr,
    /// A name or address that clients reach this server by, for the certificate that it makes for itself; may be
    /// repeated.
    #[arg(long = "host", value_name = "NAME", conflicts_with = "certificate")]
    hosts: Vec<String>,
    /// Your own certificate with those above it, as a PEM file.
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// Its key, as a PEM file.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// Speak plain HTTP, on the loopback alone: for a proxy that stands before it.
    #[arg(long, conflicts_with_all = ["certificate", "hosts"])]
    no_tls: bool,
}

impl ListenArgs {
    pub(super) fn options(&self, data: &Path) -> Options {
        let tls = match (&self.certificate, &self.certificate_key) {
            (Some(certificate), Some(key)) => Tls::Own { certificate: certificate.clone(), key: key.clone() },
            _ if self.no_tls => Tls::Off,
            _ => Tls::SelfSigned { names: self.names() },
        };
        Options { listen: self.listen, data: data.to_owned(), tls }
    }

    fn names(&self) -> Vec<String> {
        let own = self.listen.ip();
        let own = (!own.is_unspecified() && !own.is_loopback()).then(|| own.to_string());
        self.hosts.iter().cloned().chain(own).collect()
    }
}

/// Runs until told to stop. The API ends last: the mover gives its orders back over it.
pub(crate) async fn run(args: &RunArgs) -> Result<()> {
    log::start();
    let mut stop = signals::stop()?;
    let mut control = args.data.open(args.limits.limits()).await?;
    if let Some(sso) = args.sso.read()? {
        control = control.with_single_sign_on(sso);
    }
    let data = std::fs::canonicalize(&args.data.data).context("find the data directory")?;
    let mut running = server::start(args.listen.options(&data), control.clone()).await?;
    let within =
        if args.no_mover { None } else { Some(Within::start(&control, &data, &args.work, &stop).await?) };
    tracing::info!(url = running.url(), data = %data.display(), "the server runs");
    tokio::spawn({
        let control = control.clone();
        // It may start later than this; an administrator who looks into the log learns of a slip before anybody else.
        async move {
            if let Err(error) = control.check_single_sign_on().await {
                tracing::warn!(%error, "nobody can come in by single sign-on as it is");
            }
        }
    });
    let engine = tokio::spawn({
        let (control, stop) = (control.clone(), stop.clone());
        async move { control.run(stop).await }
    });
    tokio::select! {
        () = signals::told(&mut stop) => {}
        () = running.ended() => anyhow::bail!("the API has ended by itself; the log says more"),
    }
    if let Some(within) = within {
        within.finish().await?;
    }
    engine.await.context("run the engine")?;
    running.stop().await;
    control.catalog().close().await;
    tracing::info!("the server has ended");
    Ok(())
}

/// The mover within the server: a client like any other, over a door of its own that no certificate is needed for.
struct Within {
    door: server::Running,
    working: tokio::task::JoinHandle<mover::Result<()>>,
}

impl Within {
    async fn start(
        control: &Control,
        data: &Path,
        work: &WorkArgs,
        stop: &watch::Receiver<bool>,
    ) -> Result<Self> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = Options { listen, data: data.to_owned(), tls: Tls::Off };
        let door = server::start(options, control.clone()).await.context("open the mover's door")?;
        let token = control.own_mover_token().await?;
        let client = Client::new(&Endpoint { url: door.url(), certificate: None }, Some(token))?;
        let settings = work.settings(&data.join("mover"))?;
        let mut stop = stop.clone();
        let working =
            tokio::spawn(async move { mover::work::run(client, settings, signals::told(&mut stop)).await });
        Ok(Self { door, working })
    }

    async fn finish(self) -> Result<()> {
        self.working.await.context("run the mover")??;
        self.door.stop().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        listen: ListenArgs,
    }

    fn tls(line: &str) -> Option<Tls> {
        let parsed = Line::try_parse_from(format!("x {line}").split_whitespace()).ok()?;
        Some(parsed.listen.options(Path::new("/data")).tls)
    }

    #[test]
    fn a_certificate_is_for_the_address_it_is_shown_at() {
        let names =
            |names: &[&str]| Some(Tls::SelfSigned { names: names.iter().map(|n| (*n).to_owned()).collect() });
        assert_eq!(tls(""), names(&[]), "the loopback is always in");
        assert_eq!(tls("--listen 0.0.0.0:8700 --host backup.example"), names(&["backup.example"]));
        assert_eq!(tls("--listen 10.1.2.3:8700 --host a --host b"), names(&["a", "b", "10.1.2.3"]));
        assert_eq!(tls("--no-tls"), Some(Tls::Off));
        assert_eq!(
            (tls("--certificate a"), tls("--certificate a --certificate-key b --no-tls")),
            (None, None)
        );
    }
}
