//! `strongroom completions` and `strongroom man`: the command line, told to shells and to `man`.

use crate::args::{Args, Shell};
use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use std::io::Write;
use std::path::Path;

pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    write_completions(shell, &mut script);
    match std::io::stdout().write_all(&script) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("print the completions"),
    }
}

fn write_completions(shell: Shell, script: &mut Vec<u8>) {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut Args::command(), "strongroom", script);
}

/// Writes `strongroom.1`, `strongroom-vault.1`, `strongroom-vault-create.1` and so on.
pub(crate) fn man(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    let pages = pages(&command, "strongroom")?;
    for (name, page) in &pages {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    }
    eprintln!("{} pages; `man {}/strongroom.1` shows the first", pages.len(), folder.display());
    Ok(())
}

/// The page of a command, and those of all below it.
fn pages(command: &Command, name: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .with_context(|| format!("write the page {name}"))?;
    let mut all = vec![(name.to_owned(), page)];
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        all.extend(pages(below, &format!("{name}-{}", below.get_name()))?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_made() {
        Args::command().debug_assert();
    }

    /// Everything that `--help` says anywhere, as it is checked in: what people see changes on purpose only. Written
    /// anew with STRONGROOM_WRITE_SNAPSHOTS=1.
    #[test]
    fn the_help_is_as_it_was() {
        let mut command = unaware(Args::command().disable_help_subcommand(true));
        command.build();
        let mut said = String::new();
        helps(&command, &mut said);
        let said = said.replace(&*std::env::temp_dir().to_string_lossy(), "/tmp");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help.txt");
        if std::env::var_os("STRONGROOM_WRITE_SNAPSHOTS").is_some() {
            std::fs::write(&path, &said).expect("write the snapshot");
        }
        let kept = std::fs::read_to_string(&path).expect("read the snapshot");
        let differs = said.lines().zip(kept.lines()).find(|(is, was)| is != was);
        assert!(
            said == kept,
            "STRONGROOM_WRITE_SNAPSHOTS=1 takes the help as it is over; first: {differs:?}"
        );
    }

    /// Whatever the environment says.
    fn unaware(command: Command) -> Command {
        let command = command.mut_args(|argument| argument.hide_env_values(true));
        command.mut_subcommands(unaware)
    }

    /// What is the same everywhere is told once, at the top.
    fn helps(command: &Command, said: &mut String) {
        let is_top = command.get_bin_name() == Some("strongroom");
        let mut shown = command.clone().term_width(100).mut_args(|argument| {
            let is_told = argument.is_global_set() || argument.get_id() == "help";
            if is_told && !is_top { argument.hide(true) } else { argument }
        });
        let help = shown.render_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        *said +=
            &format!("$ {} --help\n{}\n\n", command.get_bin_name().unwrap_or_default(), lines.join("\n"));
        for below in command.get_subcommands() {
            helps(below, said);
        }
    }

    #[test]
    fn every_shell_is_told_of_every_noun() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            write_completions(shell, &mut script);
            let script = String::from_utf8(script).expect("text");
            for word in ["rescue", "login", "policy", "dry-run", "salvage", "forecast"] {
                assert!(script.contains(word), "{shell:?} is not told of {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page_and_hidden_ones_none() {
        let mut command = Args::command().disable_help_subcommand(true);
        command.build();
        let pages = pages(&command, "strongroom").expect("pages");
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["strongroom", "strongroom-policy-dry-run", "strongroom-rescue-vault-create"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("watchdog")), "{names:?}");
        let page = String::from_utf8_lossy(&pages[0].1).into_owned();
        assert!(page.contains("Exit codes"), "{page}");
    }
}
