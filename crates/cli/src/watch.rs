//! Progress on standard error: bars on a terminal, plain lines elsewhere.

use crate::output::size;
use indicatif::{ProgressBar, ProgressStyle};
use mover::Progress;
use std::io::IsTerminal;
use std::sync::Mutex;

/// Shows a loop's progress.
pub(crate) struct Watch {
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), bar: Mutex::default() }
    }

    /// Shows one thing that happened.
    pub(crate) fn show(&self, progress: Progress) {
        let mut bar = self.bar.lock().expect("no holder panics");
        match progress {
            Progress::Step(step) => eprintln!("{step}"),
            Progress::Frozen { paused, consistency, fell_because, .. } => {
                let paused = paused.as_secs_f64() * 1000.0;
                eprintln!("All disks stand at one instant: {consistency}, guest paused {paused:.1} ms");
                for reason in fell_because {
                    eprintln!("  not more, because {reason}");
                }
            }
            Progress::Distrusted { disk, reason } => {
                eprintln!(
                    "warning: disk {disk}: {reason}; everything is read. Another backup may hide the same"
                );
                eprintln!(
                    "  lie: check what else writes to the disk's image, and whether QEMU is up to date"
                );
            }
            Progress::Disk { name, size: bytes, tracking } => {
                let how = if tracking.is_empty() { String::new() } else { format!(", {tracking}") };
                eprintln!("Disk {name}, {}{how}", size(bytes));
                *bar = Some(self.new_bar(bytes));
            }
            Progress::Advance(bytes) => {
                if let Some(bar) = &*bar {
                    bar.inc(bytes);
                }
            }
            Progress::DiskDone => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn new_bar(&self, bytes: u64) -> ProgressBar {
        if !self.terminal {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(
            "  {bar:40} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
        );
        ProgressBar::new(bytes).with_style(style.expect("the template is fixed"))
    }
}
