//! Many machines restored as one: asked for, gone on with, cancelled, and how they stand.
//!
//! A set's document says all that its members are, the ids of their jobs among it; how each stands is what its job
//! says. So a server that dies leaves nothing to be mended: `model::restores` says what begins next, as things are, and
//! the catalog sees to it that one server at a time acts on that.

use super::check;
use super::set::{Member, SetDocument, decide, document, is_cancelling, shown};
use crate::faults::Faults;
use crate::points::{PATH_MAX, PointDetail, must_be_readable};
use crate::request::{Request, When, settings};
use crate::{Actor, Control, Error, Paging, Result};
use api::{Code, NewMachine, NewRestoreSet, Page, Restore, RestoreSet, SetMachine, VaultSettings};
use catalog::{CopyRow, Item, JobRow, OpenRestoreSet, PointRow, RestoreSetRow, Told};
use jiff::Timestamp;
use model::job::Event;
use model::restores::{RestoreLimits, RestoreRules, RestoreSetState};
use model::{PointId, VaultId};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use uuid::Uuid;

/// Machines of one set.
const MACHINES_MAX: usize = 1000;
/// What a set may be told as a limit.
const LIMITS: (u16, u16) = (1, 1000);
/// Restores at once unless more are asked for: two hosts' worth of what a mover does at once.
const AT_ONCE: u16 = 4;
/// Points that are looked through for one that is old enough.
const POINTS_READ: u32 = 1000;

impl Control {
    /// Begins to restore many machines.
    ///
    /// # Errors
    /// `Invalid` with every fault of every machine: nothing has begun then.
    pub async fn restore_many(
        &self,
        actor: &Actor,
        vault: VaultId,
        wish: NewRestoreSet,
    ) -> Result<RestoreSet> {
        let settings = settings(&self.vault_row(vault).await?)?;
        let mut faults = Faults::default();
        faults.entries("/machines", (1, MACHINES_MAX), wish.machines.len());
        faults.text("/folder", &wish.folder, PATH_MAX);
        let rules = rules(&wish, &mut faults);
        faults.none()?;
        let mut faults = Faults::default();
        let mut members = Vec::new();
        for (at, machine) in wish.machines.iter().enumerate() {
            match self.member((vault, &settings), &wish, machine).await {
                Ok(member) => members.push((at, member)),
                Err(error) => {
                    let problem = error.into_problem();
                    if problem.violations.is_empty() {
                        faults.add(format!("/machines/{at}"), problem.detail);
                    }
                    for fault in problem.violations {
                        faults.add(format!("/machines/{at}"), format!("{}: {}", fault.pointer, fault.rule));
                    }
                }
            }
        }
        each_has_its_own(&members, &mut faults);
        faults.none()?;
        let id = self.draw();
        let members: Vec<_> = members.into_iter().map(|(_, member)| member).collect();
        let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        let detail = json!({
            "vault": vault, "machines": names, "folder": wish.folder, "as_machines": wish.as_machines,
            "from_copy": wish.from_copy,
        });
        self.audit(actor, "points.restore-many", &id.to_string(), &detail).await?;
        let row = RestoreSetRow {
            id,
            vault,
            state: RestoreSetState::InProgress,
            document: serde_json::to_value(SetDocument { rules, members }).expect("plain data"),
            created: self.now(),
            ended: None,
            revision: 1,
        };
        self.catalog.add_restore_set(&row).await?;
        self.go_on(&row).await?;
        self.restore_set(vault, id).await
    }

    /// A set, and how each of its machines stands.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn restore_set(&self, vault: VaultId, id: Uuid) -> Result<RestoreSet> {
        let row = self.set_row(vault, id).await?;
        let jobs = self.catalog.jobs_of_set(id).await?;
        shown(&row, &jobs)
    }

    /// The sets of a vault, newest first, without their machines.
    ///
    /// # Errors
    /// `Invalid` for a place that is not one of ours.
    pub async fn restore_sets(&self, vault: VaultId, paging: &Paging) -> Result<Page<RestoreSet>> {
        let (after, limit) = paging.place_in_time()?;
        self.vault_row(vault).await?;
        let page = self.catalog.restore_sets(vault, after.as_ref(), limit).await?;
        let mut items = Vec::new();
        for row in &page.rows {
            let set = shown(row, &self.catalog.jobs_of_set(row.id).await?)?;
            items.push(RestoreSet { members: Vec::new(), ..set });
        }
        Ok(Page { items, next: page.next.map(|next| next.to_string()) })
    }

    /// Wants a set to end: nothing more of it begins, and what is under way ends as soon as its movers have left things
    /// tidy.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is over.
    pub async fn cancel_restore_set(&self, actor: &Actor, vault: VaultId, id: Uuid) -> Result<RestoreSet> {
        let row = self.set_row(vault, id).await?;
        let over = || Error::new(Code::Conflict, "the restore is over");
        if row.state.is_over() {
            return Err(over());
        }
        self.audit(actor, "restore-set.cancel", &id.to_string(), &json!({ "vault": vault })).await?;
        match self.catalog.cancel_restore_set(id).await {
            Err(error) if error.kind() == catalog::ErrorKind::Changed => return Err(over()),
            done => done?,
        }
        self.go_on(&self.set_row(vault, id).await?).await?;
        self.restore_set(vault, id).await
    }

    /// Goes on with all sets that are not over.
    ///
    /// # Errors
    /// The catalog's. What fails for one set is told to the log, and tried again.
    pub async fn tick_restore_sets(&self) -> Result<()> {
        for row in self.catalog.open_restore_sets().await? {
            if let Err(error) = self.go_on(&row).await {
                tracing::error!(set = %row.id, %error, "a restore of many could not be gone on with yet");
            }
        }
        Ok(())
    }

    /// Begins what is to begin, cancels what is to be cancelled, and notes the end.
    async fn go_on(&self, row: &RestoreSetRow) -> Result<()> {
        let document = document(row)?;
        let jobs = self.catalog.jobs_of_set(row.id).await?;
        if row.state == RestoreSetState::Cancelling {
            let is_open = |job: &&JobRow| !job.job.is_over() && !is_cancelling(job);
            for job in jobs.iter().filter(is_open) {
                // One that has ended meanwhile is as good.
                let _ = self.apply(job.id, Event::Cancel, Told::default()).await?;
            }
        }
        // Most looks find nothing to do: those hold nobody up.
        let jobs = self.catalog.jobs_of_set(row.id).await?;
        let others = self.catalog.other_restore_sets(row.id).await?;
        let step = decide(&document, (row, &jobs), &others, self.now());
        if step.begin.is_empty() && step.state == row.state {
            return Ok(());
        }
        let now = self.now();
        let decide = |row: &RestoreSetRow, jobs: &[JobRow], others: &[OpenRestoreSet]| {
            decide(&document, (row, jobs), others, now)
        };
        if self.catalog.step_restore_set(row.id, now, decide).await? > 0 {
            self.tell_jobs_changed();
        }
        Ok(())
    }

    /// A member as it will be restored, if it can be.
    async fn member(
        &self,
        (vault, settings): (VaultId, &VaultSettings),
        set: &NewRestoreSet,
        wish: &SetMachine,
    ) -> Result<Member> {
        let item = self.item_row(vault, wish.item).await?;
        let Wanted { point, detail, store } = match set.from_copy {
            true => self.wanted_copy(&item, wish.point, set.before).await?,
            false => {
                let row = self.wanted_point(&item, wish.point, set.before).await?;
                must_be_readable(&row.point, self.now())?;
                let near = settings.snapshot_store.is_some() && row.point.in_snapshot_tier;
                let store = if near { "snapshots" } else { "vault" };
                Wanted { point: row.point.id, detail: PointDetail::of(&row), store }
            }
        };
        let restore = restore_of(set, wish, &item);
        check(&restore, &detail)?;
        self.must_be_mover(restore.mover.as_deref()).await?;
        let Restore { folder, disks, format, mover, machine, from_copy } = restore.clone();
        let request = Request::Restore { point, folder, disks, format, mover, machine, from_copy };
        let job = self.job_for(vault, item.id, &request, When { ready: self.now(), slot: None }).await?;
        let target = Path::new(&restore.folder).parent().unwrap_or(Path::new("/"));
        Ok(Member {
            job: job.id,
            item: item.id,
            name: job.name,
            group: wish.group,
            mover: job.mover,
            host: job.host,
            store: store.to_owned(),
            target: target.display().to_string(),
            bytes: detail.disks.iter().map(|disk| disk.bytes).sum(),
            point,
            machine: restore.machine.map(|machine| machine.name),
            folder: restore.folder,
            request: job.request,
        })
    }

    /// The same out of the vault's second store.
    async fn wanted_copy(
        &self,
        item: &Item,
        named: Option<PointId>,
        before: Option<Timestamp>,
    ) -> Result<Wanted> {
        let row = match named {
            Some(point) => self.copy_row(item.vault, item.id, point).await?,
            None => self.newest_copy(item, before).await?,
        };
        let detail = serde_json::from_value(row.detail).unwrap_or_default();
        Ok(Wanted { point: row.point, detail, store: "second" })
    }

    /// The newest copy of an item that is not too young.
    async fn newest_copy(&self, item: &Item, before: Option<Timestamp>) -> Result<CopyRow> {
        self.second_store(&self.vault_row(item.vault).await?)?;
        let mut after = None;
        loop {
            let page = self.catalog.copies((item.vault, Some(item.id)), after.as_ref(), POINTS_READ).await?;
            let is_wanted = |row: &CopyRow| before.is_none_or(|before| row.taken <= before);
            if let Some(found) = page.rows.into_iter().find(is_wanted) {
                return Ok(found);
            }
            after = page.next;
            if after.is_none() {
                let when = before.map(|before| format!(" of {before} or before")).unwrap_or_default();
                let what = format!("copy of a point of {}{when} in the vault's second store", item.name);
                return Err(Error::not_found(what));
            }
        }
    }

    /// The point that is named, or the newest that is there and not too young.
    async fn wanted_point(
        &self,
        item: &Item,
        named: Option<PointId>,
        before: Option<Timestamp>,
    ) -> Result<PointRow> {
        if let Some(point) = named {
            let missing = || format!("point {point} of {}", item.name);
            let row = self.catalog.point(point).await.map_err(|error| Error::missing(error, missing()))?;
            return if row.item == item.id { Ok(row) } else { Err(Error::not_found(missing())) };
        }
        let mut after = None;
        loop {
            let page = self.catalog.points(item.id, after.as_ref(), POINTS_READ).await?;
            let is_wanted = |row: &PointRow| {
                before.is_none_or(|before| row.point.taken <= before)
                    && must_be_readable(&row.point, self.now()).is_ok()
            };
            if let Some(found) = page.rows.into_iter().find(is_wanted) {
                return Ok(found);
            }
            after = page.next;
            if after.is_none() {
                let when = before.map(|before| format!(" of {before} or before")).unwrap_or_default();
                return Err(Error::not_found(format!("point of {}{when} that could be restored", item.name)));
            }
        }
    }

    async fn set_row(&self, vault: VaultId, id: Uuid) -> Result<RestoreSetRow> {
        let missing = || format!("restore of many {id} in the vault");
        let row = self.catalog.restore_set(id).await.map_err(|error| Error::missing(error, missing()))?;
        if row.vault == vault { Ok(row) } else { Err(Error::not_found(missing())) }
    }
}

/// What a member comes back from.
struct Wanted {
    point: PointId,
    detail: PointDetail,
    /// What counts for the limit of a store.
    store: &'static str,
}

/// By what the set goes.
fn rules(wish: &NewRestoreSet, faults: &mut Faults) -> RestoreRules {
    let mut limit = |pointer: &str, told: Option<u16>, otherwise: u16| {
        let limit = told.unwrap_or(otherwise);
        faults.range(pointer, LIMITS, limit);
        limit
    };
    let at_once = limit("/limits/at_once", wish.limits.at_once, AT_ONCE);
    let per_mover = limit("/limits/per_mover", wish.limits.per_mover, at_once);
    let per_store = limit("/limits/per_store", wish.limits.per_store, at_once);
    let per_target = limit("/limits/per_target", wish.limits.per_target, at_once);
    let limits = RestoreLimits {
        at_once: at_once.into(),
        per_mover: per_mover.into(),
        per_store: per_store.into(),
        per_target: per_target.into(),
    };
    RestoreRules { limits, stop_on_failure: wish.stop_on_failure }
}

/// What one machine of a set asks for.
fn restore_of(set: &NewRestoreSet, wish: &SetMachine, item: &Item) -> Restore {
    let own = || format!("{}/{}", set.folder.trim_end_matches('/'), file_name(&item.name));
    let machine = set.as_machines.as_ref().map(|all| NewMachine {
        name: wish.name.clone().unwrap_or_else(|| format!("{}{}{}", all.prefix, item.name, all.suffix)),
        network: all.network.clone(),
        keep_uuid: false,
        keep_macs: false,
        cpus: None,
        memory_mib: None,
        start: all.start,
        at_once: false,
        libvirt: all.libvirt.clone(),
    });
    Restore {
        from_copy: set.from_copy,
        folder: wish.folder.clone().unwrap_or_else(own),
        disks: Vec::new(),
        format: set.format,
        mover: wish.mover.clone().or_else(|| set.mover.clone()),
        machine,
    }
}

/// A machine's name as a folder's.
fn file_name(name: &str) -> String {
    let name = name.replace('/', "_");
    if name.starts_with('.') { format!("_{name}") } else { name }
}

/// No two may get one folder or one name.
fn each_has_its_own(members: &[(usize, Member)], faults: &mut Faults) {
    let mut folders: BTreeMap<_, usize> = BTreeMap::new();
    let mut names: BTreeMap<_, usize> = BTreeMap::new();
    for (at, member) in members {
        let place = (member.mover.as_deref(), member.folder.trim_end_matches('/'));
        if let Some(first) = folders.insert(place, *at) {
            let rule = format!("gets the folder {}, and so does /machines/{first}", member.folder);
            faults.add(format!("/machines/{at}"), rule);
        }
        let name = member.machine.as_deref().map(|name| (member.mover.as_deref(), name));
        if let Some(first) = name.and_then(|name| names.insert(name, *at)) {
            let rule = format!("is called as /machines/{first} is; give it a name");
            faults.add(format!("/machines/{at}"), rule);
        }
    }
}
