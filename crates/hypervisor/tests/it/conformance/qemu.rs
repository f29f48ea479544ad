//! Machines whose monitor is ours.

use super::{Harness, Provider};
use crate::guest::Guest;
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use hypervisor::Machine;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::{Agent, GuestImage};

struct QemuHarness(Guest);

#[async_trait]
impl Provider for QemuHarness {
    fn folder(&self) -> &Path {
        self.0.folder.path()
    }

    /// QEMU takes the next client once it has seen the last one go.
    async fn connect(&self) -> Result<Box<dyn Machine>> {
        for _ in 0..50 {
            if let Ok(machine) = self.0.connect().await {
                return Ok(Box::new(machine));
            }
        }
        let last = self.0.connect().await;
        Ok(Box::new(last.with_context(|| format!("{}\nthe monitor did not come", holders(self.folder())))?))
    }

    fn records(&self) -> Result<[usize; 2]> {
        Ok([self.0.bitmaps("disk0")?.len(), self.0.bitmaps("disk1")?.len()])
    }

    fn assert_untouched(&self) -> Result<()> {
        self.assert_guest_untouched()
    }
}

#[async_trait]
impl Harness for QemuHarness {
    fn agent(&self) -> &Agent {
        self.0.machine.agent()
    }

    fn pause(&self) -> Result<()> {
        self.0.machine.pause()
    }

    fn resume(&self) -> Result<()> {
        self.0.machine.resume()
    }

    fn kill_and_start(&mut self) -> Result<()> {
        let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
        self.0.machine.kill_and_start(&image)?;
        self.0.machine.wait_agent(Duration::from_secs(180))
    }

    fn assert_released(&self) -> Result<()> {
        let nodes = self.0.qmp("query-named-block-nodes", json!({ "flat": true }))?.to_string();
        let exports = self.0.qmp("query-block-exports", Value::Null)?.to_string();
        ensure!(!nodes.contains("strongroom-") && !exports.contains("strongroom-"), "{nodes} {exports}");
        let status = self.0.qmp("query-status", Value::Null)?;
        ensure!(status["running"] == true, "the machine is {status}");
        Ok(())
    }
}

/// Who has sockets open, and what the machine's threads are at: what is seen once in months is understood by that or never.
fn holders(folder: &Path) -> String {
    let script = r#"ss -xpn; for machine in $(pgrep -f -- "$0"); do
        tr '\0' ' ' < /proc/$machine/cmdline; echo
        for thread in /proc/$machine/task/*; do cat $thread/comm $thread/stat $thread/wchan; echo; done
    done"#;
    let said = Command::new("sh").args(["-c", script]).arg(folder).output();
    said.map_or_else(|error| error.to_string(), |said| String::from_utf8_lossy(&said.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laws_hold_for_machines_of_qemu() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("laws", |_, _| ()))?;
    super::laws::all(&mut QemuHarness(guest)).await
}
