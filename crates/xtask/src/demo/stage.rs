//! Where the demo plays: folders, the program, and what is said to the person watching.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Folders of one demo, removed when it ends, and the times of its steps.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    program: PathBuf,
    times: Vec<(String, Duration)>,
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("strongroom-demo-").tempdir().context("make a folder")?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| crate::workspace().join("target"), PathBuf::from);
        Ok(Self { folder, program: target.join("release/strongroom"), times: Vec::new() })
    }

    /// A folder of the demo.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Announces a step, does it, and says how long it took.
    pub(crate) fn step(&mut self, title: &str, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        println!("── {title}");
        let begun = Instant::now();
        work(self).with_context(|| format!("the step failed: {title}"))?;
        let took = begun.elapsed();
        println!("   {:.1} s\n", took.as_secs_f64());
        self.times.push((title.to_owned(), took));
        Ok(())
    }

    /// Says something about the step under way.
    pub(crate) fn say(&self, text: &str) {
        println!("   {text}");
    }

    /// Runs the program as a user would and shows all it prints.
    pub(crate) fn show(&self, arguments: &[&str]) -> Result<()> {
        let printed = self.run(arguments, "table")?;
        for line in String::from_utf8_lossy(&printed).lines() {
            println!("   | {line}");
        }
        Ok(())
    }

    /// Runs the program as a user would, and gives what it found as JSON.
    pub(crate) fn strongroom(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.run(arguments, "json")?;
        serde_json::from_slice(&printed).context("read what the program printed")
    }

    /// `VAULT` and `RESTORED` in the arguments stand for folders of the demo.
    fn run(&self, arguments: &[&str], output: &str) -> Result<Vec<u8>> {
        println!("   $ strongroom {}", arguments.join(" "));
        let arguments = arguments.iter().map(|argument| match *argument {
            "VAULT" => self.folder("vault").into_os_string(),
            "RESTORED" => self.folder("restored").into_os_string(),
            other => other.into(),
        });
        let output = Command::new(&self.program)
            .args(arguments)
            .args(["--output", output])
            .env("STRONGROOM_VAULT", self.folder("vault"))
            .env("STRONGROOM_KEY_FILE", self.folder("vault.key"))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {}", self.program.display()))?;
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            println!("   | {line}");
        }
        ensure!(output.status.success(), "strongroom ended with {}", output.status);
        Ok(output.stdout)
    }

    /// All steps and their times once more.
    pub(crate) fn summary(&self, whole: Duration) {
        println!("Done. Each step in seconds:");
        for (title, took) in &self.times {
            println!("  {:>6.1}  {title}", took.as_secs_f64());
        }
        println!("  {:>6.1}  all together", whole.as_secs_f64());
    }
}

/// The demo's folders may hold sockets, whose paths are short.
pub(crate) fn machine_folder(stage: &Stage, name: &str) -> Result<PathBuf> {
    let folder = stage.folder(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

pub(crate) fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("{value} is not a number"))
}

/// The bytes of all disks of a point.
pub(crate) fn sizes(point: &Value) -> Result<u64> {
    let disks = point["disks"].as_array().context("the point has disks")?;
    disks.iter().map(|disk| number(&disk["size"])).sum()
}

/// The restored image of a disk.
pub(crate) fn restored_image(folder: &Path, disk: &str) -> PathBuf {
    folder.join(format!("{disk}.qcow2"))
}
