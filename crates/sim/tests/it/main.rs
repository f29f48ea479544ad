//! The engine in a world that fails: simulated by seeds, and real by signals and system calls.

mod full;
mod kill;
mod seeds;
mod syscalls;
mod victim;
