-- Addresses that stay their claim's after it is gone.

alter table claim_detail add retain boolean not null default false;
create index claim_detail_retain on claim_detail (claim_uid) where retain;

alter table lease
    add retained text,
    add check (retained is null or released_at is not null),
    drop constraint lease_act_check,
    add constraint lease_act_check check (act in ('A', 'C', 'R', 'F', 'K'));
create index lease_retained on lease (pool_id, namespace) where retained is not null;
comment on column lease.retained is
    'The key (ipam.key_of) of the identity that it is kept for until reusable_at, although its claim is gone.';
comment on column lease.act is 'What history is told: A granted, C changed while held, R released, F retention ended by hand, K kept from an earlier pool of the name.';

create table retention (
    pool_namespace text not null,
    pool_name text not null,
    addr inet not null,
    claim_uid uuid not null,
    ordinal int not null,
    generation bigint not null,
    namespace text not null,
    name text not null,
    key text not null,
    allocated_at timestamptz not null,
    released_at timestamptz not null,
    reusable_at timestamptz not null,
    actor text not null,
    primary key (pool_namespace, pool_name, addr)
);
comment on table retention is 'What pools kept that are gone: a new one of the name goes on with it.';

-- Their successors take or return more.
drop function if exists allocate(
    text, text, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[], text[], text[], interval[],
    timestamptz[], int[], macaddr[]);
drop function if exists allocate_selected(
    text, text, text, jsonb, text, text, int, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[],
    text[], text[], interval[], timestamptz[], int[], macaddr[]);
drop function if exists remember_details(uuid[], text[], text[], text[], text[], text[], int[], macaddr[]);
drop function if exists release(text[], text[], uuid[], bigint[], text[], boolean);
drop function if exists pool_counters(uuid[]);
