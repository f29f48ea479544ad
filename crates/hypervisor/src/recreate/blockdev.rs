//! The graph of `-blockdev` words.

use super::recreation::{RestoredFile, refused, text_of};
use super::words::{Word, is_yes};
use crate::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Under which names nodes stand on others.
const CHILDREN: [&str; 6] = ["file", "backing", "data-file", "image", "source", "target"];
/// Nodes that pass through what is beneath them, and stay.
const FILTERS: [&str; 2] = ["throttle", "copy-on-read"];
/// Nodes below one another that are followed: QEMU's own chains are far shorter.
const DEPTH_MAX: usize = 64;

/// All nodes that the command line names.
pub(super) struct Nodes(Vec<Node>);

struct Node {
    name: String,
    tree: Value,
    is_replaced: bool,
}

/// What matters of a node that is not replaced.
pub(super) struct Seen {
    pub(super) is_read_only: bool,
    /// The file beneath it, if it is one file.
    pub(super) file: Option<String>,
}

impl Nodes {
    pub(super) fn read(words: &[Word]) -> Self {
        let trees =
            words.iter().filter(|word| word.is("blockdev")).map(|word| word.settings("driver").tree());
        let named = trees.filter_map(|tree| {
            let name = tree["node-name"].as_str()?.to_owned();
            Some(Node { name, tree, is_replaced: false })
        });
        Self(named.collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|node| node.name == name)
    }

    pub(super) fn is_replaced(&self, name: &str) -> bool {
        self.0.iter().any(|node| node.name == name && node.is_replaced)
    }

    pub(super) fn get(&self, name: &str) -> Option<Seen> {
        let tree = self.tree(name)?;
        let mut file = tree;
        for _ in 0..DEPTH_MAX {
            file = match &file["file"] {
                Value::Null => break,
                Value::String(below) => self.tree(below)?,
                inline => inline,
            };
        }
        let file = file["filename"].as_str().map(str::to_owned);
        Some(Seen { is_read_only: is_yes(&tree["read-only"]), file })
    }

    fn tree(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|node| node.name == name).map(|node| &node.tree)
    }

    /// Puts a restored file in the place of a node and all beneath it. Filters stay above it.
    pub(super) fn replace(&mut self, name: &str, file: &RestoredFile) -> Result<()> {
        let mut name = name.to_owned();
        for _ in 0..DEPTH_MAX {
            let tree =
                self.tree(&name).ok_or_else(|| refused(format!("the block node {name} is not told")))?;
            let is_filter = tree["driver"].as_str().is_some_and(|driver| FILTERS.contains(&driver));
            match &tree["file"] {
                Value::String(below) if is_filter => {
                    let below = below.clone();
                    self.mark(&name);
                    name = below;
                }
                inline if is_filter => {
                    let restored = restored_node(inline, inline_file(self, inline), file)?;
                    self.set(&name, |tree| tree["file"] = restored);
                    return Ok(());
                }
                _ => {
                    let restored = restored_node(tree, inline_file(self, tree), file)?;
                    self.set(&name, |tree| *tree = restored);
                    return Ok(());
                }
            }
        }
        Err(refused(format!("the block nodes under {name} go in a circle")))
    }

    fn mark(&mut self, name: &str) {
        self.set(name, |_| ());
    }

    fn set(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        if let Some(node) = self.0.iter_mut().find(|node| node.name == name) {
            change(&mut node.tree);
            node.is_replaced = true;
        }
    }

    /// Writes the nodes that something stands on: replaced ones anew, the others as they were.
    pub(super) fn write(&self, words: &mut Vec<Word>, attached: &[String]) {
        let mut used = BTreeSet::new();
        for name in attached {
            self.reach(name, &mut used);
        }
        words.retain_mut(|word| {
            if !word.is("blockdev") {
                return true;
            }
            let tree = word.settings("driver").tree();
            let node = self.0.iter().find(|node| tree["node-name"] == node.name.as_str());
            if let Some(node) = node.filter(|node| node.is_replaced && node.tree != tree) {
                *word = Word::new("blockdev", node.tree.to_string());
            }
            node.is_none_or(|node| used.contains(&node.name))
        });
    }

    fn reach(&self, name: &str, used: &mut BTreeSet<String>) {
        let Some(tree) = self.tree(name).filter(|_| used.insert(name.to_owned())) else { return };
        let mut waiting = vec![tree];
        while let Some(tree) = waiting.pop() {
            for child in CHILDREN.iter().map(|key| &tree[*key]) {
                match child {
                    Value::String(below) => self.reach(below, used),
                    Value::Object(_) => waiting.push(child),
                    _ => {}
                }
            }
        }
    }
}

/// The node that holds the image's bytes, below a format.
fn inline_file<'a>(nodes: &'a Nodes, tree: &'a Value) -> &'a Value {
    match &tree["file"] {
        Value::String(below) => nodes.tree(below).unwrap_or(&Value::Null),
        inline => inline,
    }
}

/// A restored file with the caching and discarding of what it replaces.
fn restored_node(old: &Value, old_file: &Value, file: &RestoredFile) -> Result<Value> {
    let mut below = Map::new();
    below.insert("driver".into(), json!("file"));
    below.insert("filename".into(), json!(text_of(&file.path)?));
    let mut node = Map::new();
    node.insert("driver".into(), json!(file.format));
    for key in ["node-name", "discard", "detect-zeroes"] {
        carry(old, key, &mut node);
    }
    for key in ["aio", "discard"] {
        carry(old_file, key, &mut below);
    }
    for (from, to) in [(old, &mut node), (old_file, &mut below)] {
        if from["cache"].is_object() {
            let yes = |key: &str| is_yes(&from["cache"][key]);
            to.insert("cache".into(), json!({ "direct": yes("direct"), "no-flush": yes("no-flush") }));
        }
    }
    node.insert("file".into(), Value::Object(below));
    Ok(Value::Object(node))
}

fn carry(from: &Value, key: &str, to: &mut Map<String, Value>) {
    if from[key].is_string() {
        to.insert(key.to_owned(), from[key].clone());
    }
}
