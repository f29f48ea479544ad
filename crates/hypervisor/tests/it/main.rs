//! Real guests under a real QEMU: needs root, QEMU and what `testkit` asks for.

mod agent;
mod bytes;
mod describe;
mod guest;
mod mariadb;
mod recover;
mod scratch;
mod setup;
mod window;
