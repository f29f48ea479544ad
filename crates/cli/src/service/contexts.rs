//! The servers somebody has logged in to: a file of their own, readable by them alone, for it holds tokens.

use crate::failure::Told;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// All contexts, as they stand in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contexts {
    /// The one that counts if nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By their names.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Saved>,
}

/// A server, and who is logged in there.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// `https://HOST:PORT`.
    pub(crate) url: String,
    /// The certificate that was trusted, as PEM; none: what the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The session's token; none after a logout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Until when the token is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
}

impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Saved({}, {:?})", self.url, self.user)
    }
}

impl Contexts {
    /// Reads the file; none is none logged in.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let doing = || format!("read {}", path.display());
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(doing),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(doing),
        }
    }

    /// Writes the file.
    // CRASH: the old file or the new one is there, whole; at most a `.new` beside it, which the next write replaces.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let doing = || format!("write {}", path.display());
        let folder = path.parent().with_context(doing)?;
        std::fs::create_dir_all(folder).with_context(doing)?;
        let new = path.with_extension("json.new");
        // Made anew, so that it has our mode and nobody else's.
        let _ = std::fs::remove_file(&new);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let mut file = file.with_context(doing)?;
        file.write_all(&serde_json::to_vec_pretty(self)?).with_context(doing)?;
        file.sync_all().with_context(doing)?;
        std::fs::rename(&new, path).with_context(doing)
    }

    /// The context of that name; without a name, the current one.
    pub(crate) fn named(&self, name: Option<&str>) -> Result<(&str, &Saved)> {
        let Some(name) = name.or(self.current.as_deref()) else {
            let what = "no server is known";
            return Err(Told::unauthenticated(what, "`strongroom login https://HOST:8700` logs in to one"));
        };
        match self.contexts.get_key_value(name) {
            Some((name, saved)) => Ok((name, saved)),
            None => {
                let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
                let hint = format!("`strongroom context list` shows them: {}", known.join(", "));
                Err(Told::not_found(format!("there is no context {name}"), hint))
            }
        }
    }

    /// Adds or replaces a context, which becomes the current one.
    pub(crate) fn save(&mut self, name: &str, saved: Saved) {
        self.contexts.insert(name.to_owned(), saved);
        self.current = Some(name.to_owned());
    }

    /// Forgets a context. The current one is replaced by the only one left, or none.
    pub(crate) fn remove(&mut self, name: &str) -> Result<Saved> {
        self.named(Some(name))?;
        let removed = self.contexts.remove(name).expect("it was just found");
        if self.current.as_deref() == Some(name) {
            let mut rest = self.contexts.keys();
            self.current = rest.next().filter(|_| rest.next().is_none()).cloned();
        }
        Ok(removed)
    }
}

/// Where the file is: below the user's configuration, or that of the system where there is no user.
pub(crate) fn path() -> PathBuf {
    let of_user = || Some(crate::keys::path_of("HOME")?.join(".config"));
    let folder = crate::keys::path_of("XDG_CONFIG_HOME").or_else(of_user).unwrap_or_else(|| "/etc".into());
    folder.join("strongroom/contexts.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn saved(url: &str) -> Saved {
        Saved { url: url.to_owned(), token: Some("secret".to_owned()), ..Saved::default() }
    }

    #[test]
    fn what_is_written_is_read_and_nobody_else_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/strongroom/contexts.json");
        assert_eq!(Contexts::read(&path).expect("none is none"), Contexts::default());
        let mut contexts = Contexts::default();
        contexts.save("home", saved("https://home:8700"));
        // Left by a crash, with another mode.
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
        std::fs::write(path.with_extension("json.new"), "half").expect("write it");
        contexts.write(&path).expect("write");
        assert_eq!(Contexts::read(&path).expect("read"), contexts);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("list").count(), 1);
    }

    #[test]
    fn the_current_one_counts_unless_another_is_named() {
        let mut contexts = Contexts::default();
        assert!(contexts.named(None).is_err() && contexts.named(Some("home")).is_err());
        contexts.save("home", saved("https://home"));
        contexts.save("work", saved("https://work"));
        assert_eq!(contexts.named(None).expect("the last").0, "work");
        assert_eq!(contexts.named(Some("home")).expect("it is there").1.url, "https://home");
        contexts.remove("work").expect("it is there");
        assert_eq!(contexts.current.as_deref(), Some("home"), "the only one left");
        contexts.remove("home").expect("it is there");
        assert_eq!((contexts.current.as_deref(), contexts.contexts.len()), (None, 0));
        assert!(contexts.remove("home").is_err());
    }

    #[test]
    fn tokens_are_not_shown() {
        assert!(!format!("{:?}", saved("https://home")).contains("secret"));
    }
}
