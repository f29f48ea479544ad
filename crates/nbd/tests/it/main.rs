//! The crate against the world: our server under QEMU's and libnbd's tools, our client against
//! qemu-nbd, one against the other, and both against peers that break the protocol. A missing tool is a
//! failure, never a skip.

mod hostile;
mod loopback;
mod qemu_nbd;
mod server_tools;
mod tools;
