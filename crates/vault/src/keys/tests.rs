//! Every provider keeps the promises of the seam, and a keyring of any bytes is an error or opens.

use super::lock::random;
use super::object::{KeyringObject, Member};
use super::share::{self, KeyringName};
use super::*;
use crate::{Error, ErrorKind, Result, VaultId};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use zeroize::Zeroizing;

fn vault() -> VaultId {
    VaultId(uuid::Uuid::from_u128(7))
}

fn name() -> KeyringName {
    KeyringName { vault: vault(), number: 1 }
}

/// As costly as a test can pay for.
fn passphrase(text: &str) -> Passphrase {
    let cost = HashCost { memory_kib: 64, passes: 1, lanes: 1 };
    Passphrase::new(Zeroizing::new(text.into())).and_then(|one| one.at_cost(cost)).expect("a passphrase")
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(work)
}

fn new_holder(key: &dyn KeyProvider) -> NewHolder<'_> {
    NewHolder { key, label: "a label".into(), added: jiff::Timestamp::UNIX_EPOCH }
}

async fn sealed(keys: &Keyring, holders: &[&dyn KeyProvider]) -> KeyringObject {
    let mut members = Vec::new();
    for key in holders {
        members.push(Member::enroll(&new_holder(*key), vault()).await.expect("enroll"));
    }
    KeyringObject::seal(name(), keys, &members).expect("seal")
}

/// What every provider must do; `one` and `other` are different keys of its kind.
async fn conforms(one: &dyn KeyProvider, other: &dyn KeyProvider) {
    assert_eq!(one.provider(), other.provider());
    assert_eq!(one.id(), one.id());
    assert!(one.id().is_none() || one.id() != other.id());
    let context = WrapContext { vault: vault(), holder: HolderId([1; 8]) };
    let secret: HolderSecret = Zeroizing::new(random());
    let wrap = one.wrap(context, &secret).await.expect("wrap");
    assert!(wrap.len() <= 1024);
    assert!(!wrap.windows(8).any(|part| secret.windows(8).any(|bytes| bytes == part)), "it is sealed");
    assert!(wrap != one.wrap(context, &secret).await.expect("wrap"), "no two wraps are alike");
    let opened = one.unwrap(context, &wrap).await.expect("unwrap").expect("its own");
    assert_eq!(*opened, *secret);
    assert!(other.unwrap(context, &wrap).await.expect("no damage").is_none(), "another key opens nothing");
    for moved in [
        WrapContext { vault: VaultId(uuid::Uuid::from_u128(8)), ..context },
        WrapContext { holder: HolderId([2; 8]), ..context },
    ] {
        assert!(!matches!(one.unwrap(moved, &wrap).await, Ok(Some(_))), "it is bound to its context");
    }
    for at in 0..wrap.len() {
        let mut flipped = wrap.clone();
        flipped[at] ^= 0x40;
        let found = one.unwrap(context, &flipped).await;
        assert!(!matches!(found, Ok(Some(_))), "byte {at}");
        let short = one.unwrap(context, &wrap[..at]).await;
        assert!(!matches!(short, Ok(Some(_))), "{at} bytes");
    }
}

#[test]
fn key_files_conform() {
    run(conforms(&KeyFile::generate(), &KeyFile::generate()));
}

#[test]
fn passphrases_conform() {
    run(conforms(&passphrase("correct horse battery"), &passphrase("correct horse batterz")));
}

#[test]
fn recovery_keys_conform() {
    run(conforms(&RecoveryKey::generate(), &RecoveryKey::generate()));
}

#[test]
fn every_holder_opens_and_nobody_else_does() {
    let (file, words, paper) =
        (KeyFile::generate(), passphrase("correct horse battery"), RecoveryKey::generate());
    let keys = Keyring::generate();
    run(async {
        let object = sealed(&keys, &[&file, &words, &paper]).await;
        let object = KeyringObject::parse(name(), &object.to_bytes()).expect("parse");
        for holder in [&file as &dyn KeyProvider, &words, &paper] {
            let opened = object.open(holder).await.expect("open").expect("a holder");
            assert!(opened.keys == keys && opened.members.len() == 3);
        }
        let strangers: [&dyn KeyProvider; 3] =
            [&KeyFile::generate(), &passphrase("correct horse batterz"), &RecoveryKey::generate()];
        for stranger in strangers {
            assert!(object.open(stranger).await.expect("whole").is_none());
        }
    });
}

#[test]
fn a_hostile_wrap_costs_nothing_and_locks_nobody_out() {
    let (file, words) = (KeyFile::generate(), passphrase("correct horse battery"));
    run(async {
        let object = sealed(&Keyring::generate(), &[&words, &file]).await;
        let whole: Value = serde_json::from_slice(&object.to_bytes()).expect("JSON");
        let wrap = whole["holders"][0]["wrap"].as_str().expect("text").to_owned();
        for (memory, passes, lanes) in [
            ("ffffffff", "01000000", "01000000"),
            ("40000000", "ffffffff", "01000000"),
            ("40000000", "01000000", "ffffffff"),
            ("00000000", "00000000", "00000000"),
        ] {
            let mut hostile = whole.clone();
            hostile["holders"][0]["wrap"] = json!(format!("{memory}{passes}{lanes}{}", &wrap[24..]));
            let object = KeyringObject::parse(name(), hostile.to_string().as_bytes()).expect("parse");
            let error = object.open(&words).await.err().expect("refused");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("asks for"), "{error}");
            assert!(object.open(&file).await.expect("whole").is_some(), "the other holder opens");
            // The passphrase still opens a wrap of its own that stands after the hostile one.
            let both = sealed(&Keyring::generate(), &[&words, &words]).await;
            let mut both: Value = serde_json::from_slice(&both.to_bytes()).expect("JSON");
            let own = both["holders"][0]["wrap"].as_str().expect("text").to_owned();
            both["holders"][0]["wrap"] = json!(format!("{memory}{passes}{lanes}{}", &own[24..]));
            let both = KeyringObject::parse(name(), both.to_string().as_bytes()).expect("parse");
            assert!(both.open(&words).await.expect("whole").is_some());
        }
    });
}

#[test]
fn what_was_edited_is_found() {
    let (file, paper) = (KeyFile::generate(), RecoveryKey::generate());
    run(async {
        let object = sealed(&Keyring::generate(), &[&file, &paper]).await;
        let whole: Value = serde_json::from_slice(&object.to_bytes()).expect("JSON");
        let open = |value: Value, name: KeyringName| {
            let file = &file;
            async move {
                let object = KeyringObject::parse(name, value.to_string().as_bytes())?;
                object.open(file).await?.ok_or_else(|| Error::new(ErrorKind::Key, "not a holder"))
            }
        };
        assert!(open(whole.clone(), name()).await.is_ok());
        let mut edits: Vec<Value> = Vec::new();
        let mut edit = |change: &dyn Fn(&mut Value)| {
            let mut value = whole.clone();
            change(&mut value);
            edits.push(value);
        };
        edit(&|value| value["holders"].as_array_mut().expect("a list").swap(0, 1));
        edit(&|value| drop(value["holders"].as_array_mut().expect("a list").pop()));
        edit(&|value| value["holders"] = json!([]));
        edit(&|value| value["holders"][1]["id"] = json!("0011223344556677"));
        edit(&|value| value["holders"][1]["id"] = value["holders"][0]["id"].clone());
        edit(&|value| value["holders"][0]["share"] = value["holders"][1]["share"].clone());
        edit(&|value| value["holders"][0]["wrap"] = value["holders"][1]["wrap"].clone());
        edit(&|value| value["holders"][0]["label"] = json!("\u{1b}[2J"));
        edit(&|value| value["holders"][0]["provider"] = json!("Key File"));
        edit(&|value| value["sealed"] = json!("00"));
        edit(&|value| value["sealed"] = json!("é"));
        edit(&|value| value["number"] = json!(2));
        edit(&|value| value["format"] = json!(0));
        edit(&|value| value["vault"] = json!(uuid::Uuid::from_u128(9)));
        for value in edits {
            let error = open(value.clone(), name()).await.err().expect("edited");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{value}");
            assert!(error.to_string().contains("keys/00000001"), "{error}");
        }
        // A keyring that is stored again under a higher number does not bring removed holders back.
        let mut again = whole.clone();
        again["number"] = json!(2);
        let moved = open(again, KeyringName { number: 2, ..name() }).await;
        assert_eq!(moved.err().expect("moved").kind(), ErrorKind::Corrupt);
        let mut newer = whole.clone();
        newer["format"] = json!(2);
        assert_eq!(open(newer, name()).await.err().expect("newer").kind(), ErrorKind::Unsupported);
        // The label of another holder is not what it was: the vault opens, and nothing is built on it.
        let mut renamed = whole.clone();
        renamed["holders"][1]["label"] = json!("somebody else");
        let opened = open(renamed, name()).await.expect("opens");
        assert_eq!(opened.members.iter().map(|member| member.is_whole).collect::<Vec<_>>(), [true, false]);
    });
}

#[test]
fn epochs_are_bounded_and_ascend() {
    let mut keys = Keyring::generate();
    for number in 2..=1024 {
        keys = keys.rotated(number).expect("room");
    }
    assert!(keys.rotated(2000).is_none(), "full");
    assert!(Keyring::generate().rotated(1).is_none(), "a number is never used again");
    assert!(keys.epoch(1).is_some() && keys.epoch(1024).is_some() && keys.epoch(1025).is_none());
    let holder = KeyFile::generate();
    run(async {
        let object = sealed(&keys, &[&holder]).await.to_bytes();
        let opened = KeyringObject::parse(name(), &object).expect("parse").open(&holder).await;
        assert!(opened.expect("whole").expect("a holder").keys == keys);
    });
}

#[test]
fn a_share_opens_for_its_holder_and_its_keyring_alone() {
    let (secret, other) = (share::secret(), share::secret());
    let sealed = share::seal(&[5; 32], &share::public_of(&secret), name()).expect("seal");
    assert_eq!(*share::open(&sealed, &secret, name()).expect("opens"), [5; 32]);
    assert!(share::open(&sealed, &other, name()).is_none());
    assert!(share::open(&sealed, &secret, KeyringName { number: 2, ..name() }).is_none());
    assert!(share::open(&[0; 112], &secret, name()).is_none(), "a public key of no order");
    assert!(share::seal(&[5; 32], &[0; 32], name()).is_none());
}

/// A keyring and what opens it, made once: drawing keys is not what is tested.
fn example() -> (Arc<Vec<u8>>, Arc<KeyFile>) {
    static EXAMPLE: std::sync::OnceLock<(Arc<Vec<u8>>, Arc<KeyFile>)> = std::sync::OnceLock::new();
    let example = EXAMPLE.get_or_init(|| {
        let (file, paper) = (KeyFile::generate(), RecoveryKey::generate());
        let bytes = run(sealed(&Keyring::generate(), &[&file, &paper])).to_bytes();
        (Arc::new(bytes), Arc::new(file))
    });
    example.clone()
}

fn read(bytes: &[u8], holder: &dyn KeyProvider) -> Result<bool> {
    let object = KeyringObject::parse(name(), bytes)?;
    run(object.open(holder)).map(|opened| opened.is_some())
}

proptest! {
    #[test]
    fn a_keyring_of_any_bytes_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read(&bytes, &*example().1).is_err());
    }

    #[test]
    fn a_keyring_with_any_damage_is_an_error_or_opens(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (whole, holder) = example();
        let mut bytes = whole.to_vec();
        for (at, byte) in at {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read(&bytes, &*holder);
    }
}
