//! Images, and machines made of them.

use crate::restores::StopMachine;
use crate::work::{AssignedHost, MadePoint, ServicePromise, VaultAccess};
use crate::{NewNetwork, Page};
use jiff::Timestamp;
use model::{HostId, JobId, MachineId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// Machines that one request makes at most; more are several requests.
pub const MACHINES_MAX: u32 = model::image::MACHINES_MAX;

/// A version of an image: the disks of a generalised machine, from which machines are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its id: that of its point in the vault.
    pub id: PointId,
    /// The vault.
    pub vault: VaultId,
    /// The image.
    pub name: String,
    /// The version, from 1 on.
    pub version: u32,
    /// Whether it is meant when no version is said.
    pub latest: bool,
    /// Whether it is left out when no version is said.
    pub excluded: bool,
    /// The machine that it was made of, as it was called.
    pub from: String,
    /// Whether it was found to be nobody's.
    pub generalised: bool,
    /// What of that machine's identity is in it.
    pub findings: Vec<ImageFinding>,
    /// The systems that were looked into.
    pub systems: Vec<String>,
    /// The instant of its disks.
    #[schema(value_type = String, format = DateTime)]
    pub taken: Timestamp,
    /// Its disks.
    pub disks: Vec<ImageDisk>,
    /// The size that its disks have.
    pub provisioned_bytes: u64,
    /// Bytes that making it added to the store.
    pub stored_bytes: u64,
    /// Machines that jobs have made of it.
    pub machines: u64,
    /// The version in another vault that it is a copy of.
    pub copy_of: Option<PointId>,
    /// Deleted: until when it can be brought back.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub purge_at: Option<Timestamp>,
}

/// Something in an image that belongs to one machine alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageFinding {
    /// Where: volume and path.
    pub place: String,
    /// What it is.
    pub what: String,
}

/// A disk of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageDisk {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A wish for one more version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// What the image is called: letters, digits, `-`, `_` and `.`.
    #[schema(min_length = 1, max_length = 63)]
    pub name: String,
    /// The machine that it is made of, protected or not.
    pub machine: MachineId,
    /// How the machine is stopped if it runs; none: it must be off.
    #[serde(default)]
    pub stop: Option<StopMachine>,
    /// Have its guest forget who it is: through its agent, before it is stopped, or with `virt-sysprep` on the disks of a
    /// libvirt machine that is off. The machine itself is as good as new afterwards.
    #[serde(default)]
    pub generalize: bool,
    /// Take it although it is not generalised, or nobody can say: its machines share what is found.
    #[serde(default)]
    pub specialized: bool,
    /// Leave this version out when none is said.
    #[serde(default)]
    pub exclude_from_latest: bool,
}

/// A wish for machines of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMachines {
    /// What they, and their guests, are called: `{}` becomes the number.
    #[schema(min_length = 1, max_length = 63)]
    pub name: String,
    /// How many.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 1000, default = 1)]
    pub count: u32,
    /// The first number.
    #[serde(default = "one")]
    #[schema(minimum = 0, default = 1)]
    pub first: u32,
    /// The host that is to have them.
    pub host: HostId,
    /// An absolute path there: each gets a folder of its name in it, and the image a copy that they share.
    pub folder: String,
    /// Copy all of the image for each: they stand alone.
    #[serde(default)]
    pub full: bool,
    /// Start them.
    #[serde(default)]
    pub start: bool,
    /// Start them at once: the image follows while they run, and the job goes on until each of them was off once since it
    /// is here. Only for hosts whose machines are QEMU's own. The folder's path must be short, for it holds sockets.
    #[serde(default)]
    pub at_once: bool,
    /// What their network cards are connected to.
    #[serde(default = "keep")]
    pub network: NewNetwork,
    /// Virtual processors of each; as many as the image's machine had if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4096)]
    pub cpus: Option<u32>,
    /// Memory of each in MiB; as much as it had if not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_073_741_824)]
    pub memory_mib: Option<u64>,
    /// What cloud-init is told besides who the guest is.
    #[serde(default)]
    #[schema(max_length = 65536)]
    pub user_data: Option<String>,
}

fn one() -> u32 {
    1
}

fn keep() -> NewNetwork {
    NewNetwork::Keep {}
}

/// A wish for a copy in another vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyImage {
    /// The other vault.
    pub to: VaultId,
}

/// A machine that was made of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageMachine {
    /// Its name, and its guest's.
    pub name: String,
    /// Its uuid.
    pub uuid: Uuid,
    /// Its folder on the host.
    pub folder: String,
    /// The mover that made it.
    pub mover: String,
    /// Whether it stands on the copy of the image that it shares with others, rather than alone.
    pub shares: bool,
    /// The job that made it.
    pub job: JobId,
    /// When that was told.
    #[schema(value_type = String, format = DateTime)]
    pub made: Timestamp,
}

/// Machines of an image, a page of them.
pub type ImageMachines = Page<ImageMachine>;

/// What stands in the vault with an image, so that a catalog can be made again from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptImage {
    /// The version of this shape: 1.
    pub version: u32,
    /// The job that made it; none: it was made without a server.
    pub job: Option<JobId>,
    /// The version in another vault that it is a copy of.
    #[serde(default)]
    pub copy_of: Option<PointId>,
    /// What the vault promised then.
    #[serde(default)]
    pub promised: Option<ServicePromise>,
}

impl KeptImage {
    /// Of an image of which nothing is said.
    pub fn unknown() -> Self {
        Self { version: 1, job: None, copy_of: None, promised: None }
    }

    /// As it stands in the vault. Nobody takes it for what is said of a policy's point.
    pub fn to_value(&self) -> Value {
        json!({ "image": self })
    }

    /// Reads what stands there; none if that is something else.
    pub fn of(service: &Value) -> Option<Self> {
        serde_json::from_value(service.get("image")?.clone()).ok()
    }
}

/// What a mover is to do with images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "images", rename_all = "snake_case")]
pub enum ImageWork {
    /// Make one more version.
    Capture {
        /// What is wished.
        wish: NewImage,
        /// Where the machine is.
        host: AssignedHost,
        /// What its hypervisor knows it by.
        known_as: String,
        /// Its name.
        machine_name: String,
        /// Stands in the vault with the version.
        kept: KeptImage,
    },
    /// Make machines.
    Create {
        /// The version.
        point: PointId,
        /// The same in words: `web:3`.
        image: String,
        /// What is wished.
        wish: CreateMachines,
        /// The libvirt that is to have them; none: the mover's host, as the image's machine was.
        libvirt: Option<String>,
        /// The job that was tried before: the machines are those that it was to make.
        #[serde(default)]
        same_as: Option<JobId>,
    },
    /// Copy a version to another vault.
    Copy {
        /// The version.
        point: PointId,
        /// The same in words: `web:3`.
        image: String,
        /// The other vault.
        to: VaultAccess,
        /// Stands there with the copy.
        kept: KeptImage,
    },
}

/// A version that was made, or copied: `image` in the job's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MadeImage {
    /// Its point.
    pub made: MadePoint,
    /// What it says of itself.
    pub record: ImageFacts,
    /// What stands in the vault with it.
    pub kept: KeptImage,
}

/// What a version says of itself, in its vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageFacts {
    /// The image.
    pub name: String,
    /// The version.
    pub version: u32,
    /// Whether it is left out when no version is said.
    #[serde(default)]
    pub excluded: bool,
    /// What it was made of.
    #[serde(default)]
    pub from: String,
    /// What of that machine's identity is in it.
    #[serde(default)]
    pub findings: Vec<ImageFinding>,
    /// The systems that were looked into.
    #[serde(default)]
    pub systems: Vec<String>,
}

impl ImageFacts {
    /// What a point's description says; none if it is no image's.
    pub fn of(description: &Value) -> Option<Self> {
        serde_json::from_value(description.get("image")?.clone()).ok()
    }
}

/// A machine that was made: an entry of `machines` in the job's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeMachine {
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: Uuid,
    /// Its folder.
    pub folder: String,
    /// Whether it shares the copy of the image.
    pub shares: bool,
    /// Why it was not defined, or not started; its disks are there.
    #[serde(default)]
    pub error: Option<String>,
}
