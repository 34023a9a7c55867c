-- Claims of other namespaces, by consent; pools found by what they are; quotas.

alter table pool
    add labels jsonb not null default '{}',
    add priority int not null default 0,
    add allowed_from text not null default 'Same' check (allowed_from in ('Same', 'All', 'Selector')),
    add allowed_selector jsonb not null default '{}',
    add quota bigint check (quota > 0),
    add selectors text[] not null default '{}';
comment on column pool.quota is 'Addresses that claims of one namespace may hold; null: as many as there are.';
comment on column pool.selectors is 'Names of those selectors in its namespace whose claims it serves: kept by assign_selectors.';

create table tenant (
    namespace text primary key,
    labels jsonb not null
);
comment on table tenant is 'The cluster''s namespaces, as consent is given by their labels. An unknown one is selected by nothing.';

create table selector (
    namespace text not null,
    name text not null check (name like '? %'),
    tenant text not null,
    labels jsonb not null,
    type text,
    network text,
    family int,
    used_at timestamptz not null default now(),
    primary key (namespace, name)
);
comment on table selector is
    'What claims say instead of a pool''s name; they queue by its name, which no pool can have, below the pools'' namespace.';

create table held_by (
    pool_id int not null references pool on delete cascade,
    namespace text not null,
    held bigint not null check (held >= 0),
    primary key (pool_id, namespace)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
comment on table held_by is
    'Live addresses by the claims'' namespace, where that matters: of other namespaces, and of all in a pool with a quota.';

-- Its successor takes more arguments.
drop function if exists put_pool(
    uuid, text, text, bigint, int, text, text, interval, interval, interval, boolean, inet[], inet[], inet[], inet[],
    inet[], inet[], inet[], inet[]);
drop function if exists served_next(pool, bigint, int);
drop function if exists pool_counters(uuid[]);

-- A long queue is not read for the few of it that name an address or stand in the way.
create index waiting_wishes on waiting (pool_namespace, pool_name) where wanted is not null;
create index waiting_standing on waiting (pool_namespace, pool_name, stands_until) where stands_until is not null;
