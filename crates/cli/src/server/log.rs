//! What a program that runs for long tells its log: standard error, which systemd keeps.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts it; RUST_LOG says how much it tells.
pub(super) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // Another one is there already only in a test that runs several.
    let _ = log.try_init();
}
