//! The portal as people use it: a real browser, a real server, a real guest. What is done in the pages stands in
//! `portal/tests`; here is what they are done with.
//!
//! With [`SCREENSHOTS`] set to a folder, every page is pictured into it.

use crate::guest::{Guest, run, until};
use crate::image::{define, disk_of};
use crate::scene::Scene;
use crate::service::{Server, text};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use testkit::{AnotherProvider, LibvirtDaemon};

const SCREENSHOTS: &str = "STRONGROOM_SCREENSHOTS";

/// Runs tests of Playwright's against a server.
fn browse(scene: &Scene, server: &Server, told: &[(&str, &str)], tests: &[&str]) -> Result<()> {
    let portal = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../portal");
    for made in ["dist/index.html", "node_modules/.bin/playwright"] {
        ensure!(portal.join(made).exists(), "portal/{made} is not there: run `cargo xtask portal` first");
    }
    let mut command = Command::new("npx");
    command.args(["--no-install", "playwright", "test"]).args(tests).current_dir(&portal);
    command.arg("--output").arg(scene.path("playwright"));
    command.env("PORTAL_URL", &server.url).env("PORTAL_PASSWORD", server.said("password")?);
    command.env("PORTAL_FOLDER", text(&scene.path(""))?.trim_end_matches('/')).envs(told.iter().copied());
    if let Some(folder) = std::env::var_os(SCREENSHOTS) {
        command.env("PORTAL_SCREENSHOTS", folder);
    }
    let status = command.status().context("run npx, which comes with npm")?;
    ensure!(status.success(), "Playwright says what failed, above");
    Ok(())
}

/// Ends the machine that a journey has restored at once: it runs on by itself.
fn end_twin(folder: &Path) -> Result<()> {
    let pid = std::fs::read_to_string(folder.join("run/qemu.pid")).context("the restored machine runs")?;
    let pid = pid.trim();
    run(Command::new("kill").args(["-KILL", pid]))?;
    until("the restored machine to be gone", || Ok(!Path::new("/proc").join(pid).exists()))
}

#[test]
fn people_find_their_way_through_the_portal() -> Result<()> {
    let scene = Scene::without_vault()?;
    let mut options = Guest::options(&scene, "portal")?;
    if std::env::var_os(SCREENSHOTS).is_some() {
        // Nothing else runs then, so its name need not be the only one.
        options.name = "shop".into();
    }
    let guest = Guest::boot(options)?;
    guest.sh("echo 'dear reader' > /data0/lost-letter.txt && sync")?;
    // A machine that images are made of: off, and nobody's.
    let disk = disk_of(&scene, "golden", &[("etc/os-release", "ID=debian\n")])?;
    let libvirt = LibvirtDaemon::start(&scene.path("libvirt"))?;
    define(&scene, &libvirt, "golden", &disk)?;
    let server = Server::start(&scene)?;
    let told = [("PORTAL_MACHINE", guest.name()), ("PORTAL_LIBVIRT", &libvirt.uri())];
    let walked = browse(&scene, &server, &told, &["journey", "pages"]);
    let ended = end_twin(&scene.path("twin"));
    walked?;
    ended?;
    server.stop()?;
    guest.quit_and_check()
}

#[test]
fn somebody_comes_in_by_single_sign_on() -> Result<()> {
    let scene = Scene::without_vault()?;
    let person = json!({ "sub": "4711", "preferred_username": "alice", "groups": ["ops"] });
    let provider = AnotherProvider::start(&person, &testkit::to_stderr)?;
    std::fs::write(scene.path("secret"), "any will do\n")?;
    let secret = scene.path("secret");
    // The provider is told where to send the browser back to before the server has an address.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
    let address = port.context("find a free port")?.to_string();
    let redirect = format!("https://{address}/sign-in");
    let more = [
        ["--sso-issuer", provider.issuer()],
        ["--sso-client", "strongroom"],
        ["--sso-secret-file", text(&secret)?],
        ["--sso-role", "ops=operator"],
        ["--sso-redirect", &redirect],
    ];
    let server = Server::start_at(&scene, &address, more.as_flattened())?;
    browse(&scene, &server, &[], &["sign-on"])?;
    server.stop()
}

#[test]
fn ten_thousand_machines_are_quick_to_look_at() -> Result<()> {
    let scene = Scene::without_vault()?;
    let server = Server::start(&scene)?;
    browse(&scene, &server, &[], &["many"])?;
    server.stop()
}
