//! Real guests under a real QEMU: needs root, QEMU and what `testkit` asks for.

mod agent;
mod bytes;
mod describe;
mod flash;
mod guest;
mod offline;
mod recover;
mod scratch;
mod window;
