//! Where a restore goes to, and networks, as the command line names them.

use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) use hypervisor::recreate::Network;

/// NBD's own port.
const NBD_PORT: u16 = 10809;

/// Whither disks are restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// A folder.
    Folder(PathBuf),
    /// An NBD server, and the export; none: one for each disk.
    Nbd(nbd::Address, Option<String>),
}

/// Reads a folder or an NBD server's address.
pub(crate) fn to() -> impl TypedValueParser<Value = To> {
    OsStringValueParser::new().try_map(|text: OsString| match text.to_str() {
        Some(url) if url.starts_with("nbd://") || url.starts_with("nbd+unix://") => nbd_url(url),
        _ => Ok(To::Folder(text.into())),
    })
}

fn nbd_url(text: &str) -> Result<To, String> {
    let url = reqwest::Url::parse(text).map_err(|e| format!("{text}: {e}"))?;
    let export = decoded(url.path().trim_start_matches('/'))?;
    let export = Some(export).filter(|name| !name.is_empty());
    if url.scheme() == "nbd+unix" {
        let socket = url.query_pairs().find(|(key, _)| key == "socket").map(|(_, path)| path.into_owned());
        let socket = socket.ok_or("say its socket: nbd+unix:///EXPORT?socket=PATH")?;
        return Ok(To::Nbd(nbd::Address::Unix(socket.into()), export));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("say its host: nbd://HOST/EXPORT")?;
    let address = nbd::Address::Tcp(format!("{host}:{}", url.port().unwrap_or(NBD_PORT)));
    Ok(To::Nbd(address, export))
}

/// The text of a URL's path.
fn decoded(path: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut parts = path.split('%');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or("a % in a URL is followed by two digits")?;
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| "a % in a URL is followed by two digits")?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).map_err(|_| "the export's name is no text".to_owned())
}

/// Reads what a machine's cards are to be connected to.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    let pairs = match text {
        "keep" => return Ok(Network::Keep),
        "disconnected" => return Ok(Network::Disconnected),
        "isolated" => return Ok(Network::Isolated),
        _ => {
            text.strip_prefix("remap=").ok_or("there are keep, disconnected, isolated, remap=OLD:NEW,...")?
        }
    };
    let pair = |pair: &str| match pair.split_once(':') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err(format!("{pair:?} is no OLD:NEW")),
    };
    Ok(Network::Remap(pairs.split(',').map(pair).collect::<Result<_, String>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_folders_or_nbd_servers() {
        let unix =
            |export: Option<&str>| To::Nbd(nbd::Address::Unix("/run/a b".into()), export.map(str::to_owned));
        assert_eq!(nbd_url("nbd+unix:///d%200?socket=/run/a%20b"), Ok(unix(Some("d 0"))));
        assert_eq!(nbd_url("nbd+unix:///?socket=/run/a%20b"), Ok(unix(None)));
        let tcp = |text: &str| To::Nbd(nbd::Address::Tcp(text.into()), Some("x".into()));
        assert_eq!(nbd_url("nbd://host/x"), Ok(tcp("host:10809")));
        assert_eq!(nbd_url("nbd://[::1]:7/x"), Ok(tcp("[::1]:7")));
        assert!(nbd_url("nbd+unix:///x").is_err() && nbd_url("nbd:///x").is_err());
        assert!(decoded("%zz").is_err() && decoded("%f").is_err() && decoded("%ff").is_err());
    }

    #[test]
    fn networks_are_told() {
        let map = [("br0".to_owned(), "br1".to_owned()), ("a".to_owned(), "b".to_owned())];
        assert_eq!(network("remap=br0:br1,a:b"), Ok(Network::Remap(map.into())));
        assert_eq!(network("isolated"), Ok(Network::Isolated));
        for wrong in ["", "none", "remap=", "remap=a", "remap=:b"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }
}
