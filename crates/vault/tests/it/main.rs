//! The vault against an oracle, against crashes and against damage; its store against servers and faults.

mod backup;
mod checkpoints;
mod collect;
mod compact;
mod copy;
mod counting;
mod crash;
mod damage;
mod faults;
mod fence;
mod flips;
mod golden;
mod index;
mod keys;
mod meter;
mod notes;
mod open;
mod probe;
mod repair;
mod requests;
mod rescue;
mod round_trip;
mod samples;
mod stores;
mod verify;
