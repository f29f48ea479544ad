//! Where the work of the cores is done: hashing, compressing, sealing.
//!
//! On a runtime of many threads it goes to threads of its own, so that requests are answered meanwhile. A
//! runtime of one thread was chosen to have one: the work is done there and then, and a simulation on it
//! repeats exactly.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does work that keeps a core busy.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::spawn_blocking(work).await.expect("the engine's own work does not panic"),
    }
}
