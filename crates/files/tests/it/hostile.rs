//! A worker that was taken over: it says nonsense, hangs, dies, asks for what it may not have. And a real one, that
//! cannot do what it should not.

use crate::support::{Memory, over, program};
use anyhow::Result;
use files::{Browser, ErrorKind, Program, SharedDisk};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

/// A program in Python that has the socket as its standard input; `say` sends a message.
fn worker(folder: &std::path::Path, acts: &str) -> Result<Program> {
    let path = folder.join("worker.py");
    let mut file = std::fs::File::create(&path)?;
    let head = "import socket, struct, json, os, time\n\
        s = socket.socket(fileno=0)\n\
        def frame(header, data=b''):\n    return struct.pack('<II', len(header), len(data)) + header + data\n\
        def say(value, data=b''):\n    s.sendall(frame(json.dumps(value).encode(), data))\n\
        def hear():\n    n, m = struct.unpack('<II', s.recv(8, socket.MSG_WAITALL))\n    \
        return json.loads(s.recv(n, socket.MSG_WAITALL)), s.recv(m, socket.MSG_WAITALL) if m else b''\n\
        hear()\nsay({'Ready': []})\n";
    writeln!(file, "{head}{acts}")?;
    drop(file);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let python = ["/usr/bin/python3", "/usr/local/bin/python3"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    let python = python.map_or_else(|| "python3".into(), Into::into);
    Ok(Program { path: python, arguments: vec![path.to_string_lossy().into_owned()] })
}

fn ask(acts: &str) -> Result<files::Error> {
    let folder = tempfile::tempdir()?;
    let disk = Arc::new(Memory(vec![7; 1 << 20])) as SharedDisk;
    let mut browser = Browser::new(worker(folder.path(), acts)?, vec![("vda".to_owned(), disk)]);
    let target = browser.target(b"vda:/");
    let error = match target {
        Err(error) => error,
        Ok(target) => match browser
            .list(&target)
            .and_then(|_| browser.read(&target, 0))
            .and_then(|_| browser.link(&target))
        {
            Err(error) => error,
            Ok(_) => files::Error::new(ErrorKind::NotFound, "all went well"),
        },
    };
    Ok(error)
}

const VOLUME: &str = "hear()\nsay({'Answer': {'Ok': {'Volumes': [{'name': 'vda', 'disks': ['vda'], 'size': 1, \
    'content': 'ext', 'label': 'x', 'refusal': None, 'note': None}]}}})\n";

#[test]
fn what_a_worker_says_is_not_believed() -> Result<()> {
    let metadata = "{'kind': 'file', 'size': 2**63, 'mode': 2**31, 'uid': 0, 'gid': 0, 'modified': None}";
    let entry = |name: &str| {
        format!(
            "{VOLUME}hear()\nsay({{'Answer': {{'Ok': {{'Entries': {{'entries': [{{'name': list({name}), \
                 'metadata': {{'Ok': {metadata}}}}}], 'more': False}}}}}}}})\nhear()"
        )
    };
    let cases = [
        ("garbage", "s.sendall(b'x' * 100000)".to_owned()),
        (
            "endless lengths",
            "hear()\ns.sendall(struct.pack('<II', 2**32-1, 2**32-1))\ntime.sleep(600)".to_owned(),
        ),
        ("no json", "hear()\ns.sendall(frame(b'{{{{'))\ntime.sleep(600)".to_owned()),
        ("deep json", "hear()\ns.sendall(frame(b'[' * 1000000))\ntime.sleep(600)".to_owned()),
        ("dies", "hear()\nos.abort()".to_owned()),
        ("ends", "hear()".to_owned()),
        ("another answer", "hear()\nsay({'Answer': {'Ok': 'Link'}})\ntime.sleep(600)".to_owned()),
        (
            "beyond a disk",
            "hear()\nsay({'Fetch': {'disk': 0, 'offset': 2**63, 'length': 4096}})\nhear()".to_owned(),
        ),
        (
            "a disk that is not",
            "hear()\nsay({'Fetch': {'disk': 9, 'offset': 0, 'length': 1}})\nhear()".to_owned(),
        ),
        (
            "too much",
            "hear()\nsay({'Fetch': {'disk': 0, 'offset': 0, 'length': 2**32-1}})\nhear()".to_owned(),
        ),
        ("up", entry("b'..'")),
        ("elsewhere", entry("b'../../etc/passwd'")),
        ("the end of a string", entry("b'a\\x00b'")),
        ("no name", entry("b''")),
        (
            "endless pages",
            format!(
                "{VOLUME}hear()\nsay({{'Answer': {{'Ok': {{'Entries': {{'entries': [], 'more': True}}}}}}}})\nhear()"
            ),
        ),
        (
            "too many zeros",
            format!(
                "{VOLUME}hear()\nsay({{'Answer': {{'Ok': {{'Entries': {{'entries': [], 'more': False}}}}}}}})\n\
            hear()\nsay({{'Answer': {{'Ok': {{'Piece': {{'zeros': 2**64-1}}}}}}}})\nhear()"
            ),
        ),
    ];
    for (what, acts) in cases {
        let error = ask(&acts)?;
        assert_eq!(error.kind(), ErrorKind::Worker, "{what}: {error}");
    }
    Ok(())
}

#[test]
fn a_fetched_byte_is_a_disks_byte() -> Result<()> {
    let error = ask("hear()\nsay({'Fetch': {'disk': 0, 'offset': 4096, 'length': 3}})\nh, d = hear()\n\
        say({'Answer': {'Err': {'kind': 'Limit', 'text': 'got ' + d.hex() + '\\x1b[31m'}}})\nhear()")?;
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(error.to_string(), "got 070707\u{fffd}[31m");
    Ok(())
}

/// A worker that hangs, or says a byte at a time, is ended when its time is over; what it does then does not matter.
#[test]
fn a_worker_that_hangs_is_ended() -> Result<()> {
    for acts in [
        "hear()\nhear()",
        "hear()\ns.sendall(struct.pack('<II', 10**6, 0))\nwhile True: s.sendall(b' '); time.sleep(0.01)",
        "hear()\nwhile True: pass",
    ] {
        let folder = tempfile::tempdir()?;
        let disk = Arc::new(Memory(vec![7; 1 << 20])) as SharedDisk;
        let browser = Browser::new(worker(folder.path(), acts)?, vec![("vda".to_owned(), disk)]);
        let error =
            browser.with_patience(Duration::from_millis(1500)).volumes().expect_err("a worker that hangs");
        assert_eq!(error.kind(), ErrorKind::Worker);
        assert!(error.to_string().contains("too long"), "{acts}: {error}");
    }
    Ok(())
}

/// What the system says of a real worker.
#[test]
fn the_cage_is_closed() -> Result<()> {
    let before = children()?;
    let mut browser = over(vec![0; 1 << 20]);
    browser.volumes()?;
    let new: Vec<u32> = children()?.into_iter().filter(|one| !before.contains(one)).collect();
    let workers: Vec<u32> = new.into_iter().filter(|one| is_worker(*one)).collect();
    assert!(!workers.is_empty(), "the worker is not found");
    for worker in workers {
        // Another test's may end meanwhile.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{worker}/status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
        };
        if field("Seccomp:") != "2" {
            continue; // of another test, and only just started
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("CapEff:"), "0000000000000000");
        assert_eq!(field("CapPrm:"), "0000000000000000");
        assert!(
            field("Uid:").split(' ').all(|id| id.parse::<u32>().is_ok_and(|id| id >= 1_950_000_000)),
            "{status}"
        );
        assert_eq!(field("Groups:"), "");
        assert_eq!(field("Threads:"), "1");
        let limits = std::fs::read_to_string(format!("/proc/{worker}/limits"))?;
        for limit in ["Max open files", "Max file size", "Max core file size", "Max processes"] {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap_or_default();
            assert_eq!(
                line[limit.len()..].split_whitespace().take(2).collect::<Vec<_>>(),
                ["0", "0"],
                "{line}"
            );
        }
        let own = std::fs::read_link("/proc/self/ns/net")?;
        assert_ne!(std::fs::read_link(format!("/proc/{worker}/ns/net"))?, own);
        return Ok(());
    }
    panic!("no worker has a filter of system calls");
}

fn children() -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let listed = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        all.extend(listed.split_whitespace().filter_map(|one| one.parse::<u32>().ok()));
    }
    Ok(all)
}

fn is_worker(process: u32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.starts_with(program().path.as_os_str().as_encoded_bytes())
}
