-- Claims that come again get the addresses that they had.

alter table claim_detail add namespace text not null default '', add sticky_key text not null default '';
create index claim_detail_sticky_key on claim_detail (namespace, sticky_key) where sticky_key <> '';

create table memory (
    namespace text not null,
    key text not null,
    pool_namespace text not null,
    pool_name text not null,
    ordinal int not null check (ordinal >= 0),
    addr inet not null check (full_length(addr)),
    generation bigint not null,
    at timestamptz not null default now(),
    primary key (namespace, key, pool_namespace, pool_name, ordinal)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
comment on table memory is
    'What each identity (namespace, stickyKey or name) held last, by the name of the pool: a wish, never a hold.';
comment on column memory.generation is 'Of the lease that ended: while that very lease cools, its identity may have it back.';
create index memory_at on memory (at);

-- Their successors take one argument more.
drop function if exists allocate(
    text, text, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[], text[]);
drop function if exists remember_details(uuid[], text[], text[], text[]);
drop function if exists tidy();
