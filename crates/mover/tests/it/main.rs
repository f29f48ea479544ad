//! Real guests, backed up and brought back by the loops alone: needs root, QEMU, libvirt and what `testkit` asks for.

mod counted_store;
mod database;
mod differences;
mod drill;
mod held_store;
mod image;
mod instant;
mod new_machine;
mod oracle;
mod replace;
mod scene;
mod slow_target;
mod snapshots;
mod work;
