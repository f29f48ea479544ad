//! Stopped machines and disk images: read as they lie, in any format QEMU reads.
//!
//! **Hostile input.** Whoever had a machine may have written its images. A header is first parsed by our own code
//! (`header.rs`), which refuses what it does not understand; a chain of images is followed by us (`chain.rs`), and
//! never out of the image's own folder unless that is allowed. Formats are told by people, never guessed: a guest
//! can write any header into a raw disk. Raw images need nobody to understand them and we serve them ourselves.
//! All others are understood by a `qemu-storage-daemon` (`daemon.rs`) in a cage: it is handed each file's bytes
//! over NBD, one file for each layer that we found, and needs to open none. When we are root it runs as a user that
//! owns nothing, and could open only what everybody may read; else it has the rights of our own user.
//!
//! **Not in use.** We take QEMU's own locks (`locks.rs`), so an image that a machine writes is `Busy`, and a machine
//! that is to be started meanwhile is refused it by its own QEMU. Programs without such locks are found by the
//! file's times, size and identity (`file.rs`): the backup is `Broken` then.
//!
//! **Changes only.** An image may hold the record of changes (a persistent bitmap) that a backup of the running
//! machine left for its next. It is named for that point and lies in the file whose changes it tells, so wherever
//! the file was copied or rolled back to, it tells what the file differs from *that* point: from the point's own
//! content, every write since, by whatever QEMU. So it may be believed under the same rule as online
//! (`qemu/bitmaps.rs`), with three doubts more that make us read everything: the image stands on other files, whose
//! changes it cannot record; its header says that it was not closed; QEMU finds the record in use, because it was
//! killed.
//!
//! **Whose parent.** We write nothing into images, so an offline point leaves no record of its own. The next backup,
//! online or offline, must not take it as its parent: there would be no record since, and everything would be read.
//! It takes the newest point that the machine left while it ran, whose record still grows; what changed since is a
//! superset of what changed since the offline point, and what the vault has already is stored once. Therefore
//! [`MachineDescription::stopped`](crate::MachineDescription) marks these points, and `mover` passes over them.
//! Online backups settle the records as ever: the offline point is nothing to them.
//!
//! Consistency is that of a crash: nothing here can know whether the guest had shut down.
//!
//! Reading order: `machine.rs` → `owner.rs`, a freeze → `opened.rs` → `chain.rs` → `daemon.rs`.

mod chain;
mod daemon;
mod described;
mod file;
mod header;
mod image;
mod locks;
mod machine;
mod opened;
mod owner;

pub use image::{Format, Image};
pub use machine::OfflineMachine;
