//! An error in words: what failed, why, what to do; and the exit code that goes with it.

use api::client::ClientError;
use api::{Code, Problem};
use model::job::Failure;
use std::io::Write;
use std::process::ExitCode;

/// What kind of failure it is to a person or a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Exists = 4,
    Unreachable = 5,
    Key = 6,
    Corrupt = 7,
    Unsupported = 8,
    NoSpace = 9,
    Gaps = 10,
    Unauthenticated = 11,
    Forbidden = 12,
    State = 13,
    Interrupted = 130,
}

/// An error whose class and hint the command itself knows.
#[derive(Debug)]
pub(crate) struct Told {
    class: Class,
    what: String,
    hint: String,
}

impl Told {
    pub(crate) fn not_found(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { class: Class::NotFound, what: what.into(), hint: hint.into() }.into()
    }

    /// Whether an error is that there is no such thing.
    pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some_and(|told| told.class == Class::NotFound)
    }

    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { class: Class::Usage, what: what.into(), hint: hint.into() }.into()
    }

    pub(crate) fn key(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { class: Class::Key, what: what.into(), hint: hint.into() }.into()
    }

    pub(crate) fn corrupt(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { class: Class::Corrupt, what: what.into(), hint: hint.into() }.into()
    }

    /// What was restored has holes that it should not have.
    pub(crate) fn gaps(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { class: Class::Gaps, what: what.into(), hint: hint.into() }.into()
    }

    /// Nobody is signed in where somebody must be.
    pub(crate) fn unauthenticated(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { class: Class::Unauthenticated, what: what.into(), hint: hint.into() }.into()
    }

    /// A rule or a state forbids it.
    pub(crate) fn state(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self { class: Class::State, what: what.into(), hint: hint.into() }.into()
    }

    /// Somebody was asked, and did not want it.
    pub(crate) fn declined(what: impl Into<String>) -> anyhow::Error {
        Self { class: Class::Other, what: what.into(), hint: String::new() }.into()
    }

    /// A job of the service's ended otherwise than well.
    pub(crate) fn job(
        why: Option<Failure>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> anyhow::Error {
        let class = why.map_or(Class::Other, of_failure);
        Self { class, what: what.into(), hint: hint.into() }.into()
    }

    pub(crate) fn interrupted(what: impl Into<String>) -> anyhow::Error {
        Self { class: Class::Interrupted, what: what.into(), hint: String::new() }.into()
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Told {}

/// Prints the error on standard error; gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let (class, hint) = classify(error);
    let mut text = format!("error: {error}\n");
    if let Some(ClientError::Refused(problem)) = find::<ClientError>(error) {
        // A single one is the detail already.
        let several = problem.violations.iter().filter(|_| problem.violations.len() > 1);
        text.extend(several.map(|one| format!("  {}: {}\n", one.pointer, one.rule)));
    }
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // A cause that only repeats what stands above it helps nobody.
        if !said.contains(&cause) {
            text += &format!("  because: {cause}\n");
            said = cause;
        }
    }
    if !hint.is_empty() {
        text += &format!("  try: {hint}\n");
    }
    let _ = std::io::stderr().write_all(text.as_bytes()); // nobody is left to tell
    ExitCode::from(class as u8)
}

/// The side that is nearest to the cause decides: a block error may have a vault's beneath it.
fn classify(error: &anyhow::Error) -> (Class, String) {
    if let Some(told) = find::<Told>(error) {
        return (told.class, told.hint.clone());
    }
    if let Some(error) = find::<ClientError>(error) {
        return of_server(error);
    }
    if let Some(error) = find::<control::Error>(error) {
        return of_problem(error.problem());
    }
    let (class, hint) = if let Some(mover::Error::Taken(..)) = find(error) {
        (Class::Exists, "choose an empty folder, or delete what a killed restore left (*.partial)")
    } else if let Some(error) = find::<vault::Error>(error) {
        of_vault(error.kind())
    } else if let Some(error) = find::<files::Error>(error) {
        of_files(error.kind())
    } else if let Some(error) = find::<hypervisor::Error>(error) {
        of_machine(error.kind())
    } else if let Some(error) = find::<block::Error>(error) {
        of_disk(error.kind())
    } else if let Some(error) = find::<std::io::Error>(error) {
        of_system(error.kind())
    } else {
        (Class::Other, "")
    };
    (class, hint.to_owned())
}

/// The outermost error of a type.
fn find<T: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.chain().find_map(<dyn std::error::Error>::downcast_ref)
}

fn of_server(error: &ClientError) -> (Class, String) {
    match error {
        ClientError::Refused(problem) => of_problem(problem),
        ClientError::Unreachable { .. } => {
            let hint = "check that the server runs and that its address is right (`strongroom context list`)";
            (Class::Unreachable, hint.to_owned())
        }
        ClientError::Endpoint(_) => {
            (Class::Usage, "a server's address looks like https://HOST:8700".to_owned())
        }
    }
}

fn of_problem(problem: &Problem) -> (Class, String) {
    let (class, hint) = match problem.code {
        Code::Invalid | Code::MethodNotAllowed | Code::TooLarge | Code::UnsupportedMediaType => {
            (Class::Usage, "")
        }
        Code::Unauthenticated => (Class::Unauthenticated, "log in with `strongroom login`"),
        Code::Forbidden => (Class::Forbidden, "ask a vault owner for a role (`strongroom user grant`)"),
        Code::NotFound => (Class::NotFound, ""),
        Code::Exists => (Class::Exists, "choose another name"),
        Code::Changed => (Class::State, "look at it as it is now, then run the same command again"),
        Code::Conflict | Code::Locked | Code::KeyReused | Code::UnderWay => (Class::State, ""),
        Code::TooManyRequests | Code::Unavailable => (Class::Unreachable, "run the same command again later"),
        Code::Internal => (Class::Other, "the server's log says more"),
    };
    (class, problem.hint.clone().unwrap_or_else(|| hint.to_owned()))
}

fn of_failure(failure: Failure) -> Class {
    match failure {
        Failure::Unreachable | Failure::Busy | Failure::Guest => Class::Unreachable,
        Failure::NoSpace => Class::NoSpace,
        Failure::Denied => Class::Key,
        Failure::Corrupt => Class::Corrupt,
        Failure::Invalid | Failure::Lost => Class::Other,
    }
}

fn of_vault(kind: vault::ErrorKind) -> (Class, &'static str) {
    use vault::ErrorKind as Kind;
    match kind {
        Kind::Invalid => (Class::Usage, ""),
        Kind::NotFound => {
            (Class::NotFound, "check the address; `strongroom rescue vault create URL|DIR` makes a new vault")
        }
        Kind::AlreadyExists => (Class::Exists, "choose another, empty place"),
        Kind::Key => (
            Class::Key,
            "give the vault's own key with --key-file FILE, or a passphrase or recovery key of it; \
             `strongroom rescue key list` shows what opens it",
        ),
        Kind::Denied => {
            (Class::Key, "set the store's credentials, AWS_… or AZURE_…; docs/cli.md says which there are")
        }
        Kind::Unsupported => (Class::Unsupported, "use a newer strongroom"),
        Kind::Corrupt => {
            (Class::Corrupt, "keep the vault as it is; other points may be whole: restore one of those")
        }
        Kind::TooMuch => {
            (Class::Other, "look at the plan (leave out --yes); if that is what you want, add --allow-large")
        }
        Kind::Conflict => (Class::Unreachable, "run the same command again"),
        Kind::NoSpace => (Class::NoSpace, "make room where the vault lies, then run the same command again"),
        Kind::Store => {
            (Class::Unreachable, "check that the vault's place can be read and written, then run it again")
        }
    }
}

fn of_files(kind: files::ErrorKind) -> (Class, &'static str) {
    use files::ErrorKind as Kind;
    const WHOLE: &str =
        "serve the point (`strongroom rescue nbd serve`) or restore the disk, and let a system read it";
    match kind {
        Kind::NotFound => (
            Class::NotFound,
            "`strongroom rescue files volumes` shows what is there, `... files ls` what lies in it",
        ),
        Kind::Invalid => (Class::Usage, ""),
        Kind::Refused => (Class::Unsupported, WHOLE),
        Kind::Corrupt => (Class::Corrupt, "an older point may be whole"),
        Kind::Limit => (Class::Other, WHOLE),
        Kind::Io => (Class::Unreachable, "run the same command again"),
        Kind::Worker => (Class::Other, WHOLE),
        Kind::Exists => (Class::Exists, "choose another place"),
    }
}

fn of_machine(kind: hypervisor::ErrorKind) -> (Class, &'static str) {
    use hypervisor::ErrorKind as Kind;
    match kind {
        Kind::NotFound => (Class::NotFound, "`strongroom rescue machine list` shows what runs here"),
        Kind::Invalid => (Class::Usage, ""),
        Kind::Unsupported => (Class::Unsupported, "QEMU 7.2 or newer is needed"),
        Kind::Busy => (
            Class::Unreachable,
            "end the other client, or give the machine a second QMP socket; \
             the images of a machine that runs are not read: back the machine itself up",
        ),
        Kind::Unreachable => {
            (Class::Unreachable, "check that the machine runs, then run the same command again")
        }
        Kind::Guest => (Class::Unreachable, "check the guest agent, or leave out --strict to accept less"),
        Kind::NoSpace => (Class::NoSpace, "give a larger folder with --scratch DIR"),
        Kind::Broken => (
            Class::Unreachable,
            "give a larger or faster folder with --scratch DIR, then run it again; for a stopped machine, \
                 see first that nothing writes its images",
        ),
        Kind::Failed => (Class::Other, ""),
    }
}

fn of_disk(kind: block::ErrorKind) -> (Class, &'static str) {
    use block::ErrorKind as Kind;
    match kind {
        Kind::NotFound => (Class::NotFound, CHECK_PATH),
        Kind::Invalid => (Class::Usage, ""),
        Kind::Corrupt => {
            (Class::Corrupt, "keep the vault as it is; other points may be whole: restore one of those")
        }
        Kind::NoSpace => {
            (Class::NoSpace, "make room or choose another folder, then run the same command again")
        }
        Kind::Unreachable => (Class::Unreachable, "run the same command again"),
        Kind::Io => (Class::Other, ""),
    }
}

/// An error of the operating system that no crate of ours has looked at.
fn of_system(kind: std::io::ErrorKind) -> (Class, &'static str) {
    use std::io::ErrorKind as Kind;
    match kind {
        Kind::NotFound => (Class::NotFound, CHECK_PATH),
        Kind::AlreadyExists => (Class::Exists, "choose another place"),
        Kind::StorageFull | Kind::QuotaExceeded => {
            (Class::NoSpace, "make room, then run the same command again")
        }
        _ => (Class::Other, ""),
    }
}

/// Folders are made one deep: a path that is mistaken must not become a tree of folders.
const CHECK_PATH: &str = "check the path; the folder above it must exist";
