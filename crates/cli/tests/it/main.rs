//! The product from end to end: its own program, real guests under a real QEMU, nothing mocked.
//!
//! What came back is judged by others: `cmp`, `qemu-img`, the kernel's file systems, PostgreSQL. Needs
//! root, and a network the first time. `program.rs` runs the program, `scene.rs` is a test's folder with its
//! vault, `guest.rs` a machine in it, `tmpfs.rs` a place with little room; each of the others is one subject.

mod agentless;
mod archive_adopted;
mod archived;
mod audit;
mod bad_input;
mod bytes;
mod disks;
mod drill;
mod far_stores;
mod files;
mod firmware;
mod frozen;
mod gate;
mod group;
mod guest;
mod hooks;
mod image;
mod instant;
mod interrupted;
mod joined;
mod keys;
mod libvirt;
mod lineage;
mod many_snapshots;
mod packaging;
mod portal;
mod program;
mod restores;
mod room;
mod scene;
mod second_phase;
mod serve;
mod served_drill;
mod served_files;
mod served_images;
mod service;
mod single_sign_on;
mod snapshots;
mod stopped;
mod stored;
mod stores;
mod throttle;
mod tiers;
mod tmpfs;
mod whole_life;
