//! libvirt, through its own program: `virsh -c URI`, with arguments as they are and never a shell.
//!
//! The library's licence forbids to link it, and its program speaks to every version and transport of it. What it
//! refuses it tells in a sentence, whose beginning is fixed by an error code of libvirt's (`virErrorMsg`, in
//! English under `LC_ALL=C`): [`kind_of`] is the one place that reads it.

use crate::{Error, ErrorKind, Result};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// libvirt itself waits 30 s for a machine that is busy, and says so.
const ANSWER_WAIT: Duration = Duration::from_secs(45);

/// A connection's address; each question is a process of its own.
#[derive(Clone, Debug)]
pub(crate) struct Virsh {
    /// And what stands before the question on its command line.
    program: Vec<String>,
    uri: String,
}

impl Virsh {
    pub(crate) fn new(uri: &str) -> Self {
        Self { program: vec!["virsh".to_owned()], uri: uri.to_owned() }
    }

    /// A program that stands in for it, to answer as libvirt does where a real one cannot be brought to.
    #[cfg(test)]
    pub(super) fn played_by(program: Vec<String>) -> Self {
        Self { program, uri: "played".to_owned() }
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Asks, and gives what was printed.
    ///
    /// # Errors
    /// `NotFound` for a machine (or checkpoint, or job) that is not there; `Busy` when another job holds the
    /// machine; `Unreachable` when libvirt does not answer; `Guest` for the agent's faults; `Unsupported`
    /// when libvirt or its driver cannot do it; else `Failed`.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_within(arguments, ANSWER_WAIT).await
    }

    /// [`run`](Self::run) with its own limit. Giving up does not stop libvirt: it may do later what was asked.
    pub(super) async fn run_within(&self, arguments: &[&str], limit: Duration) -> Result<String> {
        let context = || format!("ask libvirt ({}) for {}", self.uri, arguments.first().unwrap_or(&""));
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(["--quiet", "--connect", &self.uri]);
        command.args(arguments).env("LC_ALL", "C");
        command.env_remove("VIRSH_DEBUG").stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(limit, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Self::not_installed());
            }
            Ok(Err(error)) => return Err(Error::io(context(), error)),
            Err(_) => {
                let text = format!("{}: no answer within {} s", context(), limit.as_secs());
                return Err(Error::new(ErrorKind::Unreachable, text));
            }
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Self::refused(context(), &String::from_utf8_lossy(&output.stderr)))
    }

    /// What it said when it would not do something.
    pub(crate) fn refused(context: String, said: &str) -> Error {
        Error::caused(kind_of(said), context, sentence(said))
    }

    pub(crate) fn not_installed() -> Error {
        let text =
            "ask libvirt: the program virsh is not installed (on Debian: apt-get install libvirt-clients)";
        Error::new(ErrorKind::Unsupported, text)
    }
}

/// virsh's lines as one, without its prefix.
fn sentence(said: &str) -> String {
    let lines = said.lines().filter_map(|line| line.strip_prefix("error: ").or(Some(line)));
    lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Beginnings of libvirt's sentences, each of one of its error codes, and what they ask of a caller. The first
/// that is found anywhere in a line counts: virsh puts a sentence of its own before.
const SENTENCES: &[(&str, ErrorKind)] = &[
    ("Guest agent is not responding", ErrorKind::Guest), // AGENT_UNRESPONSIVE
    ("Guest agent not available", ErrorKind::Guest),     // AGENT_UNSYNCED and AGENT_UNRESPONSIVE, older
    ("QEMU guest agent is not configured", ErrorKind::Guest),
    ("unable to execute QEMU agent command", ErrorKind::Guest),
    ("Domain not found", ErrorKind::NotFound), // NO_DOMAIN
    ("failed to get domain", ErrorKind::NotFound),
    ("domain is not running", ErrorKind::NotFound), // of OPERATION_INVALID
    ("Domain checkpoint not found", ErrorKind::NotFound), // NO_DOMAIN_CHECKPOINT
    ("Domain backup job id not found", ErrorKind::NotFound), // NO_DOMAIN_BACKUP
    ("metadata not found", ErrorKind::NotFound),    // NO_DOMAIN_METADATA
    ("cannot acquire state change lock", ErrorKind::Busy), // OPERATION_TIMEOUT
    ("Timed out during operation", ErrorKind::Busy),
    ("another backup job is already running", ErrorKind::Busy),
    ("failed to connect to the hypervisor", ErrorKind::Unreachable),
    ("Failed to connect socket", ErrorKind::Unreachable),
    ("client socket is closed", ErrorKind::Unreachable),
    ("End of file while reading data", ErrorKind::Unreachable),
    ("this function is not supported by the connection driver", ErrorKind::Unsupported), // NO_SUPPORT
    ("Operation not supported", ErrorKind::Unsupported), // OPERATION_UNSUPPORTED
    ("unsupported configuration", ErrorKind::Unsupported), // CONFIG_UNSUPPORTED
    ("unknown command", ErrorKind::Unsupported),
];

fn kind_of(said: &str) -> ErrorKind {
    let found = SENTENCES.iter().find(|(beginning, _)| said.contains(beginning));
    found.map_or(ErrorKind::Failed, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libvirt_says_is_told_apart() {
        let table = [
            ("error: failed to get domain 'x'\n", ErrorKind::NotFound),
            ("error: Domain backup job id not found: no domain backup job present\n", ErrorKind::NotFound),
            (
                "error: Timed out during operation: cannot acquire state change lock (held by monitor=remote)\n",
                ErrorKind::Busy,
            ),
            (
                "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/x': No such file\n",
                ErrorKind::Unreachable,
            ),
            ("error: Guest agent is not responding: QEMU guest agent is not connected\n", ErrorKind::Guest),
            (
                "error: internal error: unable to execute QEMU agent command 'guest-foo': not found\n",
                ErrorKind::Guest,
            ),
            (
                "error: Operation not supported: cannot perform disk backup for inactive domain\n",
                ErrorKind::Unsupported,
            ),
            ("error: checkpoint inconsistent: missing or broken bitmap 'p'\n", ErrorKind::Failed),
        ];
        for (said, kind) in table {
            assert_eq!(kind_of(said), kind, "{said}");
        }
        assert_eq!(sentence("error: one\nerror: two: three\n\n"), "one: two: three");
    }

    #[tokio::test]
    async fn words_are_arguments_and_never_read_as_a_command_line() {
        // The `test` driver lives in virsh itself: no daemon is asked.
        let virsh = Virsh::new("test:///default");
        assert_eq!(virsh.run(&["echo", "a; b", "$(id)", "'"]).await.unwrap().trim(), "a; b $(id) '");
        let error = virsh.run(&["domstate", "--domain", "x; list"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = Virsh::new("qemu:///system?socket=/nonexistent").run(&["list"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    }
}
