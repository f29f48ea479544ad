-- One text for SQLite and PostgreSQL. Ids are uuids as text, instants are microseconds since 1970 in UTC, documents
-- are JSON as text: the domain's rules stand in `model`, the database keeps what two processes must agree upon.

create table vaults (
    id          text primary key,
    name        text not null,
    location    text not null,
    settings    text not null,
    -- What was deleted before the soft-delete days were made fewer had this many promised, until then.
    promised_days bigint,
    promised_until bigint,
    created_at  bigint not null,
    -- Counted up by every change: who read an older one may not write over a newer.
    revision    bigint not null
);
create unique index vaults_by_name on vaults (name);

create table policies (
    id          text primary key,
    vault_id    text not null references vaults (id),
    name        text not null,
    document    text not null,
    created_at  bigint not null,
    revision    bigint not null
);
create unique index policies_by_name on policies (vault_id, name);

create table hosts (
    id          text primary key,
    name        text not null,
    address     text not null,
    -- The name of the mover that speaks with it.
    mover       text not null,
    seen_at     bigint
);
create unique index hosts_by_name on hosts (name);

-- Machines as their hosts last told of them; protected or not.
create table machines (
    id          text primary key,
    host_id     text not null references hosts (id),
    -- What its hypervisor knows it by: a uuid, or its name where it has none.
    known_as    text not null,
    name        text not null,
    tags        text not null,
    description text not null,
    -- Why it cannot be protected as it is; empty if it can. Stands in the description too.
    obstacle    text not null,
    seen_at     bigint not null
);
create unique index machines_by_key on machines (host_id, known_as);
create index machines_by_name on machines (name, id);

-- Machines that vaults which were taken in have points of: under which id a host's tale of them is taken in.
create table adopted (
    known_as    text primary key,
    machine_id  text not null
);

-- A machine under a policy of a vault. It outlives the machine, and its own protection.
create table items (
    id          text primary key,
    vault_id    text not null references vaults (id),
    machine_id  text not null,
    name        text not null,
    -- The policy that its state names, so that it stays while it is needed.
    policy_id   text references policies (id),
    -- The first word of its protection, and all of it.
    state       text not null,
    protection  text not null,
    last_point_at bigint,
    purge_at    bigint,
    -- All slots up to then have had a run or a record; when the next one starts, and by which schedule that is so.
    settled_at  bigint,
    next_due_at bigint,
    due_by      text,
    -- The policy and the vault's rules by which slots and expiries were last worked out; null: to be done anew.
    policy_seen text,
    created_at  bigint not null,
    revision    bigint not null
);
create index items_due on items (next_due_at) where next_due_at is not null;
create index items_to_plan on items (id) where policy_seen is null;
create unique index items_by_machine on items (vault_id, machine_id);
-- With what lists are filtered by, so that the rows that a filter leaves out are not looked up.
create index items_by_name on items (name, id, state, vault_id, policy_id);
create index items_of_vault on items (vault_id, name, id);
create index items_of_policy on items (policy_id, name, id);
create index items_of_machine on items (machine_id);
create index items_by_state on items (state, vault_id);
create index items_to_purge on items (purge_at) where purge_at is not null;
-- One machine is protected in one vault at a time.
create unique index items_active on items (machine_id)
    where state in ('awaits_first', 'protected', 'in_error');

create table points (
    id          text primary key,
    item_id     text not null references items (id),
    instant     bigint not null,
    consistency text not null,
    -- What it is kept for: origin, tiers, pins.
    kept        text not null,
    -- By the last plan; null while nothing lets it expire.
    expires_at  bigint,
    purge_at    bigint,
    stored_bytes bigint not null,
    detail      text not null
);
-- With the bytes, so that an item's points are counted from the index alone.
create index points_of_item on points (item_id, instant, id, stored_bytes);
create index points_to_expire on points (expires_at) where purge_at is null and expires_at is not null;
create index points_to_purge on points (purge_at) where purge_at is not null;

-- What an item's points come to, counted anew whenever one of them changes: a sum over all points of all items, of
-- which there are millions, would keep whoever looks at the whole waiting.
create table point_totals (
    item_id     text primary key references items (id) on delete cascade,
    points      bigint not null,
    stored_bytes bigint not null,
    -- Null without points.
    oldest_at   bigint,
    newest_at   bigint
);

-- Slots of schedules that had no run, and why.
create table skipped_runs (
    item_id     text not null references items (id) on delete cascade,
    slot_at     bigint not null,
    skipped     text not null,
    noted_at    bigint not null,
    primary key (item_id, slot_at)
);

create table jobs (
    id          text primary key,
    kind        text not null,
    vault_id    text,
    -- For people: the machine's name, or the vault's.
    name        text not null,
    -- The mover that may claim it, and the host whose machine it works on; empty for any, and for none.
    mover       text not null,
    host_id     text not null,
    -- What it works on: an item, a machine, a point. Jobs that exclude each other have the same.
    subject     text not null,
    -- The first word of its state, and all of it: who holds it, under which generation, what it failed of.
    state       text not null,
    job         text not null,
    -- When it may be claimed, if it may ever: it waits until then, or its lease lapses then.
    claimable_at bigint,
    request     text not null,
    progress    text not null,
    result      text,
    -- Why it failed, or its last attempt.
    error       text,
    -- Sessions in the vault, one a claim: all but the last are to be aborted.
    sessions    text not null,
    -- What the last claim was told to do, where that was settled with the claim.
    ordered     text,
    -- Whether all that follows from what was reported has been done: points taken in, alerts raised.
    followed    bigint not null,
    created_at  bigint not null,
    claimed_at  bigint,
    ended_at    bigint,
    -- One run for one slot of a schedule, however many servers look.
    slot        text,
    revision    bigint not null
);
create unique index jobs_by_slot on jobs (kind, subject, slot) where slot is not null;
create index jobs_claimable on jobs (claimable_at, id) where claimable_at is not null;
-- As for items_by_name.
create index jobs_by_time on jobs (created_at, id, state, kind, vault_id, subject);
create index jobs_of_subject on jobs (subject, created_at);
create index jobs_running on jobs (claimable_at) where state in ('in_progress', 'cancelling');
create index jobs_to_follow on jobs (created_at) where followed = 0;
create index jobs_ended on jobs (ended_at) where ended_at is not null;

-- A row for each subject: whoever queues a job for it holds the row while looking at what is under way.
create table subjects (
    subject     text primary key,
    touched_at  bigint not null
);

create table users (
    id          text primary key,
    name        text not null,
    password    text,
    subject     text,
    disabled    bigint not null,
    created_at  bigint not null
);
create unique index users_by_name on users (name);
create unique index users_by_subject on users (subject) where subject is not null;

-- Sessions of people and tokens of services: only a hash is kept.
create table tokens (
    hash        text primary key,
    user_id     text not null references users (id),
    name        text not null,
    kind        text not null,
    created_at  bigint not null,
    expires_at  bigint not null,
    used_at     bigint
);
create index tokens_of_user on tokens (user_id);

-- Movers that have joined from other hosts, and the one within the server.
create table movers (
    name        text primary key,
    joined_at   bigint not null,
    seen_at     bigint
);

-- What a mover joins with, once.
create table join_tokens (
    hash        text primary key,
    made_by     text not null,
    expires_at  bigint not null
);

create table grants (
    user_id     text not null references users (id),
    -- Empty for all vaults, since a primary key holds no null.
    vault_id    text not null,
    role        text not null,
    primary key (user_id, vault_id, role)
);

-- Each entry holds the hash of the one before it: one that is changed or taken out is noticed.
create table audit (
    ordinal     bigint primary key,
    at          bigint not null,
    actor       text not null,
    action      text not null,
    object      text not null,
    detail      text not null,
    hash        text not null
);

create table idempotency (
    caller      text not null,
    key         text not null,
    request     text not null,
    response    text,
    created_at  bigint not null,
    primary key (caller, key)
);
create index idempotency_by_age on idempotency (created_at);

create table alerts (
    id          text primary key,
    severity    text not null,
    category    text not null,
    subject     text not null,
    text        text not null,
    raised_at   bigint not null,
    resolved_at bigint,
    acknowledged_by text
);
create index alerts_by_time on alerts (raised_at, id);
create unique index alerts_open on alerts (category, subject) where resolved_at is null;
