//! What happened, in order: every request with its answer, every act with its outcome.

use std::fmt;

/// The trace of one seed. Always hashed; kept as text only if somebody is to read it.
#[derive(Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    lines: Option<Vec<String>>,
    line: String,
    pub(crate) events: u64,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self { lines: keep.then(Vec::new), ..Self::default() }
    }

    pub(crate) fn add(&mut self, millis: u128, who: &str, what: fmt::Arguments<'_>) {
        use fmt::Write;
        self.line.clear();
        write!(self.line, "{:>9}.{:03} {who:<5} {what}", millis / 1000, millis % 1000).expect("in memory");
        self.hasher.update(self.line.as_bytes());
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    /// Two runs with one hash did the same.
    pub(crate) fn hash(&self) -> String {
        self.hasher.finalize().to_hex()[..16].to_owned()
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
