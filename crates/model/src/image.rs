//! Images: what they and their versions are called, which version is meant, and what their machines are called.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A name fits where a label of a host name does.
const NAME_BYTES_MAX: usize = 63;
/// Machines made by one order; more are several orders.
pub const MACHINES_MAX: u32 = 1000;

/// Why a name or a number of machines cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// What an image is called: letters, digits, `-`, `_` and `.`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName(String);

impl ImageName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || text.len() > NAME_BYTES_MAX || !text.chars().all(fits) {
            let rule = "use up to 63 letters, digits, '-', '_' and '.', beginning with a letter or digit";
            return Err(Refused(format!("{text:?} is no name for an image: {rule}")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which image is meant: `web:3`, or `web` for its newest version that is not left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The image.
    pub name: ImageName,
    /// Its version, from 1 on.
    pub version: Option<u32>,
}

impl FromStr for ImageRef {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let Some((name, version)) = text.split_once(':') else {
            return Ok(Self { name: text.parse()?, version: None });
        };
        let number = version.parse().ok().filter(|number| *number > 0);
        let no_version = || Refused(format!("{version:?} is no version of an image: they are 1, 2, 3..."));
        Ok(Self { name: name.parse()?, version: Some(number.ok_or_else(no_version)?) })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}:{version}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// One version, as far as it decides which is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// Whether it is left out when no number is said.
    pub excluded: bool,
}

/// The number of the version that is meant, if there is one.
pub fn meant(versions: &[Version], wanted: Option<u32>) -> Option<u32> {
    match wanted {
        Some(number) => versions.iter().any(|one| one.number == number).then_some(number),
        None => versions.iter().filter(|one| !one.excluded).map(|one| one.number).max(),
    }
}

/// The number of the next version: one that was deleted does not get its number to another.
pub fn next_version(ever: &[Version]) -> u32 {
    ever.iter().map(|one| one.number).max().unwrap_or(0) + 1
}

/// The names of `count` machines: `{}` in the pattern becomes 1, 2, 3...
///
/// # Errors
/// If they would not differ, or one could not be a host's name: a guest is called as its machine is.
pub fn machine_names(pattern: &str, first: u32, count: u32) -> Result<Vec<String>, Refused> {
    if !(1..=MACHINES_MAX).contains(&count) {
        return Err(Refused(format!("{count} machines cannot be made at once: 1 to {MACHINES_MAX} can")));
    }
    if count > 1 && !pattern.contains("{}") {
        return Err(Refused(format!(
            "{count} machines need different names: put {{}} where the number goes"
        )));
    }
    let name = |index: u32| pattern.replace("{}", &u64::from(first).saturating_add(index.into()).to_string());
    let names: Vec<String> = (0..count).map(name).collect();
    if let Some(name) = names.iter().find(|name| !is_host_name(name)) {
        let rule = "use up to 63 letters, digits and '-', the last not at either end";
        return Err(Refused(format!("a guest cannot be called {name:?}: {rule}")));
    }
    debug_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "numbers differ");
    Ok(names)
}

fn is_host_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let ends = name.starts_with('-') || name.ends_with('-');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(fits) && !ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_with_or_without_its_version() {
        let web: ImageRef = "web:3".parse().expect("a name");
        assert_eq!((web.name.as_str(), web.version, web.to_string().as_str()), ("web", Some(3), "web:3"));
        assert_eq!("web".parse::<ImageRef>().expect("a name").version, None);
        for text in ["", ":3", "web:", "web:0", "web:-1", "web:3:4", "a b", "../x", ".x", "-x"] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
        assert!("x".repeat(64).parse::<ImageName>().is_err());
    }

    #[test]
    fn the_newest_that_is_not_left_out_is_meant() {
        let version = |number, excluded| Version { number, excluded };
        let versions = [version(1, false), version(3, true), version(2, false)];
        assert_eq!((meant(&versions, None), meant(&versions, Some(3))), (Some(2), Some(3)));
        assert_eq!((meant(&versions, Some(4)), meant(&[version(1, true)], None)), (None, None));
        assert_eq!((next_version(&versions), next_version(&[])), (4, 1));
    }

    #[test]
    fn machines_are_numbered_and_can_be_hosts() {
        assert_eq!(machine_names("web-{}", 1, 3).expect("names"), ["web-1", "web-2", "web-3"]);
        assert_eq!(machine_names("w{}", 9, 2).expect("names"), ["w9", "w10"]);
        assert_eq!(machine_names("alone", 1, 1).expect("a name"), ["alone"]);
        for (pattern, count) in [("web", 2), ("web-{}", 0), ("web_{}", 1), ("-{}", 1), ("{}-", 1), ("", 1)] {
            assert!(machine_names(pattern, 1, count).is_err(), "{pattern}");
        }
        assert!(machine_names("web-{}", 1, MACHINES_MAX + 1).is_err());
    }
}
