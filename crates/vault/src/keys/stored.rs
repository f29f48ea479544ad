//! Keyrings in the store: found, read, put.
//!
//! CRASH: a put on an object store shows the whole object or nothing. In a local directory the object is
//! written beside, synced, and linked under its name: a power cut leaves nothing under the name, or all of it;
//! what lies beside (`<n>#1`) is not listed and does not keep the number from being used. A short or broken
//! newest keyring is therefore never the trace of a crash but damage, and is named as such: falling back to
//! an older one in silence would let removed holders in again and seal under a key that was rotated away.

use super::keyring::Keyring;
use super::object::{Holder, KeyringObject, Member, Opened};
use super::share::KeyringName;
use super::{HolderId, HolderSecret, KeyProvider, NewHolder};
use crate::{Error, ErrorKind, Result, Store, VaultId};

/// 64 holders with the longest wraps, 1024 epochs and their JSON take about half of it.
const KEYRING_BYTES_MAX: u64 = 512 * 1024;
/// The names have eight digits.
const NUMBER_MAX: u32 = 99_999_999;

impl KeyringName {
    pub(super) fn object(self) -> String {
        format!("keys/{:08}", self.number)
    }
}

/// What came of putting a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is the newest now.
    Done,
    /// Somebody else's has its number.
    Taken,
}

/// Puts the first keyring of a vault.
pub(crate) async fn create(store: &Store, vault: VaultId, holders: &[NewHolder<'_>]) -> Result<()> {
    let keys = Keyring::generate();
    let mut members: Vec<Member> = Vec::with_capacity(holders.len());
    for new in holders {
        let member = Member::enroll(new, vault).await?;
        if members.iter().any(|other| other.holder.id == member.holder.id) {
            return Err(Error::new(ErrorKind::Invalid, "a vault's holders must have different keys"));
        }
        members.push(member);
    }
    if members.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a vault needs a holder that can open it"));
    }
    let name = KeyringName { vault, number: 1 };
    let at_hand: Vec<_> = holders.iter().map(|new| new.key).collect();
    match put(store, name, (&keys, &members), &at_hand).await? {
        Put::Done => Ok(()),
        Put::Taken => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("somebody else is creating a vault in {}", store.shown()),
        )),
    }
}

/// Puts the newest keyring of a vault into another store of it, as it is, unless that has one as new.
///
/// Where both stores changed their keyrings, each has its own of that number, and they stay apart: what is
/// sealed under an epoch of one is copied only by whoever has it open.
pub(crate) async fn copy_newest(from: &Store, to: &Store, vault: VaultId) -> Result<()> {
    let listed = list(from).await?;
    let object = read(from, vault, &listed, None).await?;
    if newest(to).await? >= object.number() {
        return Ok(());
    }
    let name = KeyringName { vault, number: object.number() }.object();
    to.create(&name, from.get(&name).await?).await
}

/// The id of the vault as its newest keyring says, or the one with this number. Nothing is proved by it: the
/// keyring opens only if it is right.
pub(crate) async fn vault_id(store: &Store, number: Option<u32>) -> Result<Option<VaultId>> {
    #[derive(serde::Deserialize)]
    struct Named {
        vault: VaultId,
    }
    let listed = list(store).await?;
    let meant = listed.iter().rfind(|keyring| number.is_none_or(|number| keyring.number == number));
    let Some(&Listed { number, .. }) = meant.filter(|keyring| keyring.bytes <= KEYRING_BYTES_MAX) else {
        return Ok(None);
    };
    let named: Option<Named> = serde_json::from_slice(&store.get(&format!("keys/{number:08}")).await?).ok();
    Ok(named.map(|named| named.vault))
}

/// Opens the newest keyring, or the one with this number.
pub(super) async fn open(
    store: &Store,
    vault: VaultId,
    key: &dyn KeyProvider,
    number: Option<u32>,
) -> Result<Opened> {
    let listed = list(store).await?;
    let opened = async {
        let object = read(store, vault, &listed, number).await?;
        object.open(key).await?.ok_or_else(|| not_a_holder(&object, key))
    };
    opened.await.map_err(|error| match error.kind() {
        ErrorKind::Corrupt => with_rescue(&listed, number, error),
        _ => error,
    })
}

/// Opens a keyring with the secret of a holder. `None` if it has no such holder.
pub(super) async fn open_as(
    store: &Store,
    name: KeyringName,
    by: HolderId,
    secret: &HolderSecret,
) -> Result<Option<Opened>> {
    let listed = list(store).await?;
    let opened = async { read(store, name.vault, &listed, Some(name.number)).await?.open_as(by, secret) };
    opened.await.map_err(|error| match error.kind() {
        ErrorKind::Corrupt => with_rescue(&listed, Some(name.number), error),
        _ => error,
    })
}

/// Says which older keyrings there are: to use one is for a person to decide.
fn with_rescue(listed: &[Listed], number: Option<u32>, error: Error) -> Error {
    let Some(broken) = number.or(listed.last().map(|keyring| keyring.number)) else { return error };
    let older = listed.iter().rfind(|keyring| keyring.number < broken);
    let rescue = match older {
        Some(Listed { number, .. }) => {
            format!("keyring {number} may open, with the holders and data keys of its time")
        }
        None => "there is no older keyring; copy the object back from another copy of the vault".into(),
    };
    Error::caused(ErrorKind::Corrupt, format!("{error}; {rescue}"), error)
}

/// Who holds the newest keyring, as it says in plain.
pub(super) async fn holders(store: &Store, vault: VaultId) -> Result<(u32, Vec<Holder>)> {
    let listed = list(store).await?;
    let object = read(store, vault, &listed, None).await.map_err(|error| match error.kind() {
        ErrorKind::Corrupt => with_rescue(&listed, None, error),
        _ => error,
    })?;
    Ok((object.number(), object.holders().cloned().collect()))
}

/// The holder of this keyring whose key this is.
pub(super) async fn holder_of(
    store: &Store,
    name: KeyringName,
    key: &dyn KeyProvider,
) -> Result<Option<HolderId>> {
    let object = read(store, name.vault, &list(store).await?, Some(name.number)).await?;
    Ok(object.open(key).await?.map(|opened| opened.by))
}

/// The highest number a keyring has.
pub(super) async fn newest(store: &Store) -> Result<u32> {
    Ok(list(store).await?.last().map_or(0, |keyring| keyring.number))
}

/// A keyring as the store lists it.
struct Listed {
    number: u32,
    bytes: u64,
}

/// All keyrings, ascending. Other names in the folder are not keyrings and mean nothing.
async fn list(store: &Store) -> Result<Vec<Listed>> {
    let number = |name: &str| {
        let digits = name.strip_prefix("keys/")?;
        let is_number = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    let objects = store.list("keys").await?;
    let mut listed: Vec<Listed> = objects
        .iter()
        .filter_map(|(name, bytes)| Some(Listed { number: number(name)?, bytes: *bytes }))
        .collect();
    listed.sort_unstable_by_key(|keyring| keyring.number);
    Ok(listed)
}

/// Reads the newest keyring of those listed, or the one with this number.
async fn read(
    store: &Store,
    vault: VaultId,
    listed: &[Listed],
    wanted: Option<u32>,
) -> Result<KeyringObject> {
    let found = match wanted {
        Some(wanted) => listed.iter().find(|keyring| keyring.number == wanted),
        None => listed.last(),
    };
    let Some(&Listed { number, bytes }) = found else {
        return Err(match wanted {
            Some(wanted) => {
                let context = format!("the vault in {} has no keyring {wanted}", store.shown());
                Error::new(ErrorKind::NotFound, context)
            }
            None => Error::new(ErrorKind::Corrupt, format!("the vault in {} has no keyring", store.shown())),
        });
    };
    let name = KeyringName { vault, number };
    if bytes > KEYRING_BYTES_MAX {
        return Err(Error::corrupt(name.object(), 0, format!("no keyring has {bytes} bytes")));
    }
    KeyringObject::parse(name, &store.get(&name.object()).await?)
}

/// Seals a keyring, opens it with every key at hand, puts it, reads it back and opens it again.
pub(super) async fn put(
    store: &Store,
    name: KeyringName,
    (keys, members): (&Keyring, &[Member]),
    at_hand: &[&dyn KeyProvider],
) -> Result<Put> {
    if name.number > NUMBER_MAX {
        return Err(Error::new(ErrorKind::Invalid, format!("a vault has at most {NUMBER_MAX} keyrings")));
    }
    let object = KeyringObject::seal(name, keys, members)?;
    let bytes = object.to_bytes();
    assert!(bytes.len() as u64 <= KEYRING_BYTES_MAX, "what is written can be read");
    prove(&KeyringObject::parse(name, &bytes)?, keys, at_hand).await?;
    if let Err(error) = store.create(&name.object(), bytes.clone()).await {
        // Ours may stand there although we were refused: an answer was lost and the put made again.
        match store.get(&name.object()).await {
            Ok(stored) if stored == bytes => {}
            // Some stores say so of a put that lost a race nobody won: the caller looks and tries again.
            _ if error.kind() == ErrorKind::AlreadyExists => return Ok(Put::Taken),
            _ => return Err(error),
        }
    }
    let canary = async {
        let stored = KeyringObject::parse(name, &store.get(&name.object()).await?)?;
        prove(&stored, keys, at_hand).await
    };
    canary.await.map_err(|error| {
        let context = format!("{} was put, but what came back from the store does not open", name.object());
        Error::caused(error.kind(), context, error)
    })?;
    Ok(Put::Done)
}

/// Opens `object` with every key at hand and finds the data keys in it.
async fn prove(object: &KeyringObject, keys: &Keyring, at_hand: &[&dyn KeyProvider]) -> Result<()> {
    for key in at_hand {
        let opened = object.open(*key).await?.ok_or_else(|| not_a_holder(object, *key))?;
        if opened.keys != *keys {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "a new keyring holds other keys than were sealed in it",
            ));
        }
    }
    Ok(())
}

fn not_a_holder(object: &KeyringObject, key: &dyn KeyProvider) -> Error {
    let which = match key.id() {
        Some(id) => format!("{} {id}", key.provider()),
        None => format!("this {}", key.provider()),
    };
    let holders: Vec<_> =
        object.holders().map(|holder| format!("{} {}", holder.provider, holder.id)).collect();
    let context = format!("{which} does not open this vault, which {} opens", holders.join(" or "));
    Error::new(ErrorKind::Key, context)
}
