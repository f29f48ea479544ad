//! A provider that somebody else wrote, so that ours is not only understood by its own author: `oidc-provider-mock`, over
//! Authlib.

use super::http;
use crate::stage::{Cache, key};
use crate::wait::wait_for;
use crate::{Progress, default_cache, python};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PACKAGE: &str = "oidc-provider-mock==0.3.4";
/// It needs seconds to start, more while the cores are busy with other tests.
const START_MAX: Duration = Duration::from_secs(120);
/// Ends with the pipe that it reads from: a test that is killed leaves nothing behind.
const RUN: &str = "\
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from oidc_provider_mock.__main__ import run
run()
";

/// The provider; it ends when this is dropped.
#[derive(Debug)]
pub struct AnotherProvider {
    child: Child,
    issuer: String,
}

impl AnotherProvider {
    /// With one person, of whom it knows these claims; `sub` is one of them. Installed if it never was.
    pub fn start(person: &Value, progress: Progress<'_>) -> Result<Self> {
        let cache = Cache::open(&default_cache().with_file_name("servers"), progress)?;
        let folder = cache.stage("oidc-provider-mock", &key(&[PACKAGE]), |new| {
            progress("installing a provider of OpenID Connect (half a minute)");
            python::install(new, PACKAGE)
        })?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = port.context("find a free port")?.port();
        let mut command = Command::new(folder.join("bin/python"));
        command.args(["-c", RUN, "--port", &port.to_string(), "--user-claims", &person.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("start another provider")?;
        let mut provider = Self { child, issuer: format!("http://127.0.0.1:{port}") };
        wait_for("another provider", START_MAX, || {
            if let Some(status) = provider.child.try_wait().context("look at another provider")? {
                bail!("the other provider ended with {status}");
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
        })?;
        Ok(provider)
    }

    /// Its address.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Fills in its form as this person. Gives where the browser is sent back to.
    pub fn sign_in(&self, address: &str, subject: &str) -> Result<String> {
        let form = http::form(&[("sub", subject)]);
        http::open(address, Some(&form))?.context("it sends the browser back")
    }
}

impl Drop for AnotherProvider {
    fn drop(&mut self) {
        // It ends with its pipe in any case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
