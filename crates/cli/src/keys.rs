//! Finding keys: in files, in the environment, on the terminal. Nothing here prints or keeps a secret.

use crate::args::WhichKey;
use crate::failure::Told;
use anyhow::{Context, Result};
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use vault::{Holders, KeyFile, KeyProvider, Passphrase, RecoveryKey, Store, VaultId};
use zeroize::Zeroizing;

/// A key, and how messages call it.
pub(crate) struct FoundKey {
    pub(crate) key: Box<dyn KeyProvider>,
    pub(crate) shown: String,
}

impl FoundKey {
    fn new(key: impl KeyProvider + 'static, shown: impl Into<String>) -> Self {
        Self { key: Box::new(key), shown: shown.into() }
    }
}

/// The key that the arguments name; else that of the environment, the default file, the terminal.
pub(crate) async fn find(which: &WhichKey, store: &Store, vault: VaultId) -> Result<FoundKey> {
    if let Some(path) = &which.recovery_key_file {
        return recovery_key_in(path);
    }
    if let Some(path) = &which.passphrase_file {
        let shown = format!("the passphrase in {}", path.display());
        return Ok(FoundKey::new(Passphrase::read(path)?, shown));
    }
    if let Some(path) = named_key_file(which.key_file.as_deref()) {
        return key_in(&path, store);
    }
    if let Some(text) = secret_of("STRONGROOM_PASSPHRASE") {
        return Ok(FoundKey::new(Passphrase::new(text)?, "the passphrase in STRONGROOM_PASSPHRASE"));
    }
    let path = default_key_file(vault);
    if let Ok(path) = path.as_ref()
        && path.exists()
    {
        return key_in(path, store);
    }
    if std::io::stdin().is_terminal() && has_passphrase(store).await {
        let text = ask(&format!("Passphrase of the vault {}: ", store.shown()))?;
        return Ok(FoundKey::new(Passphrase::new(text)?, "the passphrase"));
    }
    key_in(&path?, store)
}

fn key_in(path: &Path, store: &Store) -> Result<FoundKey> {
    if !path.exists() {
        let what = format!("the key of the vault {} is not at {}", store.shown(), path.display());
        return Err(Told::key(
            what,
            "copy the key there, or name it with --key-file FILE; a passphrase or the recovery key opens the \
             vault too: `strongroom rescue key list` shows what it has; without any nothing can be read",
        ));
    }
    let shown = format!("the key {}", path.display());
    Ok(FoundKey::new(KeyFile::read(path)?, shown))
}

/// The recovery key in a file.
pub(crate) fn recovery_key_in(path: &Path) -> Result<FoundKey> {
    let shown = format!("the recovery key in {}", path.display());
    Ok(FoundKey::new(RecoveryKey::read(path)?, shown))
}

/// The recovery key that a person types: shown as it is typed, because nobody types sixty characters blindly.
pub(crate) fn ask_recovery_key() -> Result<FoundKey> {
    if std::io::stdin().is_terminal() {
        eprintln!("Type the recovery key, then an empty line:");
    }
    let mut typed = Zeroizing::new(String::new());
    for line in std::io::stdin().lock().lines() {
        let line = Zeroizing::new(line.context("read the recovery key")?);
        if line.trim().is_empty() {
            break;
        }
        typed.push_str(&line);
        typed.push(' ');
    }
    Ok(FoundKey::new(RecoveryKey::parse(&typed)?, "the recovery key"))
}

/// A passphrase that is chosen now: from the environment, or typed twice.
pub(crate) fn new_passphrase() -> Result<Passphrase> {
    if let Some(text) = secret_of("STRONGROOM_NEW_PASSPHRASE") {
        return Ok(Passphrase::new(text)?);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Told::usage(
            "there is no terminal to ask for a passphrase on",
            "give --new-passphrase-file FILE, or set STRONGROOM_NEW_PASSPHRASE",
        ));
    }
    let text = ask("New passphrase: ")?;
    if *ask("The same again: ")? != *text {
        return Err(Told::usage("the two passphrases differ", "run it again"));
    }
    Ok(Passphrase::new(text)?)
}

/// Where a new key file is to be written.
pub(crate) fn new_key_file(named: Option<&Path>, vault: VaultId) -> Result<PathBuf> {
    let path = named.map_or_else(|| default_key_file(vault), |path| Ok(path.to_owned()))?;
    if let Some(folder) = path.parent() {
        let context = || format!("make the folder {} for the key", folder.display());
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    Ok(path)
}

/// The key file that an argument or the environment names.
pub(crate) fn named_key_file(argument: Option<&Path>) -> Option<PathBuf> {
    argument.map(Path::to_owned).or_else(|| path_of("STRONGROOM_KEY_FILE"))
}

fn default_key_file(vault: VaultId) -> Result<PathBuf> {
    let config = path_of("XDG_CONFIG_HOME").or_else(|| Some(path_of("HOME")?.join(".config")));
    let config = config.ok_or_else(|| {
        Told::usage("neither --key-file nor HOME says where the vault's key lies", "give --key-file FILE")
    })?;
    Ok(config.join("strongroom/keys").join(format!("{vault}.key")))
}

/// Whether it is worth asking a person for one. Damage is told of when the vault is opened.
async fn has_passphrase(store: &Store) -> bool {
    let listed = Holders::list(store).await;
    listed.is_ok_and(|(_, holders)| holders.iter().any(|holder| holder.provider == "passphrase"))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).context("ask for a passphrase on the terminal")
}

/// The path that a variable of the environment names.
pub(crate) fn path_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn secret_of(variable: &str) -> Option<Zeroizing<String>> {
    std::env::var(variable).ok().filter(|value| !value.is_empty()).map(Zeroizing::new)
}
