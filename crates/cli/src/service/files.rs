//! `strongroom files`: single files out of a recovery point, through the server.
//!
//! Each command opens a session, asks in it, and closes it. What a mover streams is in `files/download.rs`.

mod download;

use super::copies;
use super::names::{self, InVault};
use crate::args::PLACE;
use crate::commands::{mode_text, unless_interrupted};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method, escaped};
use api::files::{FileKind, FilesEntry, FilesRegion, FilesReport, FilesSession, OpenFiles};
use clap::{ArgGroup, Args as ClapArgs, Subcommand};
use download::Download;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug, ClapArgs)]
pub(crate) struct FilesNowArgs {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    #[command(flatten)]
    vault: InVault,
    /// Which point: its id, the end of its id, or `latest`.
    #[arg(long, value_name = "POINT", default_value = "latest")]
    point: String,
    /// The mover that reads the point; the one that backed the machine up if not said.
    #[arg(long, value_name = "MOVER")]
    mover: Option<String>,
    /// Read the point out of the vault's second store, whether the vault still has it or not, or is gone itself.
    /// `strongroom vault copies` lists what is there.
    #[arg(long)]
    from_copy: bool,
    #[command(subcommand)]
    what: FilesNowCommand,
}

#[derive(Debug, Subcommand)]
enum FilesNowCommand {
    /// List the partitions and logical volumes, what they hold, and which of them have files that can be read.
    Volumes,
    /// List a folder.
    Ls {
        /// The folder, as vda1:/etc; /etc alone if only one volume has files. Without it, the volumes.
        #[arg(value_name = PLACE)]
        place: Option<OsString>,
    },
    /// Write a file to standard output.
    Cat {
        /// The file, as vda1:/etc/hosts; links are followed within the volume.
        #[arg(value_name = PLACE)]
        place: OsString,
    },
    /// Bring a file, or a folder with all that lies in it, here: into a folder, or as a tar or zip stream.
    ///
    /// Owners (if we are root), modes, times, links and holes come along; devices, pipes and sockets do not. What
    /// cannot be read is named, and the exit code is 10 then.
    Get(GetArgs),
    /// Find files by name, beneath a folder.
    Find(FindArgs),
}

#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("target").required(true))]
struct GetArgs {
    /// The file or folder, as vda1:/etc.
    #[arg(value_name = PLACE)]
    place: OsString,
    /// Into this folder of this host, which must be empty or not exist.
    #[arg(long, value_name = "DIR", group = "target")]
    to: Option<PathBuf>,
    /// As a tar archive into this new file; `-` is standard output.
    #[arg(long, value_name = "FILE", group = "target")]
    tar: Option<PathBuf>,
    /// As a zip archive into this new file; `-` is standard output.
    #[arg(long, value_name = "FILE", group = "target")]
    zip: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
struct FindArgs {
    /// Beneath this folder, as vda1:/home [default: every volume that has files].
    #[arg(value_name = PLACE)]
    place: Option<OsString>,
    /// What the whole name is: `*`, `?` and `[...]` as in a shell.
    #[arg(long, value_name = "GLOB", required_unless_present = "regex", conflicts_with = "regex")]
    name: Option<String>,
    /// A regular expression that is found in the name.
    #[arg(long, value_name = "REGEX")]
    regex: Option<String>,
    /// Capitals and small letters are the same.
    #[arg(long)]
    ignore_case: bool,
    /// Stop after so many.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: u32,
}

pub(crate) async fn run(output: &Output, client: &Client, args: FilesNowArgs) -> Result<()> {
    let item = names::item(client, &args.vault, &args.machine).await?;
    let point = match args.from_copy {
        true => copies::chosen(client, &item, &args.point).await?.point,
        false => names::point(client, &item, &args.point).await?.id,
    };
    let path = format!("{}/points/{point}/files", names::item_path(&item));
    let wish = OpenFiles { mover: args.mover, from_copy: args.from_copy };
    let opened = client.send(Method::POST, &path, &wish).await?;
    let opened: FilesSession = opened.context("the server opened a session and does not say which")?;
    let session = Session { client, path: format!("/v1/vaults/{}/files/{}", opened.vault, opened.id) };
    let done = unless_interrupted("reading files", session.run(output, args.what)).await;
    // One that stays open is closed by the server when nobody uses it.
    let _ = client.act::<()>(Method::DELETE, &session.path).await;
    done
}

/// A session that is open.
struct Session<'c> {
    client: &'c Client,
    path: String,
}

impl Session<'_> {
    async fn run(&self, output: &Output, what: FilesNowCommand) -> Result<()> {
        match what {
            FilesNowCommand::Volumes | FilesNowCommand::Ls { place: None } => self.volumes(output).await,
            FilesNowCommand::Ls { place: Some(place) } => self.list(output, &place).await,
            FilesNowCommand::Cat { place } => {
                let download = self.download(&format!("content?place={}", said(&place))).await?;
                download.copy(&mut std::io::stdout()).await.map(drop)
            }
            FilesNowCommand::Get(args) => self.get(output, args).await,
            FilesNowCommand::Find(args) => self.find(output, args).await,
        }
    }

    async fn download(&self, what: &str) -> Result<Download<'_>> {
        Download::begin(self.client, &self.path, what).await
    }

    async fn volumes(&self, output: &Output) -> Result<()> {
        let volumes: Vec<FilesRegion> = self.client.all(&format!("{}/volumes", self.path)).await?;
        output::print(output, &volumes, || {
            let row = |one: &FilesRegion| {
                let remark = one.remark.clone().unwrap_or_default();
                let (size, disks) = (output::size(one.size_bytes), one.disks.join(","));
                vec![one.name.clone(), size, one.content.clone(), one.label.clone(), disks, remark]
            };
            let heading = ["VOLUME", "SIZE", "CONTENT", "LABEL", "DISKS", "REMARK"];
            output::table(&heading, &["SIZE"], volumes.iter().map(row))
        })
    }

    async fn list(&self, output: &Output, place: &OsStr) -> Result<()> {
        let path = format!("{}/entries?limit=1000&place={}", self.path, said(place));
        let entries: Vec<FilesEntry> = self.client.all(&path).await?;
        output::print(output, &entries, || {
            let heading = ["MODE", "UID", "GID", "SIZE", "MODIFIED (UTC)", "NAME"];
            output::table(&heading, &["UID", "GID", "SIZE"], entries.iter().map(row))
        })
    }

    async fn get(&self, output: &Output, args: GetArgs) -> Result<()> {
        let GetArgs { place, to, tar, zip } = args;
        let (path, format) = match (&tar, &zip) {
            (_, Some(path)) => (Some(path.as_path()), "zip"),
            (path, None) => (path.as_deref(), "tar"),
        };
        let download = self.download(&format!("archive?format={format}&place={}", said(&place))).await?;
        let report = match (&to, path) {
            (Some(folder), _) => download.unpack(folder).await?,
            (None, Some(path)) if path != Path::new("-") => download.save(path).await?,
            _ => download.copy(&mut std::io::stdout()).await?,
        };
        tell(output, &report, path == Some(Path::new("-")))
    }

    async fn find(&self, output: &Output, args: FindArgs) -> Result<()> {
        let FindArgs { place, name, regex, ignore_case, limit } = args;
        let place = place.map(|place| format!("&place={}", said(&place))).unwrap_or_default();
        let pattern = match (name, regex) {
            (_, Some(regex)) => format!("regex={}", escaped(&regex)),
            (name, None) => format!("name={}", escaped(name.as_deref().unwrap_or("*"))),
        };
        let what = format!("matches?{pattern}&ignore_case={ignore_case}&limit={limit}{place}");
        let mut found: Vec<FilesEntry> = Vec::new();
        let report = self.download(&what).await?.lines(|entry| match output.is_for_people() {
            // As they come: a search may take long.
            true => drop(writeln!(std::io::stdout(), "{}", entry.name)),
            false => found.push(entry),
        });
        let report = report.await?;
        if !output.is_for_people() {
            output::print(output, &found, String::new)?;
        }
        if report.files >= u64::from(limit) {
            eprintln!("There may be more: stopped after {limit} (--limit).");
        }
        if report.failed_count > 0 {
            let what = format!("{} folders or files could not be read", report.failed_count);
            return Err(Told::gaps(what, "`strongroom files MACHINE ls` says of each why"));
        }
        Ok(())
    }
}

/// A place as it stands in an address: bytes that a person typed, as the API writes names.
fn said(place: &OsStr) -> String {
    // A backslash that was typed is one, as everywhere on this host.
    escaped(&::files::shown(place.as_bytes()))
}

/// Says what was brought out, and fails if that is not all.
fn tell(output: &Output, report: &FilesReport, to_stdout: bool) -> Result<()> {
    for skipped in &report.skipped {
        eprintln!("left behind: {}: {}", skipped.path, skipped.why);
    }
    let text = || {
        let FilesReport { files, folders, links, bytes, .. } = report;
        format!("{files} files ({}), {folders} folders, {links} links\n", output::size(*bytes))
    };
    if to_stdout {
        eprint!("{}", text());
    } else {
        output::print(output, report, text)?;
    }
    if report.failed_count > 0 {
        let what = format!("{} of the files and folders could not be read", report.failed_count);
        return Err(Told::gaps(what, "restore the disk, or serve it, and let a system read it"));
    }
    Ok(())
}

fn row(entry: &FilesEntry) -> Vec<String> {
    let unknown = || "?".to_owned();
    let number = |number: Option<u32>| number.map_or_else(unknown, |number| number.to_string());
    let letter = |kind: FileKind| match kind {
        FileKind::File => '-',
        FileKind::Folder => 'd',
        FileKind::Link => 'l',
        FileKind::Block => 'b',
        FileKind::Character => 'c',
        FileKind::Pipe => 'p',
        FileKind::Socket => 's',
    };
    let mode = entry.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let name = match (&entry.target, &entry.error) {
        (Some(target), _) => format!("{} -> {target}", entry.name),
        (None, Some(error)) => format!("{} ({error})", entry.name),
        (None, None) => entry.name.clone(),
    };
    vec![
        entry.kind.zip(mode).map_or_else(unknown, |(kind, mode)| mode_text(letter(kind), mode)),
        number(entry.uid),
        number(entry.gid),
        entry.size.map_or_else(unknown, |size| size.to_string()),
        entry.modified.map_or_else(|| "-".to_owned(), |at| at.strftime("%F %T").to_string()),
        name,
    ]
}
