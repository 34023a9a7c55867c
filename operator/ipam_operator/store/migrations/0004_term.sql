-- Leases that end unless they are renewed.

alter table pool
    add default_lease interval check (default_lease > interval '0'),
    add max_lease interval check (max_lease > interval '0');
comment on column pool.cool_down is 'In seconds, like all intervals here: a day has 23 hours where clocks are put forward.';

create table term (
    claim_uid uuid primary key,
    spec_generation bigint not null,
    lease interval check (lease > interval '0'),
    renewed_at timestamptz,
    since timestamptz,
    expires_at timestamptz,
    expired_at timestamptz,
    check (expires_at is null or since is not null),
    check (since is null or expired_at is null)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
comment on table term is 'Claims that hold for a while only; those without a row hold until they are deleted.';
comment on column term.lease is 'As the claim asks; null: as the pool has it.';
comment on column term.renewed_at is 'spec.renewedAt that was acted upon: any other one is a renewal.';
comment on column term.since is 'When the term began, by this database''s clock; null: nothing is held.';
create index term_expiry on term (expires_at) where expires_at is not null;

-- Their successors take more arguments.
drop function if exists allocate(
    text, text, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[], text[], text[]);
drop function if exists put_pool(
    uuid, text, text, bigint, int, text, text, interval, boolean, inet[], inet[], inet[], inet[], inet[], inet[], inet[],
    inet[]);
