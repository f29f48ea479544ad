//! The object `keys/<n>`: the data keys, sealed for every holder.
//!
//! Body, locked (`lock.rs`) under a key that is drawn for this object alone:
//!
//! | bytes | field |
//! |---|---|
//! | 0..k | the data keys (`keyring.rs`) |
//! | k..k+4 | number of holders, 1 to 64 |
//! | then, each 72 | holder: id (8), public key (32), hash of what the object says of it (32); in its order |
//!
//! The body says who the holders are, so the next keyring is sealed to those who were let in and not to
//! whoever edited the plain part. A holder whose plain part is damaged does not keep the others from opening.

use super::hex::Hex;
use super::keyring::Keyring;
use super::lock::{Lock, random};
use super::share::{self, KeyringName, Public};
use super::{HolderId, HolderSecret, KeyProvider, NewHolder, WrapContext};
use crate::bytes_io::Fields;
use crate::{Error, ErrorKind, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const BODY_CONTEXT: &str = "strongroom keyring v1 body";
const FORMAT: u16 = 1;
/// Far more than people and services that open one vault; bounds what opening one costs.
pub(super) const HOLDERS_MAX: usize = 64;
const LABEL_CHARS_MAX: usize = 64;
/// Several times what a key management service answers with; bounds the object together with the above.
const WRAP_BYTES_MAX: usize = 1024;

/// Somebody, or something, that opens the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The kind of key: `key-file`, `passphrase`, `recovery-key`.
    pub provider: String,
    /// Its id.
    pub id: HolderId,
    /// What people call it.
    pub label: String,
    /// When it was added.
    pub added: Timestamp,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.provider, self.id)?;
        if self.label.is_empty() { Ok(()) } else { write!(f, " ({})", self.label) }
    }
}

/// The object itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyringObject {
    format: u16,
    vault: crate::VaultId,
    number: u32,
    holders: Vec<Entry>,
    sealed: Hex,
}

/// What the object says of a holder in plain.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    holder: Holder,
    /// The holder's secret, wrapped by its provider when it was added; carried from keyring to keyring.
    wrap: Hex,
    /// This object's key, sealed to the holder's public key.
    share: Hex,
}

/// A holder as whoever has opened the keyring knows it.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) holder: Holder,
    wrap: Hex,
    public: Public,
    /// Whether the plain part is what it was when the holder was added.
    pub(super) is_whole: bool,
}

/// What is in a keyring.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) name: KeyringName,
    pub(super) keys: Keyring,
    pub(super) members: Vec<Member>,
    /// The holder that opened it.
    pub(super) by: HolderId,
    /// That holder's secret.
    pub(super) secret: HolderSecret,
}

impl Member {
    /// Draws a secret for a new holder and has its provider wrap it.
    pub(super) async fn enroll(new: &NewHolder<'_>, vault: crate::VaultId) -> Result<Self> {
        check_label(&new.label).map_err(|found| Error::new(ErrorKind::Invalid, found))?;
        let secret = share::secret();
        let id = new.key.id().unwrap_or_else(HolderId::random);
        let wrap = new.key.wrap(WrapContext { vault, holder: id }, &secret).await?;
        assert!(wrap.len() <= WRAP_BYTES_MAX, "a provider's wrap is short");
        let provider = new.key.provider().to_owned();
        let holder = Holder { provider, id, label: new.label.clone(), added: new.added };
        Ok(Self { holder, wrap: Hex(wrap), public: share::public_of(&secret), is_whole: true })
    }
}

impl KeyringObject {
    /// Seals data keys for these holders.
    pub(super) fn seal(name: KeyringName, keys: &Keyring, members: &[Member]) -> Result<Self> {
        assert!((1..=HOLDERS_MAX).contains(&members.len()), "a keyring has holders");
        let key = Zeroizing::new(random::<32>());
        let entry = |member: &Member| {
            let share = share::seal(&key, &member.public, name).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("holder {} has no public key", member.holder.id))
            })?;
            Ok(Entry { holder: member.holder.clone(), wrap: member.wrap.clone(), share: Hex(share) })
        };
        let holders = members.iter().map(entry).collect::<Result<Vec<_>>>()?;
        let sealed = Hex(body_lock(&key, name).seal(&encode_body(keys, members)));
        Ok(Self { format: FORMAT, vault: name.vault, number: name.number, holders, sealed })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data")
    }

    /// Reads the object that was stored under a name. Whether it opens is another question.
    pub(super) fn parse(name: KeyringName, bytes: &[u8]) -> Result<Self> {
        check_format(name, bytes)?;
        let object: Self = serde_json::from_slice(bytes).map_err(|e| {
            Error::caused(ErrorKind::Corrupt, format!("read the keyring {}", name.object()), e)
        })?;
        if object.vault != name.vault || object.number != name.number {
            return Err(damaged(name, "it is another keyring than its name says"));
        }
        if !(1..=HOLDERS_MAX).contains(&object.holders.len()) {
            return Err(damaged(name, format!("it has {} holders", object.holders.len())));
        }
        for (at, Entry { holder, wrap, .. }) in object.holders.iter().enumerate() {
            if wrap.0.len() > WRAP_BYTES_MAX {
                return Err(damaged(
                    name,
                    format!("holder {} has a wrap of {} bytes", holder.id, wrap.0.len()),
                ));
            }
            check_label(&holder.label).map_err(|found| damaged(name, found))?;
            check_provider(&holder.provider).map_err(|found| damaged(name, found))?;
            if object.holders[..at].iter().any(|other| other.holder.id == holder.id) {
                return Err(damaged(name, format!("it has holder {} twice", holder.id)));
            }
        }
        Ok(object)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.iter().map(|entry| &entry.holder)
    }

    /// Opens it with a key. `None` if it is the key of none of its holders.
    pub(super) async fn open(&self, key: &dyn KeyProvider) -> Result<Option<Opened>> {
        let mut fault = None;
        for entry in &self.holders {
            let is_candidate =
                entry.holder.provider == key.provider() && key.id().is_none_or(|id| id == entry.holder.id);
            if !is_candidate {
                continue;
            }
            let context = WrapContext { vault: self.vault, holder: entry.holder.id };
            match key.unwrap(context, &entry.wrap.0).await {
                Ok(Some(secret)) => return self.open_entry(entry, &secret).map(Some),
                Ok(None) if key.id().is_none() => {}
                Ok(None) => fault = Some(self.damaged_wrap(entry)),
                // Another wrap may still be this key's: one hostile wrap must not lock a vault.
                Err(error) => fault = Some(error),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// Opens it with the secret of a holder. `None` if it has no such holder.
    pub(super) fn open_as(&self, by: HolderId, secret: &HolderSecret) -> Result<Option<Opened>> {
        let entry = self.holders.iter().find(|entry| entry.holder.id == by);
        entry.map(|entry| self.open_entry(entry, secret)).transpose()
    }

    fn damaged_wrap(&self, entry: &Entry) -> Error {
        damaged(self.name(), format!("the wrap of its holder {} does not open", entry.holder.id))
    }

    fn name(&self) -> KeyringName {
        KeyringName { vault: self.vault, number: self.number }
    }

    fn open_entry(&self, entry: &Entry, secret: &HolderSecret) -> Result<Opened> {
        let (name, by) = (self.name(), entry.holder.id);
        let key = share::open(&entry.share.0, secret, name)
            .ok_or_else(|| damaged(name, format!("the share of its holder {by} does not open")))?;
        let body = body_lock(&key, name).open(&self.sealed.0).plain();
        let body = body.ok_or_else(|| damaged(name, "its seal is broken"))?;
        let (keys, stated) = decode_body(&body).ok_or_else(|| damaged(name, "its body is no keyring"))?;
        if stated.len() != self.holders.len() {
            return Err(damaged(name, "its holders are not those it was sealed for"));
        }
        let mut members = Vec::with_capacity(stated.len());
        for (stated, Entry { holder, wrap, .. }) in stated.into_iter().zip(&self.holders) {
            if stated.id != holder.id {
                return Err(damaged(name, "its holders are not those it was sealed for"));
            }
            if holder.id == by && stated.public != share::public_of(secret) {
                return Err(damaged(name, format!("it knows holder {by} by another key")));
            }
            let is_whole = stated.hash == plain_hash(holder, wrap);
            let (holder, wrap) = (holder.clone(), wrap.clone());
            members.push(Member { holder, wrap, public: stated.public, is_whole });
        }
        Ok(Opened { name, keys, members, by, secret: secret.clone() })
    }
}

/// A holder as the body states it.
struct Stated {
    id: HolderId,
    public: Public,
    hash: [u8; 32],
}

fn body_lock(key: &[u8; 32], name: KeyringName) -> Lock {
    Lock::new(BODY_CONTEXT, &[key, name.vault.0.as_bytes(), &name.number.to_le_bytes()])
}

fn encode_body(keys: &Keyring, members: &[Member]) -> Zeroizing<Vec<u8>> {
    // With its final capacity at once: growing would leave copies of the keys behind.
    let mut body = Zeroizing::new(Vec::with_capacity(keys.encoded_bytes() + 4 + 72 * members.len()));
    keys.put_into(&mut body);
    let count = u32::try_from(members.len()).expect("at most 64 holders");
    body.extend_from_slice(&count.to_le_bytes());
    for member in members {
        body.extend_from_slice(&member.holder.id.0);
        body.extend_from_slice(&member.public);
        body.extend_from_slice(&plain_hash(&member.holder, &member.wrap));
    }
    body
}

fn decode_body(body: &[u8]) -> Option<(Keyring, Vec<Stated>)> {
    let mut fields = Fields(body);
    let keys = Keyring::take_from(&mut fields)?;
    let count = fields.u32().map(|count| count as usize).filter(|n| (1..=HOLDERS_MAX).contains(n))?;
    let stated = (0..count)
        .map(|_| {
            Some(Stated { id: HolderId(fields.array()?), public: fields.array()?, hash: fields.array()? })
        })
        .collect::<Option<Vec<_>>>()?;
    fields.0.is_empty().then_some((keys, stated))
}

/// Of what is carried from keyring to keyring unopened; zeros part what has no fixed length.
fn plain_hash(holder: &Holder, wrap: &Hex) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for text in [&holder.provider, &holder.label, &holder.added.to_string()] {
        hasher.update(text.as_bytes()).update(&[0]);
    }
    *hasher.update(&wrap.0).finalize().as_bytes()
}

/// Looks at nothing but the format, so that a newer keyring may otherwise look quite different.
fn check_format(name: KeyringName, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Format {
        format: u16,
    }
    let format = serde_json::from_slice::<Format>(bytes).map(|found| found.format);
    match format {
        Ok(FORMAT) => Ok(()),
        Ok(newer) if newer > FORMAT => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the keyring {} has format {newer}, this program reads format {FORMAT}: use a newer strongroom",
                name.object()
            ),
        )),
        Ok(_) => Err(damaged(name, "its format is unknown")),
        Err(e) => {
            let context = format!("object {} is damaged: it is no keyring", name.object());
            Err(Error::caused(ErrorKind::Corrupt, context, e))
        }
    }
}

/// Labels are shown in tables and must not be able to draw there.
fn check_label(label: &str) -> std::result::Result<(), String> {
    if label.chars().count() > LABEL_CHARS_MAX || label.chars().any(char::is_control) {
        return Err(format!("the label of a holder is one line of at most {LABEL_CHARS_MAX} characters"));
    }
    Ok(())
}

fn check_provider(provider: &str) -> std::result::Result<(), String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=32).contains(&provider.len()) || !provider.chars().all(is_plain) {
        return Err("a holder is of no kind that has a name".into());
    }
    Ok(())
}

fn damaged(name: KeyringName, found: impl std::fmt::Display) -> Error {
    Error::corrupt(name.object(), 0, found)
}
