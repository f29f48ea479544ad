//! Who can open a vault: every kind of key opens every command, and each mistake is met.

use crate::program::{Ran, Running};
use crate::scene::{Scene, id, names_in};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const EXISTS: i32 = 4;
const KEY: i32 = 6;
const CORRUPT: i32 = 7;
const WORDS: &str = "correct horse battery staple";

/// A vault of which nobody says where its key lies: the default place holds.
fn scene() -> Result<(Scene, Value)> {
    let scene = Scene::without_vault()?;
    std::fs::write(scene.path("words"), format!("{WORDS}\n"))?;
    std::fs::write(scene.path("short"), "short\n")?;
    let vault = scene.vault().display().to_string();
    let made = scene.run(["vault", "create", &vault, "--output", "json"])?;
    made.said(&["Keep a copy of the key file", "Write the recovery key down", "not shown again"])?;
    let made = made.json()?;
    std::fs::write(scene.path("paper"), text(&made, "recovery_key")?)?;
    Ok((scene, made))
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("{value} has {field}"))
}

/// Runs a command line in which `{}` is the scene's folder.
fn run(scene: &Scene, line: &str) -> Result<Ran> {
    let folder = scene.path("").display().to_string();
    let filled = line.replace("{}", folder.trim_end_matches('/'));
    scene.run(filled.split_whitespace())
}

/// The id of the newest holder of a kind.
fn holder(scene: &Scene, kind: &str) -> Result<String> {
    let listed = scene.ask(&["key", "list"])?;
    let holders = listed["holders"].as_array().context("a list")?;
    let found = holders.iter().rfind(|holder| holder["provider"] == kind);
    Ok(id(found.with_context(|| format!("a {kind} in {listed}"))?)?.to_owned())
}

#[test]
fn every_kind_of_key_opens_the_vault() -> Result<()> {
    let (scene, made) = scene()?;
    let added = run(&scene, "key add --new-passphrase-file {}/words --label team --output json")?.json()?;
    ensure!(added["holder"]["label"] == "team" && added["keyring"] == 2, "{added}");
    run(&scene, "key add --new-key-file {}/second.key")?.succeeded()?;
    let paper = std::fs::read_to_string(scene.path("paper"))?;
    let sloppy = paper.to_lowercase().replace('-', " ").replace('1', "l").replace('0', "o");
    std::fs::write(scene.path("sloppy"), format!("# from the safe\n{}\n{}\n", &sloppy[..36], &sloppy[36..]))?;
    for with in [
        "",
        "--passphrase-file {}/words",
        "--recovery-key-file {}/paper",
        "--recovery-key-file {}/sloppy",
        "--key-file {}/second.key",
    ] {
        run(&scene, &format!("point list {with}"))?.succeeded()?;
    }
    run(&scene, "vault show {}/vault --recovery-key-file {}/paper")?.succeeded()?;
    let index =
        run(&scene, "vault reindex --passphrase-file {}/words --cache {}/cache --output json")?.json()?;
    ensure!(index["packs"] == 0 && index["damage"] == serde_json::json!([]), "{index}");
    let mut command = scene.command(["point", "list"]);
    Running::start(command.env("STRONGROOM_PASSPHRASE", WORDS))?.finish()?.succeeded()?;
    let mut command = scene.command(["point", "list"]);
    let wrong = Running::start(command.env("STRONGROOM_PASSPHRASE", "correct horse"))?.finish()?;
    wrong.failed(
        KEY,
        &["with the passphrase in STRONGROOM_PASSPHRASE", "try:", "strongroom rescue key list"],
    )?;
    ensure!(!wrong.stderr.contains("correct horse"), "a secret is told: {wrong:?}");

    // The key file is lost: what needs no key still says what there is, and the paper brings a new one.
    std::fs::remove_file(text(&made, "key_file")?)?;
    run(&scene, "point list")?
        .failed(KEY, &["is not at", "a passphrase or the recovery key opens", "key list"])?;
    ensure!(run(&scene, "key list")?.succeeded()?.contains("passphrase"), "listed");
    run(&scene, "key recover --recovery-key-file {}/paper")?.said(&["key remove", "--new-recovery-key"])?;
    run(&scene, "point list")?.succeeded()?;
    Ok(())
}

#[test]
fn keys_are_rotated_and_removed() -> Result<()> {
    let (scene, made) = scene()?;
    let first = holder(&scene, "key-file")?;
    let paper = holder(&scene, "recovery-key")?;
    run(&scene, "key add --new-passphrase-file {}/words")?.succeeded()?;
    let rotated = run(&scene, "key rotate --output json")?.json()?;
    ensure!(rotated["epoch"] == 3 && rotated["rotated"] == true, "{rotated}");

    run(&scene, &format!("key remove {first}"))?.failed(KEY, &["what the vault is open with", "key add"])?;
    let plan = run(&scene, &format!("key remove {} --plan", &paper[..6]))?;
    plan.said(&["remove  recovery-key", "keep    key-file", "(proved to open)"])?;
    run(&scene, "point list --recovery-key-file {}/paper")?.succeeded()?;
    let removed = run(&scene, &format!("key remove {paper}"))?;
    removed.said(&["strongroom rescue key rotate"])?;
    run(&scene, "point list --recovery-key-file {}/paper")?.failed(KEY, &["does not open this vault"])?;
    run(&scene, &format!("key remove {first} --passphrase-file {{}}/words"))?.succeeded()?;
    run(&scene, "point list")?.failed(KEY, &["with the key", text(&made, "key_file")?])?;
    let last = holder(&scene, "passphrase")?;
    run(&scene, &format!("key remove {last} --passphrase-file {{}}/words"))?
        .failed(KEY, &["the last holder"])?;
    run(&scene, "point list --passphrase-file {}/words")?.succeeded()?;
    Ok(())
}

#[test]
fn mistakes_with_keys_are_named() -> Result<()> {
    let (scene, _) = scene()?;
    let paper = std::fs::read_to_string(scene.path("paper"))?;
    let typo = if paper.ends_with('7') { "8" } else { "7" };
    std::fs::write(scene.path("typo"), format!("{}{typo}", &paper[..paper.len() - 1]))?;
    let cases: &[(&str, i32, &[&str])] = &[
        ("key add --new-passphrase", USAGE, &["no terminal", "--new-passphrase-file FILE"]),
        ("key add", USAGE, &["--new-key-file", "--new-recovery-key"]),
        ("key add --new-recovery-key --new-key-file {}/a", USAGE, &["cannot be used with"]),
        ("point list --key-file {}/a --passphrase-file {}/b", USAGE, &["cannot be used with"]),
        ("key add --new-passphrase-file {}/short", USAGE, &["at least 12 characters"]),
        ("key add --new-passphrase-file {}/none", KEY, &["read the passphrase file {}/none"]),
        ("key add --new-key-file {}/words", EXISTS, &["write the key file {}/words"]),
        (
            "key add --new-key-file {}/new.key --passphrase-file {}/words",
            KEY,
            &["this passphrase does not open"],
        ),
        ("point list --recovery-key-file {}/typo", KEY, &["character 5 of group 12 is mistyped"]),
        ("point list --recovery-key-file {}/words", KEY, &["is not the recovery key as it was printed"]),
        ("key remove ffffffff", NOT_FOUND, &["no holder ffffffff", "strongroom rescue key list"]),
        ("key remove f", NOT_FOUND, &["strongroom rescue key list"]),
        ("key recover", KEY, &["0 characters where 60 belong"]),
        ("key recover --recovery-key-file {}/paper --new-key-file {}/words", EXISTS, &["{}/words"]),
        ("point list --keyring 9", NOT_FOUND, &["has no keyring 9"]),
        ("key list --vault {}/nowhere", NOT_FOUND, &["there is no directory"]),
    ];
    let folder = scene.path("").display().to_string();
    let folder = folder.trim_end_matches('/');
    let mut wrong = Vec::new();
    for (line, code, says) in cases {
        let says: Vec<String> = says.iter().map(|text| text.replace("{}", folder)).collect();
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        let checked = run(&scene, line).and_then(|ran| ran.failed(*code, &says));
        wrong.extend(checked.err().map(|error| format!("strongroom {line}\n    {error:#}")));
    }
    ensure!(wrong.is_empty(), "{} mistakes are not met well:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(!scene.path("new.key").exists(), "no key file is left that opens nothing");
    ensure!(names_in(&scene.path("vault/keys"))? == ["00000001"], "no mistake changed the keys");
    Ok(())
}

#[test]
fn a_damaged_keyring_is_told_of_and_an_older_one_put_above_it() -> Result<()> {
    let (scene, _) = scene()?;
    run(&scene, "key add --new-passphrase-file {}/words")?.succeeded()?;
    std::fs::write(scene.path("vault/keys/00000002"), "")?;
    let hint = "`strongroom rescue key recover --keyring N`";
    run(&scene, "point list")?.failed(CORRUPT, &["keys/00000002 is damaged", "keyring 1 may open", hint])?;
    run(&scene, "key list")?.failed(CORRUPT, &["keys/00000002 is damaged", hint])?;
    run(&scene, "point list --keyring 1")?.succeeded()?;
    let recover = "key recover --recovery-key-file {}/paper --new-key-file {}/new.key --keyring 1";
    run(&scene, recover)?.succeeded()?;
    run(&scene, "point list --key-file {}/new.key")?.succeeded()?;
    run(&scene, "point list")?.succeeded()?;
    Ok(())
}

#[test]
fn a_vault_without_a_recovery_key_says_what_that_means() -> Result<()> {
    let scene = Scene::without_vault()?;
    let made = run(&scene, "vault create {}/vault --no-recovery-key --output json")?;
    made.said(&["without it nothing in the vault can be read"])?;
    ensure!(made.json()?["recovery_key"].is_null(), "{made:?}");
    ensure!(!run(&scene, "key list")?.succeeded()?.contains("recovery"), "none");
    let added = run(&scene, "key add --new-recovery-key --output json")?;
    added.said(&["not shown again"])?;
    std::fs::write(scene.path("paper"), text(&added.json()?, "recovery_key")?)?;
    run(&scene, "point list --recovery-key-file {}/paper")?.succeeded()?;
    Ok(())
}
