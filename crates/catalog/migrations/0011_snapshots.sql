-- Snapshots: points that no policy owns. They stand apart from `points`, so that nothing that plans retention meets one.
-- A machine may be gone, and protected or not: nothing refers to it.
create table snapshots (
    -- The id of its point in the vault.
    id          text primary key,
    vault_id    text not null references vaults (id),
    machine_id  text not null,
    -- What somebody called it; may be empty.
    name        text not null,
    taken_at    bigint not null,
    -- Deleted: until when it can be brought back.
    purge_at    bigint,
    -- When it was last measured; 0 if it never was.
    measured_at bigint not null,
    document    text not null,
    revision    bigint not null
);
create index snapshots_of_vault on snapshots (vault_id, taken_at, id);
create index snapshots_to_measure on snapshots (vault_id, measured_at, id);
create index snapshots_to_purge on snapshots (vault_id, purge_at) where purge_at is not null;

-- Which disks it has, to count how many snapshots a disk has.
create table snapshot_disks (
    snapshot_id text not null references snapshots (id) on delete cascade,
    vault_id    text not null,
    machine_id  text not null,
    disk        text not null,
    primary key (snapshot_id, disk)
);
create index snapshot_disks_of_machine on snapshot_disks (vault_id, machine_id, disk);
