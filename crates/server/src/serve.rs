//! Connections: accepted, spoken with, and brought to an end.
//!
//! A connection has a task of its own from the moment it is accepted: a handshake that hangs holds up nobody else.

use crate::app::{App, router};
use crate::guard::Peer;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Connections at once: half of the files that a process may usually have open. More wait in the system's queue.
const CONNECTIONS_MAX: usize = 512;
/// A client that is there does it in a second.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// From the first byte of a request, and between requests, to the end of its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// Requests of an HTTP/2 connection at once.
const STREAMS_MAX: u32 = 100;
/// An HTTP/2 connection that carries nothing is asked whether it still stands.
const PING_EVERY: Duration = Duration::from_secs(20);
/// What is under way when the server stops gets so long to end.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Without files or memory for a connection, the next one gets some a little later.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves until `stopping` becomes true, and then until what was under way is done.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, app: App) {
    let mut stopping = app.stopping.subscribe();
    let router = router(app);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            place = Arc::clone(&places).acquire_owned() => place.expect("it is never closed"),
        };
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            accepted = listener.accept() => accepted,
        };
        // Those that ended are let go of.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) => {
                let (router, tls, stopping) = (router.clone(), tls.clone(), stopping.clone());
                connections.spawn(async move {
                    connection(stream, from, tls, router, stopping).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
        tracing::warn!("connections were cut off: they did not end within {} s", STOP_WITHIN.as_secs());
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    // Answers are small; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return speak(stream, from, router, stopping).await };
    match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, from, router, stopping).await,
        Ok(Err(error)) => tracing::debug!(%from, %error, "a handshake failed"),
        Err(_) => tracing::debug!(%from, "a handshake took too long"),
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let router = router.layer(axum::Extension(Peer(from.ip().to_canonical())));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX).keep_alive_interval(PING_EVERY);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "a connection broke");
    }
}
