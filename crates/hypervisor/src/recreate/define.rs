//! Asking libvirt to take a machine, and to start it.

use super::domain::LibvirtDefinition;
use super::recreation::Network;
use crate::libvirt::Virsh;
use crate::{Error, ErrorKind, Result};
use std::path::Path;

/// Defines the machine of the XML in `file`, which holds what `domain` does; it is not started. Gives its uuid.
///
/// # Errors
/// `Busy` when this libvirt has another machine of that name already: none is ever redefined; else as libvirt refuses.
pub async fn define(uri: &str, domain: &LibvirtDefinition, file: &Path) -> Result<String> {
    let virsh = Virsh::new(uri);
    match virsh.run(&["domuuid", "--domain", &domain.name]).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // An earlier attempt's.
        Ok(uuid) if domain.text.contains(&format!("<uuid>{}</uuid>", uuid.trim())) && domain.is_new => {
            return Ok(uuid.trim().to_owned());
        }
        Ok(_) => {
            let text =
                format!("define the machine {0}: {uri} has one called {0}; choose another name", domain.name);
            return Err(Error::new(ErrorKind::Busy, text));
        }
        Err(error) => return Err(error),
    }
    if domain.text.contains(Network::ISOLATED_NETWORK) {
        isolated_network(&virsh, file).await?;
    }
    let file = file.display().to_string();
    virsh.run(&["define", "--file", &file]).await?;
    Ok(virsh.run(&["domuuid", "--domain", &domain.name]).await?.trim().to_owned())
}

/// Starts a machine that is defined.
///
/// # Errors
/// As libvirt refuses; the machine stays defined.
pub async fn start_defined(uri: &str, name: &str) -> Result<()> {
    let virsh = Virsh::new(uri);
    if virsh.run(&["domstate", "--domain", name]).await?.trim() == "running" {
        return Ok(());
    }
    virsh.run(&["start", "--domain", name]).await.map(drop)
}

/// Makes the network that leads nowhere, if there is none yet. It has no addresses: nobody gives any out in it.
async fn isolated_network(virsh: &Virsh, beside: &Path) -> Result<()> {
    let name = Network::ISOLATED_NETWORK;
    let listed = virsh.run(&["net-list", "--all", "--name"]).await?;
    if !listed.lines().any(|line| line.trim() == name) {
        let path = beside.with_extension("network.xml");
        let text = format!("<network><name>{name}</name><bridge stp='on'/></network>\n");
        std::fs::write(&path, text).map_err(|e| Error::io(format!("write {}", path.display()), e))?;
        virsh.run(&["net-define", "--file", &path.display().to_string()]).await?;
    }
    let active = virsh.run(&["net-list", "--name"]).await?;
    if !active.lines().any(|line| line.trim() == name) {
        virsh.run(&["net-start", "--network", name]).await?;
    }
    Ok(())
}
