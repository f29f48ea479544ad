-- Copies in a vault's second store that were tried out. Apart from drills: what is proved of a copy proves nothing of the
-- vault, and a copy outlives its point. They go with the copy.
create table copy_drills (
    -- The job that it was; a job is forgotten sooner.
    id          text primary key,
    vault_id    text not null,
    point_id    text not null,
    item_id     text not null,
    -- The instant of the point: what is proved is as old as that.
    instant     bigint not null,
    ended_at    bigint not null,
    -- The first word of its verdict, and all that it found out.
    verdict     text not null,
    record      text not null,
    foreign key (vault_id, point_id) references copies (vault_id, point_id) on delete cascade
);
create index copy_drills_of_copy on copy_drills (vault_id, point_id, ended_at, id);
create index copy_drills_of_item on copy_drills (vault_id, item_id, instant, verdict);
