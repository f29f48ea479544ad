-- The keys of vaults, for all servers of one catalog: each sealed under a key that only servers have, never the catalog.
create table vault_keys (
    vault_id    text primary key,
    sealed      text not null
);
