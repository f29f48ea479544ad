//! Being told to stop.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns true when somebody wants the program to end. A second signal ends it at once: everything here survives that.
pub(super) fn stop() -> Result<watch::Receiver<bool>> {
    let (told, stop) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for repeated in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if repeated {
                std::process::exit(130);
            }
            tracing::info!("told to stop: finishing what is under way, once more to end at once");
            told.send_replace(true);
        }
    });
    Ok(stop)
}

/// Waits until it is time to stop.
pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the program.
    let _ = stop.wait_for(|told| *told).await;
}
