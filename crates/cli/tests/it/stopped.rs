//! Stopped machines, from their images into a vault and back.

use crate::guest::{Guest, assert_equal, check_image, run};
use crate::program::{Ran, Running};
use crate::scene::{Scene, id, tracking};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

impl Scene {
    /// Backs a stopped machine up, however it ends.
    fn try_stopped(&self, name: &str, images: &[String], options: &[&str]) -> Result<Ran> {
        let mut command = self.command(["backup", "--output", "json", "--name", name, "--scratch"]);
        command.arg(self.path("scratch")).args(images.iter().flat_map(|image| ["--image", image]));
        Running::start(command.args(options))?.finish()
    }
}

/// 24 MiB: noise, holes, and zeros that are written.
fn sparse_noise(path: &Path) -> Result<()> {
    let file = std::fs::File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for (offset, kib) in [(0, 64), (1 << 20, 900), (5 << 20, 4), ((9 << 20) + 512, 1500), (20 << 20, 300)] {
        let bytes: Vec<u8> = (0..kib * 128).flat_map(|_| noise()).collect();
        file.write_all_at(&bytes, offset)?;
    }
    file.write_all_at(&[0; 1 << 20], 14 << 20)?;
    Ok(file.set_len(24 << 20)?)
}

/// Each by what qemu-img is told: disk's name, format, options.
const FORMATS: [(&str, &str, &str); 11] = [
    ("raw", "raw", ""),
    ("qcow2", "qcow2", ""),
    ("small", "qcow2", "compat=0.10,cluster_size=512"),
    ("zstd", "qcow2", "compression_type=zstd"),
    ("vhd", "vpc", "force_size=on"),
    ("fixed", "vpc", "subformat=fixed,force_size=on"),
    ("vhdx", "vhdx", ""),
    ("vmdk", "vmdk", ""),
    ("stream", "vmdk", "subformat=streamOptimized"),
    ("vdi", "vdi", ""),
    ("luks", "luks", "key-secret=k,iter-time=200"),
];

/// See where it is used.
const KEY_TRIES: u32 = 5;

#[test]
fn every_format_comes_back_byte_for_byte() -> Result<()> {
    let scene = Scene::new()?;
    let source = scene.path("source.raw");
    sparse_noise(&source)?;
    let key = scene.path("passphrase");
    std::fs::write(&key, "open sesame")?;
    let secret = format!("secret,id=k,file={}", key.display());
    let mut images = Vec::new();
    let inner = "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=200";
    for (name, format, options) in FORMATS.into_iter().chain([("inner", "qcow2", inner)]) {
        let image = scene.path(&format!("{name}.image"));
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "--object", &secret, "-f", "raw", "-O", format]);
        if name == "zstd" {
            convert.arg("-c");
        }
        if !options.is_empty() {
            convert.args(["-o", options]);
        }
        convert.arg(&source).arg(&image);
        // On a busy host qemu-img at times cannot tell how long a key takes it, and gives up.
        (0..KEY_TRIES).find(|_| run(&mut convert).is_ok()).context("make the image")?;
        let keyed = if options.contains("key-secret") {
            format!(",key-file={}", key.display())
        } else {
            String::new()
        };
        images.push(format!("{name}={},format={format}{keyed}", image.display()));
    }
    let point = scene.try_stopped("all", &images, &[])?.json()?;
    ensure!(point["consistency"]["level"] == "crash" && point["machine"]["name"] == "all", "{point}");
    let folder = scene.path("back");
    let mut restore = scene.command(["restore", "disks", id(&point)?, "--format", "raw", "--to"]);
    Running::start(restore.arg(&folder))?.finish()?.succeeded()?;
    for (name, ..) in FORMATS.into_iter().chain([("inner", "", "")]) {
        let back = folder.join(format!("{name}.raw"));
        run(Command::new("cmp").arg(&source).arg(&back))?;
    }
    // No key stands on any command line, and nothing of a run stays.
    ensure!(std::fs::read_dir(scene.path("scratch"))?.count() == 0);
    ensure!(std::fs::read_dir(scene.path("tmp"))?.count() == 0);

    let wrong = scene.path("wrong");
    std::fs::write(&wrong, "open barley")?;
    let image = |key: &str| format!("d={},format=luks{key}", scene.path("luks.image").display());
    let refused = |image: String| scene.try_stopped("all", &[image], &[]);
    refused(image(""))?.failed(2, &["it is encrypted: give its passphrase with key-file=FILE"])?;
    refused(image(&format!(",key-file={}", wrong.display())))?.failed(1, &["Invalid password"])
}

/// A machine's life: backed up while it runs, stopped, backed up from its images, started, backed up again.
#[test]
fn the_stopped_machine_goes_on_where_the_running_one_ended() -> Result<()> {
    let scene = Scene::new()?;
    let options = Guest::options(&scene, "m")?;
    let disks = [0, 1].map(|disk| scene.path(&format!("m/data{disk}.qcow2")));
    let (name, uuid) = (options.name.clone(), options.uuid.to_string());
    let images: Vec<String> = (0..2).map(|disk| format!("d-disk{disk}={}", disks[disk].display())).collect();
    let guest = Guest::boot(options.clone())?;
    let online = scene.backup(&name)?;
    // While it runs its images are not to be read.
    let refused = scene.try_stopped(&name, &images, &["--uuid", &uuid])?;
    refused.failed(5, &["is in use; back the running machine up"])?;
    guest.sh("guest-probe fill /data0/more 3000000 1; sync")?;
    guest.quit_and_check()?;

    let stopped = scene.try_stopped(&name, &images, &["--uuid", &uuid])?.json()?;
    ensure!(tracking(&stopped) == ["only changes", "only changes"], "{stopped}");
    let read = stopped["stats"]["read_bytes"].as_u64().unwrap_or_default();
    ensure!((3_000_000..40 << 20).contains(&read), "{read} bytes were read");
    assert_equal(&scene.restore(&stopped, "stopped", "raw")?, &truth(&scene, &disks, "first")?)?;
    disks.iter().try_for_each(|disk| check_image(disk))?;

    // Started again, its record goes on from the online point.
    let guest = Guest::boot(options.clone())?;
    guest.sh("guest-probe fill /data1/more 2000000 2; sync")?;
    let again = scene.backup(&name)?;
    ensure!(tracking(&again) == ["only changes", "only changes"], "{again}");
    ensure!(again["parent"] == online["id"], "an offline point is no parent: {again}");
    guest.sh("guest-probe fill /data0/last 1000000 3; sync")?;
    // Killed, it leaves no record that can be believed.
    guest.machine.kill()?;
    let killed = scene.try_stopped(&name, &images, &["--uuid", &uuid])?.json()?;
    let everything = |how: &&str| how.starts_with("everything: ");
    ensure!(tracking(&killed).iter().all(everything), "{killed}");
    assert_equal(&scene.restore(&killed, "killed", "raw")?, &truth(&scene, &disks, "second")?)
}

/// What the images hold, read past the product.
fn truth(scene: &Scene, disks: &[PathBuf; 2], name: &str) -> Result<[PathBuf; 2]> {
    let targets = [0, 1].map(|disk| scene.path(&format!("{name}{disk}.truth")));
    for (source, target) in disks.iter().zip(&targets) {
        run(Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(source).arg(target))?;
    }
    Ok(targets)
}
