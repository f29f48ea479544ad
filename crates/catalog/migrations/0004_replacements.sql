-- Machines that were put back to a point in their own place, until what was kept of them is removed. What is so on the
-- mover's host stands in a journal beside the machine's first disk.
create table replacements (
    id          text primary key,
    vault_id    text not null,
    item_id     text not null,
    point_id    text not null,
    -- The last job that worked on it: an older one that is heard of later changes nothing.
    job_id      text not null,
    mover       text not null,
    state       text not null,
    -- What the first job was asked to do; a job that finishes it is asked the same.
    request     text not null,
    -- What its mover told last.
    told        text not null,
    created_at  bigint not null
);
create index replacements_of_item on replacements (item_id, created_at);
