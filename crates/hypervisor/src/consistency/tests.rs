//! The ladder's table: what each kind of guest can do to a freeze, and what is made of it.

use super::{Consistency, Guest, Level, Quiesced};
use crate::agent::{Agent, Line, base64, silent};
use crate::{Error, ErrorKind, FreezeRequest, Result};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::sleep;

const GOOD: &str = "freeze pg exit 0 ms 4 attempts 1\nthaw pg exit 0 ms 4 attempts 1\n";
const FAILED: &str = "freeze pg exit 3 ms 4 attempts 2\nthaw pg exit 0 ms 4 attempts 1\n";
const CONTINUED: &str = "freeze pg exit 3 ms 4 attempts 2 continued\nthaw pg exit 0 ms 4 attempts 1\n";
const SKIPPED: &str = "skipped pg not-owned-by-root\n";
const HOOK_FAILED: &str = "fsfreeze hook has failed with status 1";

/// When an agent stops answering.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hangs {
    Before,
    WhileFreezing,
    Frozen,
}

/// How a guest answers. As it stands: Linux with our hook and one script that works.
#[derive(Clone, Debug)]
struct Script {
    windows: bool,
    /// What the hook writes, `None` without a hook of ours.
    record: Option<&'static str>,
    /// What it says to freeze, if that is no number.
    refuses_freeze: Option<&'static str>,
    freezes: u64,
    /// What it says to thaw, if that is no number; it thaws all the same.
    complains_of_thaw: Option<&'static str>,
    /// Hangs there for so long.
    hangs: Option<(Hangs, Duration)>,
    /// How long the instant takes.
    held: Duration,
    /// Somebody else thaws meanwhile.
    thawed_by_another: bool,
}

const LINUX: Script = Script {
    windows: false,
    record: Some(GOOD),
    refuses_freeze: None,
    freezes: 2,
    complains_of_thaw: None,
    hangs: None,
    held: Duration::from_millis(20),
    thawed_by_another: false,
};
const WINDOWS: Script = Script { windows: true, record: None, ..LINUX };

#[derive(Debug)]
struct State {
    script: Script,
    token: String,
    frozen: bool,
    marked: bool,
    freezes: u32,
}

#[derive(Clone, Debug)]
struct FakeGuest(Arc<Mutex<State>>);

impl FakeGuest {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Hangs as the script says; gives whether the command is lost.
    async fn hang(&self, command: &str, limit: Duration) -> bool {
        let (script, frozen) = {
            let state = self.state();
            (state.script.clone(), state.frozen)
        };
        let freezing = command == "guest-fsfreeze-freeze";
        let Some((when, long)) = script.hangs else { return false };
        let now = match when {
            Hangs::Before => true,
            Hangs::WhileFreezing => freezing,
            Hangs::Frozen => frozen,
        };
        if !now {
            return false;
        }
        sleep(limit.min(long)).await;
        let mut state = self.state();
        let rest = long.saturating_sub(limit);
        state.script.hangs = (!rest.is_zero()).then_some((if freezing { Hangs::Before } else { when }, rest));
        // A command that was given up on is done all the same.
        state.frozen |= freezing;
        long > limit
    }

    fn answer(&self, command: &str, arguments: &Value) -> std::result::Result<Value, String> {
        let mut state = self.state();
        let script = state.script.clone();
        let refused = |text: &str| Err(text.to_owned());
        if state.frozen && !command.starts_with("guest-fsfreeze") && command != "guest-info" {
            return refused("has been disabled: the agent is in frozen state");
        }
        match command {
            "guest-info" => Ok(json!({ "version": "8.0", "supported_commands": [] })),
            "guest-get-osinfo" if script.windows => {
                Ok(json!({ "id": "mswindows", "pretty-name": "Windows Server 2022 Datacenter" }))
            }
            "guest-get-osinfo" => Ok(json!({ "id": "debian", "pretty-name": "Debian GNU/Linux 12" })),
            "guest-get-fsinfo" => Ok(json!([{ "mountpoint": "/", "type": "ext4", "name": "vda1" }])),
            "guest-exec" => Ok(json!({ "pid": 7 })),
            "guest-exec-status" => {
                let text = "    VssOption    REG_DWORD    0x5\r\n";
                Ok(json!({ "exited": true, "exitcode": 0, "out-data": base64::encode(text.as_bytes()) }))
            }
            "guest-file-open" if script.record.is_none() => refused("No such file or directory"),
            "guest-file-open" => Ok(json!(1)),
            "guest-file-write" => {
                let bytes = base64::decode(arguments["buf-b64"].as_str().unwrap()).unwrap();
                state.token = String::from_utf8(bytes.clone()).unwrap();
                Ok(json!({ "count": bytes.len() }))
            }
            "guest-file-read" => {
                let token = state.token.lines().next().unwrap();
                let text = format!("strongroom-freeze 2\ntoken {token}\n{}done\n", script.record.unwrap());
                Ok(json!({ "buf-b64": base64::encode(text.as_bytes()), "eof": true }))
            }
            "guest-file-close" => Ok(json!({})),
            "guest-fsfreeze-freeze" => {
                assert!(state.marked, "the mark comes first");
                state.freezes += 1;
                if let Some(text) = script.refuses_freeze {
                    return refused(text);
                }
                state.frozen = true;
                Ok(json!(script.freezes))
            }
            "guest-fsfreeze-status" => Ok(json!(if state.frozen { "frozen" } else { "thawed" })),
            "guest-fsfreeze-thaw" => {
                state.frozen = false;
                script.complains_of_thaw.map_or(Ok(json!(2)), refused)
            }
            _ => refused("no such command"),
        }
    }
}

#[async_trait]
impl Line for FakeGuest {
    async fn execute(&mut self, command: &str, arguments: Value, limit: Duration) -> Result<Value> {
        if self.hang(command, limit).await {
            return Err(silent(command, limit));
        }
        self.answer(command, &arguments).map_err(|text| Error::new(ErrorKind::Guest, text))
    }
}

#[async_trait]
impl Guest for FakeGuest {
    async fn agent(&self) -> Result<Agent> {
        Agent::over(self.clone()).await
    }

    async fn mark_frozen(&self) -> Result<()> {
        self.state().marked = true;
        Ok(())
    }

    async fn unmark_frozen(&self) -> Result<()> {
        assert!(!self.state().frozen, "the mark goes after the thaw");
        self.state().marked = false;
        Ok(())
    }
}

fn request(wish: Level) -> FreezeRequest {
    FreezeRequest { wish, ..FreezeRequest::new("p1", "v1", "/nowhere") }
}

/// Freezes and thaws; whatever the guest does, in the end it is thawed and has no mark.
async fn reach(script: Script, wish: Level) -> (Consistency, FakeGuest) {
    let held = script.held;
    let by_another = script.thawed_by_another;
    let (token, frozen) = (String::new(), false);
    let fake = FakeGuest(Arc::new(Mutex::new(State { script, token, frozen, marked: false, freezes: 0 })));
    let guest: Arc<dyn Guest> = Arc::new(fake.clone());
    let quiesced = Quiesced::freeze(&guest, &request(wish)).await;
    let reachable = quiesced.reachable();
    sleep(held).await;
    if by_another {
        fake.state().frozen = false;
    }
    let (consistency, keeper) = quiesced.thaw().await;
    if let Some(keeper) = keeper {
        assert_eq!(consistency.level, Level::Crash);
        sleep(Duration::from_secs(600)).await; // the keeper's own tries
        keeper.finish().await.unwrap();
        fake.unmark_frozen().await.unwrap();
    }
    assert!(consistency.level <= reachable, "{consistency:?}");
    assert!(!fake.state().frozen && !fake.state().marked, "{consistency:?}");
    (consistency, fake)
}

/// What a guest does, what is made of it, and a part of the reason for less.
#[rustfmt::skip]
const TABLE: &[(&str, Script, Level, &str)] = &[
    ("Windows: all writers succeed", WINDOWS, Level::Application, ""),
    ("Windows: some writers fail at the end",
        Script { complains_of_thaw: Some("failed to do snapshot set. (error: 800423f4)"), ..WINDOWS },
        Level::FileSystem, "800423f4"),
    ("Windows: some writers fail at once",
        Script { refuses_freeze: Some("failed to add a writer to the snapshot set. (error: 800423f3)"), ..WINDOWS },
        Level::Crash, "800423f3"),
    ("Windows: writes could not be held",
        Script { complains_of_thaw: Some("couldn't hold writes: fsfreeze is limited up to 10 seconds"), ..WINDOWS },
        Level::Crash, "couldn't hold writes"),
    ("Windows: held too long, without a word of it",
        Script { held: Duration::from_secs(11), ..WINDOWS }, Level::Crash, "longer than it can hold writes"),
    ("Linux: all scripts succeed", LINUX, Level::Application, ""),
    ("Linux: no hook of ours", Script { record: None, ..LINUX }, Level::FileSystem, "install-hooks"),
    ("Linux: our hook, no script", Script { record: Some(""), ..LINUX }, Level::FileSystem, "no application has"),
    ("Linux: a script failed, continueBackupOnFailure",
        Script { record: Some(CONTINUED), ..LINUX }, Level::FileSystem, "pg ended with exit code 3"),
    ("Linux: a script failed, no continueBackupOnFailure",
        Script { record: Some(FAILED), refuses_freeze: Some(HOOK_FAILED), ..LINUX }, Level::Crash, HOOK_FAILED),
    ("Linux: a script hangs for longer than the freeze may take",
        Script { hangs: Some((Hangs::WhileFreezing, Duration::from_secs(15))), ..LINUX },
        Level::Crash, "no answer from the guest agent within 10000 ms"),
    ("Linux: permissions are wrong",
        Script { record: Some(SKIPPED), ..LINUX }, Level::FileSystem, "was not run: not owned by root"),
    ("Linux: nothing to freeze", Script { freezes: 0, ..LINUX }, Level::Crash, "froze no file system"),
    ("Linux: held too long", Script { held: Duration::from_secs(10), ..LINUX }, Level::Crash, "longer than"),
    ("Linux: thawed behind our back", Script { thawed_by_another: true, ..LINUX }, Level::Crash, "something else"),
    ("the agent hangs before", Script { hangs: Some((Hangs::Before, Duration::from_secs(999))), ..LINUX },
        Level::Crash, "it hangs or another client holds it"),
    ("the agent hangs while it freezes, for minutes",
        Script { hangs: Some((Hangs::WhileFreezing, Duration::from_secs(120))), ..LINUX },
        Level::Crash, "no answer from the guest agent"),
    ("the agent hangs once it has frozen",
        Script { hangs: Some((Hangs::Frozen, Duration::from_secs(120))), ..LINUX }, Level::Crash, "thaw the guest"),
];

#[tokio::test(start_paused = true)]
async fn every_guest_gets_the_level_it_proved_and_no_more() {
    for (what, script, level, says) in TABLE {
        let (reached, fake) = reach(script.clone(), Level::Application).await;
        assert_eq!(reached.level, *level, "{what}: {reached:?}");
        let said = reached.fell_because.join("; ");
        assert!(said.contains(says), "{what}: {reached:?}");
        assert_eq!(reached.fell_because.is_empty(), *level == Level::Application, "{what}: {reached:?}");
        let has_no_scripts = says.contains("install-hooks") || says.contains("no application has");
        let is_well = *level == Level::Application || has_no_scripts;
        assert_eq!(reached.is_all_there_is(), is_well, "{what}: {reached:?}");
        let (reached, _) = reach(script.clone(), Level::Crash).await;
        assert_eq!((reached.level, reached.fell_because.len()), (Level::Crash, 0), "{what}");
        assert!(fake.state().freezes <= 1, "{what}: a freeze is not tried again by itself");
    }
}

#[tokio::test(start_paused = true)]
async fn the_evidence_says_what_was_seen() {
    let (reached, fake) = reach(LINUX, Level::Application).await;
    let order = fake.state().token.clone();
    assert!(
        order.starts_with("p1.") && order.ends_with("\n8\n"),
        "a token, and the scripts' seconds: {order}"
    );
    let (_, again) = reach(LINUX, Level::Application).await;
    assert_ne!(again.state().token, order, "one freeze does not prove another of the same point");
    assert_eq!((reached.frozen_filesystems, reached.agent_version.as_deref()), (2, Some("8.0")));
    assert_eq!(reached.guest_system.unwrap().name, "Debian GNU/Linux 12");
    assert_eq!(reached.filesystems[0].mountpoint, "/");
    assert_eq!(reached.freeze_ms, 20);
    assert_eq!((reached.hooks.len(), reached.vss), (2, None));

    let (reached, _) = reach(Script { record: Some(CONTINUED), ..LINUX }, Level::Application).await;
    assert_eq!((reached.hooks[0].attempts, reached.hooks[0].continued), (2, true));
    let (reached, _) = reach(Script { record: Some(SKIPPED), ..LINUX }, Level::Application).await;
    assert_eq!(reached.skipped_hooks[0].reason, "not-owned-by-root");

    let (reached, _) = reach(WINDOWS, Level::Application).await;
    let vss = reached.vss.unwrap();
    assert_eq!((vss.kind.as_str(), vss.complete, vss.complaint), ("copy", true, None));
    let failing = Script { refuses_freeze: Some("the writers fail"), ..WINDOWS };
    let (reached, _) = reach(failing, Level::Application).await;
    assert!(!reached.vss.as_ref().unwrap().complete);
    assert!(reached.vss.unwrap().complaint.unwrap().contains("the writers fail"));

    let (reached, _) = reach(LINUX, Level::FileSystem).await;
    assert_eq!((reached.level, reached.fell_because.len()), (Level::FileSystem, 0), "as was wished");
    let (reached, fake) = reach(LINUX, Level::Crash).await;
    assert_eq!((reached.agent_version, fake.state().freezes), (None, 0), "the agent is not asked at all");

    // A point made before there was so much evidence.
    let old = json!({
        "level": "application", "frozen_filesystems": 1, "quiesce_ms": 1, "freeze_ms": 1, "agent_version": "7",
        "hooks": [{ "phase": "freeze", "name": "pg", "exit": 0, "ms": 1 }], "fell_because": [],
    });
    assert_eq!(serde_json::from_value::<Consistency>(old).unwrap().hooks[0].attempts, 1);
}
