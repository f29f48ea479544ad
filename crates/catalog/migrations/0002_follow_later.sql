-- What follows from a job may have to wait: for another job on the same subject, or for a store that does not answer.
alter table jobs add column follow_at bigint;
