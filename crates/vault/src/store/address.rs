//! Where a store is, as people write it.

use crate::{Error, ErrorKind, Result};
use object_store::path::Path as ObjectPath;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

/// How addresses are written, for messages.
const FORMS: &str = "a directory, s3://BUCKET/PREFIX or azure://ACCOUNT/CONTAINER/PREFIX";
/// How the portal of Azure shows where a container is.
const AZURE_HOST: &str = ".blob.core.windows.net";

/// The address of a store. Says where, not how: credentials and endpoints are [`StoreSettings`].
///
/// [`StoreSettings`]: super::StoreSettings
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// A path, or `file:///path`.
    Directory(PathBuf),
    /// `s3://bucket` or `s3://bucket/prefix`: S3 and what speaks its language.
    S3 {
        /// The bucket.
        bucket: String,
        /// The folder of it that holds the vault; may be empty.
        prefix: String,
    },
    /// `azure://account/container`, `azure://account/container/prefix`, or the same as the Azure portal
    /// shows it: `https://account.blob.core.windows.net/container/prefix`.
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// The folder of it that holds the vault; may be empty.
        prefix: String,
    },
}

impl StoreAddress {
    /// Reads an address. What has no `://` is a path.
    ///
    /// # Errors
    /// `Invalid` for a scheme we do not know, or a part that is missing.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self> {
        let text = text.as_ref();
        let Some((scheme, rest)) = text.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(Self::Directory(PathBuf::from(text)));
        };
        let shown = text.to_string_lossy();
        let parts = |rest: &str| -> Vec<String> { rest.splitn(3, '/').map(str::to_owned).collect() };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Directory(PathBuf::from(rest))),
            "file" => Err(invalid(&shown, "a file address has three slashes: file:///path")),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let bucket = name(&shown, "bucket", bucket)?;
                Ok(Self::S3 { bucket, prefix: folder(&shown, prefix)? })
            }
            "azure" => Self::azure(&shown, &parts(rest)),
            "https" => {
                let mut parts = parts(rest);
                let Some(account) = parts[0].strip_suffix(AZURE_HOST) else {
                    return Err(invalid(&shown, &format!("write {FORMS}")));
                };
                parts[0] = account.to_owned();
                Self::azure(&shown, &parts)
            }
            "az" | "abfs" | "abfss" => {
                Err(invalid(&shown, "name the account too: azure://ACCOUNT/CONTAINER/PREFIX"))
            }
            _ => Err(invalid(&shown, &format!("write {FORMS}"))),
        }
    }

    fn azure(shown: &str, parts: &[String]) -> Result<Self> {
        let part = |at: usize| parts.get(at).map_or("", String::as_str);
        Ok(Self::Azure {
            account: name(shown, "account", part(0))?,
            container: name(shown, "container", part(1))?,
            prefix: folder(shown, part(2))?,
        })
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, prefix) = match self {
            Self::Directory(path) => return path.display().fmt(f),
            Self::S3 { bucket, prefix } => (format!("s3://{bucket}"), prefix),
            Self::Azure { account, container, prefix } => (format!("azure://{account}/{container}"), prefix),
        };
        f.write_str(&place)?;
        if prefix.is_empty() { Ok(()) } else { write!(f, "/{prefix}") }
    }
}

/// The name of a bucket, account or container: what all stores allow, and nothing that would change the
/// meaning of a URL.
fn name(shown: &str, what: &str, name: &str) -> Result<String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.$".contains(c);
    if name.is_empty() {
        return Err(invalid(shown, &format!("it names no {what}; write {FORMS}")));
    }
    if !name.chars().all(is_fine) {
        return Err(invalid(shown, &format!("no {what} is called '{name}'")));
    }
    Ok(name.to_owned())
}

fn folder(shown: &str, prefix: &str) -> Result<String> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let path = ObjectPath::parse(prefix)
        .map_err(|e| Error::caused(ErrorKind::Invalid, format!("no store has the address {shown}"), e))?;
    Ok(path.to_string())
}

fn invalid(shown: &str, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("no store has the address {shown}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("vault", "vault"),
            ("/srv/vault", "/srv/vault"),
            ("file:///srv/vault", "/srv/vault"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("azure://account/container", "azure://account/container"),
            ("azure://account/container/a/b", "azure://account/container/a/b"),
            ("https://account.blob.core.windows.net/container/a", "azure://account/container/a"),
        ] {
            assert_eq!(StoreAddress::parse(text).expect("valid").to_string(), shown);
        }
    }

    #[test]
    fn addresses_that_name_nothing_are_refused_with_what_to_write() {
        for (text, said) in [
            ("s3://", "names no bucket"),
            ("s3:///prefix", "names no bucket"),
            ("s3://a?b/prefix", "no bucket is called 'a?b'"),
            ("s3://bucket/a//b", "no store has the address"),
            ("s3://bucket/../b", "no store has the address"),
            ("azure://account", "names no container"),
            ("az://container/prefix", "azure://ACCOUNT/CONTAINER/PREFIX"),
            ("https://example.com/x", "a directory, s3://BUCKET/PREFIX"),
            ("file://srv/vault", "file:///path"),
            ("ftp://host/x", "a directory, s3://BUCKET/PREFIX"),
        ] {
            let error = StoreAddress::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
