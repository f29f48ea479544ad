//! Real guests under a real QEMU: needs root, QEMU and what `testkit` asks for.

mod agent;
mod bytes;
mod conformance;
mod describe;
mod flash;
mod guest;
mod killed;
mod libvirt;
mod libvirt_trust;
mod mariadb;
mod offline;
mod recover;
mod scratch;
mod setup;
mod window;
