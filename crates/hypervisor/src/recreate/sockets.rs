//! What a machine listens on and writes into: all of it moves into the new machine's folder, or is given up.

use super::command_line::Draft;
use super::recreation::{TpmPlan, refused, text_of};
use super::words::Word;
use crate::{FirmwareKind, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Devices of characters that need nothing of the host.
const HARMLESS: &[&str] =
    &["null", "vc", "pty", "ringbuf", "memory", "hub", "mux", "msmouse", "wctablet", "testdev", "dbus"];
/// Displays: each is at an address that the original may have, or on a screen that we may not have.
const DISPLAYS: &[&str] = &["display", "vnc", "spice", "sdl", "curses", "full-screen"];

/// Names in the folder, each given once.
struct Names(BTreeSet<String>);

impl Names {
    fn take(&mut self, path: &str, fallback: &str) -> String {
        let base = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(fallback);
        let mut name = base.to_owned();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{number}-{base}");
            number += 1;
        }
        name
    }
}

/// Moves everything.
pub(super) fn settle(draft: &mut Draft<'_>) -> Result<()> {
    // The names of our own files.
    let ours = ["qemu.pid", "qemu.log", "swtpm.sock", "swtpm.pid", "swtpm.log", "strongroom-qmp.sock"];
    let mut names = Names(ours.map(str::to_owned).into());
    let tpm = tpm(draft)?;
    displays(draft);
    for at in 0..draft.words.len() {
        let word = draft.words[at].clone();
        match word.option.as_str() {
            "chardev" => draft.words[at] = chardev(draft, &mut names, &word, tpm.as_deref())?,
            "qmp" | "qmp-pretty" | "monitor" | "serial" | "parallel" | "debugcon" => {
                draft.words[at] = line(draft, &mut names, &word)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Plans the TPM if there is one; gives the name of its connection.
fn tpm(draft: &mut Draft<'_>) -> Result<Option<String>> {
    let Some(at) = draft.words.iter().position(|word| word.is("tpmdev")) else { return Ok(None) };
    let settings = draft.words[at].settings("type");
    let id = settings.get("id").unwrap_or_default();
    let Some(chardev) = settings.get("chardev") else {
        draft.leave_out(format!("the TPM {id}"), "it is the host's own");
        draft.words[at] = Word::nothing();
        draft.remove_devices("tpmdev", &id);
        return Ok(None);
    };
    let files = draft.description.firmware.iter().filter(|file| file.kind == FirmwareKind::Tpm);
    let state: Vec<(String, PathBuf)> = files
        .filter_map(|file| Some((file.name.clone(), draft.recreation.disk(&file.name)?.path.clone())))
        .collect();
    let folders: BTreeSet<&Path> = state.iter().filter_map(|(_, path)| path.parent()).collect();
    let (Some(folder), 1) = (folders.first(), folders.len()) else {
        let text = "the state of its TPM is not among the restored files, or not in one folder: a guest that keeps \
                    its keys in it would not find them";
        return Err(refused(text));
    };
    let version_2 = state.iter().any(|(name, _)| name.starts_with("tpm2-"));
    let socket = draft.recreation.socket("swtpm.sock")?;
    draft.tpm = Some(TpmPlan { state: folder.to_path_buf(), socket, version_2 });
    Ok(Some(chardev))
}

fn displays(draft: &mut Draft<'_>) {
    let mut is_shown = false;
    for option in DISPLAYS {
        let had: Vec<Word> = draft.words.iter().filter(|word| word.is(option)).cloned().collect();
        let shown = |word: &&Word| !word.is("display") || word.text() != "none";
        if let Some(word) = had.iter().find(shown) {
            is_shown = true;
            let what = format!("the display (-{option} {})", word.text());
            draft.leave_out(what, "its address is the original's; add one with QEMU's monitor");
        }
        draft.remove(option);
    }
    let had_console = draft.remove("nographic");
    let has = |option: &str| draft.words.iter().any(|word| word.is(option));
    // Without a display and a word about it, QEMU looks for a screen.
    let serial = had_console && !has("serial");
    draft.words.push(Word::new("display", "none"));
    if serial {
        draft.words.push(Word::new("serial", "stdio")); // which becomes a file
        draft.words.push(Word::new("monitor", "none"));
    }
    if is_shown {
        // Spice's own channels have nobody to speak to.
        for word in &mut draft.words {
            let mut settings = word.settings("backend");
            if word.is("chardev") && settings.get("backend").is_some_and(|name| name.starts_with("spice")) {
                let id = settings.get("id").unwrap_or_default();
                settings.retain(|_| false);
                settings.set("backend", "null");
                settings.set("id", id);
                *word = Word::new("chardev", settings.write());
            }
        }
    }
}

fn chardev(draft: &mut Draft<'_>, names: &mut Names, word: &Word, tpm: Option<&str>) -> Result<Word> {
    let mut settings = word.settings("backend");
    let id = settings.get("id").unwrap_or_default();
    if tpm == Some(&id) {
        let socket = text_of(&draft.recreation.socket("swtpm.sock")?)?;
        return Ok(Word::new("chardev", format!("socket,id={id},path={}", socket.replace(',', ",,"))));
    }
    let backend = settings.get("backend").unwrap_or_default();
    if let Some(log) = settings.get("logfile") {
        settings.set("logfile", text_of(&draft.recreation.folder.join(names.take(&log, "chardev.log")))?);
    }
    let path = settings.get("path");
    let is_server = settings.is_on("server");
    match (backend.as_str(), path) {
        ("socket", Some(path)) if is_server => {
            let socket = draft.recreation.socket(&names.take(&path, "chardev.sock"))?;
            settings.retain(|key| !matches!(key, "abstract" | "tight"));
            settings.set("path", text_of(&socket)?);
        }
        ("file", Some(path)) => {
            settings.set("path", text_of(&draft.recreation.folder.join(names.take(&path, "chardev.log")))?);
            settings.retain(|key| key != "input-path");
        }
        ("stdio", _) => {
            let file = draft.recreation.folder.join(names.take(&format!("{id}.log"), "stdio.log"));
            return Ok(Word::new(
                "chardev",
                format!("file,id={id},path={}", text_of(&file)?.replace(',', ",,")),
            ));
        }
        (harmless, _) if HARMLESS.contains(&harmless) => {}
        _ => {
            let what = format!("the connection {}", word.text());
            draft.leave_out(what, "it leads out of the machine, to something that is the original's");
            return Ok(Word::new("chardev", format!("null,id={id}")));
        }
    }
    Ok(Word::new("chardev", settings.write()))
}

/// `-serial`, `-qmp` and the like: `KIND:REST`.
fn line(draft: &mut Draft<'_>, names: &mut Names, word: &Word) -> Result<Word> {
    let is_monitor = matches!(word.option.as_str(), "qmp" | "qmp-pretty" | "monitor");
    let text = word.text().strip_prefix("mon:").unwrap_or(word.text());
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let keep = |text: String| Ok(Word::new(&word.option, text));
    match kind {
        "chardev" | "none" | "null" | "vc" | "pty" => keep(text.to_owned()),
        "unix" => {
            let mut settings = super::words::Settings::parse(rest, "path");
            let path = settings.get("path").unwrap_or_default();
            if !settings.is_on("server") {
                return gone(draft, word);
            }
            let socket = text_of(&draft.recreation.socket(&names.take(&path, "line.sock"))?)?;
            settings.retain(|key| key != "path");
            keep(format!("unix:{},{}", socket.replace(',', ",,"), settings.write()))
        }
        "file" | "stdio" if !is_monitor => {
            let path = if rest.is_empty() { "console.log" } else { rest };
            let file = draft.recreation.folder.join(names.take(path, "console.log"));
            keep(format!("file:{}", text_of(&file)?))
        }
        _ => gone(draft, word),
    }
}

/// A line that leads to something of the original's.
fn gone(draft: &mut Draft<'_>, word: &Word) -> Result<Word> {
    let is_monitor = word.option != "serial" && word.option != "parallel" && word.option != "debugcon";
    // A program's standard input is nothing to miss.
    if !word.text().contains("stdio") {
        draft.leave_out(format!("-{} {}", word.option, word.text()), "its address is the original's");
    }
    // A second monitor that is not there is none; a serial port that is not there moves the others.
    match word.option.as_str() {
        "qmp" | "qmp-pretty" => Ok(Word::nothing()),
        _ => Ok(Word::new(&word.option, if is_monitor { "none" } else { "null" })),
    }
}
