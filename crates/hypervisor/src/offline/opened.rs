//! The images of a stopped machine, opened: their files served to the daemon, the daemon's nodes on top.

use super::chain::{CHAIN_MAX, Chain, Layer};
use super::daemon::{self, Daemon};
use super::header::Tail;
use super::image::{Format, Image};
use crate::agent::base64;
use crate::qmp::Qmp;
use crate::scratch::{self, RunFolder};
use crate::{DiskDescription, Error, ErrorKind, Result};
use nbd::{Address, Export, RunningServer, Server};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Files of all images together: the server that hands them to the daemon serves 64 connections.
const FILES_MAX: usize = 60;
const _: () = assert!(CHAIN_MAX < FILES_MAX);

/// A disk larger than any format but qcow2 can hold is none; a header may claim 2^63 bytes.
const DISK_BYTES_MAX: u64 = 64 << 40;

/// LUKS takes longer key files, but a passphrase fits a page.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Open images. Ends, with all that belongs to it, by [`close`](Self::close).
pub(super) struct Opened {
    pub(super) disks: Vec<OpenedDisk>,
    daemon: Option<Daemon>,
    server: RunningServer,
    folder: RunFolder,
}

/// A disk whose image is open.
pub(super) struct OpenedDisk {
    pub(super) description: DiskDescription,
    pub(super) chain: Chain,
    /// Where its bytes are served: by the daemon under this node's name, or for a raw image by ourselves.
    pub(super) node: Option<String>,
}

impl Opened {
    /// Opens all images; `run` names the folder in `scratch` that its sockets lie in.
    pub(super) async fn open(images: &[Image], scratch: &Path, run: &str) -> Result<Self> {
        let (owned, scratch_owned, run) = (images.to_vec(), scratch.to_owned(), run.to_owned());
        let user = daemon::user()?;
        let begun = tokio::task::spawn_blocking(move || {
            scratch::sweep(&scratch_owned);
            let chains: Vec<Chain> = owned.iter().map(Chain::open).collect::<Result<_>>()?;
            let files = chains.iter().flat_map(Chain::files).count();
            if files > FILES_MAX {
                let text = format!("open the images: they are {files} files, more than {FILES_MAX}");
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            Ok((chains, RunFolder::create(&scratch_owned, &run, user)?))
        });
        let (chains, folder) =
            begun.await.map_err(|e| Error::caused(ErrorKind::Failed, "open the images", e))??;
        let server = match serve_files(&chains, &folder).await {
            Ok(server) => server,
            Err(error) => {
                let _ = folder.remove(); // the error matters more; the next freeze sweeps
                return Err(error);
            }
        };
        match understand(images, &chains, &folder).await {
            Ok((daemon, descriptions)) => {
                let disks = chains.into_iter().zip(descriptions).enumerate();
                let disk = |(index, (chain, description)): (usize, (Chain, DiskDescription))| {
                    let node = (!is_plain(&chain)).then(|| node(index, 0));
                    OpenedDisk { description, chain, node }
                };
                Ok(Self { disks: disks.map(disk).collect(), daemon, server, folder })
            }
            Err(error) => {
                // Only then are the images closed, and their locks gone.
                server.stop().await;
                let _ = folder.remove(); // as above
                Err(error)
            }
        }
    }

    /// The daemon's monitor, if any disk needs the daemon.
    pub(super) fn qmp(&self) -> Option<&Qmp> {
        self.daemon.as_ref().map(Daemon::qmp)
    }

    /// Where a disk is served, and as which export.
    pub(super) fn place(&self, index: usize) -> (Address, String) {
        match &self.disks[index].node {
            Some(_) => (Address::Unix(self.folder.socket()), node(index, 0)),
            None => (Address::Unix(self.folder.files_socket()), node(index, 0)),
        }
    }

    /// Whether every file is still what was opened.
    pub(super) fn check(&self) -> Result<()> {
        let mut files = self.disks.iter().flat_map(|disk| disk.chain.files());
        files.try_for_each(super::file::ImageFile::check)
    }

    /// Gives everything back.
    pub(super) async fn close(self) -> Result<()> {
        if let Some(daemon) = self.daemon {
            daemon.end().await;
        }
        self.server.stop().await;
        let removed = tokio::task::spawn_blocking(|| self.folder.remove()).await;
        removed.unwrap_or_else(|e| Err(Error::caused(ErrorKind::Failed, "remove the folder", e)))
    }
}

/// Serves the files of all chains to the daemon, and raw images to whoever reads the disks.
async fn serve_files(chains: &[Chain], folder: &RunFolder) -> Result<RunningServer> {
    let failed = |e| Error::caused(ErrorKind::Failed, "serve the image files", e);
    let mut server = Server::new();
    for (index, chain) in chains.iter().enumerate() {
        for (depth, layer) in chain.layers.iter().enumerate() {
            let served = Arc::new(layer.file.served(layer.header.tail));
            server = server.export(node(index, depth), Export::read_only(served)).map_err(failed)?;
            if let Some(data) = &layer.data {
                let served = Arc::new(data.served(Tail::Exact));
                server = server.export(data_node(index, depth), Export::read_only(served)).map_err(failed)?;
            }
        }
    }
    let server = server.listen(&Address::Unix(folder.files_socket())).await.map_err(failed)?;
    folder.give_to_qemu(&folder.files_socket())?;
    Ok(server)
}

/// Starts the daemon, if any image needs it, and has it understand them.
async fn understand(
    images: &[Image],
    chains: &[Chain],
    folder: &RunFolder,
) -> Result<(Option<Daemon>, Vec<DiskDescription>)> {
    let disks = || images.iter().zip(chains);
    if chains.iter().all(is_plain) {
        let plain = |(image, chain): (&Image, &Chain)| {
            let size = believable(chain.top().file.size());
            let doing = |error: Error| error.within(format!("open the image of disk {}", image.name));
            Ok(described(image, chain, size.map_err(doing)?))
        };
        return Ok((None, disks().map(plain).collect::<Result<_>>()?));
    }
    let bytes = chains.iter().flat_map(Chain::files).map(|file| file.size()).sum();
    let daemon = Daemon::start(daemon::user()?, &folder.socket(), bytes).await?;
    let mut descriptions = Vec::new();
    for (index, (image, chain)) in disks().enumerate() {
        let size = match is_plain(chain) {
            true => believable(chain.top().file.size()),
            false => add_disk(daemon.qmp(), index, image, chain, &folder.files_socket()).await,
        };
        match size {
            Ok(size) => descriptions.push(described(image, chain, size)),
            Err(error) => {
                let said = daemon.end().await;
                let more = if said.is_empty() { String::new() } else { format!(" ({})", said.trim()) };
                return Err(error.within(format!("open the image of disk {}{more}", image.name)));
            }
        }
    }
    Ok((Some(daemon), descriptions))
}

/// Whether QEMU is not needed to understand it: the safest of all.
fn is_plain(chain: &Chain) -> bool {
    chain.top().format == Format::Raw
}

fn node(disk: usize, depth: usize) -> String {
    format!("disk-{disk}-{depth}")
}

fn data_node(disk: usize, depth: usize) -> String {
    format!("data-{disk}-{depth}")
}

fn described(image: &Image, chain: &Chain, size: u64) -> DiskDescription {
    DiskDescription {
        id: image.name.clone(),
        device: String::new(),
        node: String::new(),
        format: image.format.name().to_owned(),
        file: chain.top().file.path().display().to_string(),
        size,
        keeps_bitmaps: image.format == Format::Qcow2,
    }
}

/// Adds a disk's nodes, the lowest first, each told all it stands on. Gives the disk's size.
async fn add_disk(qmp: &Qmp, index: usize, image: &Image, chain: &Chain, socket: &Path) -> Result<u64> {
    let secret = match &image.key_file {
        Some(path) => Some(add_secret(qmp, index, path).await?),
        None => None,
    };
    let mut below = Value::Null;
    for (depth, layer) in chain.layers.iter().enumerate().rev() {
        let mut add = layer_node(layer, (index, depth), socket, secret.as_deref());
        if matches!(layer.format, Format::Qcow2) {
            // Said always: null keeps QEMU from following what stands in the header.
            add["backing"] = below;
        }
        qmp.execute("blockdev-add", add).await.map_err(|error| {
            error.within(format!("read {} as {}", layer.file.path().display(), layer.format.name()))
        })?;
        below = json!(node(index, depth));
    }
    let nodes = qmp.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    let mut nodes = nodes.as_array().into_iter().flatten();
    let found = nodes.find(|found| found["node-name"] == node(index, 0));
    let size = found.and_then(|found| found["image"]["virtual-size"].as_u64()).unwrap_or(0);
    believable(size)
}

fn believable(size: u64) -> Result<u64> {
    if !(1..=DISK_BYTES_MAX).contains(&size) {
        let text = format!("its disk of {size} bytes is empty, or larger than {DISK_BYTES_MAX} bytes");
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(size)
}

/// One image as QEMU is told it.
fn layer_node(layer: &Layer, (disk, depth): (usize, usize), socket: &Path, secret: Option<&str>) -> Value {
    let from_us = |export: String| json!({ "driver": "nbd", "read-only": true, "export": export, "server": { "type": "unix", "path": socket } });
    let mut add = json!({
        "driver": layer.format.name(), "node-name": node(disk, depth), "read-only": true,
        "file": from_us(node(disk, depth)),
    });
    if layer.data.is_some() {
        add["data-file"] = from_us(data_node(disk, depth));
    }
    match (layer.header.encrypted, layer.format) {
        (true, Format::Luks) => add["key-secret"] = json!(secret),
        (true, _) => add["encrypt"] = json!({ "format": "luks", "key-secret": secret }),
        (false, _) => {}
    }
    add
}

/// Hands a passphrase to the daemon over its monitor, which nobody else can see: it could not read the file.
async fn add_secret(qmp: &Qmp, index: usize, path: &Path) -> Result<String> {
    let failed = |e| Error::io(format!("read the key file {}", path.display()), e);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut key = Vec::new();
    file.take(KEY_BYTES_MAX + 1).read_to_end(&mut key).map_err(failed)?;
    if key.is_empty() || key.len() as u64 > KEY_BYTES_MAX {
        let text = format!("the key file {} is empty or larger than {KEY_BYTES_MAX} bytes", path.display());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    let id = format!("key-{index}");
    let secret = json!({ "qom-type": "secret", "id": id, "format": "base64", "data": base64::encode(&key) });
    qmp.execute("object-add", secret).await?;
    Ok(id)
}
