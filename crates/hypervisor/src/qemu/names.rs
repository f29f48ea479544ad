//! What is ours inside a QEMU, told by name alone: a process that finds it after a crash knows nothing else.
//!
//! Nodes and exports begin with `strongroom-`; QEMU allows node names 31 characters, hence numbers instead of
//! disk ids. Bitmaps are `strongroom:<vault>:<point>:<disk>`: they outlive QEMU inside images, so the name says
//! whose chain they belong to, and of which disk: images can be swapped, copied or attached elsewhere.
//!
//! Marks are empty `null-co` nodes. They are set before an act that must be taken back and removed after
//! it was, so that a crash in between leaves the one bit that QEMU itself does not keep: *we* did this. A
//! machine paused without a mark was paused by somebody else and stays so.

use crate::Result;
use crate::qmp::Qmp;
use serde_json::json;

const PREFIX: &str = "strongroom-";

/// We sent, or are about to send, `stop`.
pub(super) const MARK_STOPPED: &str = "strongroom-stopped";
/// We asked, or are about to ask, the guest to freeze.
pub(super) const MARK_FROZEN: &str = "strongroom-frozen";
/// The one NBD server of this QEMU is ours.
pub(super) const MARK_SERVER: &str = "strongroom-server";

pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The filter between the guest's device and its disk.
pub(super) fn filter(index: usize) -> String {
    format!("{PREFIX}filter-{index}")
}

pub(super) fn is_filter(name: &str) -> bool {
    name.starts_with("strongroom-filter-")
}

/// Where the filter saves what the guest is about to overwrite.
pub(super) fn scratch(index: usize) -> String {
    format!("{PREFIX}scratch-{index}")
}

pub(super) fn is_scratch(name: &str) -> bool {
    name.starts_with("strongroom-scratch-")
}

/// The disk as it was at the instant.
pub(super) fn access(index: usize) -> String {
    format!("{PREFIX}access-{index}")
}

pub(super) fn is_access(name: &str) -> bool {
    name.starts_with("strongroom-access-")
}

pub(super) fn export(index: usize) -> String {
    format!("{PREFIX}export-{index}")
}

/// The live disk, while samples of it are read.
pub(super) fn live(index: usize) -> String {
    format!("{PREFIX}live-{index}")
}

/// All bitmaps of a vault begin with this.
pub(super) fn bitmap_prefix(vault: &str) -> String {
    format!("strongroom:{vault}:")
}

pub(super) fn bitmap(vault: &str, point: &str, disk: &str) -> String {
    format!("strongroom:{vault}:{point}:{disk}")
}

/// Sets a mark.
pub(super) async fn mark(qmp: &Qmp, name: &str) -> Result<()> {
    let node = json!({ "driver": "null-co", "node-name": name, "size": 0 });
    qmp.execute("blockdev-add", node).await.map(drop)
}

/// Removes a node that nothing uses any more; a mark is one.
pub(super) async fn remove_node(qmp: &Qmp, name: &str) -> Result<()> {
    qmp.execute("blockdev-del", json!({ "node-name": name })).await.map(drop)
}
