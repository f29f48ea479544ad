//! Where the work of the cores is done: hashing, compressing, sealing.
//!
//! On a runtime of many threads it goes to threads of its own, so that requests are answered meanwhile. A
//! runtime of one thread was chosen to have one: the work is done there and then, and a simulation on it
//! repeats exactly.

use rustix::process::nice;
use std::sync::LazyLock;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

/// How nice the threads of a backup are: in a fight for a core they get a ninth of it.
const NICE: i32 = 10;

/// The threads of backups. The machines that are protected run on the same cores, and are not to feel it; a restore is
/// waited for, and has no use for them. Threads keep their niceness, so these are others than everyone's.
static BACKGROUND: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("backup")
        .on_thread_start(be_nice)
        .build()
        .expect("a process that works can start a thread")
});

fn be_nice() {
    // On Linux, of the thread that asks alone. Where it is forbidden, backups are as fast as they ever were.
    let _ = nice(NICE);
}

/// Does work that keeps a core busy.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::spawn_blocking(work).await.expect("the engine's own work does not panic"),
    }
}

/// Does work that keeps a core busy, of a backup: it yields to the machines on this host.
pub(crate) async fn run_aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => BACKGROUND.spawn_blocking(work).await.expect("the engine's own work does not panic"),
    }
}
