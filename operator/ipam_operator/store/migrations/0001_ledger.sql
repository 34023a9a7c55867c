-- The allocation store. What must never happen is forbidden here, by a key or a constraint; the functions in
-- R_*.sql only decide which of the allowed things happens.

create extension if not exists btree_gist with schema public;

create function full_length(a inet) returns boolean
    language sql immutable parallel safe strict as
$$ select masklen(a) = case family(a) when 4 then 32 else 128 end $$;

create type inetrange as range (subtype = inet);

create table address_space (
    id int generated always as identity primary key,
    namespace text not null,
    vrf text not null,
    unique (namespace, vrf)
);
comment on table address_space is 'Within one of these every address has at most one holder (RFC 4364 calls it VRF).';

create table network (
    id int generated always as identity primary key,
    uid uuid not null unique,
    namespace text not null,
    name text not null,
    generation bigint not null,
    space_id int not null references address_space,
    cidr cidr not null,
    type text not null,
    gateway inet check (full_length(gateway) and gateway <<= cidr),
    dns_servers inet[] not null default '{}',
    reserved_lo inet[] not null default '{}',
    reserved_hi inet[] not null default '{}',
    unique (namespace, name),
    unique (id, cidr)
);

create table pool (
    id int generated always as identity primary key,
    uid uuid not null unique,
    namespace text not null,
    name text not null,
    generation bigint not null,
    network_id int not null references network,
    type text not null,
    strategy text not null check (strategy in ('FirstFree', 'Random', 'LeastRecentlyUsed')),
    cool_down interval not null check (cool_down >= interval '0'),
    paused boolean not null,
    retiring boolean not null default false,
    asked_lo inet[] not null,
    asked_hi inet[] not null,
    exclude_lo inet[] not null,
    exclude_hi inet[] not null,
    size numeric not null check (size >= 0),
    prefix_length int not null,
    gateway inet,
    dns_servers inet[] not null,
    low_hi inet,
    unique (namespace, name)
) with (fillfactor = 50);
comment on column pool.low_hi is 'A lower bound of free_range.hi, so that a search skips dead index entries; null: unknown.';
comment on column pool.size is 'Number of addresses in pool_range.';
comment on column pool.gateway is 'Copied from the network, like prefix_length and dns_servers: an answer reads one row.';
create index pool_network on pool (network_id);

create table part (
    space_id int not null references address_space,
    parent_id int not null,
    rng inetrange not null,
    network_id int references network on delete cascade,
    pool_id int references pool on delete cascade,
    check (num_nonnulls(network_id, pool_id) = 1),
    -- Bounds of another mask length would not overlap what they cover: '10.0.0.1/24' <> '10.0.0.1/32'.
    constraint part_bounds check (
        not isempty(rng) and lower_inc(rng) and upper_inc(rng) and not lower_inf(rng) and not upper_inf(rng)
        and family(lower(rng)) = family(upper(rng)) and full_length(lower(rng)) and full_length(upper(rng))
    ),
    constraint parts_disjoint exclude using gist (space_id with =, parent_id with =, rng with &&)
);
comment on table part is
    'What divides a network: pools and child networks alike. Roots have parent 0. By induction no address has two homes.';
create index part_network on part (network_id);
create index part_pool on part (pool_id);

create table pool_range (
    pool_id int not null references pool on delete cascade,
    hi inet not null,
    lo inet not null,
    primary key (pool_id, hi),
    check (lo <= hi and family(lo) = family(hi) and full_length(lo) and full_length(hi))
);
comment on table pool_range is 'The effective ranges: lease + free_range tile them exactly, always.';

create table free_range (
    pool_id int not null references pool on delete cascade,
    hi inet not null,
    lo inet not null,
    primary key (pool_id, hi),
    check (lo <= hi and family(lo) = family(hi) and full_length(lo) and full_length(hi))
) with (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
comment on table free_range is
    'Derived from pool_range and lease. Keyed by the upper end: first-fit takes the low end, so the key stays (HOT).';

create sequence lease_generation;

create table lease (
    pool_id int not null references pool,
    addr inet not null check (full_length(addr)),
    claim_uid uuid not null,
    ordinal int not null check (ordinal >= 0),
    generation bigint not null,
    namespace text not null,
    name text not null,
    allocated_at timestamptz not null default now(),
    released_at timestamptz,
    reusable_at timestamptz,
    act "char" not null default 'A' check (act in ('A', 'R')),
    actor text not null,
    primary key (pool_id, addr),
    check ((released_at is null) = (reusable_at is null))
) with (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0
);
comment on table lease is
    'The ledger: one row per live or cooling address, so the primary key forbids a second holder and enforces cooling.';
comment on column lease.generation is 'Fencing number, new for each grant; release and audit name it.';
create unique index lease_claim on lease (claim_uid, ordinal) where released_at is null;
create index lease_cooling on lease (pool_id, reusable_at, addr) where released_at is not null;

create sequence arrival;

create table waiting (
    claim_uid uuid primary key,
    seq bigint not null default nextval('ipam.arrival'),
    pool_namespace text not null,
    pool_name text not null,
    namespace text not null,
    name text not null,
    generation bigint not null,
    count int not null check (count > 0),
    wanted inet check (full_length(wanted)),
    actor text not null
) with (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
comment on table waiting is 'Claims in arrival order, by the name of their pool: they may queue before it exists.';
create index waiting_queue on waiting (pool_namespace, pool_name, seq);

create table tombstone (
    claim_uid uuid primary key,
    at timestamptz not null default now()
);
comment on table tombstone is 'Deleted claims: a late request for one of them must not take an address for nobody.';
create index tombstone_at on tombstone (at);

create table claim_detail (
    claim_uid uuid primary key,
    hostname text not null,
    assigned_to text not null,
    description text not null
);
comment on table claim_detail is 'What people search by; beside the ledger, so that it can be redacted without touching history.';

create table refusal (
    kind text not null check (kind in ('network', 'pool')),
    namespace text not null,
    name text not null,
    uid uuid not null,
    reason text not null,
    message text not null,
    primary key (kind, namespace, name)
);
comment on table refusal is 'Objects that exist but are not in service, so that an answer can say why.';

create table history (
    at timestamptz not null default now(),
    pool_id int not null,
    addr inet not null,
    claim_uid uuid not null,
    ordinal int not null,
    generation bigint not null,
    action "char" not null,
    namespace text not null,
    name text not null,
    actor text not null
) partition by range (at);
comment on table history is 'Append-only. Who had this address at T is one probe of (addr, at).';
create index history_address on history (addr, at desc);
create index history_claim on history (claim_uid, at desc);

-- One row of an answer to claims. outcome: Held (as before), New, Vanished, Exhausted, Queued, Paused, NotFound,
-- Conflict, Outside; Due carries in info when the next waited-for address has cooled.
create type answer as (
    claim_uid uuid,
    outcome text,
    addrs inet[],
    generation bigint,
    allocated_at timestamptz,
    namespace text,
    name text,
    spec_generation bigint,
    queue_position int,
    prefix_length int,
    gateway inet,
    dns_servers inet[],
    info jsonb
);
