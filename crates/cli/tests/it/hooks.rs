//! Our hooks put into a real guest and taken out again, by a stand-in for systemd that does what it is told.

use crate::guest::{BOOT, Guest};
use crate::scene::Scene;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// The guest has no systemd: these two know one unit, and really restart the agent.
const SYSTEMCTL: &str = r##"#!/bin/sh
drop_in=/etc/systemd/system/qemu-guest-agent.service.d/strongroom.conf
port=/dev/virtio-ports/org.qemu.guest_agent.0
case $1 in
cat)
    echo '# /lib/systemd/system/qemu-guest-agent.service'
    echo '[Service]'
    printf 'ExecStart=-/usr/bin/qemu-ga -d -m virtio-serial -p %s \\\n' $port
    echo '  -t /run -f /run/qemu-ga.pid -l /var/log/qemu-ga.log'
    [ ! -f $drop_in ] || { echo "# $drop_in" && cat $drop_in; }
    ;;
restart)
    line=$($0 cat | while read l; do case $l in ExecStart=?*) echo "${l#ExecStart=-}" ;; esac; done | tail -n 1)
    mkdir -p /run/strongroom
    old=$(cat /run/qemu-ga.pid)
    kill $old
    while [ -d /proc/$old ]; do :; done
    $line
    ;;
daemon-reload) ;;
*) exit 1 ;;
esac
"##;
const SYSTEMD_RUN: &str = r##"#!/bin/sh
while :; do case $1 in --*) shift ;; *) break ;; esac; done
(sleep 1; exec "$@") </dev/null >/dev/null 2>&1 &
"##;

fn boot(scene: &Scene) -> Result<Guest> {
    let mut options = Guest::options(scene, "hooks")?;
    options.hook = false;
    options.postgres = testkit::MachineOptions::new("x", &options.folder, vec![]).postgres;
    let guest = Guest::boot(options)?;
    guest.machine.wait_postgres(BOOT)?;
    Ok(guest)
}

fn give_systemd(guest: &Guest) -> Result<()> {
    for (name, text) in [("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)] {
        let put = format!("cat >/usr/bin/{name} && chmod 755 /usr/bin/{name}");
        let (code, output) = guest.machine.agent().sh_with_input(&put, text)?;
        ensure!(code == 0, "{output}");
    }
    Ok(())
}

fn hooks(scene: &Scene, guest: &Guest, verb: &[&str]) -> Result<Value> {
    scene.ask_program(&[&["guest"], verb, &[guest.name()]].concat())
}

#[test]
fn hooks_are_installed_kept_up_to_date_and_removed() -> Result<()> {
    let scene = Scene::new()?;
    let guest = boot(&scene)?;
    let status = hooks(&scene, &guest, &["status"])?;
    ensure!((&status["hook"], &status["enabled"]) == (&Value::Null, &json!(false)), "{status}");
    ensure!(status["applications"] == json!(["postgresql"]), "{status}");
    ensure!(status["advice"][0].to_string().contains("--with postgresql"), "{status}");
    let point = scene.try_backup(guest.name(), &[])?;
    point.said(&["file-system-consistent", "guest install-hooks"])?;

    // Without systemd the files are put there, and the rest is said.
    let installed = hooks(&scene, &guest, &["install-hooks", "--with", "postgresql"])?;
    ensure!(installed["hook"] == 2 && installed["enabled"] == false, "{installed}");
    ensure!(installed["advice"].to_string().contains("start qemu-ga with -F/etc/strongroom"), "{installed}");

    // With it the agent is restarted. What the administrator made or changed stays, whatever is done.
    give_systemd(&guest)?;
    guest.sh(
        "cd /etc/strongroom && echo '[postgresql]' >freeze.conf && echo '#!/bin/sh' >freeze.d/shop && \
         chmod 755 freeze.d/shop && touch freeze.d/open && chmod 777 freeze.d/open",
    )?;
    for _ in 0..2 {
        let installed = hooks(&scene, &guest, &["install-hooks", "--with", "postgresql,mariadb"])?;
        ensure!(installed["hook"] == 2 && installed["enabled"] == true, "{installed}");
        ensure!(installed["kept"] == json!(["freeze.conf"]), "{installed}");
        let states = json!([
            { "name": "mariadb", "state": "ours" }, { "name": "open", "state": "writable-by-others" },
            { "name": "postgresql", "state": "ours" }, { "name": "shop", "state": "own" },
        ]);
        ensure!(installed["scripts"] == states, "{installed}");
    }
    application_consistent(&scene, &guest)?;

    // A script of ours that was changed is the administrator's.
    guest.sh("cd /etc/strongroom/freeze.d && mv /tmp/mariadb . && echo '# mine' >>mariadb")?;
    let installed = hooks(&scene, &guest, &["install-hooks", "--with", "mariadb"])?;
    ensure!(installed["kept"] == json!(["freeze.conf", "freeze.d/mariadb"]), "{installed}");
    ensure!(guest.sh("ls -A /etc/strongroom")?.trim() == "freeze.conf\nfreeze.d\nfsfreeze-hook\ninstalled");

    let removed = hooks(&scene, &guest, &["remove-hooks"])?;
    ensure!((&removed["hook"], &removed["enabled"]) == (&Value::Null, &json!(false)), "{removed}");
    ensure!(
        guest.sh("cd /etc/strongroom && find . -type f | sort")?.trim()
            == "./freeze.conf\n./freeze.d/mariadb\n./freeze.d/shop",
        "only what is not ours"
    );
    ensure!(hooks(&scene, &guest, &["remove-hooks"])?["enabled"] == false, "once more is harmless");
    scene.try_backup(guest.name(), &[])?.said(&["file-system-consistent"])?;
    guest.quit_and_check()
}

/// The real database takes part; what is not to be trusted or fails costs the level, and is named.
fn application_consistent(scene: &Scene, guest: &Guest) -> Result<()> {
    guest.sh("cd /etc/strongroom/freeze.d && rm open && mv mariadb /tmp")?;
    let before = guest.machine.psql("select checkpoint_lsn from pg_control_checkpoint()")?;
    guest.machine.psql("create table t as select 1")?;
    let point = scene.backup(guest.name())?;
    let consistency = &point["consistency"];
    ensure!(consistency["level"] == "application", "{consistency}");
    ensure!(consistency["hooks"].as_array().is_some_and(|ran| ran.len() == 4), "{consistency}");
    ensure!(consistency["guest_system"]["id"].is_string(), "{consistency}");
    let mounts: Vec<_> = consistency["filesystems"].as_array().into_iter().flatten().collect();
    ensure!(mounts.iter().any(|fs| fs["mountpoint"] == "/data0" && fs["type"] == "ext4"), "{consistency}");
    let after = guest.machine.psql("select checkpoint_lsn from pg_control_checkpoint()")?;
    ensure!(before != after, "a checkpoint was made");

    guest.sh("chmod 777 /etc/strongroom/freeze.d/shop")?;
    let ran = scene.try_backup(guest.name(), &[])?;
    ran.said(&["file-system-consistent", "shop was not run: writable by others"])?;
    guest.sh(
        "cd /etc/strongroom && printf '#!/bin/sh\\nexit 9\\n' >freeze.d/shop && chmod 755 freeze.d/shop",
    )?;
    scene.try_backup(guest.name(), &[])?.said(&["crash-consistent", "hook has failed"])?;
    scene.try_backup(guest.name(), &["--strict"])?.failed(5, &["hook has failed"])?;
    guest.sh("printf '[shop]\\ncontinueBackupOnFailure = true\\n' >/etc/strongroom/freeze.conf")?;
    let ran = scene.try_backup(guest.name(), &[])?;
    ran.said(&["file-system-consistent", "shop ended with exit code 9"])?;
    ensure!(ran.json()?["consistency"]["hooks"].to_string().contains(r#""continued":true"#));
    guest.sh("printf '#!/bin/sh\\nexit 0\\n' >/etc/strongroom/freeze.d/shop").map(drop)
}
