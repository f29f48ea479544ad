//! A point read over NBD, by other people's programs.

use crate::guest::{Guest, run};
use crate::program::Running;
use crate::scene::{Scene, id};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn nbd_serve() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::still(&scene, "serve")?;
    let point = scene.backup(guest.name())?;
    let raw = scene.restore(&point, "restored", "raw")?;
    drop(guest); // a point needs no machine to be read
    let socket = scene.path("point.sock");

    let server = serve(&scene, &point, &socket, &[])?;
    let list: Value =
        serde_json::from_str(&run(Command::new("nbdinfo").args(["--json", "--list", &uri("", &socket)]))?)?;
    let exports = list["exports"].as_array().context("exports")?;
    let found: Vec<_> =
        exports.iter().map(|e| (e["export-name"].as_str(), e["export-size"].as_u64())).collect();
    ensure!(found == [(Some("d-disk0"), Some(1 << 30)), (Some("d-disk1"), Some(512 << 20))], "{list}");
    ensure!(exports.iter().all(|export| export["is_read_only"] == true), "{list}");
    for (disk, raw) in ["d-disk0", "d-disk1"].into_iter().zip(&raw) {
        let uri = uri(disk, &socket);
        let copy = scene.path(&format!("{disk}.copy"));
        run(Command::new("nbdcopy").arg(&uri).arg(&copy))?;
        run(Command::new("cmp").arg(&copy).arg(raw))?;
        run(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "raw", &uri]).arg(raw))?;
    }
    end(server, "INT", &socket)?;

    // A single disk is the default export too; nothing else can be had.
    let server = serve(&scene, &point, &socket, &["--disk", "d-disk1"])?;
    let size = run(Command::new("nbdinfo").args(["--size", &uri("", &socket)]))?;
    ensure!(size.trim() == (512 << 20).to_string(), "{size}");
    ensure!(run(Command::new("nbdinfo").arg(uri("d-disk0", &socket))).is_err(), "d-disk0 is not served");
    // A second server must not take the socket away from the first.
    let second = scene.command(["nbd", "serve", id(&point)?, "--socket"]).arg(&socket).output()?;
    let said = String::from_utf8_lossy(&second.stderr);
    ensure!(!second.status.success() && said.contains("the path is in use"), "{said}");
    run(Command::new("nbdinfo").args(["--size", &uri("d-disk1", &socket)]))?;
    end(server, "TERM", &socket)
}

fn serve(scene: &Scene, point: &Value, socket: &Path, options: &[&str]) -> Result<Running> {
    let mut command = scene.command(["nbd", "serve", id(point)?, "--output", "json", "--socket"]);
    let mut server = Running::start(command.arg(socket).args(options))?;
    server.wait_for("Serving point")?;
    Ok(server)
}

fn end(server: Running, signal: &str, socket: &Path) -> Result<()> {
    server.signal(signal)?;
    let ran = server.finish()?;
    let uris = ran.json()?;
    ensure!(
        uris["exports"][0]["uri"].as_str().is_some_and(|uri| uri.starts_with("nbd+unix:///d-disk")),
        "{uris}"
    );
    ensure!(!socket.exists(), "the socket should be gone");
    Ok(())
}

fn uri(disk: &str, socket: &Path) -> String {
    format!("nbd+unix:///{disk}?socket={}", socket.display())
}
