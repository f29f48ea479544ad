-- Copies of points in a vault's second store. They outlive the points: nothing that is deleted in a vault is deleted
-- there with it. left_at is when the vault was first seen to have the point no more.
create table copies (
    vault_id     text not null,
    point_id     text not null,
    item_id      text not null,
    taken_at     bigint not null,
    copied_at    bigint not null,
    left_at      bigint,
    stored_bytes bigint not null,
    detail       text not null,
    primary key (vault_id, point_id)
);
create index copies_by_time on copies (vault_id, taken_at, point_id);
create index copies_of_item on copies (vault_id, item_id, taken_at);
create index copies_left on copies (vault_id, left_at) where left_at is not null;
