//! The figures, and how they are shown: per work, seconds and the ratio to ours.

use crate::timed::median;
use serde::Serialize;
use std::collections::BTreeMap;

/// One program's figures for one work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    program: String,
    work: String,
    seconds: Vec<f64>,
    /// Bytes added to the store, of the last run.
    stored: Option<u64>,
    /// MiB of memory at the most.
    peak_mib: Option<u64>,
    /// Requests to the store, of the last run.
    requests: Option<u64>,
}

/// What one run of a work measured.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) stored: Option<u64>,
    pub(crate) peak_mib: Option<u64>,
    pub(crate) requests: Option<u64>,
}

impl Row {
    /// Adds a run's figures to the row of that program and work.
    pub(crate) fn add(rows: &mut Vec<Self>, program: &str, work: &str, figures: Figures) {
        let at =
            rows.iter().position(|row| row.program == program && row.work == work).unwrap_or_else(|| {
                rows.push(Self {
                    program: program.into(),
                    work: work.into(),
                    seconds: vec![],
                    stored: None,
                    peak_mib: None,
                    requests: None,
                });
                rows.len() - 1
            });
        rows[at].seconds.push(figures.seconds);
        rows[at].stored = figures.stored;
        rows[at].requests = figures.requests;
        rows[at].peak_mib = rows[at].peak_mib.max(figures.peak_mib);
    }
}

/// All figures of a run.
#[derive(Default, Serialize)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn extend(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn print(&self) {
        let ours: BTreeMap<&str, f64> = self
            .rows
            .iter()
            .filter(|row| row.program == "strongroom")
            .map(|row| (row.work.as_str(), median(row.seconds.clone())))
            .collect();
        println!(
            "{:<22} {:<26} {:>9} {:>8} {:>10} {:>9} {:>9}",
            "work", "program", "seconds", "to ours", "MB stored", "MiB peak", "requests"
        );
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| self.rows.iter().position(|other| other.work == row.work));
        for row in rows {
            let seconds = median(row.seconds.clone());
            let ratio =
                ours.get(row.work.as_str()).map_or(String::new(), |ours| format!("{:.2}", seconds / ours));
            let stored = row.stored.map_or(String::new(), |bytes| format!("{:.1}", bytes as f64 / 1e6));
            let peak = row.peak_mib.map_or(String::new(), |mib| mib.to_string());
            let requests = row.requests.map_or(String::new(), |requests| requests.to_string());
            println!(
                "{:<22} {:<26} {seconds:>9.2} {ratio:>8} {stored:>10} {peak:>9} {requests:>9}",
                row.work, row.program
            );
        }
        println!(
            "Medians; every work begins with a cold page cache. 'to ours': above 1, it takes longer than we do."
        );
    }
}
