//! Real guests: built, booted, frozen, cut off, judged. Needs root, and a network the first time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod freeze_hook;
mod guest;
mod oracle;

use std::sync::OnceLock;
use std::time::Duration;
use testkit::GuestImage;

/// Emulated, on a busy machine.
const BOOT: Duration = Duration::from_secs(120);

/// Built by the first test that asks.
fn image() -> &'static GuestImage {
    static IMAGE: OnceLock<GuestImage> = OnceLock::new();
    IMAGE.get_or_init(|| GuestImage::build(&testkit::default_cache(), &testkit::to_stderr).unwrap())
}
