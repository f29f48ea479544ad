-- What happened to each job, as it happened: for people, who read it afterwards. Nothing is decided by it.
create table job_log (
    job_id      text not null references jobs (id) on delete cascade,
    number      bigint not null,
    at          bigint not null,
    event       text not null,
    -- What about it: the mover that began, the step that is done, why an attempt failed.
    text        text not null,
    primary key (job_id, number)
);
