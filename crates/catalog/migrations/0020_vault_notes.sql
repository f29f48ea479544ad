-- What is to stand in vaults of themselves, for whoever takes one in: where the archive is. Numbered as the notes of items.
create table vault_notes (
    vault_id    text primary key,
    -- The last number drawn. Whoever draws one reads what is to be noted in the same transaction.
    number      bigint not null,
    -- The text of the note that the vault has; empty for none, `?` while somebody may be writing another.
    said        text not null
);

-- Archives of vaults that were taken in while nobody could read them: none is made anew in their place.
create table missing_archives (
    vault_id    text primary key
);
