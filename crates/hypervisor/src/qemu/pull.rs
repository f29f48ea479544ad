//! Pulling images in through a monitor of our own.

use crate::pull::{Puller, Pulling, node_of};
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::path::Path;

/// What our jobs' names begin with.
const JOB: &str = "strongroom-pull-";

#[async_trait]
impl Puller for Qmp {
    async fn look(&self, image: &Path) -> Result<Pulling> {
        let (_, beneath) = find(self, image).await?;
        let job = job_of(self, image).await?;
        Ok(match job {
            None if beneath => Pulling::Idle,
            None => Pulling::Alone,
            Some(job) if is_held(&job) => Pulling::Held,
            Some(job) => {
                let bytes = |key: &str| job[key].as_u64().unwrap_or(0);
                Pulling::Under { done: bytes("offset"), total: bytes("len") }
            }
        })
    }

    async fn pull(&self, image: &Path, speed: u64) -> Result<()> {
        let id = job_id(image);
        match job_of(self, image).await? {
            Some(job) => {
                self.execute("block-job-set-speed", json!({ "device": id, "speed": speed })).await?;
                if is_held(&job) {
                    // Refused of one that QEMU itself lets stand for a moment, which needs nobody.
                    let _ = self.execute("block-job-resume", json!({ "device": id })).await;
                }
                Ok(())
            }
            None => {
                let (node, _) = find(self, image).await?;
                // A read that fails holds the job: what it did so far is kept, and it can go on.
                let arguments = json!({ "job-id": id, "device": node, "on-error": "stop", "speed": speed });
                self.execute("block-stream", arguments).await.map(drop)
            }
        }
    }

    async fn is_stopped_by_disk(&self) -> Result<bool> {
        Ok(self.execute("query-status", Value::Null).await?["status"] == "io-error")
    }

    async fn run_on(&self) -> Result<()> {
        self.execute("cont", Value::Null).await.map(drop)
    }
}

async fn find(qmp: &Qmp, image: &Path) -> Result<(String, bool)> {
    let nodes = qmp.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    let missing = || Error::new(ErrorKind::NotFound, format!("find the image {} in QEMU", image.display()));
    node_of(&nodes, image).ok_or_else(missing)
}

async fn job_of(qmp: &Qmp, image: &Path) -> Result<Option<Value>> {
    let id = job_id(image);
    let jobs = qmp.execute("query-block-jobs", Value::Null).await?;
    Ok(jobs.as_array().into_iter().flatten().find(|job| job["device"] == id).cloned())
}

/// Whether a read failed. What `io-status` said of it is forgotten when the guest runs on; the job stands still all the
/// same.
fn is_held(job: &Value) -> bool {
    job["paused"] == true
}

/// Named after the image, so that another process knows it again.
fn job_id(image: &Path) -> String {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy();
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    JOB.chars().chain(stem.chars().map(safe)).collect()
}
