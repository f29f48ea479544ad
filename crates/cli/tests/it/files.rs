//! Files out of a point, without restoring it. What file systems hold is compared in the crate `files`; this is the
//! command, over a vault.

use crate::program::Running;
use crate::scene::{Scene, id, names_in};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH")?);
    let output = Command::new("env").arg(format!("PATH={path}")).arg(program).args(arguments).output()?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test")
}

/// A disk with a boot partition of FAT and a system on XFS, as the kernel and mtools write them.
fn disk(scene: &Scene) -> Result<std::path::PathBuf> {
    testkit::ensure_packages(&|_| {})?;
    let [disk, boot, system] = ["disk.raw", "boot", "system"].map(|name| scene.path(name));
    for (path, mebibytes) in [(&disk, 360), (&boot, 32), (&system, 310)] {
        std::fs::File::create(path)?.set_len(mebibytes << 20)?;
    }
    let table = scene.path("table");
    std::fs::write(&table, "label: gpt\nstart=1MiB, size=32MiB\nstart=40MiB, size=310MiB\n")?;
    run("sh", &["-c", &format!("sfdisk -q {} < {}", text(&disk), text(&table))])?;
    run("mkfs.vfat", &["-n", "EFI", text(&boot)])?;
    run("mcopy", &["-i", text(&boot), text(&table), "::/loader.conf"])?;
    run("mkfs.xfs", &["-q", "-L", "system", text(&system)])?;
    let at = scene.path("mounted");
    std::fs::create_dir(&at)?;
    run("mount", &["-o", "loop", text(&system), text(&at)])?;
    let filled = || -> Result<()> {
        std::fs::create_dir_all(at.join("etc/app"))?;
        std::fs::write(at.join("etc/hosts"), "127.0.0.1 localhost\n")?;
        std::fs::write(at.join("etc/app/large"), vec![b'x'; 3 << 20])?;
        std::os::unix::fs::symlink("../hosts", at.join("etc/app/hosts"))?;
        std::fs::write(at.join("etc/\u{1b}[31mred"), "red")?;
        run("chown", &["1234:5678", text(&at.join("etc/hosts"))]).map(|_| ())
    }();
    testkit::unmount(&at)?;
    filled?;
    let file = std::fs::OpenOptions::new().write(true).open(&disk)?;
    file.write_all_at(&std::fs::read(&boot)?, 1 << 20)?;
    file.write_all_at(&std::fs::read(&system)?, 40 << 20)?;
    Ok(disk)
}

#[test]
fn files_come_out_of_a_point() -> Result<()> {
    let scene = Scene::new()?;
    let image = format!("vda={}", disk(&scene)?.display());
    let mut backup =
        scene.command(["backup", "--output", "json", "--name", "still", "--image", &image, "--scratch"]);
    let point = Running::start(backup.arg(scene.path("scratch")))?.finish()?.json()?;
    let id = id(&point)?;

    let volumes = scene.ask(&["files", "volumes", id])?;
    let seen: Vec<_> = volumes
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            [&one["name"], &one["content"], &one["label"]]
                .map(|value| value.as_str().unwrap_or_default().to_owned())
        })
        .collect();
    ensure!(seen == [["vda1", "fat", "EFI"], ["vda2", "xfs", "system"]], "{volumes}");

    let listed = scene.ask(&["files", "ls", id, "vda2:/etc"])?;
    let hosts =
        listed.as_array().into_iter().flatten().find(|one| one["name"] == "hosts").context("hosts")?;
    ensure!(
        (&hosts["uid"], &hosts["gid"], &hosts["size"]) == (&1234.into(), &5678.into(), &20.into()),
        "{hosts}"
    );
    let shown = scene.run(["files", "ls", "latest", "vda2:/etc"])?;
    ensure!(!shown.succeeded()?.contains('\u{1b}'), "a name steers the terminal");

    let said = scene.command(["files", "cat", id, "vda2:/etc/app/hosts"]).output()?;
    ensure!(said.status.success() && said.stdout == b"127.0.0.1 localhost\n", "{said:?}");
    scene.run(["files", "cat", id, "vda2:/etc"])?.failed(2, &["is not a file"])?;
    scene.run(["files", "cat", id, "vda2:/nowhere"])?.failed(3, &["vda2:/nowhere"])?;
    scene.run(["files", "cat", id, "/etc/hosts"])?.failed(2, &["VOLUME:/PATH"])?;

    let found = scene.ask(&["files", "find", id, "--name", "h*s"])?;
    let paths: Vec<_> =
        found.as_array().into_iter().flatten().filter_map(|one| one["path"].as_str()).collect();
    ensure!(paths == ["vda2:/etc/app/hosts", "vda2:/etc/hosts"], "{found}");

    let out = scene.path("out");
    let got: Value = scene.ask(&["files", "get", id, "vda2:/etc", "--to", text(&out)])?;
    ensure!(
        got["files"] == 3 && got["folders"] == 1 && got["links"] == 1 && got["failed_count"] == 0,
        "{got}"
    );
    ensure!(std::fs::read(out.join("app/large"))? == vec![b'x'; 3 << 20]);
    ensure!(std::os::unix::fs::MetadataExt::uid(&out.join("hosts").metadata()?) == 1234);
    scene.run(["files", "get", id, "vda2:/etc", "--to", text(&out)])?.failed(4, &["is not empty"])?;

    let archive = scene.command(["files", "get", id, "vda1:/", "--tar", "-"]).output()?;
    ensure!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
    std::fs::write(scene.path("boot.tar"), archive.stdout)?;
    let names = run("tar", &["-tf", text(&scene.path("boot.tar"))])?;
    ensure!(names == "loader.conf\n", "{names}");
    mounted(&scene, id)
}

/// The point as a folder, until somebody interrupts it.
fn mounted(scene: &Scene, point: &str) -> Result<()> {
    let at = scene.path("at");
    std::fs::create_dir(&at)?;
    let mut mount = Running::start(&mut scene.command(["files", "mount", point, text(&at)]))?;
    mount.wait_for("The files are at")?;
    ensure!(names_in(&at)? == ["vda1", "vda2"]);
    ensure!(std::fs::read(at.join("vda2/etc/app/large"))? == vec![b'x'; 3 << 20]);
    ensure!(std::fs::read_to_string(at.join("vda2/etc/app/hosts"))? == "127.0.0.1 localhost\n", "by a link");
    mount.signal("INT")?;
    let ran = mount.finish()?;
    ensure!(ran.code == Some(0), "{ran:?}");
    ensure!(names_in(&at)?.is_empty(), "it is still mounted");
    let nowhere = scene.path("nowhere");
    scene.run(["files", "mount", point, text(&nowhere)])?.failed(3, &["nowhere"])
}
