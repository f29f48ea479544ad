//! A machine that was stopped after it was described: its images are those of the description.

use super::image::{Format, Image};
use super::machine::OfflineMachine;
use crate::{Error, ErrorKind, FirmwareDescription, FirmwareKind, MachineDescription, Result};
use std::path::{Path, PathBuf};

impl OfflineMachine {
    /// The machine, now that it is stopped, and what is to be told of it: what was told while it ran, or by libvirt,
    /// so that it can be made again.
    ///
    /// # Errors
    /// `Unsupported` for a disk that is no file of this host, of a format that is not read, and for a machine with a
    /// TPM: its state is of one machine alone, and lies elsewhere.
    pub fn described(
        told: &MachineDescription,
        may_reach_outside: bool,
    ) -> Result<(Self, MachineDescription)> {
        if has_tpm(told) {
            return Err(refused(
                "it has a TPM, whose keys must not be those of several machines; take it out of the machine",
            ));
        }
        let mut images = Vec::new();
        for disk in &told.disks {
            let path = absolute(told, &disk.file);
            if !path.is_file() {
                return Err(refused(&format!(
                    "its disk {} ({}) is no file of this host",
                    disk.id, disk.file
                )));
            }
            let format: Format = disk.format.parse()?;
            images.push(Image { name: disk.id.clone(), path, format, key_file: None, may_reach_outside });
        }
        let mut told = MachineDescription { status: "stopped".into(), stopped: true, ..told.clone() };
        if let Some((path, name)) = variables(&told) {
            told.firmware.push(FirmwareDescription {
                name: name.clone(),
                kind: FirmwareKind::Nvram,
                file: path.display().to_string(),
            });
            images.push(Image { name, path, format: Format::Raw, key_file: None, may_reach_outside });
        }
        let name = told.name.clone().unwrap_or_else(|| "machine".into());
        let machine = Self::new(&name, told.uuid.as_deref(), images)?;
        Ok((machine, told))
    }
}

fn has_tpm(told: &MachineDescription) -> bool {
    let in_definition = || {
        let definition = told.definition.as_deref()?;
        let document = roxmltree::Document::parse(definition).ok()?;
        Some(document.descendants().any(|node| node.has_tag_name("tpm")))
    };
    told.argv.iter().any(|word| word.trim_start_matches('-') == "tpmdev") || in_definition().unwrap_or(false)
}

/// The file of a libvirt machine's UEFI variables, which libvirt does not count among its disks.
fn variables(told: &MachineDescription) -> Option<(PathBuf, String)> {
    let document = roxmltree::Document::parse(told.definition.as_deref()?).ok()?;
    let nvram = document.descendants().find(|node| node.has_tag_name("nvram"))?;
    let path = PathBuf::from(nvram.text()?.trim());
    let name = path.file_name()?.to_str()?.to_owned();
    let is_free = told.disks.iter().all(|disk| disk.id != name);
    (is_free && path.is_file()).then_some((path, name))
}

/// Relative paths are so to where QEMU was started.
fn absolute(told: &MachineDescription, file: &str) -> PathBuf {
    Path::new(told.folder.as_deref().unwrap_or("/")).join(file)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("read the stopped machine: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskDescription;

    fn told(file: &Path) -> MachineDescription {
        let disk = DiskDescription {
            id: "d0".into(),
            device: String::new(),
            node: String::new(),
            format: "qcow2".into(),
            file: file.file_name().expect("a name").to_string_lossy().into_owned(),
            size: 1 << 20,
            keeps_bitmaps: true,
        };
        let folder = file.parent().map(|folder| folder.display().to_string());
        let (name, argv) = (Some("m".into()), vec!["qemu".into(), "-m".into(), "1".into()]);
        MachineDescription { name, argv, folder, disks: vec![disk], ..MachineDescription::default() }
    }

    #[test]
    fn what_was_told_of_it_while_it_ran_stays() {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("a.qcow2");
        let told = told(&file);
        assert_eq!(OfflineMachine::described(&told, false).unwrap_err().kind(), ErrorKind::Unsupported);
        std::fs::write(&file, "").expect("written");
        let (_, kept) = OfflineMachine::described(&told, false).expect("a machine");
        assert!(kept.stopped && kept.argv == told.argv && kept.firmware.is_empty());
        let mut with_tpm = told.clone();
        with_tpm.argv.extend(["-tpmdev".into(), "emulator,id=t,chardev=c".into()]);
        assert!(OfflineMachine::described(&with_tpm, false).is_err());
        let vars = folder.path().join("vars.fd");
        std::fs::write(&vars, "v").expect("written");
        let definition = format!("<domain><os><nvram>{}</nvram></os></domain>", vars.display());
        let (_, kept) =
            OfflineMachine::described(&MachineDescription { definition: Some(definition), ..told }, false)
                .expect("a machine");
        assert_eq!(kept.firmware[0].name, "vars.fd");
    }
}
