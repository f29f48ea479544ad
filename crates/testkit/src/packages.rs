//! The guest's software: Debian packages fetched and unpacked, never installed on the host.

use crate::{Progress, command, stage::Cache, stage::key};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the guest is made of; all else follows by dependency.
const SEEDS: &[&str] = &["linux-image-cloud-amd64", "busybox-static", "qemu-guest-agent", "postgresql-15"];

/// Taken from the closure besides `lib*`: the rest is for installing packages, which we do not.
const PROGRAMS: &[&str] =
    &["busybox-static", "qemu-guest-agent", "postgresql-15", "postgresql-client-15", "tzdata", "zlib1g"];

/// Libraries nothing of ours loads: PostgreSQL's compiler (off in the guest) is half of the download.
const UNUSED_LIBRARIES: &[&str] =
    &["libllvm", "libz3-", "libperl", "libc-", "libklibc", "libgdbm", "libsemanage"];

/// Where everything is unpacked, and a name for exactly this content.
pub(crate) struct Packages {
    pub(crate) root: PathBuf,
    pub(crate) key: String,
}

/// One package of the closure, as apt names it.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    bytes: u64,
}

/// Fetches and unpacks, unless that was done before.
pub(crate) fn fetch(cache: &Cache, progress: Progress<'_>) -> Result<Packages> {
    let inputs = [SEEDS, PROGRAMS, UNUSED_LIBRARIES].concat();
    let key = key(&inputs);
    let root = cache.stage("root", &key, |new| {
        let debs = download(cache.folder(), progress)?;
        progress(&format!("unpacking {} packages", debs.len()));
        for deb in &debs {
            let mut unpack = Command::new("dpkg-deb");
            command::run(unpack.arg("-x").arg(deb).arg(new), &format!("unpack {}", deb.display()))?;
        }
        Ok(())
    })?;
    Ok(Packages { root, key })
}

/// Lists that are missing or too old show as a failure; they are refreshed once.
fn download(folder: &Path, progress: Progress<'_>) -> Result<Vec<PathBuf>> {
    let first = try_download(folder, progress);
    let Err(error) = first else { return first };
    progress("refreshing the lists of packages");
    let mut update = Command::new("apt-get");
    command::run(update.arg("update"), "refresh the lists of packages")
        .with_context(|| format!("after the first attempt failed ({error:#})"))?;
    try_download(folder, progress)
}

fn try_download(folder: &Path, progress: Progress<'_>) -> Result<Vec<PathBuf>> {
    let debs = folder.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("cannot create {}", debs.display()))?;
    let wanted: Vec<Package> = closure(folder)?.into_iter().filter(|package| wanted(&package.name)).collect();
    let megabytes = wanted.iter().map(|package| package.bytes).sum::<u64>() / 1_000_000;
    progress(&format!("fetching {} guest packages ({megabytes} MB)", wanted.len()));
    let mut fetch = Command::new("apt-get");
    // apt keeps files it finds complete, so an interrupted download goes on where it was.
    fetch.current_dir(&debs).args(apt_options(folder)?).arg("download");
    fetch.args(wanted.iter().map(|package| format!("{}={}", package.name, package.version)));
    command::run(&mut fetch, "download the guest's packages")?;
    wanted.iter().map(|package| deb_file(&debs, package)).collect()
}

/// Everything the seeds need on a machine with nothing installed.
fn closure(folder: &Path) -> Result<Vec<Package>> {
    let mut resolve = Command::new("apt-get");
    resolve.args(apt_options(folder)?).args(["install", "-y", "--no-install-recommends", "--print-uris"]);
    let text = command::run_text(resolve.args(SEEDS), "resolve the guest's packages")?;
    let packages: Vec<Package> = text.lines().filter_map(parse_uri).collect();
    if packages.is_empty() {
        bail!("apt-get resolved {} to nothing; is this a Debian host?", SEEDS.join(", "));
    }
    Ok(packages)
}

/// An empty status file makes apt believe that nothing is installed. The caches in memory are switched
/// off so as not to replace the host's, and the user `_apt` could not write into our folder.
fn apt_options(folder: &Path) -> Result<Vec<OsString>> {
    let status = folder.join("no-packages");
    fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
    let mut state = OsString::from("Dir::State::status=");
    state.push(&status);
    let fixed = [
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
        "Debug::NoLocking=1",
        "APT::Sandbox::User=root",
    ];
    let values = fixed.iter().map(OsString::from).chain([state]);
    Ok(values.flat_map(|value| ["-o".into(), value]).collect())
}

/// A line `'http://…' name_version_arch.deb bytes hash`, where a colon in the version is `%3a`.
fn parse_uri(line: &str) -> Option<Package> {
    let mut words = line.strip_prefix('\'')?.split_whitespace().skip(1);
    let mut parts = words.next()?.strip_suffix(".deb")?.split('_');
    let (name, version) = (parts.next()?.to_string(), parts.next()?.replace("%3a", ":"));
    Some(Package { name, version, bytes: words.next()?.parse().ok()? })
}

fn wanted(name: &str) -> bool {
    // The meta package is empty; what it depends on has the version in its name.
    let kernel = name.starts_with("linux-image-") && !SEEDS.contains(&name);
    let unused = name.ends_with("-perl") || UNUSED_LIBRARIES.iter().any(|prefix| name.starts_with(prefix));
    kernel || PROGRAMS.contains(&name) || (name.starts_with("lib") && !unused)
}

fn deb_file(debs: &Path, package: &Package) -> Result<PathBuf> {
    let start = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
    let entries = fs::read_dir(debs).with_context(|| format!("cannot list {}", debs.display()))?;
    let found = entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    found.map(|entry| entry.path()).with_context(|| format!("apt-get download left no {start}*.deb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_lines_give_names_and_versions() {
        let line = "'http://deb.example/p/qemu_1.deb' qemu-guest-agent_1%3a7.2_amd64.deb 346272 SHA256:00";
        let package = Package { name: "qemu-guest-agent".into(), version: "1:7.2".into(), bytes: 346_272 };
        assert_eq!(parse_uri(line), Some(package));
        assert_eq!(parse_uri("Reading package lists..."), None);
    }

    #[test]
    fn only_what_the_guest_runs_is_fetched() {
        for name in ["linux-image-6.1.0-1-cloud-amd64", "libc6", "libicu72", "postgresql-15", "tzdata"] {
            assert!(wanted(name), "{name}");
        }
        for name in ["linux-image-cloud-amd64", "libllvm14", "libjson-perl", "perl-base", "libc-l10n", "udev"]
        {
            assert!(!wanted(name), "{name}");
        }
    }
}
