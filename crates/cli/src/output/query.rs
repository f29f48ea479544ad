//! `--query`: JMESPath over what would be printed.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// An expression that was found to be one. Kept as text: compiled, it could not go from one thread to another.
#[derive(Clone, Debug)]
pub(crate) struct Query(String);

/// Reads `--query`.
pub(crate) fn parse(text: &str) -> Result<Query, String> {
    jmespath::compile(text).map(|_| Query(text.to_owned())).map_err(|error| error.to_string())
}

impl Query {
    /// What it finds in a value.
    pub(crate) fn search(&self, value: &impl Serialize) -> Result<Value> {
        let value = serde_json::to_value(value)?;
        let expression = jmespath::compile(&self.0).context("read the query")?;
        let found = expression.search(value).context("search the answer with the query")?;
        Ok(serde_json::to_value(&*found)?)
    }
}
