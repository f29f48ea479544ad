//! What of the host a machine uses besides its disks: files it starts from, devices and folders that are passed through.

use super::command_line::Draft;
use super::recreation::{refused, text_of};
use super::words::Word;
use crate::Result;

/// Files that QEMU starts a guest from; each must be there.
const FILES: &[&str] = &["kernel", "initrd", "dtb", "shim"];
/// Devices of the host, by the beginning of their drivers' names.
const PASSED_THROUGH: &[&str] = &[
    "vfio-",
    "usb-host",
    "scsi-generic",
    "scsi-block",
    "vhost-user-",
    "vhost-scsi",
    "vhost-vsock",
    "ivshmem",
    "tpm-passthrough",
    "pc-dimm-nvdimm",
    "nvdimm",
];
/// Options whose effect is the process's and not the machine's, and why they go where that is worth a word.
const OF_PROCESS: &[(&str, Option<&str>)] = &[
    ("daemonize", None),
    ("pidfile", None),
    ("D", None),
    ("S", None),
    ("incoming", None),
    ("loadvm", Some("its memory is not in the point: it boots")),
    ("gdb", Some("its port is the original's")),
    ("s", Some("its port is the original's")),
    ("chroot", Some("the restored files lie outside of it")),
    ("runas", Some("the restored files are ours")),
    ("usbdevice", Some("it may be a device of the host")),
    ("virtfs", Some("the original shares that folder of the host")),
    ("fsdev", Some("the original shares that folder of the host")),
    ("plugin", Some("it is a program of the host")),
    ("writeconfig", None),
    ("trace", None),
];

/// Refuses what is missing, takes out what is the original's alone.
pub(super) fn check(draft: &mut Draft<'_>) -> Result<()> {
    for (option, why) in OF_PROCESS {
        let values: Vec<Word> = draft.words.iter().filter(|word| word.is(option)).cloned().collect();
        for word in &values {
            if let Some(id) = word.is("fsdev").then(|| word.settings("fsdriver").get("id")).flatten() {
                draft.remove_devices("fsdev", &id);
            }
            if let Some(why) = why {
                draft.leave_out(format!("-{option} {}", word.text()), *why);
            }
        }
        draft.remove(option);
    }
    for option in ["readconfig", "add-fd"] {
        if draft.words.iter().any(|word| word.is(option)) {
            let text =
                format!("it was started with -{option}, which may hold disks that nobody can tell from here");
            return Err(refused(text));
        }
    }
    devices(draft);
    objects(draft)?;
    files(draft)
}

fn devices(draft: &mut Draft<'_>) {
    for at in 0..draft.words.len() {
        if !draft.words[at].is("device") {
            continue;
        }
        let driver = draft.words[at].settings("driver").get("driver").unwrap_or_default();
        if PASSED_THROUGH.iter().any(|beginning| driver.starts_with(beginning)) {
            let what = format!("the device {}", draft.words[at].text());
            draft.leave_out(what, "it is one of the host, and the original may be using it");
            draft.words[at] = Word::nothing();
        }
    }
}

fn objects(draft: &mut Draft<'_>) -> Result<()> {
    for at in 0..draft.words.len() {
        let (file, kind) = match draft.words[at].option.as_str() {
            "object" => {
                let settings = draft.words[at].settings("qom-type");
                (settings.get("file"), settings.get("qom-type").unwrap_or_default())
            }
            "fw_cfg" => (draft.words[at].settings("name").get("file"), "fw_cfg".to_owned()),
            _ => continue,
        };
        if kind == "input-linux" {
            draft.leave_out(format!("-object {}", draft.words[at].text()), "it is a device of the host");
            draft.words[at] = Word::nothing();
        } else if let Some(path) = file.map(|file| draft.absolute(&file))
            && !path.exists()
        {
            return Err(refused(format!(
                "it needs {} for -object {kind}; bring it to this host",
                path.display()
            )));
        }
    }
    Ok(())
}

fn files(draft: &mut Draft<'_>) -> Result<()> {
    for at in 0..draft.words.len() {
        let word = &draft.words[at];
        // Firmware that is named without a folder is QEMU's own.
        let is_named =
            FILES.contains(&word.option.as_str()) || (word.is("bios") && word.text().contains('/'));
        if !is_named {
            continue;
        }
        let (option, path) = (word.option.clone(), draft.absolute(word.text()));
        if !path.is_file() {
            let text = format!("it starts from {} (-{option}); bring that file to this host", path.display());
            return Err(refused(text));
        }
        draft.words[at] = Word::new(&option, text_of(&path)?);
    }
    Ok(())
}
