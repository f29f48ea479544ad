//! A session that was fenced makes no point, however far it had come; and what a service says stays with its point.

use crate::backup::{back_up, back_up_for, create, noise, now};
use block::MemoryDisk;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    CHUNK_BYTES, DiskRecord, Ended, ErrorKind, MachineKey, Point, PointDraft, PointId, Session, SessionId,
    Standing, Vault,
};

fn machine() -> MachineKey {
    MachineKey::new("machine-1").expect("a name")
}

/// All of a backup but its commit.
async fn written(session: &Session) -> (PointDraft, Vec<DiskRecord>) {
    let mut map = session.disk(CHUNK_BYTES as u64, None).await.expect("a disk");
    let batch = session.store(0, noise(7, CHUNK_BYTES)).await.expect("store");
    map.record(session, &batch).await.expect("record");
    let map = map.finish(session).await.expect("finish");
    let draft = PointDraft {
        id: PointId(Uuid::now_v7()),
        machine: machine(),
        machine_name: "one".into(),
        instant: now(),
        parent: None,
        consistency: Value::Null,
        description: Value::Null,
        service: Value::Null,
    };
    (draft, vec![DiskRecord { name: "disk0".into(), map, tracking: String::new(), read_bytes: 0 }])
}

async fn assert_nothing_listed(vault: &Arc<Vault>) {
    assert!(vault.points().await.expect("list").is_empty());
    assert!(vault.deleted_points().await.expect("list").is_empty());
}

#[tokio::test]
async fn a_session_that_was_aborted_midway_never_commits() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let id = SessionId(Uuid::now_v7());
    let session = Session::begin(&vault, id, now()).await.expect("begin");
    let (draft, disks) = written(&session).await;
    let point = draft.id;
    // Another process, which knows nothing of what this one does.
    assert_eq!(vault.abort_session(id, now()).await.expect("abort"), Ended::Aborted);
    assert_eq!(session.commit(draft, disks).await.expect_err("fenced").kind(), ErrorKind::Conflict);
    assert_nothing_listed(&vault).await;
    assert_eq!(vault.standing_of(point).await.expect("ask"), (point, Standing::NotInLog));
    assert!(!folder.path().join("points").join("machine-1").join(point.to_string()).exists());
    assert_eq!(vault.abort_session(id, now()).await.expect("abort again"), Ended::Aborted);
}

#[tokio::test]
async fn a_session_that_was_aborted_before_it_began_never_begins() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let id = SessionId(Uuid::now_v7());
    assert_eq!(vault.abort_session(id, now()).await.expect("abort"), Ended::Aborted);
    let error = Session::begin(&vault, id, now()).await.err().expect("fenced");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    back_up(&vault, &MemoryDisk::from(noise(1, CHUNK_BYTES)), None).await.expect("others go on");
}

#[tokio::test]
async fn whoever_fences_too_late_is_told() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let point = back_up(&vault, &MemoryDisk::from(noise(1, CHUNK_BYTES)), None).await.expect("backup");
    assert_eq!(vault.abort_session(point.session, now()).await.expect("abort"), Ended::Committed);
    assert_eq!(vault.points().await.expect("list").len(), 1);
}

#[tokio::test]
async fn of_many_who_fence_and_one_who_begins_all_agree() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    for _ in 0..20 {
        let id = SessionId(Uuid::now_v7());
        let fence = || vault.abort_session(id, now());
        let (begun, one, other) = tokio::join!(Session::begin(&vault, id, now()), fence(), fence());
        assert_eq!((one.expect("abort"), other.expect("abort")), (Ended::Aborted, Ended::Aborted));
        if let Ok(session) = begun {
            let (draft, disks) = written(&session).await;
            assert_eq!(session.commit(draft, disks).await.expect_err("fenced").kind(), ErrorKind::Conflict);
        }
    }
    assert_nothing_listed(&vault).await;
}

#[tokio::test]
async fn what_a_service_says_is_kept_and_bounded() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let disk = MemoryDisk::from(noise(1, CHUNK_BYTES));
    let service = json!({ "version": 1, "job": "a job", "odd": { "\u{1f980}": [null, 1.5] } });
    let made = back_up_for(&vault, &disk, None, service.clone()).await.expect("backup");
    let read: Point = vault.find_point(&machine(), made.id).await.expect("read");
    assert_eq!((made.service, read.service), (service.clone(), service));
    let large = json!("x".repeat(256 << 10));
    let refused = back_up_for(&vault, &disk, None, large).await.expect_err("too large");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(vault.points().await.expect("list").len(), 1);
}

#[tokio::test]
async fn how_a_store_has_a_point_is_told() {
    let folder = tempfile::tempdir().expect("tempdir");
    let (vault, _) = create(folder.path()).await;
    let point = back_up(&vault, &MemoryDisk::from(noise(1, CHUNK_BYTES)), None).await.expect("backup");
    let elsewhere = MachineKey::new("by-another-name").expect("a name");
    assert_eq!(vault.find_point(&elsewhere, point.id).await.expect("found").id, point.id);
    assert!(vault.deletions().await.expect("ask").is_empty());
    vault.delete_point(point.id, now()).await.expect("delete");
    assert_eq!(vault.standing_of(point.id).await.expect("ask").1, Standing::Deleted);
    assert_eq!(vault.deletions().await.expect("ask"), [(point.id, now())].into());
    assert_eq!(
        vault.find_point(&machine(), point.id).await.expect_err("deleted").kind(),
        ErrorKind::NotFound
    );
    vault.undelete_point(point.id, now()).await.expect("undelete");
    assert!(vault.deletions().await.expect("ask").is_empty());
    assert_eq!(vault.standing_of(point.id).await.expect("ask").1, Standing::Listed);
}
