//! Trust in a server's certificate: by the system, by a file, or, once, by whoever compares its fingerprint.

use crate::failure::Told;
use anyhow::{Context, Result};
use api::client::{Client, Endpoint};
use aws_lc_rs::digest::{SHA256, digest};
use clap::Args as ClapArgs;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

/// A server that is there shows its certificate within this.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

/// How the server is known to be the right one.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct TrustArgs {
    /// The server's certificate, or that of who signed it, as a PEM file.
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// The SHA-256 fingerprint of the server's own certificate, as `strongroom server` shows it.
    #[arg(long, value_name = "SHA256", conflicts_with = "certificate")]
    pub(crate) fingerprint: Option<String>,
}

/// The certificate to trust from now on, as PEM; none where the system trusts the server.
pub(crate) async fn trusted(url: &str, args: &TrustArgs) -> Result<Option<String>> {
    if let Some(path) = &args.certificate {
        let text = std::fs::read_to_string(path);
        return text.map(Some).with_context(|| format!("read the certificate {}", path.display()));
    }
    if !url.starts_with("https:") {
        return Ok(None);
    }
    if args.fingerprint.is_none() && is_trusted_by_system(url).await? {
        return Ok(None);
    }
    let der = shown_by(url).await?;
    let found = fingerprint(&der);
    match &args.fingerprint {
        Some(wanted) if same(wanted, &found) => {}
        Some(wanted) => {
            let what = format!("{url} shows a certificate whose fingerprint is {found}, not {wanted}");
            return Err(Told::key(
                what,
                "this is not the server that is meant, or its certificate is a new one",
            ));
        }
        None => ask(url, &found)?,
    }
    Ok(Some(pem::encode(&pem::Pem::new("CERTIFICATE", der))))
}

async fn is_trusted_by_system(url: &str) -> Result<bool> {
    let client = Client::new(&Endpoint { url: url.to_owned(), certificate: None }, None)?;
    match client.get::<api::Version>("/v1/version").await {
        Ok(_) => Ok(true),
        // Whoever does not answer at all shows no certificate either, and is told of there.
        Err(api::client::ClientError::Unreachable { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The certificate that a server shows, whatever it is. Nothing secret is sent to it.
async fn shown_by(url: &str) -> Result<Vec<u8>> {
    let asked = async {
        let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).tls_info(true);
        let http = http.timeout(SHOWN_WITHIN).build()?;
        http.get(format!("{}/v1/version", url.trim_end_matches('/'))).send().await
    };
    let answer = asked.await.map_err(|source| api::client::ClientError::Unreachable {
        doing: format!("ask {url} for its certificate"),
        source,
    })?;
    let shown = answer.extensions().get::<reqwest::tls::TlsInfo>().and_then(|tls| tls.peer_certificate());
    shown.map(<[u8]>::to_vec).with_context(|| format!("{url} shows no certificate"))
}

fn ask(url: &str, found: &str) -> Result<()> {
    eprintln!("The system does not know who signed the certificate of {url}. Its SHA-256 fingerprint is");
    eprintln!("  {found}");
    if !std::io::stdin().is_terminal() {
        let hint = format!("compare it with what `strongroom server` shows, then add --fingerprint {found}");
        return Err(Told::key(format!("the certificate of {url} is not trusted"), hint));
    }
    eprint!("Is this what `strongroom server` shows? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if super::confirm::is_yes(&answer) {
        Ok(())
    } else {
        Err(Told::declined("the certificate is not trusted"))
    }
}

/// The fingerprint of the first certificate in a PEM text: the server's own, if others are above it.
pub(crate) fn fingerprint_of_pem(text: &str) -> Result<String> {
    let first = pem::parse(text).context("read the certificate")?;
    Ok(fingerprint(first.contents()))
}

/// SHA-256 of a certificate, as browsers show it.
fn fingerprint(der: &[u8]) -> String {
    let bytes: Vec<_> = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Colons, spaces and case are no matter.
fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_uppercase();
    plain(one).len() == 64 && plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_compared_as_people_write_them() {
        let found = fingerprint(b"a certificate");
        assert_eq!(found.len(), 32 * 3 - 1);
        assert!(
            same(&found.to_lowercase().replace(':', ""), &found) && same(&found.replace(':', " "), &found)
        );
        assert!(
            !same(&found[..found.len() - 3], &found)
                && !same("", "")
                && !same(&fingerprint(b"other"), &found)
        );
    }
}
