//! Real object stores on the loopback: moto for S3, Azurite for Azure Blob.

use crate::wait::wait_for;
use crate::{Progress, command, default_cache, python, stage::Cache, stage::key};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Conditional puts and bulk deletion are as on S3.
const MOTO: &str = "moto[server]==5.2.5";
/// The newest that runs on Node 20.
const AZURITE: &str = "azurite@3.35.0";
/// Azurite's account and key: the same in every installation in the world, and in Microsoft's documents.
const AZURITE_ACCOUNT: &str = "devstoreaccount1";
const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// A server needs seconds to start, more while the cores are busy with other tests.
const START_MAX: Duration = Duration::from_secs(120);
/// Between looking for a free port and using it somebody else may take it.
const PORTS_TRIED: u32 = 3;

/// Ends with the pipe that it reads from: a test that is killed leaves no server behind. Ten names a page,
/// so that every listing of a test has several pages.
///
/// moto looks whether a name is free and puts the object in two steps, with a thread for each connection: of many
/// who want one name several could be told that they have it, which S3 never does. So requests are answered one at
/// a time. The lock is around the answer, not around the server: a connection that is kept open keeps nobody out.
const RUN_MOTO: &str = "\
import os, sys, threading
os.environ['MOTO_S3_DEFAULT_MAX_KEYS'] = '10'
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto import server
turn, answer = threading.Lock(), server.DomainDispatcherApplication.__call__
def answer_alone(*request):
    with turn:
        return answer(*request)
server.DomainDispatcherApplication.__call__ = answer_alone
server.main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";
/// As for moto; no telemetry, no check of the API version (the library may be newer than the server).
const RUN_AZURITE: &str = "\
process.stdin.resume(); process.stdin.on('end', () => process.exit());
process.argv = [process.argv[0], 'azurite-blob', '--blobHost', '127.0.0.1', '--blobPort', process.argv[1],
  '--inMemoryPersistence', '--silent', '--skipApiVersionCheck', '--disableTelemetry', '--disableProductStyleUrl'];
require('azurite/dist/src/blob/main.js');
";
/// Azurite wants the request signed; this is the one signed request of the harness.
const MAKE_CONTAINER: &str = "\
import base64, email.utils, hashlib, hmac, http.client, sys
port, account, key, name = sys.argv[1:]
date = email.utils.formatdate(usegmt=True)
headers = {'x-ms-date': date, 'x-ms-version': '2021-08-06', 'Content-Length': '0'}
text = 'PUT' + '\\n' * 12 + f'x-ms-date:{date}\\nx-ms-version:2021-08-06\\n/{account}/{account}/{name}\\nrestype:container'
mac = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
connection = http.client.HTTPConnection('127.0.0.1', int(port))
headers['Authorization'] = f'SharedKey {account}:{mac}'
connection.request('PUT', f'/{account}/{name}?restype=container', headers=headers)
answer = connection.getresponse()
sys.exit(0 if answer.status == 201 else f'{answer.status} {answer.read().decode()}')
";

/// Which object store a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// S3, by moto.
    S3,
    /// Azure Blob, by Azurite.
    Azure,
}

/// A server that runs until this is dropped, or until the process ends. It keeps objects in memory.
#[derive(Debug)]
pub struct StoreServer {
    kind: StoreKind,
    port: u16,
    child: Child,
}

impl StoreServer {
    /// Installs the server if it never was, starts it and waits until it answers.
    pub fn start(kind: StoreKind, progress: Progress<'_>) -> Result<Self> {
        // Dropped once installed: running servers need no lock.
        let folder =
            install(kind, &Cache::open(&default_cache().with_file_name("servers"), progress)?, progress)?;
        let mut tried = 0;
        loop {
            tried += 1;
            match Self::try_start(kind, &folder) {
                Err(_) if tried < PORTS_TRIED => {}
                done => return done,
            }
        }
    }

    fn try_start(kind: StoreKind, folder: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = port.context("cannot find a free port")?.port();
        let mut command = match kind {
            StoreKind::S3 => Command::new(folder.join("bin/python")),
            StoreKind::Azure => Command::new("node"),
        };
        match kind {
            StoreKind::S3 => command.args(["-c", RUN_MOTO]),
            // `node -e` finds modules from the folder it runs in.
            StoreKind::Azure => command.args(["-e", RUN_AZURITE, "--"]),
        };
        let log = folder.with_extension("log");
        let log = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.arg(port.to_string()).current_dir(folder).stdin(Stdio::piped());
        command.stdout(log.try_clone().context("cannot share the log")?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start the server of {kind:?}"))?;
        let mut server = Self { kind, port, child };
        wait_for(&format!("the server of {kind:?}"), START_MAX, || {
            if let Some(status) = server.child.try_wait().context("cannot look at the server")? {
                bail!(
                    "the server of {kind:?} ended with {status}; see {}",
                    folder.with_extension("log").display()
                );
            }
            Ok(server.answers().then_some(()))
        })?;
        Ok(server)
    }

    /// Whether anything that speaks HTTP listens.
    fn answers(&self) -> bool {
        self.send("GET", "/").is_ok_and(|answer| answer.starts_with("HTTP/1."))
    }

    /// Makes a bucket or container.
    pub fn make_store(&self, name: &str) -> Result<()> {
        match self.kind {
            StoreKind::S3 => {
                let answer = self.send("PUT", &format!("/{name}"))?;
                ensure!(answer.starts_with("HTTP/1.1 200"), "cannot make the bucket {name}: {answer}");
            }
            StoreKind::Azure => {
                let mut make = Command::new("python3");
                make.args(["-c", MAKE_CONTAINER, &self.port.to_string(), AZURITE_ACCOUNT, AZURITE_KEY, name]);
                command::run(&mut make, &format!("make the container {name}"))?;
            }
        }
        Ok(())
    }

    /// The address of a bucket or container, with no prefix.
    pub fn url(&self, bucket: &str) -> String {
        match self.kind {
            StoreKind::S3 => format!("s3://{bucket}"),
            StoreKind::Azure => format!("azure://{AZURITE_ACCOUNT}/{bucket}"),
        }
    }

    /// What the environment holds for this server.
    pub fn variables(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let variables = match self.kind {
            StoreKind::S3 => vec![
                ("AWS_ENDPOINT_URL", endpoint),
                ("AWS_ALLOW_HTTP", "true".into()),
                ("AWS_REGION", "us-east-1".into()),
                ("AWS_ACCESS_KEY_ID", "test".into()),
                ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ],
            StoreKind::Azure => vec![
                ("AZURE_STORAGE_ENDPOINT", format!("{endpoint}/{AZURITE_ACCOUNT}")),
                ("AZURE_ALLOW_HTTP", "true".into()),
                ("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY.into()),
            ],
        };
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn send(&self, method: &str, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// The folder of a server, made once.
fn install(kind: StoreKind, cache: &Cache, progress: Progress<'_>) -> Result<PathBuf> {
    match kind {
        StoreKind::S3 => cache.stage("moto", &key(&[MOTO]), |new| {
            progress("installing moto, an S3 server for tests (a minute)");
            python::install(new, MOTO)
        }),
        StoreKind::Azure => cache.stage("azurite", &key(&[AZURITE]), |new| {
            progress("installing Azurite, an Azure Blob server for tests (half a minute)");
            let mut npm = Command::new("npm");
            npm.arg("install").arg("--prefix").arg(new);
            npm.args(["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", AZURITE]);
            command::run(&mut npm, "install Azurite").map(drop)
        }),
    }
}
