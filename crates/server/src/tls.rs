//! TLS: a certificate of the administrator's, or one that the server makes for itself at its first start.

use crate::start::{StartError, Tls};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A certificate that is shown, and how.
pub(crate) struct Identity {
    /// The certificate, and those above it, as PEM.
    pub(crate) certificate: String,
    pub(crate) acceptor: TlsAcceptor,
}

/// What `tls` asks for; none: plain HTTP.
pub(crate) fn identity(tls: &Tls, data: &Path) -> Result<Option<Identity>, StartError> {
    match tls {
        Tls::Off => Ok(None),
        Tls::Own { certificate, key } => load(certificate, key).map(Some),
        Tls::SelfSigned { names } => {
            let (certificate, key) = self_signed(&data.join("tls"), names)?;
            load(&certificate, &key).map(Some)
        }
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Identity, StartError> {
    let wrong = |path: &Path, error: String| StartError::new(format!("read {}: {error}", path.display()));
    let pem = fs::read_to_string(certificate).map_err(|error| wrong(certificate, error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|error| wrong(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "it holds no certificate in PEM".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| StartError::new(format!("TLS: {error}")))?;
    let config = config.with_no_client_auth().with_single_cert(chain, private);
    let mut config =
        config.map_err(|error| wrong(key, format!("it does not fit the certificate: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity { certificate: pem, acceptor: TlsAcceptor::from(Arc::new(config)) })
}

/// The certificate and key in a folder, made if they are not there. Names that come later are told in the log: clients
/// know the certificate by now, and only the administrator may have them learn another.
fn self_signed(folder: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), StartError> {
    let (certificate, key, made_for) =
        (folder.join("certificate.pem"), folder.join("key.pem"), folder.join("names"));
    let names = all_names(names);
    if certificate.exists() && key.exists() {
        let before = fs::read_to_string(&made_for).unwrap_or_default();
        let missing: Vec<_> = names.iter().filter(|name| !before.lines().any(|line| line == *name)).collect();
        if !missing.is_empty() {
            let folder = folder.display();
            tracing::warn!(
                ?missing,
                "the certificate is not for all names; remove {folder} to have it made anew"
            );
        }
        return Ok((certificate, key));
    }
    let failed = |error: rcgen::Error| StartError::new(format!("make a certificate: {error}"));
    let pair = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names.clone()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Strongroom server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let made = params.self_signed(&pair).map_err(failed)?;
    let written = fs::create_dir_all(folder)
        .and_then(|()| write(&made_for, 0o644, &(names.join("\n") + "\n")))
        .and_then(|()| write(&key, 0o600, &pair.serialize_pem()))
        // CRASH: the certificate comes last; without it both are made again.
        .and_then(|()| write(&certificate, 0o644, &made.pem()));
    written.map_err(|error| StartError::new(format!("write into {}: {error}", folder.display())))?;
    Ok((certificate, key))
}

/// The names that a server on this host goes by.
fn all_names(names: &[String]) -> Vec<String> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1", host.trim()].map(str::to_owned).into();
    all.extend(names.iter().cloned());
    all.retain(|name| !name.is_empty());
    let mut seen = std::collections::HashSet::new();
    all.retain(|name| seen.insert(name.clone()));
    all
}

/// Whole or not at all, and never readable by others meanwhile.
fn write(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
