//! A guest with a database, and its freezing.

use serde_json::{Value, json};
use testkit::{Accel, Format, GuestImage, GuestMachine, MachineOptions};

#[test]
fn a_second_build_does_nothing() {
    crate::image();
    let build = GuestImage::build(&testkit::default_cache(), &|line| {
        assert!(line.starts_with("waiting"), "built again: {line}");
    });
    assert!(build.unwrap().initramfs.exists());
}

#[test]
fn the_database_answers_and_the_hook_takes_part_in_freezing() {
    let folder = tempfile::tempdir().unwrap();
    let disks = crate::image().fresh_disks(folder.path(), Format::Qcow2).unwrap();
    let options = MachineOptions::new("postgres", folder.path(), disks);
    let machine = GuestMachine::start(crate::image(), options).unwrap();
    machine.wait_postgres(crate::BOOT).unwrap();
    assert_eq!(machine.psql("create table t as select 7 as n; select n from t").unwrap(), "7");
    assert!(machine.psql("select 1/0").is_err());
    assert_eq!(machine.sh("echo out; echo err >&2; exit 3").unwrap(), (3, "out\nerr\n".into()));
    freezes_with_a_token(&machine);
    a_failing_script_refuses(&machine);
    machine.pause().unwrap();
    machine.wait_event("STOP", crate::BOOT).unwrap();
    machine.resume().unwrap();
    machine.power_off().unwrap();
}

fn freezes_with_a_token(machine: &GuestMachine) {
    assert_eq!(machine.sh("echo t-42 >/run/strongroom/freeze-token").unwrap().0, 0);
    let agent = machine.agent();
    assert_eq!(agent.call("guest-fsfreeze-freeze", Value::Null).unwrap(), json!(2));
    assert_eq!(agent.call("guest-fsfreeze-status", Value::Null).unwrap(), json!("frozen"));
    assert!(agent.call("guest-exec", json!({"path": "/bin/true"})).is_err());
    assert_eq!(agent.call("guest-fsfreeze-thaw", Value::Null).unwrap(), json!(2));
    let (code, record) = machine.sh("cat /run/strongroom/freeze-result").unwrap();
    let words: Vec<&str> = record.split_whitespace().collect();
    let expected = "strongroom-freeze 2 token t-42 freeze postgresql exit 0 ms * attempts 1 \
                    thaw postgresql exit 0 ms * attempts 1 done";
    let expected: Vec<&str> = expected.split(' ').collect();
    assert_eq!((code, words.len()), (0, expected.len()), "{record}");
    assert!(words.iter().zip(&expected).all(|(word, wanted)| word == wanted || *wanted == "*"), "{record}");
}

fn a_failing_script_refuses(machine: &GuestMachine) {
    let script = "printf '#!/bin/sh\\n[ $1 = thaw ] || exit 5\\n' >/etc/strongroom/freeze.d/zz && \
                  chmod +x /etc/strongroom/freeze.d/zz";
    assert_eq!(machine.sh(script).unwrap().0, 0);
    let agent = machine.agent();
    let refused = agent.call("guest-fsfreeze-freeze", Value::Null).unwrap_err().to_string();
    assert!(refused.contains("hook"), "{refused}");
    assert_eq!(agent.call("guest-fsfreeze-status", Value::Null).unwrap(), json!("thawed"));
    let record = machine.sh("cat /run/strongroom/freeze-result").unwrap().1;
    assert!(record.contains("freeze zz exit 5 ms ") && record.ends_with("done\n"), "{record}");
    assert_eq!(machine.sh("rm /etc/strongroom/freeze.d/zz").unwrap().0, 0);
    // A database that does not answer must not pass either.
    assert_eq!(machine.sh("mv /run/postgresql /run/hidden").unwrap().0, 0);
    assert!(agent.call("guest-fsfreeze-freeze", Value::Null).is_err());
    let record = machine.sh("cat /run/strongroom/freeze-result; mv /run/hidden /run/postgresql").unwrap().1;
    assert!(record.contains("freeze postgresql exit 2 ms "), "{record}");
}

#[test]
fn qemu_that_refuses_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = MachineOptions::new("refused", folder.path(), Vec::new());
    options.accel = Some(Accel::Tcg);
    options.arguments = vec!["-no-such-option".into()];
    let error = GuestMachine::start(crate::image(), options).err().unwrap();
    assert!(format!("{error:#}").contains("-no-such-option"), "{error:#}");
}
