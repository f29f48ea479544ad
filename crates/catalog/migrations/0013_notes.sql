-- What is to stand in the vaults of items, beside their points: pins, tags, stopped protection, proofs. Whatever changes
-- one of these counts `wanted` up in the same transaction; `noted` is the count that the vault was last told of.
create table notes (
    item_id     text primary key,
    -- Kept here: an item that is gone leaves notes in its vault, which go too.
    vault_id    text not null,
    -- The last number drawn. Whoever draws one reads what is to be noted in the same transaction, so the note of a higher
    -- number knows at least what the others know.
    number      bigint not null,
    wanted      bigint not null,
    noted       bigint not null,
    -- The text of the note that the vault has; empty for none, `?` while somebody may be writing another.
    said        text not null,
    -- 1 while a vault is being taken in: the item knows less than the vault's note of it, which must not be replaced.
    held        bigint not null
);
create index notes_due on notes (vault_id, item_id) where noted <> wanted and held = 0;

insert into notes (item_id, vault_id, number, wanted, noted, said, held)
    select id, vault_id, 0, 1, 0, '', 0 from items;

-- Tags of machines that no host has told of yet.
alter table adopted add column tags text;
