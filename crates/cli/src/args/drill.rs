//! The part of the command line that tries points out.

use super::{PointArgs, VaultArgs};
use clap::Args as ClapArgs;
use model::drill::Check;
use std::path::PathBuf;

/// What is asked for.
#[derive(Debug, ClapArgs)]
pub(crate) struct DrillArgs {
    #[command(flatten)]
    pub(crate) point: PointArgs,
    #[command(flatten)]
    pub(crate) vault: VaultArgs,
    #[command(flatten)]
    pub(crate) checks: CheckArgs,
    /// Wait until this regular expression is found in what the console says, rather than for the guest's agent.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) console: Option<String>,
    /// How many seconds the guest may take to come up.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
    /// Virtual processors; as many as the machine had otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cpus: Option<u32>,
    /// Memory in MiB; as much as the machine had otherwise.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(crate) memory: Option<u64>,
    /// Write what the screen shows at the end to this file: PNG, or PPM where QEMU cannot. Nothing is replaced.
    #[arg(long, value_name = "FILE")]
    pub(crate) screenshot: Option<PathBuf>,
    /// The libvirt that is to run it, of this host [default: qemu:///system, if the point is of a machine of libvirt's].
    #[arg(long, value_name = "URI")]
    pub(crate) libvirt: Option<String>,
    /// Where what the guest writes lies meanwhile. Its path must be short: sockets lie there, too.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
}

/// What is asked in the guest.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// Run this command in the guest, by its agent and shell; it must end with 0. May be repeated.
    #[arg(long = "check", value_name = "NAME=COMMAND", value_parser = named)]
    commands: Vec<(String, String)>,
    /// What the check of that name prints must match this regular expression.
    #[arg(long = "expect", value_name = "NAME=PATTERN", value_parser = named, requires = "commands")]
    patterns: Vec<(String, String)>,
    /// The check of that name must end with this exit code instead.
    #[arg(long = "exit-code", value_name = "NAME=CODE", value_parser = code, requires = "commands")]
    codes: Vec<(String, i64)>,
    /// How many seconds each check may take.
    #[arg(long = "check-timeout", value_name = "SECONDS", default_value_t = Check::LIMIT_S, requires = "commands", value_parser = clap::value_parser!(u32).range(1..=86400))]
    limit: u32,
}

impl CheckArgs {
    /// The checks.
    ///
    /// # Errors
    /// In words, when something is said of a check that there is not.
    pub(crate) fn checks(self) -> Result<Vec<Check>, String> {
        let Self { commands, patterns, codes, limit } = self;
        let check = |(name, command)| Check { name, command, exit: 0, pattern: None, limit_s: limit };
        let mut checks: Vec<Check> = commands.into_iter().map(check).collect();
        for (at, check) in checks.iter().enumerate() {
            if checks[..at].iter().any(|other| other.name == check.name) {
                return Err(format!("two checks are called {}", check.name));
            }
        }
        for (name, pattern) in patterns {
            of(&mut checks, &name)?.pattern = Some(pattern);
        }
        for (name, code) in codes {
            of(&mut checks, &name)?.exit = code;
        }
        Ok(checks)
    }
}

fn of<'a>(checks: &'a mut [Check], name: &str) -> Result<&'a mut Check, String> {
    let found = checks.iter_mut().find(|check| check.name == name);
    found.ok_or_else(|| format!("there is no check {name}: give it with --check {name}=COMMAND"))
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, rest)) if !name.is_empty() && !rest.is_empty() => Ok((name.to_owned(), rest.to_owned())),
        _ => Err(format!("'{text}' is not of the form NAME=...")),
    }
}

fn code(text: &str) -> Result<(String, i64), String> {
    let (name, code) = named(text)?;
    Ok((name, code.parse().map_err(|_| format!("'{code}' is no exit code"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[&str]) -> Vec<(String, String)> {
        list.iter().map(|text| named(text).expect("a pair")).collect()
    }

    #[test]
    fn what_is_said_of_a_check_finds_it() {
        let args = |patterns: &[&str], codes: Vec<(String, i64)>| CheckArgs {
            commands: pairs(&["db=psql -c 'select 1=1'", "web=curl -sf localhost"]),
            patterns: pairs(patterns),
            codes,
            limit: 7,
        };
        let checks = args(&["db=^t$"], vec![code("web=22").expect("a pair")]).checks().expect("checks");
        assert_eq!(
            (checks[0].command.as_str(), checks[0].pattern.as_deref()),
            ("psql -c 'select 1=1'", Some("^t$"))
        );
        assert_eq!((checks[1].exit, checks[1].limit_s, checks[1].pattern.is_none()), (22, 7, true));
        assert!(args(&["other=x"], Vec::new()).checks().is_err());
        let twice = CheckArgs { commands: pairs(&["a=1", "a=2"]), patterns: vec![], codes: vec![], limit: 1 };
        assert!(twice.checks().is_err() && named("x").is_err() && code("a=b").is_err());
    }
}
