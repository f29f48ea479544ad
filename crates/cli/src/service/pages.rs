//! Lists that are read no further than is needed: jobs and the audit log are as long as the server is old.

use anyhow::Result;
use api::Page;
use api::client::{Client, escaped};
use serde::de::DeserializeOwned;

/// The first entries of a list that fit, page by page. The path has its `limit` already.
pub(super) async fn first<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    limit: usize,
    fits: &dyn Fn(&T) -> bool,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let rest = after.map(|after| format!("&after={}", escaped(&after))).unwrap_or_default();
        let page: Page<T> = client.get(&format!("{path}{rest}")).await?;
        found.extend(page.items.into_iter().filter(|entry| fits(entry)));
        if found.len() >= limit || page.next.is_none() {
            found.truncate(limit);
            return Ok(found);
        }
        after = page.next;
    }
}
