-- Points that were tried out, and what came of it. A drill goes with its point.
create table drills (
    -- The job that it was; a job is forgotten sooner than a point.
    id          text primary key,
    point_id    text not null references points (id) on delete cascade,
    item_id     text not null references items (id) on delete cascade,
    -- The instant of the point: what is proved is as old as that.
    instant     bigint not null,
    ended_at    bigint not null,
    -- The first word of its verdict, and all that it found out.
    verdict     text not null,
    record      text not null
);
create index drills_of_item on drills (item_id, instant, verdict);
create index drills_of_point on drills (point_id, ended_at, id);

-- What a drill's screen showed: `png` or `ppm`, and the file in base64. It goes with the job.
create table drill_pictures (
    job_id      text primary key references jobs (id) on delete cascade,
    format      text not null,
    data        text not null
);
