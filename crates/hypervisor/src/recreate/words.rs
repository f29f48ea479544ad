//! The grammar of QEMU's command line: options with and without values, and what stands in a value.

use crate::qemu::split_commas;
use serde_json::{Map, Value};

/// Options that take no value. A bare word after one of them is a disk image.
const WITHOUT_VALUE: &[&str] = &[
    "nodefaults",
    "no-user-config",
    "nographic",
    "daemonize",
    "enable-kvm",
    "snapshot",
    "S",
    "s",
    "no-reboot",
    "no-shutdown",
    "no-acpi",
    "no-hpet",
    "no-fd-bootchk",
    "no-quit",
    "full-screen",
    "usb",
    "only-migratable",
    "singlestep",
    "preconfig",
    "mem-prealloc",
    "sdl",
    "curses",
    "win2k-hack",
    "semihosting",
    "xen-attach",
    "xen-domid-restrict",
    "old-param",
];

/// A disk image that is named without an option.
pub(super) const BARE: &str = "";
/// What no option is called: the place of a word that was taken out.
const NOTHING: &str = "\0";

/// One option of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Its name without dashes; [`BARE`] for a word that is none.
    pub(super) option: String,
    pub(super) value: Option<String>,
}

impl Word {
    pub(super) fn new(option: &str, value: impl Into<String>) -> Self {
        Self { option: option.to_owned(), value: Some(value.into()) }
    }

    /// Stands where a word was, so that the others keep their places; [`write()`] passes over it.
    pub(super) fn nothing() -> Self {
        Self { option: NOTHING.to_owned(), value: None }
    }

    pub(super) fn is(&self, option: &str) -> bool {
        self.option == option
    }

    /// What stands in it; empty if it takes no value.
    pub(super) fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    pub(super) fn settings(&self, implied: &str) -> Settings {
        Settings::parse(self.text(), implied)
    }
}

/// Reads a command line without its program.
pub(super) fn parse(arguments: &[String]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            words.push(Word::new(BARE, word.clone()));
            continue;
        };
        let value = if WITHOUT_VALUE.contains(&option) { None } else { rest.next().cloned() };
        words.push(Word { option: option.to_owned(), value });
    }
    words
}

/// Writes it again.
pub(super) fn write(words: &[Word]) -> Vec<String> {
    let mut arguments = Vec::new();
    for word in words.iter().filter(|word| !word.is(NOTHING)) {
        if !word.is(BARE) {
            arguments.push(format!("-{}", word.option));
        }
        arguments.extend(word.value.clone());
    }
    arguments
}

/// `first,key=value,flag,...` with `,,` for a comma, or a JSON object: the two forms of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Settings {
    /// A flag has no value.
    Pairs(Vec<(String, Option<String>)>),
    Json(Map<String, Value>),
}

impl Settings {
    pub(super) fn parse(text: &str, implied: &str) -> Self {
        if text.starts_with('{')
            && let Ok(object) = serde_json::from_str(text)
        {
            return Self::Json(object);
        }
        let parts = split_commas(text).into_iter().filter(|part| !part.is_empty()).enumerate();
        let pair = |(index, part): (usize, String)| match part.split_once('=') {
            // A path may hold `=`; only a word can be a key.
            Some((key, value)) if !key.contains([':', '/']) => (key.to_owned(), Some(value.to_owned())),
            _ if index == 0 && !implied.is_empty() => (implied.to_owned(), Some(part)),
            _ => (part, None),
        };
        Self::Pairs(parts.map(pair).collect())
    }

    /// A value as text; `on` for a flag.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        match self {
            // QEMU lets the last one count.
            Self::Pairs(pairs) => pairs
                .iter()
                .rev()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.clone().unwrap_or_else(|| "on".to_owned())),
            Self::Json(object) => match object.get(key)? {
                Value::String(text) => Some(text.clone()),
                Value::Bool(is_on) => Some(if *is_on { "on" } else { "off" }.to_owned()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            },
        }
    }

    pub(super) fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| matches!(value.as_str(), "on" | "yes" | "true"))
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self {
            Self::Pairs(pairs) => match pairs.iter_mut().find(|(name, _)| name == key) {
                Some((_, old)) => *old = Some(value),
                None => pairs.push((key.to_owned(), Some(value))),
            },
            Self::Json(object) => drop(object.insert(key.to_owned(), Value::String(value))),
        }
    }

    /// Keeps what `is_kept` says, by key.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        match self {
            Self::Pairs(pairs) => pairs.retain(|(key, _)| is_kept(key)),
            Self::Json(object) => object.retain(|key, _| is_kept(key)),
        }
    }

    pub(super) fn keys(&self) -> Vec<&str> {
        match self {
            Self::Pairs(pairs) => pairs.iter().map(|(key, _)| key.as_str()).collect(),
            Self::Json(object) => object.keys().map(String::as_str).collect(),
        }
    }

    pub(super) fn write(&self) -> String {
        match self {
            Self::Pairs(pairs) => {
                let part = |(key, value): &(String, Option<String>)| match value {
                    Some(value) => format!("{key}={}", value.replace(',', ",,")),
                    None => key.clone(),
                };
                pairs.iter().map(part).collect::<Vec<_>>().join(",")
            }
            Self::Json(object) => Value::Object(object.clone()).to_string(),
        }
    }

    /// As one value: what is written `a.b=c` is an object within.
    pub(super) fn tree(&self) -> Value {
        let Self::Pairs(pairs) = self else {
            let Self::Json(object) = self else { unreachable!("there are two forms") };
            return Value::Object(object.clone());
        };
        let mut tree = Value::Object(Map::new());
        for (key, value) in pairs {
            let mut place = &mut tree;
            for part in key.split('.') {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                place = &mut place[part];
            }
            *place = Value::String(value.clone().unwrap_or_else(|| "on".to_owned()));
        }
        tree
    }
}

/// A value of a tree that means yes or no, in either form.
pub(super) fn is_yes(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| matches!(value.as_str(), Some("on" | "yes" | "true")))
}
