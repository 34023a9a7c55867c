-- Pools that hand out prefixes (subnets) instead of addresses; claims for addresses of both families.

alter table pool
    add prefix_lengths int[] check (cardinality(prefix_lengths) > 0),
    add default_length int check (default_length = any(prefix_lengths)),
    add of_prefixes boolean not null generated always as (prefix_lengths is not null) stored,
    drop constraint pool_strategy_check,
    add constraint pool_strategy_check check (
        strategy in ('FirstFree', 'Random', 'LeastRecentlyUsed') and prefix_lengths is null
        or strategy in ('FirstFit', 'BestFit') and prefix_lengths is not null),
    add check ((prefix_lengths is null) = (default_length is null)),
    add unique (id, of_prefixes);
comment on column pool.prefix_lengths is 'Of the prefixes that it hands out; null: it hands out addresses. One or the other for good.';
comment on column pool.default_length is 'Of the prefixes for claims that do not say.';

-- The key forbids a second holder of the same prefix, the exclusion one of a part of it.
alter table lease
    add of_prefix boolean not null default false,
    drop constraint lease_addr_check,
    add constraint lease_addr_check check (
        case when of_prefix then addr = set_masklen(addr & netmask(addr), masklen(addr)) else full_length(addr) end),
    drop constraint lease_pool_id_fkey,
    add constraint lease_pool_id_fkey foreign key (pool_id, of_prefix) references pool (id, of_prefixes),
    add constraint lease_prefixes_disjoint exclude using gist (pool_id with =, addr inet_ops with &&) where (of_prefix);
comment on column lease.of_prefix is 'Whether addr is a prefix, as all are of its pool. Of /32 and /128 only this tells.';

alter table free_range
    add mlen smallint,
    add constraint free_range_block check (
        mlen is null or full_length(lo) and lo = lo & netmask(set_masklen(lo, mlen))
            and hi = lo | hostmask(set_masklen(lo, mlen)));
comment on column free_range.mlen is
    'In a pool of prefixes each row is a free prefix of this length, the largest of those that it is part of (a buddy list).';
-- By hi, because an index of lo would end HOT updates in pools of addresses, too.
create index free_range_blocks on free_range (pool_id, mlen desc, hi) where mlen is not null;

alter table memory drop constraint memory_addr_check;
alter table waiting add length int;
comment on column waiting.length is 'Of the prefixes that are asked for; null: of the pool''s default, or addresses.';
alter table waiting add dual boolean not null default false;
comment on column waiting.dual is 'Asks for `count` addresses of each family, of two pools: both or none.';
create index waiting_dual on waiting (pool_namespace, pool_name, count) where dual;
alter table selector add dual boolean not null default false, add length int;
comment on column selector.dual is 'Its claims ask for addresses of both families.';
comment on column selector.length is 'Of the prefixes that are asked for; null: addresses.';

-- Their successors take or return more.
drop function if exists allocate(
    text, text, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[], text[], text[], interval[],
    timestamptz[], int[], macaddr[], boolean[], boolean[], text[]);
drop function if exists allocate_selected(
    text, text, text, jsonb, text, text, int, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[],
    text[], text[], interval[], timestamptz[], int[], macaddr[], boolean[], boolean[], text[]);
drop function if exists grant_leases(pool, uuid[], bigint[], text[], text[], int[], text[], inet[]);
drop function if exists meant(selector);
drop function if exists enqueue(text, text, uuid[], bigint[], text[], text[], int[], inet[], text[]);
drop function if exists park(text, text, uuid[], bigint[], text[], text[], int[], inet[], text[]);
drop function if exists standing(text, text, uuid[]);
drop function if exists take_for(pool, uuid[], text[], text[], int[], int[]);
drop function if exists take_over(int[], uuid[], bigint[], text[], text[], int[], text[], text[]);
drop function if exists without_reservation(int[], uuid[], bigint[], text[], text[], int[], text[]);
drop function if exists pool_counters(uuid[]);
drop function if exists put_pool(
    uuid, text, text, bigint, int, text, text, interval, interval, interval, boolean, inet[], inet[], inet[], inet[],
    inet[], inet[], inet[], inet[], jsonb, int, text, jsonb, bigint);
