//! The vault against an oracle, against crashes and against damage; its store against servers and faults.

mod backup;
mod collect;
mod crash;
mod damage;
mod faults;
mod flips;
mod golden;
mod keys;
mod open;
mod probe;
mod requests;
mod round_trip;
mod stores;
mod verify;
