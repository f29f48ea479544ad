//! A disk's files: its image and whatever that stands on, found by us and opened once each.

use super::file::ImageFile;
use super::header::{Header, Reference};
use super::image::{Format, Image};
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Images that one disk may consist of. QEMU gets slow long before.
pub(super) const CHAIN_MAX: usize = 32;

/// The files of a disk, its own image first, each standing on the next.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) layers: Vec<Layer>,
}

/// One image of a chain.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) file: ImageFile,
    pub(super) format: Format,
    pub(super) header: Header,
    /// Where its data lies, if not in itself.
    pub(super) data: Option<ImageFile>,
}

impl Chain {
    /// Opens and locks all files of an image.
    ///
    /// # Errors
    /// `Invalid` for what is not of its format, refers to what may not be followed, or stands on itself; `Busy`
    /// when a machine uses one of the files; `NotFound` when one is missing.
    pub(super) fn open(image: &Image) -> Result<Self> {
        let doing = |error: Error| error.within(format!("open the image of disk {}", image.name));
        let top = canonical(&image.path).map_err(doing)?;
        let folder = top.parent().unwrap_or(Path::new("/")).to_owned();
        let inside = (!image.may_reach_outside).then_some(folder.as_path());
        let mut layers = vec![Layer::open(&top, image.format, inside).map_err(doing)?];
        while let Some(next) = layers.last().and_then(|layer| layer.header.backing.as_ref()) {
            let below = layers.last().map(|layer| layer.file.path()).unwrap_or(&top);
            let layer = Layer::below(below, next, inside).map_err(doing)?;
            if layers.iter().any(|known| known.file.place() == layer.file.place()) {
                let text = format!("the image {} stands on itself", layer.file.path().display());
                return Err(doing(Error::new(ErrorKind::Invalid, text)));
            }
            layers.push(layer);
            if layers.len() > CHAIN_MAX {
                let text = format!("it stands on more than {CHAIN_MAX} other images");
                return Err(doing(Error::new(ErrorKind::Invalid, text)));
            }
        }
        let encrypted = layers.iter().any(|layer| layer.header.encrypted);
        match (encrypted, &image.key_file) {
            (true, None) => {
                let text = "it is encrypted: give its passphrase with key-file=FILE";
                Err(doing(Error::new(ErrorKind::Invalid, text)))
            }
            (false, Some(_)) => {
                Err(doing(Error::new(ErrorKind::Invalid, "it has a key file, but is not encrypted")))
            }
            _ => Ok(Self { layers }),
        }
    }

    /// All its files.
    pub(super) fn files(&self) -> impl Iterator<Item = &ImageFile> {
        self.layers.iter().flat_map(|layer| std::iter::once(&layer.file).chain(&layer.data))
    }

    /// The image that the machine writes to.
    pub(super) fn top(&self) -> &Layer {
        self.layers.first().expect("a chain has at least its own image")
    }
}

impl Layer {
    fn open(path: &Path, format: Format, inside: Option<&Path>) -> Result<Self> {
        let file = ImageFile::open(path)?;
        let named = |error: Error| error.within(format!("read the header of {}", path.display()));
        let header = file.ends(|ends| Header::parse(format, ends))?.map_err(named)?;
        let data = match &header.data_file {
            Some(reference) => Some(ImageFile::open(&resolve(path, reference, inside)?)?),
            None => None,
        };
        Ok(Self { file, format, header, data })
    }

    fn below(above: &Path, reference: &Reference, inside: Option<&Path>) -> Result<Self> {
        let path = resolve(above, reference, inside)?;
        let format = reference.format.as_deref().ok_or_else(|| {
            let text = format!(
                "{} does not say which format {} has; qemu-img rebase -u -b NAME -F FORMAT writes that into it",
                above.display(),
                path.display()
            );
            Error::new(ErrorKind::Invalid, text)
        })?;
        Self::open(&path, format.parse()?, inside)
    }
}

/// The file that an image means by a name.
fn resolve(from: &Path, reference: &Reference, inside: Option<&Path>) -> Result<PathBuf> {
    let named = from.parent().unwrap_or(Path::new("/")).join(&reference.name);
    let path = canonical(&named)
        .map_err(|error| error.within(format!("follow {} to another file", from.display())))?;
    if inside.is_some_and(|folder| !path.starts_with(folder)) {
        let text = format!(
            "{} refers to {}, outside of its own folder; --allow-outside follows it",
            from.display(),
            path.display()
        );
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(path)
}

fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| Error::io(format!("find {}", path.display()), e))
}
