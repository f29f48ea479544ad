//! The script that installs the hook, on a made-up system whose unit is RHEL's.

use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

const SETUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/setup");

/// RHEL's unit continues its line and takes the hook from a file that is the administrator's.
const SYSTEMCTL: &str = r"#!/bin/sh
[ $1 = cat ] || exit 0
printf '# /usr/lib/systemd/system/qemu-guest-agent.service\n[Service]\nEnvironmentFile=/etc/sysconfig/qemu-ga\n'
printf 'ExecStart=/usr/bin/qemu-ga \\\n  --method=virtio-serial \\\n  -F${FSFREEZE_HOOK_PATHNAME}\n'
";

fn setup(root: &Path, shell: &[&str], verb: &str, agent: &str) -> Result<(bool, String)> {
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", root.join("bin").display());
    let ran = Command::new(shell[0])
        .args(&shell[1..])
        .args([SETUP, verb])
        .env("PATH", path)
        .env("STRONGROOM_ROOT", root)
        .env("STRONGROOM_AGENT_LINE", agent)
        .output()?;
    Ok((ran.status.success(), String::from_utf8(ran.stdout)?))
}

#[test]
fn a_unit_like_rhels_is_told_by_a_file_that_comes_later() -> Result<()> {
    for shell in [&["dash"][..], &["busybox", "sh"], &["bash", "--posix"]] {
        let root = tempfile::tempdir()?;
        let root = root.path();
        fs::create_dir(root.join("bin"))?;
        for (name, text) in [
            ("systemctl", SYSTEMCTL),
            ("systemd-run", "#!/bin/sh\n"),
            ("selinuxenabled", "#!/bin/sh\nexit 1\n"),
        ] {
            fs::write(root.join("bin").join(name), text)?;
            ensure!(Command::new("chmod").arg("755").arg(root.join("bin").join(name)).status()?.success());
        }
        let etc = root.join("etc/strongroom");
        ensure!(setup(root, shell, "install", "qemu-ga")?.1.contains("failed nothing is staged"));
        ensure!(setup(root, shell, "stage", "qemu-ga")?.0);
        fs::write(etc.join(".new/fsfreeze-hook"), "#!/bin/sh\n# strongroom-hook 2\n")?;
        let (done, said) = setup(root, shell, "install", "qemu-ga -F/etc/qemu-ga/fsfreeze-hook ")?;
        ensure!(done && said == "restart yes\n", "{shell:?}: {said}");
        let drop_in = root.join("etc/systemd/system/qemu-guest-agent.service.d/strongroom.conf");
        let text = fs::read_to_string(&drop_in)?;
        ensure!(
            text.ends_with("EnvironmentFile=/etc/strongroom/qemu-ga.env\n") && !text.contains("ExecStart"),
            "{text}"
        );
        let environment = fs::read_to_string(etc.join("qemu-ga.env"))?;
        ensure!(environment == "FSFREEZE_HOOK_PATHNAME=/etc/strongroom/fsfreeze-hook\n");

        let called = "/usr/bin/qemu-ga --method=virtio-serial -F/etc/strongroom/fsfreeze-hook ";
        let (done, said) = setup(root, shell, "status", called)?;
        ensure!(done && said.starts_with("hook 2\nenabled yes\n"), "{shell:?}: {said}");
        let (done, said) = setup(root, shell, "erase", called)?;
        ensure!(
            !done && said.contains("still runs with"),
            "an agent without its hook could not freeze: {said}"
        );
        ensure!(setup(root, shell, "disable", called)? == (true, "restart yes\n".into()));
        ensure!(!drop_in.exists());
        ensure!(setup(root, shell, "erase", "qemu-ga")?.0 && !etc.exists(), "nothing of ours is left");
    }
    Ok(())
}
