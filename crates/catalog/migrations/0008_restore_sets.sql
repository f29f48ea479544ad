-- Many machines restored as one. What each member is stands in the document; how it stands, in its job.
create table restore_sets (
    id          text primary key,
    vault_id    text not null,
    state       text not null,
    document    text not null,
    created_at  bigint not null,
    ended_at    bigint,
    revision    bigint not null
);
create index restore_sets_of_vault on restore_sets (vault_id, created_at, id);
create index restore_sets_open on restore_sets (created_at) where ended_at is null;

alter table jobs add column set_id text;
create index jobs_of_set on jobs (set_id) where set_id is not null;
