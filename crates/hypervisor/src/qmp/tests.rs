//! The client against a scripted QEMU.

use super::{Lines, Qmp, QmpError};
use crate::ErrorKind;
use crate::qemu::QemuMachine;
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "p"},
 "capabilities": ["oob"]}}"#;

struct Script {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Script {
    async fn say(&mut self, value: Value) {
        self.writer.write_all(format!("{value}\r\n").as_bytes()).await.unwrap();
    }

    /// The next command and its id.
    async fn command(&mut self) -> (String, Value) {
        let line = self.lines.next().await.unwrap().unwrap();
        let message: Value = serde_json::from_slice(&line).unwrap();
        (message["execute"].as_str().unwrap().to_owned(), message["id"].clone())
    }

    async fn greet(&mut self) {
        self.say(serde_json::from_str(GREETING).unwrap()).await;
        let (command, id) = self.command().await;
        assert_eq!(command, "qmp_capabilities");
        self.say(json!({ "return": {}, "id": id })).await;
    }
}

/// A socket behind which `script` serves one client. The folder must live as long as the socket.
fn qemu<F: Future<Output = ()> + Send + 'static>(
    script: impl FnOnce(Script) -> F + Send + 'static,
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (reader, writer) = listener.accept().await.unwrap().0.into_split();
        script(Script { lines: Lines::new(reader), writer }).await;
    });
    (folder, path)
}

#[tokio::test]
async fn replies_find_their_commands_in_any_order_and_events_pass() {
    let (_folder, path) = qemu(|mut script| async move {
        script.greet().await;
        let (first, first_id) = script.command().await;
        let (second, second_id) = script.command().await;
        script.say(json!({ "event": "FROM_THE_FUTURE", "data": { "x": 1 }, "timestamp": {} })).await;
        script.say(json!({ "strange": true })).await;
        script.say(json!({ "return": second, "id": second_id })).await;
        script.say(json!({ "return": "nobody's", "id": 4711 })).await;
        script.say(json!({ "return": first, "id": first_id })).await;
        script.command().await;
    });
    let qmp = Qmp::connect(&path).await.unwrap();
    assert!(qmp.version().at_least(7, 2) && !qmp.version().at_least(8, 0));
    let mut events = qmp.events();
    let (one, two) = tokio::join!(qmp.execute("one", Value::Null), qmp.execute("two", json!({ "a": 1 })));
    assert_eq!((one.unwrap(), two.unwrap()), (json!("one"), json!("two")));
    let event = events.recv().await.unwrap();
    assert_eq!((event.name.as_str(), &event.data["x"]), ("FROM_THE_FUTURE", &json!(1)));
}

#[tokio::test]
async fn a_refusal_keeps_qemus_words() {
    let (_folder, path) = qemu(|mut script| async move {
        script.greet().await;
        for class in ["GenericError", "CommandNotFound"] {
            let id = script.command().await.1;
            script.say(json!({ "error": { "class": class, "desc": "because" }, "id": id })).await;
        }
        script.command().await;
    });
    let qmp = Qmp::connect(&path).await.unwrap();
    let error = qmp.execute("do", Value::Null).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    let refused = std::error::Error::source(&error).unwrap().downcast_ref::<QmpError>().unwrap();
    let words = (refused.command.as_str(), refused.class.as_str(), refused.description.as_str());
    assert_eq!(words, ("do", "GenericError", "because"));
    assert_eq!(qmp.execute("do", Value::Null).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_close_in_the_middle_ends_every_wait() {
    let (_folder, path) = qemu(|mut script| async move {
        script.greet().await;
        script.command().await;
        script.command().await;
        script.writer.write_all(br#"{"return": {}"#).await.unwrap();
    });
    let qmp = Qmp::connect(&path).await.unwrap();
    let (one, two) = tokio::join!(qmp.execute("one", Value::Null), qmp.execute("two", Value::Null));
    assert_eq!(
        (one.unwrap_err().kind(), two.unwrap_err().kind()),
        (ErrorKind::Unreachable, ErrorKind::Unreachable)
    );
    assert_eq!(qmp.execute("three", Value::Null).await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert!(qmp.is_closed());
}

#[tokio::test]
async fn a_reply_that_comes_too_late_is_nobodys() {
    let (_folder, path) = qemu(|mut script| async move {
        script.greet().await;
        let late = script.command().await.1;
        let (command, id) = script.command().await;
        script.say(json!({ "return": "late", "id": late })).await;
        script.say(json!({ "return": command, "id": id })).await;
        script.command().await;
    });
    let qmp = Qmp::connect(&path).await.unwrap();
    let slow = qmp.execute_within("slow", Value::Null, Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(slow.kind(), ErrorKind::Unreachable);
    assert_eq!(qmp.execute("next", Value::Null).await.unwrap(), "next");
}

#[tokio::test]
async fn a_monitor_that_does_not_greet_is_held_by_another_client() {
    let (_folder, path) = qemu(|mut script| async move {
        let _held = script.lines.next().await;
        drop(script);
    });
    let error = QemuMachine::connect(&path, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("another client"), "{error}");
}

#[tokio::test]
async fn other_ends_are_told_apart() {
    let (folder, path) = qemu(|mut script| async move { script.say(json!({ "hello": 1 })).await });
    assert_eq!(Qmp::connect(&path).await.unwrap_err().kind(), ErrorKind::Unreachable);
    let missing = folder.path().join("missing");
    assert_eq!(Qmp::connect(&missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
    assert_eq!(Qmp::connect(&missing).await.unwrap_err().kind(), ErrorKind::Unreachable);
}
