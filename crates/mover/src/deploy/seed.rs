//! The first words to a guest: who it is. A disk that cloud-init, and what works like it, finds by its label (its data
//! source *NoCloud*).
//!
//! A guest that meets an id it has not seen before takes itself for a new one: it makes new host keys, takes the name
//! it is given, and runs what it is told to once.

use super::iso;
use block::{Error, Result};
use std::path::Path;

/// What such a disk is known by.
const LABEL: &str = "cidata";
/// Told where nobody says more. Both are what cloud-init does anyway, unless the image was told otherwise.
const USER_DATA: &str = "#cloud-config\nssh_deletekeys: true\npreserve_hostname: false\n";
/// A person's words; cloud-init takes no more from a cloud either.
pub(super) const USER_DATA_BYTES_MAX: usize = 1 << 20;

/// Writes the disk of a machine. It is durable once its file system was synced.
pub(super) fn write(path: &Path, name: &str, uuid: &str, user_data: Option<&str>) -> Result<()> {
    let meta_data = format!("instance-id: iid-{uuid}\nlocal-hostname: {name}\n");
    let user_data = user_data.unwrap_or(USER_DATA);
    let cd = iso::image(LABEL, &[("meta-data", meta_data.as_bytes()), ("user-data", user_data.as_bytes())]);
    let written =
        std::fs::File::create_new(path).and_then(|mut file| std::io::Write::write_all(&mut file, &cd));
    written.map_err(|e| Error::io(format!("write {}", path.display()), e))
}
