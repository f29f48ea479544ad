-- Versions of images: points that no policy owns, beside `snapshots` and for the same reason.
create table images (
    -- The id of its point in the vault.
    id          text primary key,
    vault_id    text not null references vaults (id),
    name        text not null,
    version     bigint not null,
    -- 1: it is meant only when its number is said.
    excluded    bigint not null,
    taken_at    bigint not null,
    -- Deleted: until when it can be brought back.
    purge_at    bigint,
    document    text not null,
    revision    bigint not null
);
-- Two captures that knew nothing of each other may give one number twice; the vault has both then, and so has this.
create index images_of_vault on images (vault_id, name, version, id);
create index images_to_purge on images (vault_id, purge_at) where purge_at is not null;

-- Machines that jobs have made of them.
create table image_machines (
    image_id    text not null references images (id) on delete cascade,
    -- Of the machine.
    uuid        text not null,
    name        text not null,
    made_at     bigint not null,
    document    text not null,
    primary key (image_id, uuid)
);
create index image_machines_by_name on image_machines (image_id, name, uuid);
