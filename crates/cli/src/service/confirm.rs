//! Asking before something is done that somebody may regret.

use crate::failure::Told;
use anyhow::Result;
use clap::Args as ClapArgs;
use std::io::{BufRead, IsTerminal, Write};

/// Whether to ask.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct Yes {
    /// Do it without asking.
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Whether what is asked about can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// For some time at least.
    Possible,
    /// Never.
    Impossible,
}

/// What to do without asking.
#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Go,
    Ask,
    Refuse,
}

/// Asks whether to do it, having told of the consequences. Ends the command if not.
pub(crate) fn confirm(yes: Yes, undo: Undo, consequences: &str) -> Result<()> {
    eprintln!("{}", consequences.trim_end());
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    match rule(yes.yes, terminal, undo) {
        Rule::Go => Ok(()),
        Rule::Refuse => {
            Err(Told::usage("this cannot be undone, and nobody is here to be asked", "add --yes"))
        }
        Rule::Ask => {
            eprint!("Do it? [y/N] ");
            std::io::stderr().flush()?;
            let mut answer = String::new();
            std::io::stdin().lock().read_line(&mut answer)?;
            if is_yes(&answer) { Ok(()) } else { Err(Told::declined("nothing was changed")) }
        }
    }
}

fn rule(yes: bool, terminal: bool, undo: Undo) -> Rule {
    match (yes, terminal, undo) {
        (true, ..) => Rule::Go,
        (false, true, _) => Rule::Ask,
        (false, false, Undo::Possible) => Rule::Go,
        (false, false, Undo::Impossible) => Rule::Refuse,
    }
}

pub(super) fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_undone_is_done_only_when_somebody_says_so() {
        for undo in [Undo::Possible, Undo::Impossible] {
            assert_eq!(rule(true, false, undo), Rule::Go, "a script that knows");
            assert_eq!(rule(true, true, undo), Rule::Go);
            assert_eq!(rule(false, true, undo), Rule::Ask, "a person is always asked");
        }
        assert_eq!(rule(false, false, Undo::Possible), Rule::Go);
        assert_eq!(rule(false, false, Undo::Impossible), Rule::Refuse);
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" YES ") && is_yes("Yes"));
        assert!(!is_yes("") && !is_yes("\n") && !is_yes("n") && !is_yes("yess") && !is_yes("да"));
    }
}
