//! Pulling into an image what it still reads from beneath it, while its machine runs on it: afterwards it stands
//! alone. QEMU's `block-stream`, in the words of whoever holds the monitor.

use crate::Result;
use async_trait::async_trait;
use serde_json::Value;
use std::path::Path;

/// How it stands with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulling {
    /// It needs nothing beneath it.
    Alone,
    /// It does, and nobody pulls.
    Idle,
    /// A job pulls.
    Under {
        /// Bytes dealt with, zeros included.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A job stands still because it could not read, until somebody lets it go on.
    Held,
}

/// A machine whose images can be pulled in.
#[async_trait]
pub trait Puller: Send + Sync {
    /// How it stands with an image of the machine.
    ///
    /// # Errors
    /// `NotFound` if the machine has no such image; `Unreachable` if it runs no more.
    async fn look(&self, image: &Path) -> Result<Pulling>;

    /// Begins to pull an image in, or lets a job that is there go on, at so many bytes a second at the most; 0 is no
    /// limit. Zeros count as bytes.
    ///
    /// # Errors
    /// As [`look`](Self::look); `Busy` or `Failed` if something else is at work on it.
    async fn pull(&self, image: &Path, speed: u64) -> Result<()>;

    /// Whether the guest was stopped because a disk failed.
    async fn is_stopped_by_disk(&self) -> Result<bool>;

    /// Lets a guest that was stopped so try again.
    async fn run_on(&self) -> Result<()>;
}

/// The node that holds an image, among those of `query-named-block-nodes`, and whether there is anything beneath.
pub(crate) fn node_of(nodes: &Value, image: &Path) -> Option<(String, bool)> {
    let is_it =
        |node: &&Value| node["drv"] == "qcow2" && file_of(node).is_some_and(|file| same(&file, image));
    let node = nodes.as_array()?.iter().find(is_it)?;
    let beneath = node["image"].get("backing-filename").is_some();
    Some((node["node-name"].as_str()?.to_owned(), beneath))
}

/// QEMU names a node by its file, or by all it was opened with.
fn file_of(node: &Value) -> Option<String> {
    let said = node["file"].as_str()?;
    let Some(options) = said.strip_prefix("json:") else { return Some(said.to_owned()) };
    let options: Value = serde_json::from_str(options).ok()?;
    Some(options["file"]["filename"].as_str()?.to_owned())
}

fn same(file: &str, image: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(Path::new(file)) == real(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_is_found_however_its_node_is_named() {
        let beneath = json!({ "backing-filename": "nbd+unix:///d?socket=s" });
        let options =
            r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"/r/b.qcow2"},"backing":null}"#;
        let nodes = json!([
            { "node-name": "f", "drv": "file", "file": "/r/a.qcow2", "image": {} },
            { "node-name": "a", "drv": "qcow2", "file": "/r/a.qcow2", "image": beneath },
            { "node-name": "b", "drv": "qcow2", "file": options, "image": {} },
        ]);
        assert_eq!(node_of(&nodes, Path::new("/r/a.qcow2")), Some(("a".into(), true)));
        assert_eq!(node_of(&nodes, Path::new("/r/b.qcow2")), Some(("b".into(), false)));
        assert_eq!(node_of(&nodes, Path::new("/r/c.qcow2")), None);
    }
}
