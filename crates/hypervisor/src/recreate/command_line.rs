//! QEMU's command line for the new machine.

use super::recreation::{Identity, LeftOut, QemuPlan, Recreation, TpmPlan, refused, text_of};
use super::words::{self, Word};
use super::{cards, drives, host, over_server, sockets};
use crate::qemu::parse;
use crate::{MachineDescription, Result};
use std::path::PathBuf;

const MIB: u64 = 1 << 20;

/// A command line on its way from the old machine to the new.
pub(super) struct Draft<'a> {
    pub(super) description: &'a MachineDescription,
    pub(super) recreation: &'a Recreation,
    pub(super) words: Vec<Word>,
    pub(super) tpm: Option<TpmPlan>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Plans the new machine. Nothing is done yet; the restored files need not be there.
///
/// # Errors
/// `Unsupported` with what stands in the way: a point without a command line, a host's file that is missing, flash
/// or TPM that is not among the restored files.
pub fn command_line(description: &MachineDescription, recreation: &Recreation) -> Result<QemuPlan> {
    recreation.check()?;
    let [program, arguments @ ..] = &description.argv[..] else {
        let text = "the point does not tell how its QEMU was started (it was made of a stopped machine, or of one \
                    whose process was not ours to read); start QEMU on the restored disks by hand";
        return Err(refused(text));
    };
    let words = words::parse(arguments);
    let mut draft = Draft { description, recreation, words, tpm: None, left_out: Vec::new() };
    drives::replace(&mut draft)?;
    host::check(&mut draft)?;
    sockets::settle(&mut draft)?;
    cards::connect(&mut draft)?;
    draft.name();
    draft.size()?;
    draft.finish(program)
}

impl Draft<'_> {
    pub(super) fn leave_out(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push(LeftOut { what: what.into(), reason: reason.into() });
    }

    /// A path of the old command line; relative ones are so to where QEMU was started.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        PathBuf::from(self.description.folder.as_deref().unwrap_or("/")).join(path)
    }

    /// Takes out devices by one of their settings. What stands behind them keeps its place.
    pub(super) fn remove_devices(&mut self, key: &str, value: &str) {
        for word in self.words.iter_mut().filter(|word| word.is("device")) {
            if word.settings("driver").get(key).as_deref() == Some(value) {
                *word = Word::nothing();
            }
        }
    }

    /// Takes out all options of a name; says whether there were any.
    pub(super) fn remove(&mut self, option: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| !word.is(option));
        self.words.len() < before
    }

    fn name(&mut self) {
        let name = &self.recreation.name;
        match self.words.iter_mut().rfind(|word| word.is("name")) {
            Some(word) => {
                let mut settings = word.settings("guest");
                settings.retain(|key| matches!(key, "guest" | "debug-threads"));
                settings.set("guest", name);
                *word = Word::new("name", settings.write());
            }
            None => self.words.push(Word::new("name", format!("guest={name}"))),
        }
        if let Identity::New(uuid) = &self.recreation.uuid {
            self.remove("uuid");
            self.words.push(Word::new("uuid", uuid));
        }
    }

    fn size(&mut self) -> Result<()> {
        let has_numa = self.words.iter().any(|word| word.is("numa"));
        if has_numa && (self.recreation.cpus.is_some() || self.recreation.memory_bytes.is_some()) {
            return Err(refused(
                "its processors and memory are laid out in NUMA nodes; keep their number and size",
            ));
        }
        if let Some(cpus) = self.recreation.cpus {
            let old = self.words.iter().rfind(|word| word.is("smp"));
            if old.is_some_and(|word| word.settings("cpus").keys() != ["cpus"]) {
                self.leave_out("the layout of its processors", "their number is another");
            }
            self.remove("smp");
            self.words.push(Word::new("smp", format!("cpus={cpus}")));
        }
        match self.recreation.memory_bytes {
            Some(bytes) if !bytes.is_multiple_of(MIB) => Err(refused("memory is told in whole MiB")),
            Some(bytes) => {
                self.memory(&format!("{}M", bytes / MIB));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn memory(&mut self, size: &str) {
        let machine = self.words.iter().find(|word| matches!(word.option.as_str(), "machine" | "M"));
        let backend = machine.and_then(|word| word.settings("type").get("memory-backend"));
        for word in &mut self.words {
            let is_backend =
                word.is("object") && backend.is_some() && word.settings("qom-type").get("id") == backend;
            if word.is("m") || is_backend {
                let mut settings = word.settings(if is_backend { "qom-type" } else { "size" });
                settings.set("size", size);
                *word = Word::new(&word.option.clone(), settings.write());
            }
        }
        if !self.words.iter().any(|word| word.is("m")) {
            self.words.push(Word::new("m", format!("size={size}")));
        }
    }

    /// Gives it a monitor if it has none, and makes it a process of its own.
    fn finish(mut self, program: &str) -> Result<QemuPlan> {
        let folder = self.recreation.folder.clone();
        let argv = |words: &[Word]| [vec![program.to_owned()], words::write(words)].concat();
        let seen = parse(0, argv(&self.words))
            .ok_or_else(|| refused(format!("{program} is no QEMU that we know")))?;
        let qmp = match seen.qmp.first() {
            Some(qmp) => qmp.clone(),
            None => {
                let qmp = self.recreation.socket("strongroom-qmp.sock")?;
                let path = text_of(&qmp)?.replace(',', ",,");
                self.words.push(Word::new("qmp", format!("unix:{path},server=on,wait=off")));
                qmp
            }
        };
        // After the monitor that is everybody's, which is known as the first.
        if let Some(over) = &self.recreation.over {
            self.words.extend(over_server::words(over)?);
        }
        let mut plan = QemuPlan {
            program: program.to_owned(),
            arguments: Vec::new(),
            folder,
            qmp,
            agent: seen.agent,
            tpm: self.tpm,
            left_out: self.left_out,
        };
        self.words.push(Word::new("pidfile", text_of(&plan.pid_file())?));
        self.words.push(Word { option: "daemonize".into(), value: None });
        plan.arguments = words::write(&self.words);
        Ok(plan)
    }
}
