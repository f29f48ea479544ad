//! placeholder
mod agent;
mod describe;
mod discover;
mod error;
mod freeze;
mod graph;
mod machine;
mod qmp;

pub use agent::Agent;
pub use describe::{DiskDescription, MachineDescription, SkippedDrive};
pub use discover::{MachineAddress, discover, parse};
pub use error::{Error, ErrorKind, Result};
pub use freeze::{
    Consistency, FreezeRequest, FrozenDisk, FrozenMachine, HookPhase, HookResult, Level, Outcome, Tracking,
};
pub use machine::Machine;
pub use qmp::{Event, Peer, Qmp, QmpError, Transaction, Version};
