//! A job's events, as the server tells them: server-sent events, each with the job as it is.

use api::Job;
use api::client::{Client, ClientError};
use model::JobId;
use std::time::Duration;
use tokio::time::timeout;

/// The server says something four times a minute, if only that it is there. One that is silent for longer is gone, or
/// something between holds its words back.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A job with a line for each of a hundred disks is far below.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// A stream that was begun.
pub(super) struct Events {
    answer: reqwest::Response,
    read: Reader,
}

impl Events {
    /// Begins to watch a job.
    pub(super) async fn of(client: &Client, job: JobId) -> Result<Self, ClientError> {
        let answer = client.stream(&format!("/v1/jobs/{job}/events")).await?;
        Ok(Self { answer, read: Reader::default() })
    }

    /// The job as it is next; none when the stream ends or breaks, for whatever reason: the job is asked for then.
    pub(super) async fn next(&mut self) -> Option<Job> {
        loop {
            if let Some(text) = self.read.event() {
                return serde_json::from_str(&text).ok();
            }
            let more = timeout(SILENCE_MAX, self.answer.chunk()).await.ok()?.ok()??;
            if !self.read.take(&more) {
                return None;
            }
        }
    }
}

/// Puts events together out of the pieces in which they come.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes a piece; false if what is there is longer than any event.
    fn take(&mut self, piece: &[u8]) -> bool {
        self.bytes.extend_from_slice(piece);
        self.bytes.len() <= EVENT_BYTES_MAX
    }

    /// The data of the next whole event that has any.
    fn event(&mut self) -> Option<String> {
        loop {
            let end = self.bytes.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let data: Vec<&str> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let stream =
            b":\n\nevent: job\ndata: {\"a\":1}\n\n: still here\n\ndata: x\ndata:y\n\ndata: unfinished\n";
        for cut in 1..stream.len() {
            let mut reader = Reader::default();
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                assert!(reader.take(piece));
                found.extend(std::iter::from_fn(|| reader.event()));
            }
            assert_eq!(found, ["{\"a\":1}", "x\ny"], "in pieces of {cut}");
        }
        assert!(!Reader::default().take(&vec![0; EVENT_BYTES_MAX + 1]));
    }
}
