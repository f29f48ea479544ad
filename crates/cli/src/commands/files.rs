//! `strongroom rescue files`.

use crate::args::{FilesCommand, FilesFindArgs, FilesGetArgs, PointArgs, VaultArgs};
use crate::failure::Told;
use crate::output::Output;
use crate::{open, output};
use anyhow::{Context, Result};
use block::BlockSource;
use files::{Browser, Entry, Format, Kind, Metadata, Pattern, Program, Region, Report, Target, shown};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::PointDisk;

pub(crate) async fn run(output: &Output, command: FilesCommand) -> Result<()> {
    match command {
        FilesCommand::Volumes { point, vault } => volumes(output, &point, &vault).await,
        FilesCommand::Ls { point, place: None, vault } => volumes(output, &point, &vault).await,
        FilesCommand::Ls { point, place: Some(place), vault } => {
            let look = move |browser: &mut Browser| list(browser, &place);
            let entries = browse(&point, &vault, look).await??;
            let values: Vec<_> =
                entries.iter().map(|(entry, link)| entry_value(entry, link.as_deref())).collect();
            output::print(output, &values, || entry_table(&entries))
        }
        FilesCommand::Cat { point, place, vault } => {
            Ok(browse(&point, &vault, move |browser| cat(browser, &place)).await??)
        }
        FilesCommand::Get(args) => get(output, args).await,
        FilesCommand::Find(args) => find(output, args).await,
        FilesCommand::Mount { point, at, vault } => mount(&point, &vault, at).await,
    }
}

/// A disk by its name.
type Disk = (String, Arc<dyn BlockSource>);

/// Lets `look` browse the disks of a point.
async fn browse<T: Send + 'static>(
    point: &PointArgs,
    vault: &VaultArgs,
    look: impl FnOnce(&mut Browser) -> T + Send + 'static,
) -> Result<T> {
    let (program, disks) = disks(point, vault).await?;
    super::unless_interrupted("reading files", async { Ok(mover::browse(program, disks, look).await) }).await
}

/// What a point's files are read with, and from.
async fn disks(point: &PointArgs, vault: &VaultArgs) -> Result<(Program, Vec<Disk>)> {
    let vault = open::vault(vault).await?;
    let point = open::point(&vault, point).await?;
    let of_guest = point.disks.iter().filter(|disk| !mover::is_firmware(&point, &disk.name));
    let disks = of_guest.map(|disk| {
        let source: Arc<dyn BlockSource> = Arc::new(PointDisk::new(Arc::clone(&vault), disk.map.clone()));
        (disk.name.clone(), source)
    });
    let path = std::env::current_exe().context("find our own program, which parses the disks")?;
    Ok((Program { path, arguments: vec!["files-worker".to_owned()] }, disks.collect()))
}

/// Mounts, and answers until it is unmounted or somebody interrupts it.
async fn mount(point: &PointArgs, vault: &VaultArgs, at: PathBuf) -> Result<()> {
    let (program, disks) = disks(point, vault).await?;
    let (told, mut mounted) = tokio::sync::oneshot::channel();
    let look = move |browser: &mut Browser| -> files::Result<()> {
        let roots = mover::roots(browser)?;
        if roots.is_empty() {
            return Err(files::Error::new(
                files::ErrorKind::NotFound,
                "no volume on these disks has files that can be read",
            ));
        }
        let (mounted, questions) = files::mount(&roots, &at)?;
        eprintln!("The files are at {}; to end: Ctrl-C, or `fusermount3 -u` it.", at.display());
        // Whoever interrupts us before this unmounts by dropping it.
        let _ = told.send(mounted);
        questions.answer(browser);
        Ok(())
    };
    let answered = async { Ok(mover::browse(program, disks, look).await) };
    let ended = super::unless_interrupted("the mount", answered).await;
    drop(mounted.try_recv());
    // To be interrupted is its way to end.
    ended.map_or(Ok(()), |answered| Ok(answered?))
}

async fn volumes(output: &Output, point: &PointArgs, vault: &VaultArgs) -> Result<()> {
    let volumes = browse(point, vault, Browser::volumes).await??;
    output::print(output, &volumes, || {
        let row = |volume: &Region| {
            let remark = volume.refusal.as_ref().or(volume.note.as_ref()).cloned().unwrap_or_default();
            vec![
                volume.name.clone(),
                output::size(volume.size),
                volume.content.name().to_owned(),
                volume.label.clone(),
                volume.disks.join(","),
                remark,
            ]
        };
        output::table(
            &["VOLUME", "SIZE", "CONTENT", "LABEL", "DISKS", "REMARK"],
            &["SIZE"],
            volumes.iter().map(row),
        )
    })
}

/// Names with what stands behind them, and where links point.
type Listed = Vec<(Entry, Option<Vec<u8>>)>;

/// Links in one folder whose target is looked up for a list.
const TARGETS_SHOWN: usize = 1000;

fn list(browser: &mut Browser, place: &OsStr) -> files::Result<Listed> {
    let target = browser.target(place.as_bytes())?;
    let (target, metadata) = browser.resolve(&target, true)?;
    if metadata.kind != Kind::Folder {
        let name = target.path.name().unwrap_or_default().to_vec();
        return Ok(vec![(Entry { name, metadata: Ok(metadata) }, None)]);
    }
    let mut links = 0;
    let mut listed = Vec::new();
    for entry in browser.list(&target)? {
        let is_link = entry.metadata.as_ref().is_ok_and(|metadata| metadata.kind == Kind::Link);
        links += usize::from(is_link);
        let points = match is_link && links <= TARGETS_SHOWN {
            true => browser.link(&target.join(&entry.name)?).ok(),
            false => None,
        };
        listed.push((entry, points));
    }
    Ok(listed)
}

fn cat(browser: &mut Browser, place: &OsStr) -> files::Result<()> {
    let target = browser.target(place.as_bytes())?;
    let (target, metadata) = browser.resolve(&target, true)?;
    if metadata.kind != Kind::File {
        return Err(files::Error::new(files::ErrorKind::Invalid, format!("{target} is not a file")));
    }
    let mut to = std::io::stdout().lock();
    match files::copy(browser, &target, &metadata, 0..metadata.size, &mut to) {
        // Whoever reads us has seen enough, as `head` does.
        Err(_) if to.flush().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) => Ok(()),
        other => other,
    }
}

async fn get(output: &Output, args: FilesGetArgs) -> Result<()> {
    let FilesGetArgs { point, place, vault, to, tar, zip } = args;
    let to_stdout = [&tar, &zip].into_iter().flatten().any(|path| path == Path::new("-"));
    let look = move |browser: &mut Browser| -> files::Result<Report> {
        let target = browser.target(place.as_bytes())?;
        match (to, tar, zip) {
            (Some(folder), ..) => files::extract(browser, &target, &folder),
            (_, Some(path), _) => archive(browser, &target, Format::Tar, &path),
            (.., path) => archive(browser, &target, Format::Zip, &path.unwrap_or_else(|| "-".into())),
        }
    };
    let report = browse(&point, &vault, look).await??;
    for skipped in &report.skipped {
        eprintln!("left behind: {}: {}", skipped.path, skipped.why);
    }
    let text = || {
        let Report { files, folders, links, bytes, .. } = &report;
        format!("{files} files ({}), {folders} folders, {links} links\n", output::size(*bytes))
    };
    if to_stdout {
        eprint!("{}", text());
    } else {
        output::print(output, &report, text)?;
    }
    if report.failed_count > 0 {
        let what = format!("{} of the files and folders could not be read", report.failed_count);
        return Err(Told::gaps(what, "restore the disk, or serve it, and let a system read it"));
    }
    Ok(())
}

fn archive(browser: &mut Browser, target: &Target, format: Format, path: &Path) -> files::Result<Report> {
    if path == Path::new("-") {
        return files::archive(browser, target, format, &mut std::io::stdout().lock());
    }
    let failed = |error| files::Error::io(format!("make {}", path.display()), &error);
    let file = std::fs::File::create_new(path).map_err(failed)?;
    let mut to = std::io::BufWriter::new(file);
    files::archive(browser, target, format, &mut to)
}

async fn find(output: &Output, args: FilesFindArgs) -> Result<()> {
    let FilesFindArgs { point, place, vault, name, regex, ignore_case, limit } = args;
    let pattern = match (&name, &regex) {
        (_, Some(regex)) => Pattern::regex(regex, ignore_case)?,
        (name, None) => Pattern::glob(name.as_deref().unwrap_or("*"), ignore_case)?,
    };
    let look = move |browser: &mut Browser| -> files::Result<_> {
        let mut found = Vec::new();
        let mut unread = 0;
        for beneath in beneath(browser, place.as_deref())? {
            let mut take = |one| {
                found.push(one);
                found.len() < limit as usize
            };
            unread += files::search(browser, &beneath, &pattern, &mut take)?;
            if found.len() >= limit as usize {
                break;
            }
        }
        Ok((found, unread))
    };
    let (found, unread) = browse(&point, &vault, look).await??;
    let value = |one: &files::Found| {
        let mut value = metadata_value(&one.metadata);
        value["path"] = one.target.to_string().into();
        value
    };
    output::print(output, &found.iter().map(value).collect::<Vec<_>>(), || {
        found.iter().map(|one| format!("{}\n", one.target)).collect()
    })?;
    if found.len() >= limit as usize {
        eprintln!("There may be more: stopped after {limit} (--limit).");
    }
    if unread > 0 {
        let hint = "`strongroom rescue files ls` says of each why";
        return Err(Told::gaps(format!("{unread} folders or files could not be read"), hint));
    }
    Ok(())
}

/// Where to look: the folder that is meant, or the root of everything that can be read.
fn beneath(browser: &mut Browser, place: Option<&OsStr>) -> files::Result<Vec<Target>> {
    if let Some(place) = place {
        return Ok(vec![browser.target(place.as_bytes())?]);
    }
    mover::roots(browser)
}

fn metadata_value(metadata: &Metadata) -> serde_json::Value {
    serde_json::json!({
        "kind": metadata.kind,
        "size": metadata.size,
        "mode": format!("{:04o}", metadata.mode),
        "uid": metadata.uid,
        "gid": metadata.gid,
        "modified": modified(metadata),
    })
}

fn entry_value(entry: &Entry, link: Option<&[u8]>) -> serde_json::Value {
    let mut value = match &entry.metadata {
        Ok(metadata) => metadata_value(metadata),
        Err(error) => serde_json::json!({ "error": error.to_string() }),
    };
    value["name"] = String::from_utf8_lossy(&entry.name).into();
    if let Some(link) = link {
        value["target"] = String::from_utf8_lossy(link).into();
    }
    value
}

fn modified(metadata: &Metadata) -> Option<jiff::Timestamp> {
    let time = metadata.modified?;
    jiff::Timestamp::new(time.seconds, time.nanoseconds as i32).ok()
}

fn entry_table(entries: &Listed) -> String {
    let rows = entries.iter().map(|(entry, link)| {
        let name = match link {
            Some(link) => format!("{} -> {}", shown(&entry.name), shown(link)),
            None => shown(&entry.name),
        };
        match &entry.metadata {
            Ok(metadata) => vec![
                mode_text(metadata.kind.letter(), metadata.mode),
                metadata.uid.to_string(),
                metadata.gid.to_string(),
                metadata.size.to_string(),
                modified(metadata).map_or_else(|| "-".to_owned(), |time| time.strftime("%F %T").to_string()),
                name,
            ],
            Err(error) => {
                let unknown = || "?".to_owned();
                vec![unknown(), unknown(), unknown(), unknown(), unknown(), format!("{name} ({error})")]
            }
        }
    });
    output::table(&["MODE", "UID", "GID", "SIZE", "MODIFIED (UTC)", "NAME"], &["UID", "GID", "SIZE"], rows)
}

/// As `ls -l` writes it.
pub(crate) fn mode_text(letter: char, mode: u32) -> String {
    let mut text = String::from(letter);
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bit = |bit: u32, letter: char| if mode >> shift & bit != 0 { letter } else { '-' };
        text.push(bit(4, 'r'));
        text.push(bit(2, 'w'));
        text.push(match (mode & special != 0, mode >> shift & 1 != 0) {
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
            (false, _) => bit(1, 'x'),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_written_as_ls_does() {
        let text = |kind: Kind, mode| mode_text(kind.letter(), mode);
        assert_eq!(text(Kind::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(text(Kind::Folder, 0o1777), "drwxrwxrwt");
        assert_eq!(text(Kind::Link, 0o777), "lrwxrwxrwx");
        assert_eq!(text(Kind::File, 0o2640), "-rw-r-S---");
    }
}
