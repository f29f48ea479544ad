//! `strongroom server init`: a server's first moment; and a way back in for who has lost the last password.

use super::data::{self, DataArgs};
use super::run::ListenArgs;
use crate::output::{self, Output};
use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use std::net::{Ipv4Addr, SocketAddr};

#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// What the first administrator is called.
    #[arg(long, value_name = "USER", default_value = "admin")]
    name: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ResetArgs {
    /// Who.
    #[arg(value_name = "USER")]
    name: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Every part is made if it is missing; only an administrator that exists is an error.
// CRASH: what was made stays, and the same command makes the rest. A password that nobody saw is set anew by
// `reset-password`.
pub(crate) async fn init(output: &Output, args: &InitArgs) -> Result<()> {
    data::make(&args.data.data)?;
    let control = args.data.open_still().await?;
    // Started once where nobody looks, so that its certificate is made and everything is known to be in order.
    let mut options = args.listen.options(&control_data(&args.data)?);
    let address = options.listen;
    options.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let running = server::start(options, control.clone()).await.context("try to start the server")?;
    let certificate = running.certificate().map(str::to_owned);
    running.stop().await;
    let password = control.create_first_administrator(&args.name).await?;
    control.catalog().close().await;
    let fingerprint = certificate.as_deref().map(crate::service::fingerprint_of_pem).transpose()?;
    let login = login_line(address, &args.name, fingerprint.as_deref());
    let value = serde_json::json!({
        "data": args.data.data, "name": args.name, "password": password.as_str(),
        "fingerprint": fingerprint, "login": login,
    });
    output::print(output, &value, || {
        let mut facts = vec![
            ("Data directory", args.data.data.display().to_string()),
            ("Administrator", args.name.clone()),
            ("Password", password.to_string()),
        ];
        facts.extend(fingerprint.iter().map(|found| ("Certificate (SHA-256)", found.clone())));
        output::facts(&facts)
    })?;
    eprintln!("The password is not shown again; `strongroom user password {}` changes it.", args.name);
    eprintln!("Start the server:  strongroom server run --data {}", args.data.data.display());
    eprintln!("Then log in:       {login}");
    Ok(())
}

pub(crate) async fn reset_password(output: &Output, args: &ResetArgs) -> Result<()> {
    let control = args.data.open_still().await?;
    let password = control.reset_password(&args.name).await?;
    control.catalog().close().await;
    let value = serde_json::json!({ "name": args.name, "password": password.as_str() });
    output::print(output, &value, || format!("{}\n", password.as_str()))
}

fn control_data(args: &DataArgs) -> Result<std::path::PathBuf> {
    std::fs::canonicalize(&args.data).with_context(|| format!("find {}", args.data.display()))
}

fn login_line(address: SocketAddr, name: &str, fingerprint: Option<&str>) -> String {
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { bracketed(address) };
    let scheme = if fingerprint.is_some() { "https" } else { "http" };
    let trust = fingerprint.map(|found| format!(" --fingerprint {found}")).unwrap_or_default();
    format!("strongroom login {scheme}://{host}:{} --name {name}{trust}", address.port())
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_to_log_in_is_told_by_an_address_that_can_be_reached() {
        let line = |address: &str| login_line(address.parse().expect("an address"), "admin", Some("AB:CD"));
        assert_eq!(
            line("0.0.0.0:8700"),
            "strongroom login https://127.0.0.1:8700 --name admin --fingerprint AB:CD"
        );
        assert!(line("[fd00::1]:8700").contains(" https://[fd00::1]:8700 "));
        assert!(login_line("127.0.0.1:1".parse().expect("one"), "x", None).contains(" http://127.0.0.1:1 "));
    }
}
