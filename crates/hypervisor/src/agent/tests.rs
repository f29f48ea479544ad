//! The agent client against a scripted agent.

use super::line::{SocketLine, is_socket};
use super::*;
use crate::qmp::{Lines, QmpError};
use serde_json::json;
use std::future::Future;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// The agent's end of the line.
struct Script {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Script {
    /// The next command; the sentinel before a synchronisation is dropped.
    async fn command(&mut self) -> (String, Value) {
        let line = self.lines.next().await.unwrap().unwrap();
        let start = line.iter().rposition(|&byte| byte == 0xff).map_or(0, |at| at + 1);
        let message: Value = serde_json::from_slice(&line[start..]).unwrap();
        (message["execute"].as_str().unwrap().to_owned(), message["arguments"].clone())
    }

    async fn say(&mut self, text: &str) {
        self.writer.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }

    async fn expect_sync(&mut self) {
        let (command, arguments) = self.command().await;
        assert_eq!(command, "guest-sync-delimited");
        let id = arguments["id"].clone();
        self.writer.write_all(b"\xff").await.unwrap();
        self.say(&json!({ "return": id }).to_string()).await;
    }

    async fn expect(&mut self, expected: &str, answer: Value) {
        assert_eq!(self.command().await.0, expected);
        self.say(&answer.to_string()).await;
    }

    async fn greet(&mut self) {
        self.expect_sync().await;
        self.expect("guest-info", json!({ "return": { "version": "9.9" } })).await;
    }
}

async fn with_script<F: Future<Output = ()> + Send + 'static>(script: impl FnOnce(Script) -> F) -> Agent {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = theirs.into_split();
    tokio::spawn(script(Script { lines: Lines::new(reader), writer }));
    Agent::over(SocketLine::over(ours, Path::new("scripted"))).await.unwrap()
}

#[tokio::test]
async fn what_others_left_in_the_line_is_thrown_away() {
    let agent = with_script(|mut script| async move {
        script.say(r#"{"return": 17}"#).await;
        script.say(r#"{"return": {"version": "wrong"#).await;
        script.say("\u{0}rubbish").await;
        script.greet().await;
    });
    assert_eq!(agent.await.version(), "9.9");
}

#[tokio::test]
async fn a_late_reply_is_not_taken_for_the_next_one() {
    let agent = with_script(|mut script| async move {
        script.greet().await;
        script.command().await; // guest-ping: answered too late
        let (command, arguments) = script.command().await;
        assert_eq!(command, "guest-sync-delimited");
        script.say(r#"{"return": "late"}"#).await;
        script.say(&json!({ "return": arguments["id"] }).to_string()).await;
        script.expect("guest-fsfreeze-status", json!({ "return": "thawed" })).await;
    });
    let mut agent = agent.await;
    let limit = Duration::from_millis(20);
    let error = agent.execute_within("guest-ping", Value::Null, limit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest);
    assert!(!agent.is_frozen().await.unwrap());
}

#[tokio::test]
async fn a_freeze_given_up_on_is_thawed_until_the_agent_says_so() {
    let agent = with_script(|mut script| async move {
        script.greet().await;
        assert_eq!(script.command().await.0, "guest-fsfreeze-freeze");
        let (_, sync) = script.command().await;
        script.say(r#"{"return": 2}"#).await; // frozen after all
        script.say(&json!({ "return": sync["id"] }).to_string()).await;
        script
            .expect("guest-fsfreeze-thaw", json!({ "error": { "class": "GenericError", "desc": "no" } }))
            .await;
        script.expect("guest-fsfreeze-status", json!({ "return": "frozen" })).await;
        script.expect("guest-fsfreeze-thaw", json!({ "return": 2 })).await;
        script.expect("guest-fsfreeze-status", json!({ "return": "thawed" })).await;
    });
    let mut agent = agent.await;
    agent.freeze(Duration::from_millis(20)).await.unwrap_err();
    let complaint = agent.thaw(Duration::from_secs(5)).await.unwrap().unwrap();
    let refused = std::error::Error::source(&complaint).unwrap().downcast_ref::<QmpError>().unwrap();
    assert_eq!((refused.command.as_str(), refused.description.as_str()), ("guest-fsfreeze-thaw", "no"));
}

#[tokio::test]
async fn an_agent_that_goes_away_is_unreachable_at_once() {
    let agent = with_script(|mut script| async move {
        script.greet().await;
        script.command().await;
    });
    let mut agent = agent.await;
    assert_eq!(agent.ping().await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(agent.thaw(Duration::from_secs(60)).await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[test]
fn sockets_are_known_by_qemus_name_for_them() {
    let path = Path::new("/run/vm/a,b.ga");
    assert!(is_socket("unix:/run/vm/a,b.ga,server=on", path));
    assert!(is_socket("disconnected:unix:/run/vm/a,b.ga,server", path));
    assert!(is_socket("unix:vm/a,b.ga,server=on", path));
    assert!(!is_socket("unix:m/a,b.ga,server=on", path));
    assert!(!is_socket("file", path));
}

#[tokio::test]
async fn a_guests_texts_are_cut_and_cannot_steer_a_terminal() {
    assert_eq!(tame("a\u{1b}[2J\u{9b}b\n"), "a?[2J?b?");
    let agent = with_script(|mut script| async move {
        script.expect_sync().await;
        let version = "\u{7}9".repeat(1 << 20);
        script.expect("guest-info", json!({ "return": { "version": version } })).await;
    });
    let agent = agent.await;
    assert!(agent.version().len() <= 1000 && agent.version().starts_with("?9?9"));
}
