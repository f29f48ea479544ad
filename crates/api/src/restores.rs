//! Restores over what is there: a machine put back to a point in its own place.

use crate::RestoreFormat;
use jiff::Timestamp;
use model::{JobId, PointId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A wish to put a machine back to a point, in its own place. Its disks are restored beside the originals, and take
/// their names; the originals are kept until somebody removes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// How the machine is stopped if it runs; not said: one that runs is refused.
    #[serde(default)]
    pub stop: Option<StopMachine>,
    /// Make no point of the present state first.
    #[serde(default)]
    pub no_safety_point: bool,
    /// Days that the point of the present state is kept; 30 if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 36135)]
    pub keep_days: Option<u16>,
    /// Take the point from the vault's second store. The point of the present state goes to the vault even so: where that
    /// is gone, it must be left out.
    #[serde(default)]
    pub from_copy: bool,
    /// Only tell what would be done: in the job's result.
    #[serde(default)]
    pub plan: bool,
}

/// How a machine is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopMachine {
    /// Its guest is asked to shut down.
    ShutDown,
    /// Its power is cut.
    PowerOff,
}

/// A wish to write disks of a point into what is there. What it holds is written over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreInto {
    /// Which disks, and into what.
    #[schema(min_items = 1, max_items = 256)]
    pub targets: Vec<DiskTarget>,
    /// The mover that writes them; the one that backed the machine up if not said.
    #[serde(default)]
    pub mover: Option<String>,
    /// Take the point from the vault's second store.
    #[serde(default)]
    pub from_copy: bool,
    /// Only tell how much would be written: in the job's result.
    #[serde(default)]
    pub plan: bool,
}

/// A disk, and what it is written into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskTarget {
    /// Its name in the point.
    pub disk: String,
    /// Into what.
    pub to: RestoreTarget,
}

/// What a disk is written into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RestoreTarget {
    /// An image or a block device on the mover's host, of the disk's size, that holds another state of it. Only what
    /// differs is written.
    Image {
        /// An absolute path.
        path: String,
        /// What it is; never guessed.
        format: RestoreFormat,
    },
    /// An export of an NBD server that listens on a socket of the mover's host.
    NbdUnix {
        /// An absolute path.
        socket: String,
        /// Its name.
        export: String,
        /// Read it, and write only what differs; else everything is written.
        #[serde(default)]
        differences: bool,
    },
    /// An export of an NBD server.
    NbdTcp {
        /// Its host and port.
        address: String,
        /// Its name.
        export: String,
        /// Read it, and write only what differs; else everything is written.
        #[serde(default)]
        differences: bool,
    },
}

/// What was written of a disk, or would be: an entry of `disks` in the job's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WrittenDisk {
    /// Its name.
    pub disk: String,
    /// Into what.
    pub to: RestoreTarget,
    /// Bytes of data written.
    pub data_bytes: u64,
    /// Bytes made zero.
    pub zero_bytes: u64,
    /// Bytes left as they were.
    pub unchanged_bytes: u64,
}

/// A wish to take a replacement back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoReplacement {
    /// How the machine is stopped if it runs; not said: one that runs is refused.
    #[serde(default)]
    pub stop: Option<StopMachine>,
}

/// A wish to remove what a replacement kept. It cannot be undone afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveKept {
    /// The files that are to go, as the replacement lists them: if others are kept by then, nothing is removed.
    #[schema(max_items = 1000)]
    pub files: Vec<String>,
}

/// A replacement of a machine's disks by those of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replacement {
    /// Its id.
    pub id: Uuid,
    /// The point that the machine went back to.
    pub point: PointId,
    /// The last job that worked on it.
    pub job: JobId,
    /// The mover that reaches the disks.
    pub mover: String,
    /// Where it is.
    pub state: ReplacementState,
    /// What is written down of it, beside the machine's first disk: `strongroom rescue restore` works with it.
    pub journal: String,
    /// The files that are kept: the originals, or once it was undone what had been restored.
    pub kept: Vec<String>,
    /// The point of the state before; none if nobody wanted one, or it was not made yet.
    pub safety_point: Option<PointId>,
    /// When it was begun.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

/// Where a replacement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplacementState {
    /// A job works on it.
    UnderWay,
    /// Its job ended early: it is to be finished, or undone.
    Unfinished,
    /// The machine is as it was in the point.
    Done,
    /// The machine is as it was before.
    Undone,
}
