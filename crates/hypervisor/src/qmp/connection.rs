//! The task that owns a QMP socket: writes commands, matches replies by id, passes events on.

use super::client::Event;
use super::{Lines, QmpError};
use crate::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot};

/// One command on its way.
pub(super) struct Order {
    pub(super) command: String,
    pub(super) arguments: Value,
    pub(super) reply: oneshot::Sender<Result<Value>>,
}

struct Waiting {
    command: String,
    reply: oneshot::Sender<Result<Value>>,
}

pub(super) struct Connection {
    pub(super) lines: Lines<OwnedReadHalf>,
    pub(super) writer: OwnedWriteHalf,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) events: broadcast::Sender<Event>,
}

impl Connection {
    /// Runs until the last client handle is gone or QEMU closes. Callers still waiting then see their
    /// reply channel close, which the client turns into `Unreachable`.
    pub(super) async fn run(mut self) {
        let mut waiting: HashMap<u64, Waiting> = HashMap::new();
        let mut next_id = 0u64;
        loop {
            tokio::select! {
                order = self.orders.recv() => {
                    let Some(order) = order else { return };
                    next_id += 1;
                    // Callers that gave up waiting must not pile up here.
                    waiting.retain(|_, waiting| !waiting.reply.is_closed());
                    if self.send(&order, next_id).await.is_err() { return }
                    waiting.insert(next_id, Waiting { command: order.command, reply: order.reply });
                }
                line = self.lines.next() => {
                    let Ok(Some(line)) = line else { return };
                    // A line that is no JSON answers nothing; the command it belonged to times out.
                    let Ok(message) = serde_json::from_slice::<Value>(&line) else { continue };
                    self.dispatch(message, &mut waiting);
                }
            }
        }
    }

    async fn send(&mut self, order: &Order, id: u64) -> std::io::Result<()> {
        let mut message = json!({ "execute": order.command, "id": id });
        if !order.arguments.is_null() {
            message["arguments"] = order.arguments.clone();
        }
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        self.writer.write_all(&line).await
    }

    fn dispatch(&self, mut message: Value, waiting: &mut HashMap<u64, Waiting>) {
        if let Some(name) = message.get("event").and_then(Value::as_str) {
            let event = Event { name: name.to_owned(), data: message["data"].take() };
            let _ = self.events.send(event); // nobody listening is fine
            return;
        }
        let Some(order) = message.get("id").and_then(Value::as_u64).and_then(|id| waiting.remove(&id)) else {
            return; // a reply whose caller gave up
        };
        let answer = match message.get("error") {
            Some(error) => {
                let refused = QmpError::from_reply(&order.command, error);
                let unknown = refused.is_unknown_command();
                let kind = if unknown { ErrorKind::Unsupported } else { ErrorKind::Failed };
                Err(Error::caused(kind, format!("QEMU refused {}", order.command), refused))
            }
            None => Ok(message["return"].take()),
        };
        let _ = order.reply.send(answer); // the caller may have gone
    }
}
