//! What a backup goes on from: points in a vault in memory, no machine.

use super::parent;
use block::MemoryDisk;
use hypervisor::DiskSelection;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    DiskRecord, KeyFile, MachineKey, PointDraft, PointId, Session, SessionId, Store, Vault, VaultId,
};

fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

struct Story {
    vault: Arc<Vault>,
    machine: MachineKey,
}

impl Story {
    async fn new() -> Self {
        let store = Store::new(Arc::new(InMemory::new()), "memory");
        let vault = Vault::create(store, VaultId(Uuid::new_v4()), at(0), &KeyFile::generate()).await;
        Self { vault: Arc::new(vault.expect("create")), machine: MachineKey::new("m").expect("a name") }
    }

    async fn point(&self, machine: &str, second: i64, description: Value) -> PointId {
        let session =
            Session::begin(&self.vault, SessionId(Uuid::now_v7()), at(second)).await.expect("begin");
        let disk = MemoryDisk::from(vec![7; 4096]);
        let (map, read_bytes) = crate::store_disk(&session, &disk, None, &|_| ()).await.expect("store");
        let draft = PointDraft {
            id: PointId(Uuid::now_v7()),
            machine_name: machine.to_owned(),
            machine: MachineKey::new(machine).expect("a name"),
            instant: at(second),
            parent: None,
            consistency: Value::Null,
            description,
            service: Value::Null,
        };
        let record = DiskRecord { name: "vda".into(), map, tracking: String::new(), read_bytes };
        session.commit(draft, vec![record]).await.expect("commit").id
    }

    /// The parent, and the disks that are not believed.
    async fn told(&self, full: bool) -> (Option<PointId>, BTreeMap<String, String>) {
        let (point, lies) =
            parent(&self.vault, &self.machine, full, &DiskSelection::All).await.expect("it is asked");
        (point.map(|point| point.id), lies)
    }
}

fn stopped(lies: &Value) -> Value {
    json!({ "stopped": true, "distrusted": lies })
}

#[tokio::test]
async fn the_newest_point_of_the_running_machine_is_the_parent() {
    let story = Story::new().await;
    assert_eq!(story.told(false).await, (None, BTreeMap::new()));
    let old = story.point("m", 10, json!({})).await;
    story.point("another", 30, json!({})).await;
    assert_eq!(story.told(false).await.0, Some(old));
    story.point("m", 20, stopped(&json!(null))).await;
    assert_eq!(story.told(false).await, (Some(old), BTreeMap::new()), "a stopped machine's is no parent");
    // Committed later, taken earlier.
    story.point("m", 5, json!({})).await;
    assert_eq!(story.told(false).await.0, Some(old));
    assert_eq!(story.told(true).await.0, None, "everything is to be read");
}

#[tokio::test]
async fn a_lie_that_was_found_while_the_machine_stood_is_not_believed_until_it_is_mended() {
    let story = Story::new().await;
    story.point("m", 5, stopped(&json!({ "vda": "an old lie" }))).await;
    let online = story.point("m", 10, json!({ "distrusted": { "vda": "mended by this very point" } })).await;
    assert_eq!(story.told(false).await, (Some(online), BTreeMap::new()), "it was before, and is over");

    // The record that lied is in the image still: nothing is written into images of stopped machines.
    story.point("m", 20, stopped(&json!({ "vda": "it lied", "vdb": 7 }))).await;
    story.point("m", 30, stopped(&json!({ "vdc": "it lied too" }))).await;
    story.point("another", 25, stopped(&json!({ "vdx": "of another machine" }))).await;
    let lies = [("vda", "it lied"), ("vdc", "it lied too")].map(|(disk, why)| (disk.into(), why.into()));
    assert_eq!(story.told(false).await, (Some(online), lies.into()));

    let next = story.point("m", 40, json!({})).await;
    assert_eq!(story.told(false).await, (Some(next), BTreeMap::new()), "a new record began with it");
}
