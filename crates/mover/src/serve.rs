//! Serve: a disk of a point, read-only, over NBD.

use crate::error::{Doing, Result};
use std::path::Path;
use std::sync::Arc;
use vault::{DiskRecord, PointDisk, Vault};

/// Bytes of the disks kept inflated, for all of them together: readers come again to what they read.
const KEPT_BYTES: u64 = 256 << 20;

/// Serves disks on a Unix socket, each as the export of its name; a single one also as the default
/// export. Runs until stopped.
pub async fn serve(vault: &Arc<Vault>, disks: &[DiskRecord], socket: &Path) -> Result<nbd::RunningServer> {
    let doing = || format!("serve on {}", socket.display());
    let mut server = nbd::Server::new();
    let default = (disks.len() == 1).then_some("");
    for disk in disks {
        let source = PointDisk::new(Arc::clone(vault), disk.map.clone());
        let export = nbd::Export::read_only(Arc::new(source.keeping(KEPT_BYTES / disks.len() as u64)));
        for name in [Some(disk.name.as_str()), default].into_iter().flatten() {
            server = server.export(name, export.clone()).doing(doing)?;
        }
    }
    server.listen(&nbd::Address::Unix(socket.to_owned())).await.doing(doing)
}
