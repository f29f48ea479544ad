-- Sign-ins that somebody has begun at the provider of single sign-on: whichever server is asked finishes them, once.
create table sign_ins (
    -- SHA-256 of what comes back with the browser, in hex.
    state_hash  text primary key,
    -- Of the secret of who began it, as RFC 7636 has it: without that secret nobody finishes it.
    challenge   text not null,
    nonce       text not null,
    redirect    text not null,
    expires_at  bigint not null
);
create index sign_ins_by_end on sign_ins (expires_at);
-- Who asked for a job; null where a schedule did.
alter table jobs add column asked_by text;
