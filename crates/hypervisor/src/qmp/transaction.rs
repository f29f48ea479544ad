//! Several block actions that QEMU does at one instant, all or none.

use super::Qmp;
use crate::Result;
use serde_json::{Value, json};

/// Actions to be done together. The bitmap actions are the ones this crate needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    actions: Vec<Value>,
}

impl Transaction {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any action.
    pub fn action(&mut self, kind: &str, data: &Value) {
        self.actions.push(json!({ "type": kind, "data": data }));
    }

    /// A new bitmap that records from the instant of the transaction.
    pub fn add_bitmap(&mut self, node: &str, name: &str, granularity: u64, persistent: bool) {
        let data =
            json!({ "node": node, "name": name, "granularity": granularity, "persistent": persistent });
        self.action("block-dirty-bitmap-add", &data);
    }

    /// The bitmap records no further.
    pub fn disable_bitmap(&mut self, node: &str, name: &str) {
        self.action("block-dirty-bitmap-disable", &json!({ "node": node, "name": name }));
    }

    /// The bitmap records again.
    pub fn enable_bitmap(&mut self, node: &str, name: &str) {
        self.action("block-dirty-bitmap-enable", &json!({ "node": node, "name": name }));
    }

    /// The bitmap is no more.
    pub fn remove_bitmap(&mut self, node: &str, name: &str) {
        self.action("block-dirty-bitmap-remove", &json!({ "node": node, "name": name }));
    }

    /// `target` holds what either held.
    pub fn merge_bitmap(&mut self, node: &str, target: &str, source: &str) {
        self.action(
            "block-dirty-bitmap-merge",
            &json!({ "node": node, "target": target, "bitmaps": [source] }),
        );
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Does them all. Nothing at all is sent for an empty one.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; a refusal means that none was done.
    pub async fn run(self, qmp: &Qmp) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        qmp.execute("transaction", json!({ "actions": self.actions })).await.map(drop)
    }
}
