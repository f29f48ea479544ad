//! A monitor between the program and QEMU that holds one command, so that a test can act right then.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Until the program comes to the command: it freezes an emulated guest before.
const HELD_WAIT: Duration = Duration::from_secs(120);

/// Which side of QEMU the command is held on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hold {
    /// QEMU does not get it.
    Command,
    /// QEMU has done it; the answer is held.
    Answer,
}

pub(crate) struct Gate {
    held: Receiver<()>,
    open: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Clone)]
struct Keeper {
    command: String,
    hold: Hold,
    held: SyncSender<()>,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// Listens at `path` for one client after another; the first that sends the command is held.
    pub(crate) fn new(path: &Path, qmp: &Path, command: &str, hold: Hold) -> Result<Self> {
        let listener = UnixListener::bind(path).context("listen as a monitor")?;
        let (sender, held) = sync_channel(1);
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let keeper =
            Keeper { command: format!("\"execute\":\"{command}\""), hold, held: sender, open: open.clone() };
        let qmp = qmp.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(qemu) = UnixStream::connect(&qmp) else { return };
                keeper.serve(client, qemu);
            }
        });
        Ok(Self { held, open })
    }

    /// Waits until the command is held.
    pub(crate) fn wait(&self) -> Result<()> {
        self.held.recv_timeout(HELD_WAIT).context("the program does not come to the command")
    }

    /// Lets it and all that follow pass.
    pub(crate) fn open(&self) {
        *self.open.0.lock().expect("no holder panics") = true;
        self.open.1.notify_all();
    }
}

impl Keeper {
    /// Passes lines on both ways until either side is gone.
    fn serve(&self, client: UnixStream, qemu: UnixStream) {
        let (from_client, to_qemu) = (
            client.try_clone().expect("a socket can be cloned"),
            qemu.try_clone().expect("a socket can be cloned"),
        );
        let asked = Arc::new(Mutex::new(false));
        let (this, noticed) = (self.clone(), asked.clone());
        std::thread::spawn(move || {
            let pass = |line: &str| {
                let meant = line.contains(&this.command);
                *noticed.lock().expect("no holder panics") |= meant;
                if meant && this.hold == Hold::Command { this.keep(&from_client) } else { true }
            };
            copy(&from_client, &to_qemu, pass);
        });
        let this = self.clone();
        std::thread::spawn(move || {
            let pass = |line: &str| {
                let meant = line.contains("\"return\"")
                    && std::mem::take(&mut *asked.lock().expect("no holder panics"));
                if meant && this.hold == Hold::Answer { this.keep(&client) } else { true }
            };
            copy(&qemu, &client, pass);
        });
    }

    /// Holds until it is opened, or the client is gone; gives whether it is still there.
    fn keep(&self, client: &UnixStream) -> bool {
        let _ = self.held.try_send(());
        let mut open = self.open.0.lock().expect("no holder panics");
        while !*open {
            if is_gone(client) {
                return false;
            }
            open = self.open.1.wait_timeout(open, Duration::from_millis(50)).expect("no holder panics").0;
        }
        true
    }
}

/// A killed client's end of the connection is seen by writing nothing to it. One that is only stopped does not
/// read, so its end may be full.
fn is_gone(client: &UnixStream) -> bool {
    let mut end = client;
    let _ = client.set_write_timeout(Some(Duration::from_millis(1)));
    // QMP is lines of JSON: a blank is none.
    let written = end.write_all(b" ");
    let _ = client.set_write_timeout(None);
    written.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn copy(from: &UnixStream, to: &UnixStream, pass: impl Fn(&str) -> bool) {
    let mut to_line = to;
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if !pass(&line) || to_line.write_all(format!("{line}\n").as_bytes()).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
