//! Who can open a vault: listed, added, removed; and the data key, rotated.

use super::keyring::{EPOCHS_MAX, Keyring};
use super::object::{HOLDERS_MAX, Holder, Member, Opened};
use super::share::KeyringName;
use super::stored::{self, Put};
use super::{HolderId, KeyProvider, NewHolder};
use crate::{Error, ErrorKind, Result, Store, Vault};
use std::fmt;

/// How often a change is made again on top of somebody else's. People change keys; they do not race for long.
const ATTEMPTS_MAX: u32 = 8;

/// The holders of a vault, opened by one of them in order to change something.
///
/// Every change puts a new keyring, numbered one above the one it changes; of two that race one wins, and the
/// other is made again on top of it if it still makes sense there. A vault that is open takes a newer keyring
/// over when a session begins, and when it meets an object of an epoch it lacks; one whose holder was removed
/// goes on only with what it has.
///
/// Removing a holder keeps its key from opening the newest keyring. It does not take back what the holder has
/// read, and older keyrings still open with it: rotate afterwards, and what is written from then on is sealed
/// under a key that the removed holder never had.
pub struct Holders<'k> {
    store: Store,
    opener: &'k dyn KeyProvider,
    opened: Opened,
    /// The highest number a keyring had. Above that of `opened` if an older one was asked for.
    newest: u32,
}

/// What removing a holder comes to: to be looked at, then applied.
pub struct Removal<'k> {
    holder: Holder,
    left: Vec<Holder>,
    witness: &'k dyn KeyProvider,
    witness_id: HolderId,
}

/// What came of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// This epoch seals from now on.
    Done {
        /// Its number.
        epoch: u32,
    },
    /// Somebody else rotated at the same time and was first; nothing was changed.
    Outrun {
        /// The epoch that seals now.
        epoch: u32,
    },
}

/// The keyring that a change makes of another.
struct Next {
    keys: Keyring,
    members: Vec<Member>,
}

impl<'k> Holders<'k> {
    /// Who holds the vault in `store`, and the number of its keyring; needs no key and proves nothing.
    pub async fn list(store: &Store) -> Result<(u32, Vec<Holder>)> {
        let vault = Vault::info_of(store).await?.id;
        stored::holders(store, vault).await
    }

    /// Opens the newest keyring.
    pub async fn open(store: Store, opener: &'k dyn KeyProvider) -> Result<Self> {
        let vault = Vault::info_of(&store).await?.id;
        let opened = stored::open(&store, vault, opener, None).await?;
        Ok(Self { store, opener, newest: opened.name.number, opened })
    }

    /// Opens an older keyring, because the newest is damaged. The next change puts what it holds above the
    /// newest: holders removed since are holders again, and what was sealed under epochs added since cannot
    /// be read.
    pub async fn open_keyring(store: Store, opener: &'k dyn KeyProvider, number: u32) -> Result<Self> {
        let vault = Vault::info_of(&store).await?.id;
        let opened = stored::open(&store, vault, opener, Some(number)).await?;
        let newest = stored::newest(&store).await?;
        Ok(Self { store, opener, opened, newest })
    }

    /// The holders.
    pub fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.opened.members.iter().map(|member| &member.holder)
    }

    /// The holder that opened it.
    pub fn opened_by(&self) -> HolderId {
        self.opened.by
    }

    /// The number of the keyring.
    pub fn keyring(&self) -> u32 {
        self.opened.name.number
    }

    /// The epoch that seals.
    pub fn epoch(&self) -> u32 {
        self.opened.keys.current_epoch().0
    }

    /// How many epochs there are: each of them still opens what was sealed under it.
    pub fn epochs(&self) -> u32 {
        self.opened.keys.epoch_count()
    }

    /// Adds a holder.
    ///
    /// # Errors
    /// `AlreadyExists` if its key opens the vault already, `Invalid` if there are too many.
    pub async fn add(&mut self, new: &NewHolder<'_>) -> Result<Holder> {
        if let Some(known) = stored::holder_of(&self.store, self.opened.name, new.key).await? {
            let context = format!("{} {known} opens the vault already", new.key.provider());
            return Err(Error::new(ErrorKind::AlreadyExists, context));
        }
        let member = Member::enroll(new, self.opened.name.vault).await?;
        let opener = self.opener;
        self.change(&[opener, new.key], &|opened, _| {
            if opened.members.iter().any(|other| other.holder.id == member.holder.id) {
                let context = format!("{} {} is a holder already", member.holder.provider, member.holder.id);
                return Err(Error::new(ErrorKind::AlreadyExists, context));
            }
            if opened.members.len() >= HOLDERS_MAX {
                let context = format!("a vault has at most {HOLDERS_MAX} holders");
                return Err(Error::new(ErrorKind::Invalid, context));
            }
            let mut members = opened.members.clone();
            members.push(member.clone());
            Ok(Some(Next { keys: opened.keys.clone(), members }))
        })
        .await?;
        Ok(member.holder)
    }

    /// Plans the removal of a holder.
    ///
    /// The one that opened the vault can only be removed if `proof` is the key of another one: it is tried.
    ///
    /// # Errors
    /// `NotFound` if there is no such holder, `Invalid` if it is the last one or the one in use.
    pub async fn plan_removal(
        &self,
        id: HolderId,
        proof: Option<&'k dyn KeyProvider>,
    ) -> Result<Removal<'k>> {
        let (gone, left): (Vec<Holder>, Vec<Holder>) =
            self.holders().cloned().partition(|holder| holder.id == id);
        let holder = gone
            .into_iter()
            .next()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("the vault has no holder {id}")))?;
        if left.is_empty() {
            let context =
                format!("{} {id} is the last holder: without it nothing could be read", holder.provider);
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        let (witness, witness_id) = match proof {
            Some(proof) => {
                let by = stored::holder_of(&self.store, self.opened.name, proof).await?;
                (proof, by.ok_or_else(|| Error::new(ErrorKind::Key, "the key given as proof opens nothing"))?)
            }
            None => (self.opener, self.opened.by),
        };
        if witness_id == id {
            let context = format!(
                "{} {id} is what the vault is open with: removing it needs proof that another holder opens it",
                holder.provider
            );
            return Err(Error::new(ErrorKind::Invalid, context));
        }
        Ok(Removal { holder, left, witness, witness_id })
    }

    /// Removes a holder as planned. If it has gone meanwhile, that is as good.
    pub async fn remove(&mut self, plan: &Removal<'k>) -> Result<()> {
        let id = plan.holder.id;
        self.change(&[plan.witness], &|opened, _| {
            if !opened.members.iter().any(|member| member.holder.id == id) {
                return Ok(None);
            }
            let mut members = opened.members.clone();
            members.retain(|member| member.holder.id != id);
            if !members.iter().any(|member| member.holder.id == plan.witness_id) {
                let context = format!("holder {}, which was to stay, is gone: plan again", plan.witness_id);
                return Err(Error::new(ErrorKind::Invalid, context));
            }
            Ok(Some(Next { keys: opened.keys.clone(), members }))
        })
        .await?;
        if self.opened.by == id {
            let vault = self.opened.name.vault;
            self.opened = stored::open(&self.store, vault, plan.witness, None).await?;
            (self.opener, self.newest) = (plan.witness, self.opened.name.number);
        }
        Ok(())
    }

    /// Rotates the data key: what is written by whoever opens the vault from now on is sealed under a new
    /// epoch, which was never in any older keyring. What lies in the vault stays as it is, and readable.
    pub async fn rotate(&mut self) -> Result<Rotation> {
        let before = self.epoch();
        let opener = self.opener;
        let changed = self
            .change(&[opener], &|opened, number| {
                if opened.keys.current_epoch().0 != before {
                    return Ok(None);
                }
                let keys = opened.keys.rotated(number).ok_or_else(|| {
                    let context = format!("the vault has {EPOCHS_MAX} epochs, and more are not possible");
                    Error::new(ErrorKind::Invalid, context)
                })?;
                Ok(Some(Next { keys, members: opened.members.clone() }))
            })
            .await?;
        let epoch = self.epoch();
        Ok(if changed { Rotation::Done { epoch } } else { Rotation::Outrun { epoch } })
    }

    /// Puts the keyring that `next` makes of the newest one; again, if somebody else was faster. False if
    /// `next` finds nothing left to do.
    async fn change(
        &mut self,
        at_hand: &[&dyn KeyProvider],
        next: &(dyn Fn(&Opened, u32) -> Result<Option<Next>> + Sync),
    ) -> Result<bool> {
        for _ in 0..ATTEMPTS_MAX {
            let name = KeyringName { number: self.newest.saturating_add(1), ..self.opened.name };
            let Some(Next { keys, members }) = next(&self.opened, name.number)? else { return Ok(false) };
            if let Some(Member { holder, .. }) = members.iter().find(|member| !member.is_whole) {
                let found =
                    format!("what it says of {holder} is not what was written: remove it, then add it again");
                return Err(Error::corrupt(self.opened.name.object(), 0, found));
            }
            match stored::put(&self.store, name, (&keys, &members), at_hand).await? {
                Put::Done => {
                    (self.opened.name, self.opened.keys, self.opened.members) = (name, keys, members);
                    self.newest = name.number;
                    return Ok(true);
                }
                Put::Taken if self.opened.name.number < self.newest => {
                    let context =
                        "somebody else changed the keys at the same time: look again before you go on";
                    return Err(Error::new(ErrorKind::AlreadyExists, context));
                }
                Put::Taken => {
                    self.opened = stored::open(&self.store, name.vault, self.opener, None).await?;
                    self.newest = self.opened.name.number;
                }
            }
        }
        let context = format!("change the keys: somebody else was faster {ATTEMPTS_MAX} times");
        Err(Error::new(ErrorKind::Store, context))
    }
}

impl Removal<'_> {
    /// The holder to be removed.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The holders that are left.
    pub fn left(&self) -> &[Holder] {
        &self.left
    }
}

impl fmt::Display for Removal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "remove  {}", self.holder)?;
        for holder in &self.left {
            let proved = if holder.id == self.witness_id { "  (proved to open)" } else { "" };
            writeln!(f, "keep    {holder}{proved}")?;
        }
        Ok(())
    }
}
