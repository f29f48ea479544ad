//! What the machine's screen shows, if it has one.

use hypervisor::Qmp;
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// A screen of 8K, uncompressed.
const BYTES_MAX: u64 = 128 << 20;

/// A picture of a screen.
#[derive(Clone, PartialEq, Eq)]
pub struct Screenshot {
    /// `png`, or `ppm` of a QEMU before 7.1 and of one that was built without PNG.
    pub format: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Screenshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Screenshot({}, {} bytes)", self.format, self.bytes.len())
    }
}

/// Takes one. None if the machine has no screen, or is gone: no drill fails for it.
pub(super) async fn take(qmp: &Qmp, folder: &Path) -> Option<Screenshot> {
    for format in ["png", "ppm"] {
        let path = folder.join(format!("screen.{format}"));
        let arguments = match format {
            "png" => json!({ "filename": path, "format": format }),
            _ => json!({ "filename": path }),
        };
        if qmp.execute("screendump", arguments).await.is_ok() {
            return read(&path).map(|bytes| Screenshot { format, bytes });
        }
    }
    None
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= BYTES_MAX && !bytes.is_empty()).then_some(bytes)
}
