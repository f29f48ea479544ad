//! The server: started, running, stopped.

use crate::app::App;
use crate::serve::serve;
use crate::tls;
use control::Control;
use jiff::SignedDuration;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How often what is no longer needed is forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// How a server is to listen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// The data directory: what the server makes for itself is in `tls/`.
    pub data: PathBuf,
    /// How it shows who it is.
    pub tls: Tls,
}

/// How a server shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// By a certificate that it makes for itself at its first start, for this host's names and these.
    SelfSigned {
        /// Names and addresses besides `localhost`, the loopback's and the host's name.
        names: Vec<String>,
    },
    /// By the administrator's.
    Own {
        /// The certificate and those above it, in PEM.
        certificate: PathBuf,
        /// Its key, in PEM.
        key: PathBuf,
    },
    /// Not at all: plain HTTP, on the loopback alone, for tests and for what stands before it.
    Off,
}

/// A server that runs until it is stopped, or until this is dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    certificate: Option<String>,
    stopping: tokio::sync::watch::Sender<bool>,
    serving: JoinHandle<()>,
    tidying: JoinHandle<()>,
}

/// Why a server did not start.
#[derive(Debug)]
pub struct StartError(String);

/// Starts a server.
///
/// # Errors
/// When it cannot listen there, or its certificate cannot be read or made.
pub async fn start(options: Options, control: Control) -> Result<Running, StartError> {
    let listen = options.listen;
    if options.tls == Tls::Off && !listen.ip().is_loopback() {
        let text = format!("{listen}: plain HTTP is for the loopback alone; passwords and keys go over it");
        return Err(StartError::new(text));
    }
    let identity = tls::identity(&options.tls, &options.data)?;
    let failed = |error| StartError::new(format!("listen at {listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (certificate, acceptor) = identity.map(|one| (one.certificate, one.acceptor)).unzip();
    let app = App::new(control.clone());
    let stopping = app.stopping.clone();
    let serving = tokio::spawn(serve(listener, acceptor, app));
    let tidying = tokio::spawn(tidy(control));
    Ok(Running { address, certificate, stopping, serving, tidying })
}

/// Forgets answers and tokens that are no longer good for anything.
async fn tidy(control: Control) {
    let mut hours = tokio::time::interval(TIDY_EVERY);
    loop {
        hours.tick().await;
        let now = control.now();
        let kept = SignedDuration::try_from(crate::repeat::KEPT).expect("a day");
        let forgotten = async {
            control.catalog().forget_requests(now - kept).await?;
            control.catalog().forget_sign_ins(now).await?;
            control.catalog().forget_tokens(now).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "old requests and tokens are kept for now");
        }
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://ADDRESS`, or `http://ADDRESS` without TLS.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate that it shows, as PEM: clients that know it need to trust nobody else.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Takes no more connections, and waits until what is under way is done.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        self.ended().await;
    }

    /// Waits until it has ended by itself, which it does by a defect only.
    pub async fn ended(&mut self) {
        if let Err(error) = (&mut self.serving).await {
            tracing::error!(%error, "the server ended");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        self.tidying.abort();
    }
}

impl StartError {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}
