//! The images of a stopped machine, as the command line names them.

use crate::args::StoppedArgs;
use crate::failure::Told;
use anyhow::Result;
use hypervisor::offline::{Format, Image, OfflineMachine};
use std::path::{Path, PathBuf};

/// Reads `NAME=PATH[,format=F][,key-file=FILE]`. A path may hold commas, unless it ends like an option.
pub(crate) fn parse(text: &str) -> Result<Image, String> {
    let (name, mut rest) = text.split_once('=').ok_or("say the disk's name and its image: NAME=PATH")?;
    let (mut format, mut key_file) = (None, None);
    while let Some((path, option)) = rest.rsplit_once(',') {
        match option.split_once('=') {
            Some(("format", value)) => format = Some(value),
            Some(("key-file", value)) => key_file = Some(PathBuf::from(value)),
            _ => break,
        }
        rest = path;
    }
    if name.is_empty() || rest.is_empty() {
        return Err("say the disk's name and its image: NAME=PATH".into());
    }
    let path = Path::new(rest);
    let format = match format {
        Some(format) => format.parse().map_err(|error: hypervisor::Error| error.to_string())?,
        None => Format::of_name(path).map_err(|error| format!("{error}: add ,format=F to it"))?,
    };
    let (name, path) = (name.to_owned(), path.to_owned());
    Ok(Image { name, path, format, key_file, may_reach_outside: false })
}

/// The stopped machine that is meant.
pub(crate) fn machine(args: &StoppedArgs) -> Result<OfflineMachine> {
    let allowed = |image: &Image| Image { may_reach_outside: args.allow_outside, ..image.clone() };
    let images = args.images.iter().map(allowed).collect();
    let uuid = args.uuid.map(|uuid| uuid.to_string());
    let machine = OfflineMachine::new(args.name.as_deref().unwrap_or_default(), uuid.as_deref(), images);
    machine.map_err(|error| Told::usage(error.to_string(), "give --name MACHINE and --image NAME=PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_with_what_they_are() {
        let image = parse("d0=/a/b.qcow2").unwrap();
        assert_eq!((image.name.as_str(), image.format), ("d0", Format::Qcow2));
        let image = parse("d0=/a,b/c.img,key-file=/k,format=luks").unwrap();
        assert_eq!((image.path.to_str(), image.format), (Some("/a,b/c.img"), Format::Luks));
        assert_eq!(image.key_file.as_deref(), Some(Path::new("/k")));
        for text in ["d0", "d0=", "=/a.raw", "d0=/a.img", "d0=/a.raw,format=none", "d0=/a.raw,x=y"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
