//! A whole disk back, and the first block of one, from a cold start.

use crate::timed::{sh, timed};
use crate::vault::peers;
use crate::vault::table::{Figures, Row};
use crate::vault::{Place, create, median_of, op};
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// The same disk in a vault and as a local image.
pub(super) struct Scene<'a> {
    pub(super) place: &'a Place<'a>,
    pub(super) vault: PathBuf,
    pub(super) qcow2: PathBuf,
}

impl<'a> Scene<'a> {
    /// Makes both, unless they are there.
    pub(super) fn make(place: &'a Place<'a>) -> Result<Self> {
        let (vault, qcow2) = (place.folder.join("restored-from"), place.folder.join("day.qcow2"));
        let scene = Self { place, vault, qcow2 };
        if !scene.qcow2.exists() {
            let partial = place.folder.join("day.partial");
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&place.data.day).arg(&partial);
            timed(&mut convert)?;
            create(&scene.vault)?;
            op(&["backup".as_ref(), scene.vault.as_ref(), place.data.day.as_ref()])?;
            std::fs::rename(&partial, &scene.qcow2).context("name the image")?;
        }
        Ok(scene)
    }

    pub(super) fn measure(&self, alone: bool) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let out = self.place.folder.join("restored.raw");
        let clean = || sh(&format!("rm -f {}", out.display()));
        let mut add = |program: &str, seconds: f64| {
            Row::add(&mut rows, program, "restore to raw", Figures { seconds, ..Figures::default() });
        };
        for _ in 0..self.place.runs {
            clean()?;
            let words: [&OsStr; 4] = ["restore".as_ref(), self.vault.as_ref(), "--to".as_ref(), out.as_ref()];
            let (seconds, _) = op(&words)?;
            add("strongroom", seconds);
            timed(Command::new("cmp").arg(&out).arg(&self.place.data.day)).context("it is the disk")?;
            clean()?;
            let convert = || {
                let mut command = Command::new("qemu-img");
                command.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&self.qcow2).arg(&out);
                timed(&mut command).map(|(seconds, _)| seconds)
            };
            add("limit: qemu-img convert", median_of(1, convert)?);
        }
        clean()?;
        if !alone {
            rows.extend(peers::restores(self.place)?);
        }
        Ok(rows)
    }

    /// A new process without any local state, from its start to a block in its hands.
    pub(super) fn first_block(&self) -> Result<Vec<Row>> {
        let cache = self.vault.with_extension("cache");
        let mut rows = Vec::new();
        for _ in 0..self.place.runs {
            sh(&format!("rm -rf {}", cache.display()))?;
            let (whole, done) = op(&["first-block".as_ref(), self.vault.as_ref()])?;
            let seconds = done["work_seconds"].as_f64().context("how long it took")?;
            ensure!(seconds <= whole, "a part is not longer than the whole");
            let mut add = |work: &str, seconds: f64| {
                Row::add(&mut rows, "strongroom", work, Figures { seconds, ..Figures::default() });
            };
            add("first cold block", seconds);
            add("the same, with process", whole);
        }
        println!("first cold block: goal 0.1 s");
        Ok(rows)
    }
}
