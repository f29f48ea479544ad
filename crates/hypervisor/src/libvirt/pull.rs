//! Pulling images in through libvirt: `blockpull`. A read that fails ends its job there, which then begins anew and
//! passes over what it has.

use super::link::{Link, State};
use super::machine::LibvirtMachine;
use super::xml;
use crate::pull::{Puller, Pulling};
use crate::{Error, ErrorKind, Result};
use async_trait::async_trait;
use roxmltree::Node;
use std::path::Path;

#[async_trait]
impl Puller for LibvirtMachine {
    async fn look(&self, image: &Path) -> Result<Pulling> {
        let link = self.link();
        let text = link.ask("dumpxml", &[]).await?;
        let (target, beneath) = disk_of(&text, image)?;
        let job = job(link, &target).await?;
        Ok(match job {
            Some((done, total)) => Pulling::Under { done, total },
            None if beneath => Pulling::Idle,
            None => Pulling::Alone,
        })
    }

    async fn pull(&self, image: &Path, speed: u64) -> Result<()> {
        let link = self.link();
        let text = link.ask("dumpxml", &[]).await?;
        let (target, _) = disk_of(&text, image)?;
        let speed = speed.to_string();
        let words = ["--path", &target, "--bandwidth", &speed, "--bytes"];
        let command = if job(link, &target).await?.is_some() { "blockjob" } else { "blockpull" };
        link.ask(command, &words).await.map(drop)
    }

    async fn is_stopped_by_disk(&self) -> Result<bool> {
        Ok(self.link().state().await? == State::IoError)
    }

    async fn run_on(&self) -> Result<()> {
        self.link().ask("resume", &[]).await.map(drop)
    }
}

/// The name of the disk that is on an image, and whether there is anything beneath.
fn disk_of(text: &str, image: &Path) -> Result<(String, bool)> {
    let document = xml::parse(text)?;
    let missing =
        || Error::new(ErrorKind::NotFound, format!("find the image {} in libvirt", image.display()));
    let devices = xml::find(document.root(), &["domain", "devices"]).ok_or_else(missing)?;
    let is_it = |disk: &Node<'_, '_>| {
        xml::attribute(*disk, &["source"], "file").is_some_and(|file| Path::new(file) == image)
    };
    let disk = xml::all(devices, "disk").find(is_it).ok_or_else(missing)?;
    let target = xml::attribute(disk, &["target"], "dev").ok_or_else(missing)?.to_owned();
    Ok((target, xml::attribute(disk, &["backingStore"], "type").is_some()))
}

/// What a job on a disk has done, and of how much.
async fn job(link: &Link, target: &str) -> Result<Option<(u64, u64)>> {
    let said = link.ask("blockjob", &["--path", target, "--raw"]).await?;
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        line.and_then(|text| text.trim().parse().ok())
    };
    Ok(number("cur").zip(number("end")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_by_its_image() {
        let text = "<domain><devices>
            <disk type='file'><source file='/r/a.qcow2'/><backingStore type='network'><backingStore/></backingStore>
              <target dev='vda'/></disk>
            <disk type='file'><source file='/r/b.qcow2'/><backingStore/><target dev='vdb'/></disk>
            </devices></domain>";
        assert_eq!(disk_of(text, Path::new("/r/a.qcow2")).unwrap(), ("vda".into(), true));
        assert_eq!(disk_of(text, Path::new("/r/b.qcow2")).unwrap(), ("vdb".into(), false));
        assert_eq!(disk_of(text, Path::new("/r/c.qcow2")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
