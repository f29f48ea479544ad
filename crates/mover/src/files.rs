//! Files: what lies in the file systems of a machine's disks, wherever the disks' bytes are.

use block::BlockSource;
use files::{Browser, Program, SharedDisk};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Somebody's blocks as the disk of a [`Browser`], which waits for them on a thread of its own.
struct Blocks {
    source: Arc<dyn BlockSource>,
    runtime: Handle,
}

impl files::Disk for Blocks {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> files::Result<()> {
        let read = self.runtime.block_on(self.source.read(offset, vec![0; buffer.len()]));
        let bytes = read.map_err(|error| {
            let kind = match error.kind() {
                block::ErrorKind::Corrupt => files::ErrorKind::Corrupt,
                _ => files::ErrorKind::Io,
            };
            files::Error::new(kind, format!("read the disk: {error}"))
        })?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

/// Lets `look` browse disks by their names, on a thread where it may wait. `program` is what is started to parse them,
/// caged: it calls [`files::answer_caged`].
///
/// Dropped, it lets `look` end by itself; it is stopped by the end of the process.
pub async fn browse<T: Send + 'static>(
    program: Program,
    disks: Vec<(String, Arc<dyn BlockSource>)>,
    look: impl FnOnce(&mut Browser) -> T + Send + 'static,
) -> T {
    let runtime = Handle::current();
    let shared = |(name, source)| (name, Arc::new(Blocks { source, runtime: runtime.clone() }) as SharedDisk);
    let disks = disks.into_iter().map(shared).collect();
    // The worker dies with the thread that started it, so all of it happens on one.
    let looked = tokio::task::spawn_blocking(move || look(&mut Browser::new(program, disks))).await;
    looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// The roots of everything on the disks that has files which can be read.
///
/// # Errors
/// If the disks cannot be looked at.
pub fn roots(browser: &mut Browser) -> files::Result<Vec<files::Target>> {
    let volumes = browser.volumes()?;
    let readable = volumes.iter().filter(|one| one.content.has_files() && one.refusal.is_none());
    readable.map(|one| browser.target(format!("{}:/", one.name).as_bytes())).collect()
}
