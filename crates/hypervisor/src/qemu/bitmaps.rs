//! Dirty bitmaps: which of them may be believed, and what becomes of them.
//!
//! A chain of incrementals is one bitmap per disk and vault, named for the last committed point and recording
//! since its instant. A freeze makes the next one in the same transaction that stops the last. Until the new
//! point is committed both exist, and merging the new into the old restores what was: so a freeze that fails,
//! or a process that dies, costs nothing but a larger next incremental.
//!
//! What can happen to a disk or its machine, and why the next run notices by itself. Whatever it is, that run
//! reads everything and says why; it fails for none of it:
//!
//! | what | seen by |
//! | --- | --- |
//! | QEMU ended in an orderly way | qcow2 keeps the bitmap, and it is believed; raw keeps none: it is missing |
//! | QEMU was killed, or its host died | inconsistent, or missing if it was made since QEMU's start |
//! | moved to another host | kept by qcow2 on shared storage; missing otherwise |
//! | the image was rolled back, or restored over | the bitmap in it is named for another point, or is missing; one of the right name came with the very bytes it speaks of |
//! | the disk was replaced, or swapped with another | the bitmap in its image names another disk, or is missing |
//! | the disk grew or shrank | its size differs from the point's |
//! | another tool stopped, removed or held it | not recording, missing, busy |
//! | a snapshot put another image on top | missing there |
//! | it just lies | only the audit can tell: then the caller distrusts it, and it is removed |
//!
//! Nothing else is removed before a commit but by folding. A deliberate full backup that fails leaves the
//! incremental chain as it was.

use super::names;
use crate::Result;
use crate::qmp::{Qmp, Transaction};
use serde_json::{Value, json};

/// Bytes per bit, fixed so that bitmaps can be compared and merged; the cluster size of qcow2 and of the
/// filter's copying.
pub(crate) const GRANULARITY: u64 = 65536;

/// A bitmap as QEMU tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BitmapState {
    pub(crate) name: String,
    pub(crate) granularity: u64,
    pub(crate) recording: bool,
    pub(crate) inconsistent: bool,
    pub(crate) busy: bool,
}

/// What is asked of the bitmaps of one disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) vault: &'a str,
    /// The disk's id. The image behind it may have been another disk's when the bitmap was made.
    pub(crate) disk: &'a str,
    /// The point to compare with; `None` asks for everything.
    pub(crate) parent: Option<&'a str>,
    /// The disk's size in that point; `None` if it was not there.
    pub(crate) parent_size: Option<u64>,
    pub(crate) size: u64,
    /// Why the caller does not believe it.
    pub(crate) distrust: Option<&'a str>,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Everything must be read.
    Full { reason: String },
    /// The parent's bitmap holds all changes.
    Incremental { bitmap: String },
    /// It does once `leftover`, which has recorded since the parent's stopped, is merged into it.
    FoldFirst { bitmap: String, leftover: String },
}

/// Decides for one disk. Pure; every doubt ends in `Full`.
pub(crate) fn decide(wanted: Wanted<'_>, bitmaps: &[BitmapState]) -> Decision {
    let full = |reason: String| Decision::Full { reason };
    if let Some(reason) = wanted.distrust {
        return full(reason.to_owned());
    }
    let Some(parent) = wanted.parent else { return full("no earlier point to compare with".to_owned()) };
    let Some(parent_size) = wanted.parent_size else {
        return full("the disk was not in the earlier point".to_owned());
    };
    // Growing a disk does not mark the new part dirty.
    if parent_size != wanted.size {
        return full(format!("the disk's size changed from {parent_size} to {} bytes", wanted.size));
    }
    let name = names::bitmap(wanted.vault, parent, wanted.disk);
    let Some(bitmap) = bitmaps.iter().find(|bitmap| bitmap.name == name) else {
        return full("QEMU has no record of the changes since the earlier point".to_owned());
    };
    if bitmap.inconsistent {
        return full("QEMU ended without closing the image: its record of changes is incomplete".to_owned());
    }
    if bitmap.granularity != GRANULARITY {
        return full(format!("the record of changes has a granularity of {} bytes", bitmap.granularity));
    }
    if bitmap.busy {
        return full("another operation holds the record of changes".to_owned());
    }
    if bitmap.recording {
        return Decision::Incremental { bitmap: name };
    }
    // Not recording: an attempt stopped it and started its own in the same transaction. Only if that one is
    // known for certain do both together have no gap.
    let (prefix, suffix) = (names::bitmap_prefix(wanted.vault), format!(":{}", wanted.disk));
    let is_of_chain = |other: &BitmapState| other.name.starts_with(&prefix) && other.name.ends_with(&suffix);
    let mut others = bitmaps.iter().filter(|other| other.recording && is_of_chain(other));
    match (others.next(), others.next()) {
        (Some(other), None) if other.granularity == GRANULARITY && !other.inconsistent && !other.busy => {
            Decision::FoldFirst { bitmap: name, leftover: other.name.clone() }
        }
        _ => full("the record of changes since the earlier point has a gap".to_owned()),
    }
}

/// Undoes an attempt that passed its instant but not its commit.
pub(super) fn fold(transaction: &mut Transaction, node: &str, bitmap: &str, leftover: &str) {
    // INVARIANT: enabled before it is merged into. A transaction does not hold back a disk with an iothread,
    // and a write between the two must be in one of them.
    transaction.enable_bitmap(node, bitmap);
    transaction.merge_bitmap(node, bitmap, leftover);
    transaction.remove_bitmap(node, leftover);
}

/// What to do once the point is committed: the new bitmap alone stays.
pub(super) fn keep_only(
    transaction: &mut Transaction,
    node: &str,
    (vault, kept): (&str, &str),
    bitmaps: &[BitmapState],
) {
    let prefix = names::bitmap_prefix(vault);
    for bitmap in bitmaps.iter().filter(|bitmap| bitmap.name.starts_with(&prefix) && bitmap.name != kept) {
        transaction.remove_bitmap(node, &bitmap.name);
    }
}

/// What to do with `new` once the attempt is abandoned, whether or not it got as far as making it.
pub(super) fn give_up(
    transaction: &mut Transaction,
    node: &str,
    parent: Option<&str>,
    new: &str,
    bitmaps: &[BitmapState],
) {
    let find = |name: &str| bitmaps.iter().find(|bitmap| bitmap.name == name);
    match (find(new), parent.and_then(find)) {
        (None, _) => {}
        (Some(_), Some(parent)) if !parent.recording => fold(transaction, node, &parent.name, new),
        (Some(_), _) => transaction.remove_bitmap(node, new),
    }
}

/// All nodes with their bitmaps.
pub(crate) struct NodeBitmaps(Value);

impl NodeBitmaps {
    pub(crate) async fn read(qmp: &Qmp) -> Result<Self> {
        Ok(Self(qmp.execute("query-named-block-nodes", json!({ "flat": true })).await?))
    }

    /// The named bitmaps of one node; filters keep nameless ones, which are theirs.
    pub(crate) fn of(&self, node: &str) -> Vec<BitmapState> {
        let nodes = self.0.as_array().into_iter().flatten();
        let of_node = nodes.filter(|candidate| candidate["node-name"] == node);
        let bitmaps = of_node.filter_map(|node| node["dirty-bitmaps"].as_array()).flatten();
        let state = |bitmap: &Value| {
            Some(BitmapState {
                name: bitmap["name"].as_str()?.to_owned(),
                granularity: bitmap["granularity"].as_u64()?,
                recording: bitmap["recording"].as_bool()?,
                inconsistent: bitmap["inconsistent"].as_bool().unwrap_or(false),
                busy: bitmap["busy"].as_bool().unwrap_or(false),
            })
        };
        bitmaps.filter_map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitmap(name: &str, recording: bool) -> BitmapState {
        let name = name.to_owned();
        BitmapState { name, granularity: GRANULARITY, recording, inconsistent: false, busy: false }
    }

    fn wanted(parent: Option<&str>) -> Wanted<'_> {
        Wanted { vault: "v", disk: "d", parent, parent_size: Some(100), size: 100, distrust: None }
    }

    const P: &str = "strongroom:v:p:d";
    const X: &str = "strongroom:v:x:d";

    #[test]
    fn only_a_record_without_doubt_makes_an_incremental() {
        let incremental = || Decision::Incremental { bitmap: P.to_owned() };
        let fold = || Decision::FoldFirst { bitmap: P.to_owned(), leftover: X.to_owned() };
        let table = [
            ("recording", vec![bitmap(P, true)], Some(incremental())),
            (
                "another vault's beside it",
                vec![bitmap(P, true), bitmap("strongroom:w:x:d", true)],
                Some(incremental()),
            ),
            ("a stale one beside it", vec![bitmap(P, true), bitmap(X, false)], Some(incremental())),
            ("a failed attempt", vec![bitmap(P, false), bitmap(X, true)], Some(fold())),
            (
                "a failed attempt and a stale one",
                vec![bitmap(P, false), bitmap(X, true), bitmap("strongroom:v:y:d", false)],
                Some(fold()),
            ),
            (
                "two failed attempts",
                vec![bitmap(P, false), bitmap(X, true), bitmap("strongroom:v:y:d", true)],
                None,
            ),
            ("stopped", vec![bitmap(P, false)], None),
            (
                "stopped, another vault's records",
                vec![bitmap(P, false), bitmap("strongroom:w:x:d", true)],
                None,
            ),
            ("stopped, a stranger's records", vec![bitmap(P, false), bitmap("libvirt-1", true)], None),
            ("none", vec![], None),
            ("another point's", vec![bitmap(X, true)], None),
            ("another disk's image, swapped in", vec![bitmap("strongroom:v:p:e", true)], None),
            (
                "a failed attempt on another disk",
                vec![bitmap(P, false), bitmap("strongroom:v:x:e", true)],
                None,
            ),
            ("inconsistent", vec![BitmapState { inconsistent: true, ..bitmap(P, false) }], None),
            (
                "inconsistent with a leftover",
                vec![BitmapState { inconsistent: true, ..bitmap(P, false) }, bitmap(X, true)],
                None,
            ),
            ("granularity", vec![BitmapState { granularity: 4096, ..bitmap(P, true) }], None),
            ("busy", vec![BitmapState { busy: true, ..bitmap(P, false) }], None),
            (
                "a leftover of another granularity",
                vec![bitmap(P, false), BitmapState { granularity: 4096, ..bitmap(X, true) }],
                None,
            ),
        ];
        for (case, bitmaps, expected) in table {
            let decision = decide(wanted(Some("p")), &bitmaps);
            match expected {
                Some(expected) => assert_eq!(decision, expected, "{case}"),
                None => assert!(matches!(decision, Decision::Full { .. }), "{case}: {decision:?}"),
            }
        }
    }

    #[test]
    fn a_changed_or_new_disk_is_read_whole() {
        for (parent, parent_size) in [(None, Some(100)), (Some("p"), None), (Some("p"), Some(99))] {
            let wanted = Wanted { parent_size, ..wanted(parent) };
            assert!(matches!(decide(wanted, &[bitmap(P, true)]), Decision::Full { .. }));
        }
    }

    #[test]
    fn a_distrusted_record_is_not_believed() {
        let wanted = Wanted { distrust: Some("it lied"), ..wanted(Some("p")) };
        assert_eq!(decide(wanted, &[bitmap(P, true)]), Decision::Full { reason: "it lied".to_owned() });
    }

    #[test]
    fn giving_up_restores_the_chain_and_keeping_leaves_one() {
        let built = |build: &dyn Fn(&mut Transaction)| {
            let mut transaction = Transaction::new();
            build(&mut transaction);
            transaction
        };
        let after = [bitmap(P, false), bitmap(X, true)];
        let folded = built(&|t| fold(t, "n", P, X));
        assert_eq!(built(&|t| give_up(t, "n", Some(P), X, &after)), folded);
        let dropped = built(&|t| t.remove_bitmap("n", X));
        assert_eq!(built(&|t| give_up(t, "n", None, X, &after)), dropped);
        assert_eq!(built(&|t| give_up(t, "n", Some(P), X, &[bitmap(P, true), bitmap(X, true)])), dropped);
        assert!(built(&|t| give_up(t, "n", Some(P), X, &[bitmap(P, true)])).is_empty());
        let mixed = [bitmap(P, false), bitmap(X, true), bitmap("strongroom:w:p:d", true)];
        assert_eq!(built(&|t| keep_only(t, "n", ("v", X), &mixed)), built(&|t| t.remove_bitmap("n", P)));
    }
}
