//! Small files in the guest, read and written without running a program there.

use super::{Agent, base64};
use crate::{Error, ErrorKind, Result};
use serde_json::{Value, json};

/// Bytes asked for at a time; the agent itself allows 48 MB.
const READ_BYTES: u64 = 64 << 10;

/// The files read here are records of a few lines; a larger one is not what it should be.
const FILE_BYTES_MAX: usize = 1 << 20;

impl Agent {
    /// Writes a whole file. The folder must be there.
    ///
    /// # Errors
    /// `Guest` when the agent refuses: no such folder, or file commands are not allowed there.
    pub async fn write_file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let handle = self.open_file(path, "w").await?;
        let arguments = json!({ "handle": handle, "buf-b64": base64::encode(bytes) });
        let written = self.execute("guest-file-write", arguments).await;
        // Closing writes the agent's own buffer out.
        let closed = self.execute("guest-file-close", json!({ "handle": handle })).await;
        if written?["count"].as_u64() != Some(bytes.len() as u64) {
            return Err(Error::new(ErrorKind::Guest, format!("write {path} in the guest: cut short")));
        }
        closed.map(drop)
    }

    /// Reads a whole small file.
    ///
    /// # Errors
    /// As [`write_file`](Self::write_file); also for a file over 1 MiB.
    pub async fn read_file(&mut self, path: &str) -> Result<Vec<u8>> {
        let handle = self.open_file(path, "r").await?;
        let contents = self.read_open_file(path, &handle).await;
        let _ = self.execute("guest-file-close", json!({ "handle": handle })).await; // nothing is lost by it
        contents
    }

    async fn read_open_file(&mut self, path: &str, handle: &Value) -> Result<Vec<u8>> {
        let mut contents = Vec::new();
        loop {
            let arguments = json!({ "handle": handle, "count": READ_BYTES });
            let piece = self.execute("guest-file-read", arguments).await?;
            let bytes = piece["buf-b64"].as_str().and_then(base64::decode).unwrap_or_default();
            contents.extend_from_slice(&bytes);
            if contents.len() > FILE_BYTES_MAX {
                return Err(Error::new(ErrorKind::Guest, format!("read {path} in the guest: too large")));
            }
            if piece["eof"] == true || bytes.is_empty() {
                return Ok(contents);
            }
        }
    }

    async fn open_file(&mut self, path: &str, mode: &str) -> Result<Value> {
        self.execute("guest-file-open", json!({ "path": path, "mode": mode })).await
    }
}
