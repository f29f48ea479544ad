//! From an address and settings to a store that answers.

use super::error::named;
use super::request::{ATTEMPTS_AT_OPEN_MAX, within};
use super::{Listing, Store, StoreAddress};
use crate::{Error, ErrorKind, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take: a few round trips around the world, and one packet lost.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How stores are reached: names and values as in the environment, `AWS_…` and `AZURE_…`. All else is
/// ignored. `docs/cli.md` lists those that matter.
#[derive(Clone, Default)]
pub struct StoreSettings(Vec<(String, String)>);

impl FromIterator<(String, String)> for StoreSettings {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        let is_ours = |name: &str| name.starts_with("AWS_") || name.starts_with("AZURE_");
        Self(variables.into_iter().filter(|(name, value)| is_ours(name) && !value.is_empty()).collect())
    }
}

impl fmt::Debug for StoreSettings {
    /// Names only: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl StoreSettings {
    /// Of these variables those that begin with a prefix, without it, if there are any; then none of the others count,
    /// so that one store is never opened with half of another's. Else all.
    pub fn preferring(prefix: Option<&str>, variables: Vec<(String, String)>) -> Self {
        let own =
            |(name, value): &(String, String)| Some((name.strip_prefix(prefix?)?.to_owned(), value.clone()));
        let own: Vec<_> = variables.iter().filter_map(own).collect();
        if own.is_empty() { variables } else { own }.into_iter().collect()
    }

    /// Those that the library knows, as its keys. `aliases` are names that other programs use.
    fn keys<'a, K: std::str::FromStr>(
        &'a self,
        start: &'a str,
        aliases: &'a [(&str, &str)],
    ) -> impl Iterator<Item = (K, &'a str)> {
        self.0.iter().filter(move |(name, _)| name.starts_with(start)).filter_map(move |(name, value)| {
            let known =
                aliases.iter().find(|(alias, _)| alias == name).map_or(name.as_str(), |(_, known)| known);
            Some((known.to_ascii_lowercase().parse().ok()?, value.as_str()))
        })
    }
}

impl Store {
    /// The store at an address, which must exist and answer.
    ///
    /// # Errors
    /// `Invalid` if the settings make no sense, `NotFound` if there is no such directory, bucket or
    /// container, `Denied` if credentials are missing or refused, `Store` if it cannot be reached.
    pub async fn open(address: &StoreAddress, settings: &StoreSettings) -> Result<Self> {
        let shown = address.to_string();
        let (objects, prefix): (Arc<dyn ObjectStore>, _) = match address {
            StoreAddress::Directory(path) => return Self::local(path),
            StoreAddress::S3 { bucket, prefix } => (s3(&shown, bucket, settings).await?, prefix),
            StoreAddress::Azure { account, container, prefix } => {
                (azure(&shown, account, container, settings).await?, prefix)
            }
        };
        let objects = if prefix.is_empty() {
            objects
        } else {
            let prefix = ObjectPath::parse(prefix).map_err(|e| senseless(&shown, e.into()))?;
            Arc::new(PrefixStore::new(objects, prefix))
        };
        let store = Self::new(objects, shown);
        store.check_reachable().await?;
        Ok(store)
    }

    /// Fails if the store does not answer, refuses us, or has no such bucket.
    ///
    /// The library does not tell why S3 could not list. An object does: its absence means that we were
    /// understood and let in, so that what is missing when the listing fails is the bucket.
    async fn check_reachable(&self) -> Result<()> {
        let name = ObjectPath::from("vault.json");
        let look = || async {
            match within(0, self.objects.get(&name)).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let look = self.repeatedly("vault.json", ATTEMPTS_AT_OPEN_MAX, look).await;
        let is_vault = look.map_err(|e| named(self.shown(), "reach", "vault.json", e))?;
        match self.list_once(Listing::ALL, Some(|_| true), ATTEMPTS_AT_OPEN_MAX).await {
            Err(error) if !is_vault && error.kind() != ErrorKind::Denied => {
                let context = format!("{} is not there: make its bucket or container first", self.shown());
                Err(Error::caused(ErrorKind::NotFound, context, error))
            }
            listed => listed.map(drop),
        }
    }
}

async fn s3(shown: &str, bucket: &str, settings: &StoreSettings) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new().with_client_options(client());
    for (key, value) in settings.keys("AWS_", &[]) {
        builder = builder.with_config(key, value);
    }
    // After the settings: those of another bucket, or without conditions, would not be this store.
    builder = builder
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(never_again());
    let set = |builder: &AmazonS3Builder, key| builder.get_config_value(&key);
    if set(&builder, AmazonS3ConfigKey::Checksum).is_none() {
        // The store compares it with what arrived; buckets with a retention refuse puts without one.
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    let endpoint =
        set(&builder, AmazonS3ConfigKey::S3Endpoint).or(set(&builder, AmazonS3ConfigKey::Endpoint));
    let may_be_plain = set(&builder, AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    check_plain(endpoint.as_deref(), may_be_plain.as_deref(), "AWS_ALLOW_HTTP")?;
    let is_signed = set(&builder, AmazonS3ConfigKey::SkipSignature).as_deref() != Some("true");
    let store = builder.build().map_err(|e| senseless(shown, e))?;
    if is_signed {
        within(0, store.credentials().get_credential()).await.map_err(|e| {
            let try_this = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            keyless(shown, "nor does an instance role give any", try_this, e)
        })?;
    }
    Ok(Arc::new(store))
}

async fn azure(
    shown: &str,
    account: &str,
    container: &str,
    settings: &StoreSettings,
) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(client());
    // What the command line of Azure calls the key.
    for (key, value) in settings.keys("AZURE_", &[("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")]) {
        builder = builder.with_config(key, value);
    }
    builder = builder.with_account(account).with_container_name(container).with_retry(never_again());
    let set = |builder: &MicrosoftAzureBuilder, key| builder.get_config_value(&key);
    let endpoint = set(&builder, AzureConfigKey::Endpoint);
    let may_be_plain = set(&builder, AzureConfigKey::Client(ClientConfigKey::AllowHttp));
    check_plain(endpoint.as_deref(), may_be_plain.as_deref(), "AZURE_ALLOW_HTTP")?;
    let is_signed = set(&builder, AzureConfigKey::SkipSignature).as_deref() != Some("true");
    let store = builder.build().map_err(|e| senseless(shown, e))?;
    if is_signed {
        within(0, store.credentials().get_credential()).await.map_err(|e| {
            let try_this = "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_TOKEN";
            keyless(shown, "nor does a managed identity give any", try_this, e)
        })?;
    }
    Ok(Arc::new(store))
}

/// Deadlines are ours, by the bytes that are moved: the library's 30 seconds cut a pack off on a slow line.
fn client() -> ClientOptions {
    ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_MAX)
}

/// We try again ourselves, where an uncertain answer is understood.
fn never_again() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: Duration::ZERO }
}

/// A store without TLS must be meant.
fn check_plain(endpoint: Option<&str>, allowed: Option<&str>, variable: &str) -> Result<()> {
    match endpoint {
        Some(endpoint) if endpoint.starts_with("http://") && allowed != Some("true") => {
            let context = format!(
                "the endpoint {endpoint} is not encrypted: use https://, or set {variable}=true if that is meant"
            );
            Err(Error::new(ErrorKind::Invalid, context))
        }
        _ => Ok(()),
    }
}

fn senseless(shown: &str, error: object_store::Error) -> Error {
    Error::caused(ErrorKind::Invalid, format!("the settings for {shown} make no sense"), error)
}

fn keyless(shown: &str, nor: &str, try_this: &str, error: object_store::Error) -> Error {
    let context = format!("the environment holds no credentials for {shown}, {nor}: {try_this}");
    Error::caused(ErrorKind::Denied, context, named(shown, "ask", "for credentials", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_store_has_credentials_of_its_own_or_the_vaults_but_never_half_of_each() {
        let pair = |name: &str| (name.to_owned(), format!("value of {name}"));
        let settings = |prefix, variables: &[_]| StoreSettings::preferring(prefix, variables.to_vec()).0;
        let vaults = vec![pair("AWS_ACCESS_KEY_ID"), pair("AWS_SECRET_ACCESS_KEY")];
        assert_eq!(settings(None, &vaults), vaults);
        assert_eq!(settings(Some("COPY_"), &vaults), vaults);
        let both = [&vaults[..], &[pair("COPY_AWS_ACCESS_KEY_ID")]].concat();
        let own = ("AWS_ACCESS_KEY_ID".to_owned(), "value of COPY_AWS_ACCESS_KEY_ID".to_owned());
        assert_eq!(settings(Some("COPY_"), &both), [own]);
        assert_eq!(settings(None, &both), vaults);
    }
}
