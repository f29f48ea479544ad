//! What is asked for.

use super::journal::Door;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;
use vault::Point;

/// A machine that is to start at once.
#[derive(Clone, Debug)]
pub struct InstantRequest {
    /// From this point.
    pub point: Point,
    /// An empty folder, or one to be made in an existing one. Its path must be short: it holds sockets.
    pub folder: PathBuf,
    /// Where the vault is, as people say it: noted for them.
    pub vault: String,
    /// How the machine will be reached; `None` for the monitor in the folder.
    pub door: Option<Door>,
    /// Where the machine's sockets and logs will be, if we make it.
    pub run_folder: Option<PathBuf>,
    /// The job it is made by, if it is one.
    pub job: Option<Uuid>,
    /// How long the guest's reads wait for a server that died before the guest is stopped. Guests have patience of
    /// their own: a minute is long.
    pub patience: Duration,
}

impl InstantRequest {
    /// The usual patience: a server that is started again at once is not noticed.
    pub const PATIENCE: Duration = Duration::from_secs(10);
}

/// How the disks are served.
#[derive(Clone, Debug, Default)]
pub struct InstantOptions {
    /// How fast the data of each disk may follow, in bytes a second, zeros included.
    pub limit: Option<NonZeroU64>,
    /// Where it is noted what boots read; without it nothing is noted nor known.
    pub cache: Option<PathBuf>,
}
