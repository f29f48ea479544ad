//! What the agent tells of its guest. All of it is told by the guest, and believed as far as that.

use super::{Agent, tame};
use crate::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A guest mounts a handful; a list longer than this says nothing to people.
const FILESYSTEMS_MAX: usize = 64;

/// What runs in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSystem {
    /// Its short name, as `debian`, `rhel` or `mswindows`.
    pub id: String,
    /// Its name for people.
    pub name: String,
}

/// A file system in use in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFilesystem {
    /// Where it is mounted.
    pub mountpoint: String,
    /// Its type, as `ext4`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl GuestSystem {
    /// Whether freezing is done by Windows' volume shadow copies.
    pub fn is_windows(&self) -> bool {
        self.id == "mswindows"
    }
}

impl Agent {
    /// What runs in the guest.
    ///
    /// # Errors
    /// `Guest` when the agent does not know, or may not say.
    pub async fn system(&mut self) -> Result<GuestSystem> {
        let info = self.execute("guest-get-osinfo", Value::Null).await?;
        let text = |name: &str| info[name].as_str().map(tame);
        let id = text("id").unwrap_or_else(|| "unknown".to_owned());
        let name = text("pretty-name").or_else(|| text("name")).unwrap_or_else(|| id.clone());
        Ok(GuestSystem { id, name })
    }

    /// Its mounted file systems that lie on disks, by mountpoint.
    ///
    /// # Errors
    /// As [`system`](Self::system).
    pub async fn filesystems(&mut self) -> Result<Vec<GuestFilesystem>> {
        let list = self.execute("guest-get-fsinfo", Value::Null).await?;
        let named = |item: &Value| {
            let text = |name: &str| item[name].as_str().map(tame);
            Some(GuestFilesystem { mountpoint: text("mountpoint")?, kind: text("type")? })
        };
        let mut found: Vec<GuestFilesystem> =
            list.as_array().into_iter().flatten().filter_map(named).take(FILESYSTEMS_MAX).collect();
        found.sort_by(|one, other| one.mountpoint.cmp(&other.mountpoint));
        Ok(found)
    }
}
