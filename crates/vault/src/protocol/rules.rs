//! The rules that keep data safe, each by name.

/// Which rules are kept. The product keeps all of them ([`Rules::ALL`]); the model breaks one at a time, and
/// must find how data is lost then. A rule that cannot be broken with consequence is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// A commit is checked against everything the log says at its position.
    pub(crate) commit_is_validated: bool,
    /// A condemnation counts only if it was computed from exactly the records before it.
    pub(crate) condemn_is_exact: bool,
    /// Packs are deleted only after the log says so, which nothing takes back.
    pub(crate) deleting_is_recorded: bool,
    /// Packs of a session that did not commit are garbage only after the log says it was aborted.
    pub(crate) orphans_are_fenced: bool,
    /// A writer that has published its references looks for intents to delete what it uses.
    pub(crate) writer_reads_intents: bool,
    /// After that, it looks whether what it uses is there.
    pub(crate) writer_checks_presence: bool,
    /// In that order.
    pub(crate) presence_comes_last: bool,
    /// A collector that has published its intent looks for references again.
    pub(crate) collector_looks_again: bool,
    /// An intent stays until its deletes are confirmed.
    pub(crate) intent_outlives_deletes: bool,
    /// A copy stands for a chunk elsewhere only if nobody wants to delete it.
    pub(crate) copies_need_homes: bool,
    /// A marker believes in nothing that others have published an intent to delete.
    pub(crate) intents_unsettle: bool,
}

impl Rules {
    /// What the product does.
    pub(crate) const ALL: Self = Self {
        commit_is_validated: true,
        condemn_is_exact: true,
        deleting_is_recorded: true,
        orphans_are_fenced: true,
        writer_reads_intents: true,
        writer_checks_presence: true,
        presence_comes_last: true,
        collector_looks_again: true,
        intent_outlives_deletes: true,
        copies_need_homes: true,
        intents_unsettle: true,
    };
}
