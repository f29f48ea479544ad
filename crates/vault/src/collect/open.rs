//! Nodes of maps, opened many at a time: those that lie near one another come with one request, and are decrypted,
//! inflated and hashed together, on whatever core is free.

use crate::copies::is_missed;
use crate::fetch::{self, Fetch};
use crate::keys::Keyring;
use crate::map::{Child, NODE_BYTES_MAX, Node};
use crate::seal::ObjectKey;
use crate::vault::{Vault, check_length};
use crate::{Error, Result, chunk, pack, work};
use std::sync::Arc;

/// A node that is to be opened.
#[derive(Clone, Copy)]
pub(super) struct Closed {
    pub(super) child: Child,
    pub(super) level: u8,
}

/// What a node names.
pub(super) struct Opened {
    pub(super) level: u8,
    pub(super) children: Vec<Child>,
}

/// Opens nodes. One that is damaged where it should lie is looked for elsewhere.
pub(super) async fn open(vault: &Vault, nodes: Vec<Closed>) -> Result<Vec<Opened>> {
    let mut opened = Vec::with_capacity(nodes.len());
    for fetch in fetch::plan(nodes, |node| node.child.at) {
        open_near(vault, fetch, &mut opened).await?;
    }
    Ok(opened)
}

async fn open_near(vault: &Vault, fetch: Fetch<Closed>, opened: &mut Vec<Opened>) -> Result<()> {
    let nodes = fetch.wanted.clone();
    let tried = match read(vault, &fetch).await {
        Ok((key, sealed)) => {
            let keys = Arc::clone(vault.keys_shared());
            work::run(move || open_all(&keys, &key, &fetch, sealed)).await
        }
        Err(error) if is_missed(&error) => nodes.iter().map(|_| None).collect(),
        Err(error) => return Err(error),
    };
    for (one, Closed { child, level }) in tried.into_iter().zip(nodes) {
        opened.push(match one {
            Some(one) => one,
            None => open_up(level, &*vault.read_node(&child, level).await?),
        });
    }
    Ok(())
}

async fn read(vault: &Vault, fetch: &Fetch<Closed>) -> Result<(Arc<ObjectKey>, Vec<u8>)> {
    fetch.wanted.iter().try_for_each(|node| check_length(node.child.at))?;
    let sealed = vault.read_sealed(fetch.pack, fetch.start(), fetch.length()).await?;
    Ok((vault.pack_key(fetch.pack).await?, sealed))
}

/// Opens what was fetched; nothing for a node that is not what it should be.
fn open_all(
    keys: &Keyring,
    key: &ObjectKey,
    fetch: &Fetch<Closed>,
    mut sealed: Vec<u8>,
) -> Vec<Option<Opened>> {
    let open_one = |&Closed { child: Child { id, at }, level }: &Closed| {
        let encoded = pack::open_chunk(key, id, at, &mut sealed[fetch.within(at)])?;
        let corrupt = |found| Error::corrupt(at.pack, at.offset.into(), found);
        let plain = chunk::decode(encoded, NODE_BYTES_MAX).map_err(corrupt)?;
        let node = Node::decode(keys, id, &plain).map_err(corrupt)?;
        if node.level == level { Ok(open_up(level, &node)) } else { Err(corrupt("it is at another level")) }
    };
    fetch.wanted.iter().map(open_one).map(Result::ok).collect()
}

fn open_up(level: u8, node: &Node) -> Opened {
    Opened { level, children: node.slots.iter().flatten().copied().collect() }
}
