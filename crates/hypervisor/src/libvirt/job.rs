//! libvirt's backup job: the XML that asks for it, whose it is, and its end.

use super::link::Link;
use super::owner::Prepared;
use super::xml::{self, Element};
use crate::scratch::{self, RunFolder};
use crate::{Error, ErrorKind, Result, Tracking};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// While libvirt fixes the instant the guest stands still: it takes a quarter of a second, or waits for somebody
/// else's work on the machine, and the guest shall not wait for that.
const BEGIN_WAIT: Duration = Duration::from_secs(8);

/// Ending a job waits for requests under way, those for the disk at most.
const END_WAIT: Duration = Duration::from_secs(30);

/// How long a libvirt that starts again, or is busy, is waited for before a job of ours is left to the next run.
const PATIENCE: Duration = Duration::from_secs(60);

const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Nothing tells of a job's end but asking.
const END_PAUSE: Duration = Duration::from_millis(50);

/// Fixes the instant: one transaction of QEMU's for all disks begins the job and the checkpoint.
///
/// # Errors
/// `Busy` when something else holds the machine; what libvirt says otherwise. When no answer came in time the
/// job may begin later: it cannot once the folder is gone.
pub(super) async fn begin(
    link: &Link,
    folder: &RunFolder,
    (disks, checkpoint): (&[Prepared], Option<&str>),
    parent: Option<&str>,
) -> Result<()> {
    let job = folder.write("backup.xml", &job_xml(disks, folder, parent))?;
    let mut arguments = vec!["--backupxml", &job];
    let record = checkpoint.map(|name| folder.write("checkpoint.xml", &checkpoint_xml(name, disks)));
    let record = record.transpose()?;
    arguments.extend(record.iter().flat_map(|path| ["--checkpointxml", path]));
    match link.ask_within("backup-begin", &arguments, BEGIN_WAIT).await {
        Err(error) if error.kind() == ErrorKind::Unreachable => {
            let text = "fix the instant: libvirt did not do it in time; another task may hold the machine";
            Err(Error::caused(ErrorKind::Busy, text, error))
        }
        begun => begun.map(drop).map_err(|error| error.within("fix the instant")),
    }
}

fn job_xml(disks: &[Prepared], folder: &RunFolder, parent: Option<&str>) -> String {
    let socket = folder.socket().display().to_string();
    let disks = disks.iter().map(|prepared| {
        let (id, scratch) = (&prepared.disk.id, folder.disk_path(prepared.index).display().to_string());
        let scratch = Element::new("scratch").with("file", scratch);
        let disk = Element::new("disk").with("name", id).with("backup", "yes").with("type", "file");
        let disk = disk.with("exportname", id);
        let disk = match (&prepared.tracking, parent) {
            (Tracking::Incremental { bitmap }, Some(parent)) => disk
                .with("backupmode", "incremental")
                .with("incremental", parent)
                .with("exportbitmap", bitmap),
            _ => disk.with("backupmode", "full"),
        };
        disk.holding([scratch])
    });
    let server = Element::new("server").with("transport", "unix").with("socket", socket);
    Element::new("domainbackup")
        .with("mode", "pull")
        .holding([server, Element::new("disks").holding(disks)])
        .write()
}

fn checkpoint_xml(name: &str, disks: &[Prepared]) -> String {
    let images: BTreeMap<&str, &str> = disks.iter().map(|disk| (&*disk.disk.id, &*disk.image)).collect();
    let recorded = disks.iter().map(|prepared| {
        let kind = if prepared.disk.keeps_bitmaps { "bitmap" } else { "no" };
        Element::new("disk").with("name", &prepared.disk.id).with("checkpoint", kind)
    });
    let description = serde_json::to_string(&images).expect("names and paths are text");
    Element::new("domaincheckpoint")
        .holding([
            Element::new("name").saying(name),
            Element::new("description").saying(description),
            Element::new("disks").holding(recorded),
        ])
        .write()
}

/// The backup job of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Where it is served, if over a Unix socket.
    pub(super) socket: Option<PathBuf>,
}

impl Job {
    /// The job that is under way.
    pub(super) async fn find(link: &Link) -> Result<Option<Self>> {
        match link.ask("backup-dumpxml", &[]).await {
            Ok(text) => Self::parse(&text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.within("look for a backup that is under way")),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let document = xml::parse(text)?;
        let socket = xml::attribute(document.root(), &["domainbackup", "server"], "socket");
        Ok(Self { socket: socket.map(PathBuf::from) })
    }

    /// Whether it was begun by us, living or dead.
    pub(super) fn is_ours(&self) -> bool {
        self.socket.as_deref().is_some_and(scratch::is_in_ours)
    }

    /// Whether its owner lives.
    pub(super) fn is_held(&self) -> bool {
        self.socket.as_deref().is_some_and(scratch::is_held)
    }
}

/// Ends a job of ours, and returns when it is over. Nothing is done when it is over already.
pub(super) async fn end(link: &Link) -> Result<()> {
    let ours = async || Ok::<_, Error>(Job::find(link).await?.is_some_and(|job| job.is_ours()));
    if !ours().await? {
        return Ok(());
    }
    let aborted = link.ask("domjobabort", &[]).await;
    let deadline = Instant::now() + END_WAIT;
    while ours().await? {
        if Instant::now() >= deadline {
            let text = "end libvirt's backup job: it does not end";
            return Err(aborted
                .err()
                .map_or_else(|| Error::new(ErrorKind::Failed, text), |e| e.within(text)));
        }
        sleep(END_PAUSE).await;
    }
    Ok(())
}

/// [`end`], tried again while libvirt cannot be asked: it may be starting again, or at work for somebody else.
pub(super) async fn end_patiently(link: &Link) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match end(link).await {
            Err(error)
                if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unreachable)
                    && Instant::now() < deadline =>
            {
                sleep(TRY_AGAIN).await;
            }
            // A machine that is gone has no job.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::virsh::Virsh;
    use std::path::Path;

    const NO_JOB: &str = "error: Domain backup job id not found: no domain backup job present";

    /// A libvirt that answers one question after the other by a plan: `ok` and what it prints, or an error.
    fn played(folder: &Path, plan: &[&str]) -> Link {
        std::fs::write(folder.join("plan"), plan.join("\n") + "\n").unwrap();
        std::fs::write(folder.join("asked"), "").unwrap();
        let script = "cd \"$0\"; echo \"$4\" >>asked; answer=$(head -n 1 plan); sed -i 1d plan; \
                      case $answer in ok*) echo \"${answer#ok}\";; *) echo \"$answer\" >&2; exit 1;; esac";
        let words = ["sh".to_owned(), "-c".to_owned(), script.to_owned(), folder.display().to_string()];
        Link { virsh: Virsh::played_by(words.into()), uuid: "u".to_owned() }
    }

    fn asked(folder: &Path) -> Vec<String> {
        std::fs::read_to_string(folder.join("asked")).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_libvirt_that_is_busy_or_away_is_asked_again_and_one_that_refuses_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let ours = "ok<domainbackup><server socket='/s/strongroom-p/nbd.sock'/></domainbackup>";
        let foreign = "ok<domainbackup><server socket='/s/another/nbd.sock'/></domainbackup>";
        let busy = "error: Timed out during operation: cannot acquire state change lock";
        let away = "error: failed to connect to the hypervisor";
        let ended = |plan: &[&str]| {
            let link = played(folder.path(), plan);
            async move { end_patiently(&link).await.map_err(|error| error.kind()) }
        };
        assert_eq!(ended(&[busy, ours, "ok", ours, NO_JOB]).await, Ok(()));
        let look = "backup-dumpxml";
        assert_eq!(asked(folder.path()), [look, look, "domjobabort", look, look]);
        assert_eq!(ended(&[away, NO_JOB]).await, Ok(()));
        assert_eq!(asked(folder.path()), [look, look]);
        assert_eq!(ended(&["error: failed to get domain 'u'"]).await, Ok(()), "it is gone");
        assert_eq!(ended(&["error: internal error: odd"]).await, Err(ErrorKind::Failed));
        assert_eq!(asked(folder.path()), [look]);
        assert_eq!(ended(&[foreign]).await, Ok(()));
        assert_eq!(asked(folder.path()), [look], "another tool's job is left alone");
    }

    #[test]
    fn a_job_is_known_by_its_socket() {
        let job = |server: &str| {
            Job::parse(&format!("<domainbackup mode='pull'>{server}<disks/></domainbackup>")).unwrap()
        };
        let unix = |path: &str| job(&format!("<server transport='unix' socket='{path}'/>"));
        assert!(unix("/s/strongroom-p1/nbd.sock").is_ours());
        assert!(!unix("/s/backup/nbd.sock").is_ours());
        assert!(!unix("/strongroom-p1").is_ours());
        assert!(!job("<server name='localhost' port='10809'/>").is_ours());
        assert!(!unix("/nonexistent/strongroom-p1/nbd.sock").is_held());
    }
}
