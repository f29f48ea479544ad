//! Slots in zones that change their clocks, starts, what is due, and the queue against a simple one.

mod queue;
mod run;
mod slots;

use crate::policy::{Policy, PolicyDocument, Schedule};
use crate::{HostId, MachineId, StoreId};
use jiff::Timestamp;
use uuid::Uuid;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

/// Every day at that time.
fn daily(zone: &str, time: &str) -> Policy {
    Policy::standard(zone, time).check().expect("valid")
}

fn hourly(zone: &str, every_hours: u8, window_start: &str, window_hours: u8) -> Policy {
    let schedule = Schedule::Hourly { every_hours, window_start: window_start.to_owned(), window_hours };
    PolicyDocument { schedule, ..Policy::enhanced(zone) }.check().expect("valid")
}

fn machine(number: u64) -> MachineId {
    MachineId(Uuid::from_u64_pair(1, number))
}

fn host(number: u64) -> HostId {
    HostId(Uuid::from_u64_pair(2, number))
}

fn store(number: u64) -> StoreId {
    StoreId(Uuid::from_u64_pair(3, number))
}
