//! The vault against an oracle, against crashes and against damage.

mod backup;
mod collect;
mod crash;
mod damage;
mod keys;
mod open;
mod round_trip;
mod verify;
