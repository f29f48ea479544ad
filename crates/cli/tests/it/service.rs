//! The service as a new user meets it: a server is made and run, a machine of this host protected, and brought back.

use crate::guest::{Guest, assert_equal, until};
use crate::program::Running;
use crate::scene::{Scene, id};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const EXISTS: i32 = 4;
const UNREACHABLE: i32 = 5;
const UNTRUSTED: i32 = 6;
const UNAUTHENTICATED: i32 = 11;
const FORBIDDEN: i32 = 12;

/// A server that runs, and its first administrator.
pub(crate) struct Server {
    running: Running,
    pub(crate) url: String,
    made: Value,
}

impl Server {
    /// Made, run and logged in to.
    pub(crate) fn start(scene: &Scene) -> Result<Self> {
        Self::start_at(scene, "127.0.0.1:0", &[])
    }

    /// The same at an address, with these options more.
    pub(crate) fn start_at(scene: &Scene, listen: &str, more: &[&str]) -> Result<Self> {
        let data = scene.path("data");
        let made = scene.ask_program(&["server", "init", "--data", text(&data)?])?;
        let (running, url) = run(scene, listen, more)?;
        let server = Self { running, url, made };
        server.log_in(scene, "admin", server.said("password")?)?;
        Ok(server)
    }

    pub(crate) fn said(&self, what: &str) -> Result<&str> {
        self.made[what].as_str().with_context(|| format!("{} tells {what}", self.made))
    }

    pub(crate) fn log_in(&self, scene: &Scene, name: &str, password: &str) -> Result<()> {
        let trust = ["--fingerprint", self.said("fingerprint")?];
        let line = [&["login", &self.url, "--name", name, "--password-stdin", "--context", name], &trust[..]];
        let ran = scene.run_with_input(&line.concat(), password)?;
        ensure!(ran.succeeded()?.contains(&format!("as {name}")), "{ran:?}");
        Ok(())
    }

    /// Killed as by a power cut, and run again at the same address.
    pub(crate) fn kill_and_run_again(&mut self, scene: &Scene) -> Result<()> {
        self.running.signal("KILL")?;
        self.running.wait_gone()?;
        let address = self.url.trim_start_matches("https://").to_owned();
        let (running, url) = run(scene, &address, &[])?;
        ensure!(url == self.url, "{url}");
        self.running = running;
        Ok(())
    }

    /// Told to stop, as systemd does.
    pub(crate) fn stop(self) -> Result<()> {
        self.running.signal("TERM")?;
        let ran = self.running.finish()?;
        ensure!(ran.code == Some(0), "{ran:?}");
        ran.said(&["the server has ended"])
    }
}

fn run(scene: &Scene, listen: &str, more: &[&str]) -> Result<(Running, String)> {
    let mut command = scene.program(["server", "run", "--listen", listen]);
    command.args(more);
    command.arg("--data").arg(scene.path("data")).arg("--scratch").arg(scene.path("scratch"));
    let mut running = Running::start(&mut command)?;
    let line = running.wait_for("the server runs")?;
    let url = line.split('"').find(|part| part.starts_with("https://")).context("it tells its address")?;
    let url = url.to_owned();
    Ok((running, url))
}

pub(crate) fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path of the scene is UTF-8")
}

/// A vault, a policy, and the guest's host, whose machines have been told of.
pub(crate) fn prepare(scene: &Scene, guest: &Guest) -> Result<()> {
    scene.ask_program(&["host", "add", "here"])?;
    prepare_vault(scene)?;
    until("the host's machines to be told of", || {
        let machines = scene.ask_program(&["machine", "list", "--standing", "protectable"])?;
        let mut machines = machines.as_array().into_iter().flatten();
        Ok(machines.any(|machine| machine["name"] == guest.name()))
    })
}

/// A vault and a policy.
pub(crate) fn prepare_vault(scene: &Scene) -> Result<()> {
    let place = scene.path("vault");
    let made = scene.run_program(&["vault", "create", "main", text(&place)?, "--output", "json"])?;
    made.said(&["Keep the key file", "not shown again"])?;
    let made = made.json()?;
    ensure!(made["key"].is_string() && made["recovery_key"].is_string(), "{made}");
    let policy = scene.ask_program(&["policy", "create", "nightly", "--daily", "23:00", "--zone", "UTC"])?;
    ensure!(policy["document"]["vault"]["daily"]["keep_days"] == 30, "{policy}");
    Ok(())
}

pub(crate) fn only(list: &Value) -> Result<&Value> {
    let list = list.as_array().context("a list")?;
    ensure!(list.len() == 1, "one: {list:?}");
    Ok(&list[0])
}

#[test]
fn a_machine_is_protected_by_a_server_and_brought_back() -> Result<()> {
    let scene = Scene::without_vault()?;
    let guest = Guest::boot(Guest::options(&scene, "served")?)?;
    let server = Server::start(&scene)?;
    prepare(&scene, &guest)?;

    // Words for ids everywhere; the vault is the only one.
    let protected = scene.ask_program(&["protect", guest.name(), "--policy", "nightly", "--now"])?;
    ensure!(only(&protected)?["item"]["name"] == guest.name(), "{protected}");
    let first = scene.ask_program(&["job", "list", "--machine", guest.name()])?;
    let watched = scene.run_program(&["job", "watch", id(only(&first)?)?, "--output", "json"])?;
    watched.said(&["Take snapshot", "Transfer data to vault"])?;
    // No application has a freeze script in this guest: its file systems at rest are all that there is.
    let ended = watched.json()?;
    ensure!(ended["state"] == "completed" && ended["progress"]["warnings"] == json!([]), "{ended}");
    let points = scene.ask_program(&["point", "list", guest.name()])?;
    ensure!(only(&points)?["consistency"] != "crash", "its agent was asked: {points}");
    let items = scene.run_program(&["item", "list", "--query", "[].[name,state]", "--output", "tsv"])?;
    ensure!(items.succeeded()? == format!("{}\tprotected\n", guest.name()), "{items:?}");

    // From here on points lean on what two data keys have sealed.
    the_vault_gets_a_new_data_key(&scene)?;

    // Of the paused machine: the very bytes.
    guest.sh("guest-probe fill /data0/more 3000000 7 && sync")?;
    guest.machine.pause()?;
    let done = scene.ask_program(&["backup", guest.name()])?;
    ensure!(done["state"].as_str().is_some_and(|state| state.starts_with("completed")), "{done}");
    let source = guest.copy_disks(&scene, "source")?;
    let folder = scene.path("restored");
    let restore = ["restore", guest.name(), "--point", "latest", "--format", "raw", "--to", text(&folder)?];
    let restored = scene.ask_program(&restore)?;
    ensure!(restored["state"] == "completed", "{restored}");
    let images: [PathBuf; 2] = ["d-disk0.raw", "d-disk1.raw"].map(|image| folder.join(image));
    assert_equal(&images, &source)?;
    guest.machine.resume()?;

    points_go_and_come_back(&scene, &guest)?;
    let overview = scene.ask_program(&["overview"])?;
    ensure!(overview["points"] == 2 && overview["items"]["protected"] == 1, "{overview}");
    scene.ask_program(&["audit", "check"])?;
    server.stop()?;
    guest.quit_and_check()
}

/// Whoever opens the vault goes on opening it.
fn the_vault_gets_a_new_data_key(scene: &Scene) -> Result<()> {
    let before = scene.ask_program(&["vault", "keys"])?;
    let kinds: Vec<_> = before["holders"].as_array().into_iter().flatten().map(|one| &one["kind"]).collect();
    ensure!(kinds == ["key-file", "recovery-key"] && before["epochs"] == 1, "{before}");
    let after = scene.ask_program(&["vault", "rotate-key", "main"])?;
    ensure!(after["epochs"] == 2 && after["holders"] == before["holders"], "{after}");
    let told = scene.run_program(&["vault", "keys"])?;
    ensure!(told.succeeded()?.contains("2 data keys open what is there"), "{told:?}");
    Ok(())
}

/// Deletion is asked about, soft, and undone; protection ends and is taken up again.
fn points_go_and_come_back(scene: &Scene, guest: &Guest) -> Result<()> {
    let name = guest.name();
    let points = scene.ask_program(&["point", "list", name])?;
    let oldest = id(&points[0])?;
    let deleted = scene.run_program(&["point", "delete", name, oldest])?;
    deleted.said(&["can be brought back"])?;
    deleted.succeeded()?;
    ensure!(id(only(&scene.ask_program(&["point", "list", name])?)?)? != oldest, "it is gone");
    ensure!(id(only(&scene.ask_program(&["point", "list", name, "--deleted"])?)?)? == oldest, "and kept");
    scene.run_program(&["point", "undelete", name, oldest])?.succeeded()?;
    let back = scene.ask_program(&["point", "list", name])?;
    ensure!(back.as_array().map(Vec::len) == Some(2), "{back}");

    let pinned = scene.ask_program(&["point", "pin", name, "latest"])?;
    ensure!(pinned["pinned"] == true, "{pinned}");
    scene.ask_program(&["point", "unpin", name, "latest"])?;
    let stopped = scene.ask_program(&["stop", name, "--reason", "a test"])?;
    ensure!(stopped["state"] == "stopped", "{stopped}");
    let resumed = scene.ask_program(&["resume", name, "--policy", "nightly"])?;
    ensure!(resumed["state"] == "protected", "{resumed}");
    Ok(())
}

#[test]
fn a_server_that_is_killed_goes_on_where_it_was() -> Result<()> {
    let scene = Scene::without_vault()?;
    let guest = Guest::boot(Guest::options(&scene, "killed-server")?)?;
    guest.sh("guest-probe fill /data0/noise 60000000 1 && sync")?;
    let mut server = Server::start(&scene)?;
    prepare(&scene, &guest)?;
    scene.ask_program(&["protect", guest.name(), "--policy", "nightly", "--now"])?;
    until("the backup to begin", || {
        let jobs = scene.ask_program(&["job", "list"])?;
        Ok(only(&jobs)?["state"] != "queued")
    })?;
    server.kill_and_run_again(&scene)?;

    let jobs = scene.ask_program(&["job", "list"])?;
    let watched = scene.ask_program(&["job", "watch", id(only(&jobs)?)?])?;
    ensure!(watched["state"].as_str().is_some_and(|state| state.starts_with("completed")), "{watched}");
    let points = scene.ask_program(&["point", "list", guest.name()])?;
    only(&points).context("every job happens once")?;
    server.stop()?;
    guest.quit_and_check()
}

#[test]
fn mistakes_at_a_server_are_named_and_told_what_to_do() -> Result<()> {
    let scene = Scene::without_vault()?;
    scene.run_program(&["vault", "list"])?.failed(UNAUTHENTICATED, &["strongroom login"])?;
    let server = Server::start(&scene)?;
    let data = scene.path("data");
    let again = scene.run_program(&["server", "init", "--data", text(&data)?])?;
    ensure!(again.code == Some(EXISTS), "{again:?}");

    let line = ["login", &server.url, "--name", "admin", "--password-stdin", "--context", "other"];
    let untrusted = scene.run_with_input(&line, "x")?;
    untrusted.failed(UNTRUSTED, &[server.said("fingerprint")?, "--fingerprint"])?;
    let another = "AB".repeat(32);
    let wrong = [&line[..], &["--fingerprint", &another]].concat();
    scene.run_with_input(&wrong, "x")?.failed(UNTRUSTED, &["not the server that is meant"])?;
    let right = [&line[..], &["--fingerprint", server.said("fingerprint")?]].concat();
    scene.run_with_input(&right, "not the password")?.failed(UNAUTHENTICATED, &["error:"])?;

    let place = scene.path("vault");
    scene.ask_program(&["vault", "create", "main", text(&place)?])?;
    let policy = ["policy", "create", "nightly", "--daily", "23:00"];
    scene.ask_program(&policy)?;
    for (line, code, says) in [
        (&policy[..], EXISTS, &["nightly", "choose another name"][..]),
        (&["policy", "create", "odd", "--daily", "25:00"], USAGE, &["/document/schedule/time", "25:00"]),
        (&["policy", "delete", "nightly"], USAGE, &["cannot be undone", "--yes"]),
        (&["policy", "show", "daily"], NOT_FOUND, &["no policy daily", "strongroom policy list"]),
        (&["protect", "nobody", "--policy", "nightly"], NOT_FOUND, &["no machine nobody", "machine list"]),
        (&["backup", "nobody"], NOT_FOUND, &["nobody", "strongroom protect"]),
        (&["job", "show", "ffffffff"], NOT_FOUND, &["no job ffffffff"]),
        (&["context", "use", "nowhere"], NOT_FOUND, &["no context nowhere", "admin"]),
    ] {
        scene.run_program(line)?.failed(code, says).with_context(|| line.join(" "))?;
    }
    who_may_only_look_changes_nothing(&scene, &server)?;
    scene.run_program(&["--context", "admin", "policy", "delete", "nightly", "--yes"])?.succeeded()?;
    scene.run_program(&["--context", "admin", "logout"])?.succeeded()?;
    let out = scene.run_program(&["--context", "admin", "vault", "list"])?;
    out.failed(UNAUTHENTICATED, &["nobody is logged in", "strongroom login"])?;
    let url = server.url.clone();
    server.stop()?;
    let gone = scene.run_program(&["--context", "reader", "vault", "list"])?;
    gone.failed(UNREACHABLE, &[&url, "check that the server runs"])
}

fn who_may_only_look_changes_nothing(scene: &Scene, server: &Server) -> Result<()> {
    let password = "correct horse battery";
    let add = ["user", "add", "reader", "--password-stdin", "--role", "reader"];
    scene.run_with_input(&add, password)?.succeeded()?;
    server.log_in(scene, "reader", password)?;
    let vaults = scene.run_program(&["vault", "list", "--query", "[].name", "--output", "tsv"])?;
    ensure!(vaults.succeeded()? == "main\n", "{vaults:?}");
    let refused = scene.run_program(&["policy", "delete", "nightly", "--yes"])?;
    refused.failed(FORBIDDEN, &["reader", "strongroom user grant"])?;
    let token = [
        "--context",
        "admin",
        "user",
        "token",
        "make",
        "reader",
        "--for",
        "a test",
        "--output",
        "tsv",
        "--query",
        "token",
    ];
    let token = scene.run_program(&token)?;
    let mut by_token = scene.program(["vault", "list", "--output", "yaml"]);
    by_token.env("STRONGROOM_TOKEN", token.succeeded()?.trim());
    let listed = Running::start(&mut by_token)?.finish()?;
    ensure!(listed.succeeded()?.contains("name: main"), "{listed:?}");
    let tokens = ["--context", "admin", "user", "token"];
    let list =
        [&tokens[..], &["list", "reader", "--query", "[?kind=='token'].name", "--output", "tsv"]].concat();
    let listed = scene.run_program(&list)?;
    ensure!(listed.succeeded()? == "a test\n", "{listed:?}");
    scene.run_program(&[&tokens[..], &["revoke", "reader", "a test", "--yes"]].concat())?.succeeded()?;
    let mut by_token = scene.program(["vault", "list"]);
    by_token.env("STRONGROOM_TOKEN", token.succeeded()?.trim());
    Running::start(&mut by_token)?.finish()?.failed(UNAUTHENTICATED, &["strongroom login"])
}
