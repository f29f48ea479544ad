//! The usual guest as libvirt wants it told.

use crate::{Accel, GuestImage, MachineOptions};
use anyhow::{Context, Result};

/// The domain's XML. Every disk must be one file.
pub(crate) fn libvirt_xml(image: &GuestImage, options: &MachineOptions, accel: Accel) -> Result<String> {
    let mut disks = String::new();
    for (index, disk) in options.disks.iter().enumerate() {
        let path = disk.path.as_ref().context("a disk for libvirt must be one file")?;
        let target = char::from(b'a' + u8::try_from(index).context("too many disks")?);
        disks += &format!(
            "<disk type='file' device='disk'><driver name='qemu' type='{}' discard='unmap'/>\
             <source file='{}'/><target dev='vd{target}' bus='virtio'/></disk>",
            disk.blockdev["driver"].as_str().unwrap_or("raw"),
            escaped(&path.display().to_string()),
        );
    }
    let (kind, cpu) = match accel {
        Accel::Kvm => ("kvm", "<cpu mode='host-passthrough'/>"),
        // The plain processor of `Accel::arguments`.
        Accel::Tcg => (
            "qemu",
            "<cpu mode='custom' match='exact' check='none'><model>qemu64</model>\
             <feature policy='require' name='rdrand'/></cpu>",
        ),
    };
    let text = |path: &std::path::Path| escaped(&path.display().to_string());
    Ok(format!(
        "<domain type='{kind}'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>{memory}</memory>\
         <vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel>\
         <initrd>{initrd}</initrd><cmdline>{line}</cmdline></os><features><acpi/></features>{cpu}\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}\
         <serial type='file'><source path='{console}'/></serial>\
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
         <memballoon model='none'/></devices></domain>",
        name = escaped(&options.name),
        uuid = options.uuid,
        memory = options.memory_mib,
        kernel = text(&image.kernel),
        initrd = text(&image.initramfs),
        line = escaped(&options.kernel_line()),
        console = text(&options.console_log()),
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}
