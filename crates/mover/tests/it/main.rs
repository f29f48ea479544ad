//! Real guests, backed up and brought back by the loops alone: needs root, QEMU, libvirt and what `testkit` asks for.

mod database;
mod held_store;
mod instant;
mod oracle;
mod scene;
mod slow_target;
mod work;
