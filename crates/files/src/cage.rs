//! What a worker gives up before it sees the first byte that a guest wrote.
//!
//! Who parses a hostile file system may be taken over by it. So the worker becomes a user that owns nothing (when we
//! are root), leaves the network, lets the system limit its memory, processor time and files (none), and lets it
//! refuse every call that is not about memory, or about reading and writing what is open: the socket to the parent.
//! It dies with the thread that started it, and so with us, even when we are killed.
//!
//! The worker does this to itself, with one thread, before its first message: nothing foreign has been read then.

use crate::wire::Limits;
use crate::{Error, Result};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid};
use rustix::process::{Resource, Rlimit, Signal};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;

/// Closes the cage. Gives what the system did not let us close; the rest holds without.
///
/// # Errors
/// `Worker` if we are root and cannot become somebody else.
pub(crate) fn close(limits: Limits) -> Result<Vec<String>> {
    let mut open = Vec::new();
    let mut note = |what: &str, done: std::result::Result<(), String>| {
        if let Err(error) = done {
            open.push(format!("{what}: {error}"));
        }
    };
    let root = rustix::process::geteuid().is_root();
    note("network", leave(root));
    if root {
        become_nobody(limits.user)?;
    }
    // A change of user takes this back, so it comes after.
    note("death of the parent", told(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))));
    note("privileges", told(rustix::thread::set_no_new_privs(true)));
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::Memlock, 0),
        (Resource::As, limits.memory_bytes),
        (Resource::Cpu, limits.cpu_seconds),
        // The last: what is open stays open, and nothing is opened any more.
        (Resource::Nofile, 0),
    ] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        note("limits", told(rustix::process::setrlimit(resource, limit)));
    }
    note("system calls", filter());
    Ok(open)
}

fn told<E: std::fmt::Display>(done: std::result::Result<(), E>) -> std::result::Result<(), String> {
    done.map_err(|error| error.to_string())
}

/// Leaves the network and what processes share. Who is not root can do so in a name space of users.
fn leave(root: bool) -> std::result::Result<(), String> {
    let spaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    let spaces = if root { spaces } else { spaces | CloneFlags::CLONE_NEWUSER };
    told(nix::sched::unshare(spaces))
}

fn become_nobody(user: u32) -> Result<()> {
    let failed = |error| Error::not_answered(format!("become a user that owns nothing: {error}"));
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    nix::unistd::setgroups(&[]).map_err(failed)?;
    nix::unistd::setresgid(gid, gid, gid).map_err(failed)?;
    nix::unistd::setresuid(uid, uid, uid).map_err(failed)
}

/// The calls that are left: memory, what is open, the end.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Every other call fails with "not permitted".
fn filter() -> std::result::Result<(), String> {
    let rules: BTreeMap<i64, Vec<_>> = CALLS.iter().map(|&call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let here = std::env::consts::ARCH.try_into().map_err(|error| format!("{error:?}"))?;
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, here);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(|error| error.to_string())?;
    told(seccompiler::apply_filter(&program))
}
