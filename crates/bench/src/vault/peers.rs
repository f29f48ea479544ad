//! The same works by the peers that are installed.

use super::table::{Figures, Row};
use super::{Place, drop_caches};
use crate::timed::{has, sh, timed};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// A peer: how it makes a store, backs an image up, restores it to a folder. `REPO`, `IMAGE` and `OUT` stand
/// for the paths.
struct Peer {
    program: &'static str,
    create: &'static str,
    backup: &'static str,
    restore: &'static str,
    verify: &'static str,
}

const PEERS: &[Peer] = &[
    Peer {
        program: "restic",
        create: "restic -q init -r REPO",
        backup: "restic -q -r REPO backup IMAGE",
        restore: "restic -q -r REPO restore latest --sparse --target OUT 2>/dev/null || restic -q -r REPO restore latest --target OUT",
        verify: "restic -q -r REPO check --read-data",
    },
    Peer {
        program: "borg",
        create: "borg init -e repokey-blake2 REPO",
        backup: "borg create -C zstd,1 --sparse --chunker-params=fixed,65536 REPO::$(date +%s%N) IMAGE",
        restore: "mkdir -p OUT && cd OUT && borg extract --sparse REPO::$(borg list --short --last 1 REPO)",
        verify: "borg check --verify-data REPO",
    },
];

pub(super) fn measure(place: &Place<'_>, rows: &mut Vec<Row>) -> Result<()> {
    for peer in PEERS.iter().filter(|peer| has(peer.program)) {
        peer.measure(place, rows)?;
    }
    Ok(())
}

/// Only the way back, of the disk that we bring back.
pub(crate) fn restores(place: &Place<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for peer in PEERS.iter().filter(|peer| has(peer.program)) {
        let repo = place.folder.join(peer.program);
        let out = place.folder.join("peer-out");
        let clean = |what: &str| sh(&format!("rm -rf {what}"));
        clean(&format!("{} {}", repo.display(), out.display()))?;
        peer.run(peer.create, &repo, &repo, &out)?;
        peer.run(peer.backup, &repo, &place.data.day, &out)?;
        for _ in 0..place.runs {
            clean(&out.display().to_string())?;
            drop_caches()?;
            let seconds = peer.run(peer.restore, &repo, &place.data.day, &out)?;
            Row::add(&mut rows, peer.program, "restore to raw", Figures { seconds, ..Figures::default() });
        }
        clean(&format!("{} {}", repo.display(), out.display()))?;
    }
    Ok(rows)
}

impl Peer {
    /// One run of each.
    fn measure(&self, place: &Place<'_>, rows: &mut Vec<Row>) -> Result<()> {
        let repo = place.folder.join(self.program);
        let out = place.folder.join("peer-out");
        let clean = format!("rm -rf {} {}", repo.display(), out.display());
        sh(&clean)?;
        self.run(self.create, &repo, &repo, &out)?;
        let data = place.data;
        let works = [("full", &data.used), ("day, read all", &data.day), ("sibling", &data.sibling)];
        for (work, image) in works {
            let before = bytes_in(&repo)?;
            drop_caches()?;
            let seconds = self.run(self.backup, &repo, image, &out)?;
            let stored = Some(bytes_in(&repo)? - before);
            Row::add(rows, self.program, work, Figures { seconds, stored, ..Figures::default() });
        }
        drop_caches()?;
        let seconds = self.run(self.restore, &repo, &data.sibling, &out)?;
        Row::add(rows, self.program, "restore", Figures { seconds, ..Figures::default() });
        drop_caches()?;
        let seconds = self.run(self.backup, &repo, &data.noise, &out)?;
        Row::add(rows, self.program, "noise", Figures { seconds, ..Figures::default() });
        drop_caches()?;
        let seconds = self.run(self.verify, &repo, &data.noise, &out)?;
        Row::add(rows, self.program, "verify", Figures { seconds, ..Figures::default() });
        sh(&clean)
    }

    fn run(&self, line: &str, repo: &Path, image: &Path, out: &Path) -> Result<f64> {
        let text = |path: &Path| path.display().to_string();
        let line =
            line.replace("REPO", &text(repo)).replace("IMAGE", &text(image)).replace("OUT", &text(out));
        let mut command = Command::new("sh");
        command.args(["-ec", &line]).env("RESTIC_PASSWORD", "bench").env("BORG_PASSPHRASE", "bench");
        command.env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        timed(&mut command).map(|(seconds, _)| seconds)
    }
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let (_, printed) = timed(Command::new("du").args(["-sb"]).arg(folder))?;
    let text = String::from_utf8_lossy(&printed).into_owned();
    Ok(text.split_whitespace().next().unwrap_or("0").parse()?)
}
