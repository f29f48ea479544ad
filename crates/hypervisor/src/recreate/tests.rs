//! Command lines and definitions as people write them, and what becomes of them.

use super::*;
use crate::{
    DeviceDescription, DiskDescription, ErrorKind, FirmwareDescription, FirmwareKind, MachineDescription,
    NicDescription,
};
use std::path::{Path, PathBuf};

fn disk(id: &str, device: &str, node: &str, file: &str) -> DiskDescription {
    DiskDescription {
        id: id.into(),
        device: device.into(),
        node: node.into(),
        format: "qcow2".into(),
        file: file.into(),
        size: 1 << 20,
        keeps_bitmaps: true,
    }
}

fn machine(words: &[&str], disks: Vec<DiskDescription>) -> MachineDescription {
    let argv = std::iter::once("/usr/bin/qemu-system-x86_64").chain(words.iter().copied());
    MachineDescription {
        argv: argv.map(str::to_owned).collect(),
        folder: Some("/old".into()),
        disks,
        ..MachineDescription::default()
    }
}

fn wanted(disks: &[&str]) -> Recreation {
    let file = |id: &&str| RestoredFile {
        disk: (*id).to_owned(),
        path: format!("/new/{}.raw", id.replace('/', "_")).into(),
        format: "raw".into(),
    };
    Recreation {
        name: "again".into(),
        uuid: Identity::New("11111111-2222-4333-8444-555555555555".into()),
        macs: Macs::Keep,
        network: Network::Keep,
        cpus: None,
        memory_bytes: None,
        disks: disks.iter().map(file).collect(),
        folder: "/run/m".into(),
        over: None,
    }
}

/// The values of an option in a plan.
fn values<'a>(plan: &'a QemuPlan, option: &str) -> Vec<&'a str> {
    let pairs = plan.arguments.windows(2).filter(|pair| pair[0] == format!("-{option}"));
    pairs.map(|pair| pair[1].as_str()).collect()
}

fn told<'a>(left_out: &'a [LeftOut], what: &str) -> &'a str {
    left_out.iter().find(|one| one.what.contains(what)).map_or("", |one| &one.reason)
}

const PERIPHERAL: &str = "/machine/peripheral/";

#[test]
fn disks_are_found_however_they_were_written() {
    let inline = r#"{"driver":"qcow2","node-name":"j","discard":"unmap","cache":{"direct":true},"file":{"driver":"file","filename":"/old/j.qcow2","aio":"native","cache":{"direct":true}}}"#;
    let old = machine(
        &[
            "-nodefaults",
            "-drive",
            "file=/old/a,,b.qcow2,format=qcow2,if=none,id=a,cache=none,l2-cache-size=1M",
            "-device",
            "virtio-blk-pci,drive=a,id=da",
            "-blockdev",
            "driver=file,node-name=k-file,filename=/old/k.qcow2",
            "-blockdev",
            "qcow2,node-name=k,file=k-file,discard=unmap",
            "-device",
            r#"{"driver":"virtio-blk-pci","drive":"k","id":"dk"}"#,
            "-blockdev",
            inline,
            "-device",
            "scsi-hd,drive=j",
            "-drive",
            "if=virtio,format=raw,file=v.img",
            "-hdb",
            "/old/h.qcow2",
            "/old/bare.img",
            "-object",
            "throttle-group,id=g",
            "-blockdev",
            "throttle,node-name=t,throttle-group=g,file=tq",
            "-blockdev",
            "qcow2,node-name=tq,file.driver=file,file.filename=/old/t.qcow2",
            "-device",
            "virtio-blk-pci,drive=t,id=dt",
        ],
        vec![
            disk("da", "/machine/peripheral/da/virtio-backend", "#block1", "/old/a,b.qcow2"),
            disk("dk", "/machine/peripheral/dk/virtio-backend", "k", "/old/k.qcow2"),
            disk("j", "/machine/peripheral-anon/device[3]", "j", "/old/j.qcow2"),
            disk("virtio0", "/machine/peripheral-anon/device[4]", "#block2", "v.img"),
            disk("ide0-hd1", "/machine/unattached/device[5]", "#block3", "/old/h.qcow2"),
            disk("ide0-hd0", "/machine/unattached/device[6]", "#block4", "/old/bare.img"),
            disk("dt", "/machine/peripheral/dt/virtio-backend", "t", "/old/t.qcow2"),
        ],
    );
    let ids = ["da", "dk", "j", "virtio0", "ide0-hd1", "ide0-hd0", "dt"];
    let plan = command_line(&old, &wanted(&ids)).unwrap();
    assert_eq!(
        values(&plan, "drive"),
        [
            "if=none,id=a,cache=none,file=/new/da.raw,format=raw",
            "if=virtio,file=/new/virtio0.raw,format=raw",
            "index=1,media=disk,file=/new/ide0-hd1.raw,format=raw",
            "index=0,media=disk,file=/new/ide0-hd0.raw,format=raw",
        ]
    );
    let nodes = values(&plan, "blockdev");
    assert_eq!(nodes.len(), 4, "{nodes:?}");
    let json: Vec<serde_json::Value> =
        nodes.iter().filter_map(|node| serde_json::from_str(node).ok()).collect();
    assert_eq!(json[0]["file"]["filename"], "/new/dk.raw");
    assert_eq!((&json[0]["node-name"], &json[0]["discard"]), (&"k".into(), &"unmap".into()));
    assert_eq!(json[1]["file"]["filename"], "/new/j.raw");
    assert_eq!(
        (&json[1]["file"]["aio"], &json[1]["file"]["cache"]["direct"]),
        (&"native".into(), &true.into())
    );
    assert_eq!((&json[2]["node-name"], &json[2]["file"]["filename"]), (&"tq".into(), &"/new/dt.raw".into()));
    assert!(nodes.contains(&"throttle,node-name=t,throttle-group=g,file=tq"));
    assert!(!plan.arguments.iter().any(|word| word.contains("/old/")), "{:?}", plan.arguments);
    assert!(plan.left_out.is_empty(), "{:?}", plan.left_out);
    // Whatever is planned reads back as what it is.
    assert_eq!(words::write(&words::parse(&plan.arguments)), plan.arguments);
}

#[test]
fn what_the_original_writes_is_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let there = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "x").unwrap();
        path.display().to_string()
    };
    let (cd, fixed, data, node) = (there("cd.iso"), there("fixed.raw"), there("data.raw"), there("node.raw"));
    let drive = |text: String| ["-drive".to_owned(), text];
    let mut words: Vec<String> = Vec::new();
    words.extend(drive(format!("if=none,id=cd,media=cdrom,file={cd}")));
    words.extend(drive("if=none,id=gone,media=cdrom,file=/none/cd.iso".into()));
    words.extend(drive(format!("if=none,id=fixed,readonly=on,file={fixed}")));
    words.extend(drive(format!("if=none,id=data,file={data}")));
    let more = [
        "-device",
        "virtio-blk-pci,drive=data,id=ddata",
        "-device",
        "virtio-blk-pci,drive=other,id=dother",
        "-blockdev",
        &format!("raw,node-name=other,file.driver=file,file.filename={node}"),
        "-device",
        "vfio-pci,host=01:00.0",
        "-fsdev",
        "local,id=fs0,path=/home,security_model=none",
        "-device",
        "virtio-9p-pci,fsdev=fs0,mount_tag=home",
        "-drive",
        "if=virtio,file=/old/a.qcow2",
        "-gdb",
        "tcp::1234",
        "-daemonize",
        "-pidfile",
        "/run/old.pid",
        "-S",
        "-vnc",
        ":1",
    ];
    words.extend(more.map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let old =
        machine(&words, vec![disk("virtio0", "/machine/peripheral-anon/device[0]", "#b", "/old/a.qcow2")]);
    let plan = command_line(&old, &wanted(&["virtio0"])).unwrap();
    assert_eq!(values(&plan, "drive").len(), 4, "{:?}", plan.arguments);
    for gone in [&data, &node, "/none/", "vfio", "/home", ":1234", "/run/old.pid", "dother", "/old/"] {
        assert!(!plan.arguments.iter().any(|word| word.contains(gone)), "{gone}: {:?}", plan.arguments);
    }
    for kept in [&cd, &fixed] {
        assert!(plan.arguments.iter().any(|word| word.contains(kept.as_str())));
    }
    assert!(told(&plan.left_out, "vfio").contains("the host"));
    assert!(told(&plan.left_out, "the drive other").contains("the original may write"));
    assert!(told(&plan.left_out, "-vnc").contains("address"));
    assert_eq!(values(&plan, "display"), ["none"]);
    assert_eq!(values(&plan, "pidfile"), ["/run/m/qemu.pid"]);
    assert_eq!(values(&plan, "qmp"), ["unix:/run/m/strongroom-qmp.sock,server=on,wait=off"]);
    assert!(!plan.arguments.iter().any(|word| word == "-S"));
}

#[test]
fn what_a_machine_needs_is_refused_by_name_where_it_is_missing() {
    let refused = |words: &[&str], disks: Vec<DiskDescription>, ids: &[&str]| {
        let error = command_line(&machine(words, disks), &wanted(ids)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        error.to_string()
    };
    assert!(refused(&["-kernel", "/none/vmlinuz"], vec![], &[]).contains("/none/vmlinuz (-kernel)"));
    assert!(
        refused(&["-drive", "if=pflash,readonly=on,file=/none/code.fd"], vec![], &[]).contains("code.fd")
    );
    assert!(refused(&["-readconfig", "/a"], vec![], &[]).contains("-readconfig"));
    assert!(refused(&["-netdev", "tap,id=n,fd=7"], vec![], &[]).contains("another program"));
    assert!(refused(&["-tpmdev", "emulator,id=t,chardev=c"], vec![], &[]).contains("TPM"));
    let lost = vec![disk("d", "/machine/x", "#b", "/old/lost.qcow2")];
    assert!(refused(&[], lost, &["d"]).contains("not found on QEMU's command line"));
    let nothing = MachineDescription::default();
    assert!(command_line(&nothing, &wanted(&[])).unwrap_err().to_string().contains("by hand"));
    let long = Recreation { folder: format!("/{}", "x".repeat(110)).into(), ..wanted(&[]) };
    let error = command_line(&machine(&["-qmp", "unix:/a,server"], vec![]), &long).unwrap_err();
    assert!(error.to_string().contains("shorter folder"));
    let relative = Recreation { folder: PathBuf::from("x"), ..wanted(&[]) };
    assert!(command_line(&machine(&[], vec![]), &relative).is_err());
}

#[test]
fn sockets_move_and_monitor_and_agent_are_found_again() {
    let old = machine(
        &[
            "-name",
            "guest=web,debug-threads=on,process=web",
            "-uuid",
            "old",
            "-nographic",
            "-qmp",
            "unix:/run/web/qmp.sock,server=on,wait=off",
            "-qmp",
            "tcp:localhost:4444,server=on",
            "-chardev",
            "socket,path=/run/web/ga,server=on,wait=off,id=qga0",
            "-chardev",
            "socket,id=mon,path=/run/other/qmp.sock,server,nowait",
            "-mon",
            "chardev=mon,mode=control",
            "-device",
            "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0",
            "-serial",
            "file:/var/log/web.log",
            "-serial",
            "tcp:0:55,server",
            "-serial",
            "mon:stdio",
            "-chardev",
            "socket,id=up,path=/run/vhost.sock",
        ],
        vec![],
    );
    let plan = command_line(&old, &wanted(&[])).unwrap();
    assert_eq!(plan.qmp, Path::new("/run/m/qmp.sock"));
    assert_eq!(plan.agent.as_deref(), Some(Path::new("/run/m/ga")));
    assert_eq!(values(&plan, "qmp"), ["unix:/run/m/qmp.sock,server=on,wait=off"]);
    assert_eq!(values(&plan, "serial"), ["file:/run/m/web.log", "null", "file:/run/m/console.log"]);
    let lines = values(&plan, "chardev");
    assert_eq!(lines[1], "backend=socket,id=mon,path=/run/m/2-qmp.sock,server,nowait");
    assert_eq!(lines[2], "null,id=up");
    assert!(told(&plan.left_out, "vhost.sock").contains("the original's"));
    assert_eq!(values(&plan, "name"), ["guest=again,debug-threads=on"]);
    assert_eq!(values(&plan, "uuid"), ["11111111-2222-4333-8444-555555555555"]);
    assert!(!plan.arguments.iter().any(|word| word == "-nographic"));
}

#[test]
fn cards_go_where_they_are_told() {
    let card = |id: &str, netdev: &str| NicDescription {
        id: id.into(),
        driver: "virtio-net-pci".into(),
        mac: format!("52:54:00:00:00:{:02x}", id.len()),
        netdev: Some(netdev.into()),
    };
    let words = [
        "-nodefaults",
        "-netdev",
        "bridge,id=n0,br=br0",
        "-device",
        "virtio-net-pci,netdev=n0,id=card",
        "-nic",
        "tap,ifname=tap7,model=e1000,script=no",
        "-nic",
        "none",
    ];
    let mut old = machine(&words, vec![]);
    old.nics = vec![card("card", "n0"), card("later", "hot")];
    old.plugged_later = vec![
        DeviceDescription { id: "later".into(), driver: "virtio-net-pci".into() },
        DeviceDescription { id: "rng".into(), driver: "virtio-rng-pci".into() },
    ];
    let with = |network, macs| command_line(&old, &Recreation { network, macs, ..wanted(&[]) }).unwrap();

    let plan = with(Network::Disconnected, Macs::Keep);
    assert_eq!(values(&plan, "netdev"), ["type=hubport,id=n0,hubid=1", "hubport,hubid=3,id=net-later"]);
    assert_eq!(values(&plan, "nic"), ["type=hubport,model=e1000,hubid=2", "none"]);
    assert!(values(&plan, "device")[0].ends_with("id=card,mac=52:54:00:00:00:04"));
    assert!(told(&plan.left_out, "rng").contains("plugged in later"));

    let plan = with(Network::Isolated, Macs::New(7));
    assert_eq!(values(&plan, "netdev")[0], "type=user,id=n0,restrict=on");
    let macs: Vec<&str> = plan.arguments.iter().filter_map(|word| word.split("mac=").nth(1)).collect();
    assert!(
        macs.len() == 3 && macs.iter().all(|mac| mac.starts_with("52:54:00:")) && macs[0] != macs[1],
        "{macs:?}"
    );

    let map = [("br0".to_owned(), "br9".to_owned())].into();
    let plan = with(Network::Remap(map), Macs::Keep);
    assert_eq!(values(&plan, "netdev"), ["type=bridge,id=n0,br=br9"]);
    assert!(told(&plan.left_out, "another network").contains("tap7"));
    assert!(told(&plan.left_out, "card later").contains("not known"));
}

#[test]
fn processors_memory_later_disks_and_flash() {
    let words = [
        "-m",
        "512",
        "-smp",
        "2,sockets=2",
        "-machine",
        "q35,memory-backend=ram,pflash1=vars",
        "-object",
        "memory-backend-ram,id=ram,size=512M",
        "-blockdev",
        r#"{"driver":"raw","node-name":"vars","file":{"driver":"file","filename":"/old/vars.fd"}}"#,
        "-chardev",
        "socket,id=tc,path=/run/old/tpm.sock",
        "-tpmdev",
        "emulator,id=tpm0,chardev=tc",
        "-device",
        "tpm-tis,tpmdev=tpm0",
    ];
    let device = format!("{PERIPHERAL}hot/virtio-backend");
    let mut old = machine(
        &words,
        vec![
            disk("hot", &device, "hotnode", "/old/hot.qcow2"),
            disk("vars", "/machine/system.flash1", "vars", "/old/vars.fd"),
        ],
    );
    old.plugged_later = vec![DeviceDescription { id: "hot".into(), driver: "virtio-blk-pci".into() }];
    let firmware = |name: &str, kind| FirmwareDescription { name: name.into(), kind, file: "/x".into() };
    old.firmware =
        vec![firmware("vars", FirmwareKind::Nvram), firmware("tpm2-00.permall", FirmwareKind::Tpm)];
    let sized = |ids: &[&str]| Recreation { cpus: Some(4), memory_bytes: Some(1 << 30), ..wanted(ids) };
    let plan = command_line(&old, &sized(&["hot", "vars", "tpm2-00.permall"])).unwrap();
    assert_eq!((values(&plan, "m"), values(&plan, "smp")), (vec!["size=1024M"], vec!["cpus=4"]));
    assert!(values(&plan, "object")[0].ends_with("size=1024M"));
    assert!(plan.arguments.iter().any(|word| word.contains("/new/vars.raw")));
    assert!(plan.arguments.iter().any(|word| word.contains(r#""drive":"restored-"#)));
    let tpm = plan.tpm.clone().unwrap();
    assert_eq!((tpm.state.as_path(), tpm.version_2), (Path::new("/new"), true));
    assert_eq!(values(&plan, "chardev"), ["socket,id=tc,path=/run/m/swtpm.sock"]);
    let error = command_line(&old, &sized(&["hot", "tpm2-00.permall"])).unwrap_err();
    assert!(error.to_string().contains("flash vars"));
}

const DOMAIN: &str = "<domain type='kvm' id='4' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\
    <name>web</name><uuid>0f1e0000-0000-4000-8000-000000000001</uuid>\
    <metadata><x:y xmlns:x='urn:x'>kept &amp; whole</x:y></metadata>\
    <memory unit='KiB'>2048</memory><currentMemory unit='KiB'>1024</currentMemory>\
    <vcpu current='2'>4</vcpu><os><type arch='x86_64'>hvm</type><nvram template='/t'>/n/vars.fd</nvram></os>\
    <cpu mode='host-model'><topology sockets='2' cores='2' threads='1'/></cpu><devices>\
    <disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/><source dev='/dev/vg/a'/>\
    <backingStore/><target dev='vda' bus='virtio'/></disk>\
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/b.qcow2'/><target dev='vdb'/></disk>\
    <disk type='file' device='cdrom'><source file='/none/cd.iso'/><target dev='sda'/><readonly/></disk>\
    <interface type='bridge'><mac address='52:54:00:aa:bb:cc'/><source bridge='br0'/><target dev='vnet7'/>\
    <model type='virtio'/></interface><hostdev mode='subsystem' type='pci'/>\
    <serial type='file'><source path='/var/log/web.log'/></serial><serial type='tcp'><source host='x'/></serial>\
    <channel type='unix'><source mode='bind' path='/run/q'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
    <graphics type='vnc' port='5901' autoport='no'/><tpm model='tpm-crb'><backend type='emulator'/></tpm></devices>\
    <qemu:commandline><qemu:arg value='-x'/></qemu:commandline></domain>";

#[test]
fn a_domain_becomes_another() {
    let firmware = vec![FirmwareDescription {
        name: "vars.fd".into(),
        kind: FirmwareKind::Nvram,
        file: "/n/vars.fd".into(),
    }];
    let old =
        MachineDescription { definition: Some(DOMAIN.into()), firmware, ..MachineDescription::default() };
    let disks = ["vda", "vars.fd"];
    let with = |network| Recreation {
        network,
        macs: Macs::New(1),
        cpus: Some(3),
        memory_bytes: Some(4 << 20),
        ..wanted(&disks)
    };
    let new = libvirt_definition(&old, &with(Network::Disconnected)).unwrap();
    let read = roxmltree::Document::parse(&new.text).unwrap();
    let all =
        |name: &str| read.descendants().filter(|node| node.tag_name().name() == name).collect::<Vec<_>>();
    let text = |name: &str| all(name)[0].text().unwrap_or_default().trim().to_owned();
    assert_eq!((text("name"), text("uuid")), ("again".into(), "11111111-2222-4333-8444-555555555555".into()));
    assert_eq!(
        (text("vcpu"), text("memory"), text("currentMemory")),
        ("3".into(), "4096".into(), "4096".into())
    );
    assert_eq!((text("y"), text("nvram")), ("kept & whole".into(), "/new/vars.fd.raw".into()));
    assert!(
        read.root_element().attribute("id").is_none()
            && all("topology").is_empty()
            && all("hostdev").is_empty()
    );
    assert_eq!(all("arg")[0].tag_name().namespace(), Some("http://libvirt.org/schemas/domain/qemu/1.0"));
    let disks = all("disk");
    assert_eq!(disks.len(), 2, "one restored, one empty drive");
    let child = |node: &roxmltree::Node<'_, '_>, name: &str, attribute: &str| {
        let found = node.children().find(|child| child.tag_name().name() == name)?;
        found.attribute(attribute).map(str::to_owned)
    };
    assert_eq!(child(&disks[0], "source", "file").as_deref(), Some("/new/vda.raw"));
    assert_eq!(child(&disks[0], "driver", "cache").as_deref(), Some("none"));
    assert_eq!((disks[0].attribute("type"), child(&disks[1], "source", "file")), (Some("file"), None));
    let card = all("interface")[0];
    assert_eq!(
        (card.attribute("type"), child(&card, "link", "state").as_deref()),
        (Some("user"), Some("down"))
    );
    assert_ne!(child(&card, "mac", "address").as_deref(), Some("52:54:00:aa:bb:cc"));
    let serial = all("serial");
    assert_eq!(child(&serial[0], "source", "path").as_deref(), Some("/run/m/serial-1-web.log"));
    assert_eq!(serial[1].attribute("type"), Some("null"));
    assert_eq!(
        (all("graphics")[0].attribute("port"), all("graphics")[0].attribute("autoport")),
        (None, Some("yes"))
    );
    for (what, reason) in [("vdb", "not among"), ("hostdev", "the host"), ("TPM", "swtpm"), ("cards", "")] {
        assert!(told(&new.left_out, what).contains(reason), "{what}: {:?}", new.left_out);
    }

    let isolated = libvirt_definition(&old, &with(Network::Isolated)).unwrap().text;
    assert!(isolated.contains("network=\"strongroom-isolated\"") && !isolated.contains("br0"));
    let map = [("br0".to_owned(), "br9".to_owned())].into();
    assert!(libvirt_definition(&old, &with(Network::Remap(map))).unwrap().text.contains("bridge=\"br9\""));
    let without_variables = Recreation { disks: wanted(&["vda"]).disks, ..with(Network::Keep) };
    assert!(libvirt_definition(&old, &without_variables).unwrap_err().to_string().contains("UEFI"));
    let of_nothing = Recreation { disks: wanted(&["vars.fd", "x"]).disks, ..with(Network::Keep) };
    assert!(libvirt_definition(&old, &of_nothing).unwrap_err().to_string().contains("none of the restored"));
    assert!(libvirt_definition(&MachineDescription::default(), &wanted(&[])).is_err());
}

#[test]
fn disks_over_a_server_stop_the_guest_when_it_is_gone() {
    let over = OverServer { socket: "/r/nbd.sock".into(), patience_s: 10, monitor: "/r/q,1.sock".into() };
    let over = |ids: &[&str]| Recreation { over: Some(over.clone()), ..wanted(ids) };
    let old = machine(
        &["-drive", "file=/old/v.img,format=raw,if=virtio,rerror=report"],
        vec![disk("virtio0", "/machine/peripheral-anon/device[0]", "#block0", "/old/v.img")],
    );
    let plan = command_line(&old, &over(&["virtio0"])).unwrap();
    let stops = values(&plan, "global");
    assert!(stops.contains(&"driver=virtio-blk-device,property=rerror,value=stop"), "{stops:?}");
    let monitors = values(&plan, "qmp");
    assert_eq!(monitors.last(), Some(&"unix:/r/q,,1.sock,server=on,wait=off"));
    assert!(plan.qmp != over(&[]).over.unwrap().monitor, "everybody's monitor is another");

    let old = MachineDescription { definition: Some(DOMAIN.into()), ..MachineDescription::default() };
    let new = libvirt_definition(&old, &over(&["vda"]));
    // The variables of its firmware are not among the files.
    assert!(new.is_err(), "{new:?}");
    let file =
        FirmwareDescription { name: "vars.fd".into(), kind: FirmwareKind::Nvram, file: "/n/vars.fd".into() };
    let old = MachineDescription { firmware: vec![file], ..old };
    let new = libvirt_definition(&old, &over(&["vda", "vars.fd"])).unwrap();
    let read = roxmltree::Document::parse(&new.text).unwrap();
    let one = |name: &str| read.descendants().find(|node| node.tag_name().name() == name).unwrap();
    assert_eq!(one("driver").attribute("rerror_policy"), Some("stop"));
    let beneath = one("backingStore");
    assert_eq!(beneath.parent().and_then(|disk| disk.attribute("type")), Some("file"));
    let source = beneath.children().find(|node| node.has_tag_name("source")).unwrap();
    assert_eq!((source.attribute("protocol"), source.attribute("name")), (Some("nbd"), Some("vda")));
    assert_eq!(one("host").attribute("socket"), Some("/r/nbd.sock"));
    assert_eq!(one("reconnect").attribute("delay"), Some("10"));
}
