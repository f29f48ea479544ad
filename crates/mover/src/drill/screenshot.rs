//! What the machine's screen shows, if it has one.

use std::io::Read;
use std::path::Path;

/// A screen of 8K, uncompressed.
const BYTES_MAX: u64 = 128 << 20;
/// What a PNG begins with.
const PNG: &[u8] = b"\x89PNG";

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

impl Screenshot {
    /// A picture that the machine's host wrote.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
        let format = if bytes.starts_with(PNG) { "png" } else { "ppm" };
        (bytes.len() as u64 <= BYTES_MAX && !bytes.is_empty()).then_some(Self { format, bytes })
    }
}
