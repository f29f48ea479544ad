-- Until when each vault's archiving was planned: what a point's archive is stands with the point itself.
create table archive_plans (
    vault_id   text primary key,
    planned_at bigint not null
);
