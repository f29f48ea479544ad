//! QEMU's block graph as it is now: which node lies under which.

use crate::Result;
use crate::qmp::Qmp;
use serde_json::Value;

/// Nodes and the edges between them, as `x-debug-query-block-graph` tells (there since QEMU 4.0; its name
/// says unstable, but no other command tells the child of a filter).
pub(crate) struct Graph {
    nodes: Vec<(u64, String)>,
    edges: Vec<Edge>,
}

struct Edge {
    parent: u64,
    child: u64,
    name: String,
}

impl Graph {
    pub(crate) async fn read(qmp: &Qmp) -> Result<Self> {
        Ok(Self::parse(&qmp.execute("x-debug-query-block-graph", Value::Null).await?))
    }

    fn parse(reply: &Value) -> Self {
        let list = |key: &str| reply[key].as_array().cloned().unwrap_or_default();
        let node = |node: Value| Some((node["id"].as_u64()?, node["name"].as_str()?.to_owned()));
        let edge = |edge: Value| {
            let name = edge["name"].as_str()?.to_owned();
            Some(Edge { parent: edge["parent"].as_u64()?, child: edge["child"].as_u64()?, name })
        };
        let nodes = list("nodes").into_iter().filter_map(node).collect();
        Self { nodes, edges: list("edges").into_iter().filter_map(edge).collect() }
    }

    /// The node that hangs under `parent` by the edge `name`, as `file` or `target`.
    pub(crate) fn child(&self, parent: &str, name: &str) -> Option<&str> {
        let (id, _) = self.nodes.iter().find(|(_, node)| node == parent)?;
        let edge = self.edges.iter().find(|edge| edge.parent == *id && edge.name == name)?;
        self.nodes.iter().find(|(id, _)| *id == edge.child).map(|(_, node)| node.as_str())
    }
}
