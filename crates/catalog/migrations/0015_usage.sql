-- Whose the bytes of each store were, day by day: what was measured last on a day counts for it.
create table usage (
    vault_id    text not null,
    tier        text not null,
    redundancy  text not null,
    -- In UTC, as 2026-11-21.
    day         text not null,
    -- What the vault calls the machine; `#` and a word for what is no machine's.
    subject     text not null,
    share_bytes bigint not null,
    alone_bytes bigint not null,
    -- What its disks hold; null for what is no machine's, or has no points but deleted ones.
    used_bytes  bigint,
    points      bigint not null,
    measured_at bigint not null,
    primary key (vault_id, tier, redundancy, day, subject)
);

-- One row: what somebody's own prices are.
create table prices (
    id          bigint primary key,
    document    text not null,
    changed_at  bigint not null
);
