-- Token buckets per namespace and operation. Nothing here is called while limits are off.
-- Locks: buckets, by namespace and operation, stand before selectors' and pools' rows; that of `network`, which is taken
-- with no other, after the networks' rows. Rows of the line come last of all.

-- What holds in a namespace now. `per_hour` null: no limit.
create or replace function ipam.rate_limit(defaults jsonb, its_namespace text, its_operation text)
    returns table (per_hour float8, burst float8, fault text) language sql stable as $$
    select (l.one ->> 'perHour')::float8, (l.one ->> 'burst')::float8, l.fault from (
        select coalesce(o.limits -> its_operation, defaults -> its_operation) one, o.fault
        from (select) nobody left join ipam.rate_override o on o.namespace = its_namespace) l
$$;

-- Tokens that a bucket has now. A clock that seems to go back (ours is the transaction's) takes none away.
create or replace function ipam.rate_stock(tokens float8, at timestamptz, per_hour float8, burst float8) returns float8
    language sql stable as $$
    select least(burst, tokens + greatest(extract(epoch from now() - at)::float8, 0) * per_hour / 3600)
$$;

-- Those of `uids` that would get something new. Who holds, waits in a queue, had a term or is deleted has paid, or needs
-- not; unless it waited for one address and asks for several now.
create or replace function ipam.rate_unpaid(uids uuid[], operations text[]) returns uuid[] language sql stable as $$
    select coalesce(array_agg(u.uid), '{}') from unnest(uids, operations) u(uid, operation)
    where u.operation is not null
        and not exists (select from ipam.lease l where l.claim_uid = u.uid and l.released_at is null)
        and not exists (
            select from ipam.waiting w where w.claim_uid = u.uid and (w.count > 1 or u.operation <> 'bulk'))
        and not exists (
            select from ipam.term t where t.claim_uid = u.uid and (t.since is not null or t.expired_at is not null))
        and not exists (select from ipam.tombstone t where t.claim_uid = u.uid)
$$;

-- Who may go on, of those that have to pay and whose operation (null: none) is limited. Locks their buckets until the
-- transaction ends, so that nobody else spends the same tokens; `rate_settle` has to follow. `place`: in the line, those
-- included that go on. `retry_at` null: its turn is now. A minute's worth of deletions must not change what a long line is
-- told, so times beyond an hour are full hours.
create or replace function ipam.rate_admit(defaults jsonb, uids uuid[], namespaces text[], operations text[])
    returns table (
        uid uuid, operation text, place bigint, retry_at timestamptz, per_hour float8, burst float8, waits boolean,
        fault text)
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    unpaid uuid[] := ipam.rate_unpaid(uids, operations);
begin
    -- Who waits and has nothing to pay any more leaves the line.
    return query
    select q.uid, null, null::bigint, null::timestamptz, null::float8, null::float8, true, null
    from ipam.rate_line q where q.uid = any(uids) and q.uid <> all(unpaid);
    if unpaid = '{}' then
        return;
    end if;
    insert into ipam.rate_bucket as b (namespace, operation, tokens, at)
    select u.namespace, u.operation, l.burst, now() from (
        select distinct a.namespace, a.operation from unnest(uids, namespaces, operations) a(uid, namespace, operation)
        where a.uid = any(unpaid)) u
    cross join lateral ipam.rate_limit(defaults, u.namespace, u.operation) l
    where l.per_hour is not null
    order by u.namespace, u.operation
    on conflict on constraint rate_bucket_pkey do update set at = b.at;
    -- Another operator may have answered them while we waited.
    unpaid := ipam.rate_unpaid(uids, operations);
    return query
    with asks as materialized (
        select a.uid, a.namespace, a.operation, a.k, l.per_hour, l.burst, l.fault,
            ipam.rate_stock(b.tokens, b.at, l.per_hour, l.burst) stock
        from unnest(uids, namespaces, operations) with ordinality a(uid, namespace, operation, k)
        join ipam.rate_bucket b on b.namespace = a.namespace and b.operation = a.operation
        cross join lateral ipam.rate_limit(defaults, a.namespace, a.operation) l
        where a.uid = any(unpaid) and l.per_hour is not null),
    line as materialized (
        select q.*, row_number() over (partition by q.namespace, q.operation order by q.seq) place
        from ipam.rate_line q join (select distinct a.namespace, a.operation from asks a) d
            on d.namespace = q.namespace and d.operation = q.operation),
    placed as (
        select a.*, l.uid is not null waits, coalesce(l.place,
            (select count(*) from line q where q.namespace = a.namespace and q.operation = a.operation)
            + row_number() over (partition by a.namespace, a.operation, l.uid is null order by a.k)) place
        from asks a left join line l on l.uid = a.uid and l.operation = a.operation)
    select p.uid, p.operation, p.place,
        case when p.place > floor(p.stock + 1e-6) then (
            select case when r.seconds <= 3600 then date_trunc('second', now() + make_interval(secs => r.seconds + 1))
                else date_trunc('hour', now() + make_interval(secs => r.seconds + 3600)) end
            from (select (p.place - p.stock) * 3600 / p.per_hour seconds) r) end,
        p.per_hour, p.burst, p.waits, p.fault
    from placed p order by p.k;
end $$;

-- Take the tokens of those of `uids` that were let go on and hold or wait in a queue by now: others have got nothing, and
-- pay nothing; nor does who has no operation (any more). `limited` waits in the line instead, also where it had a place in a
-- queue for less.
create or replace function ipam.rate_settle(
    defaults jsonb, uids uuid[], namespaces text[], operations text[], limited uuid[], limited_namespaces text[],
    limited_operations text[], limited_names text[]
) returns void language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    with spent as (
        select u.namespace, u.operation, count(*) n from unnest(uids, namespaces, operations) u(uid, namespace, operation)
        where u.operation = 'network'
            or exists (select from ipam.lease l where l.claim_uid = u.uid and l.released_at is null)
            or exists (select from ipam.waiting w where w.claim_uid = u.uid)
        group by u.namespace, u.operation)
    update ipam.rate_bucket b set at = greatest(b.at, now()),
        tokens = greatest(ipam.rate_stock(b.tokens, b.at, l.per_hour, l.burst) - s.n, 0)
    from spent s cross join lateral ipam.rate_limit(defaults, s.namespace, s.operation) l
    where b.namespace = s.namespace and b.operation = s.operation;
    delete from ipam.rate_line q where q.uid = any(uids);
    delete from ipam.waiting w where w.claim_uid = any(limited);
    delete from ipam.rate_line q using unnest(limited, limited_operations) u(uid, operation)
    where q.uid = u.uid and q.operation <> u.operation;
    insert into ipam.rate_line (uid, namespace, operation, name)
    select u.uid, u.namespace, u.operation, u.name
    from unnest(limited, limited_namespaces, limited_operations, limited_names)
        with ordinality u(uid, namespace, operation, name, k)
    where not exists (select from ipam.tombstone t where t.claim_uid = u.uid)
    order by u.k on conflict on constraint rate_line_pkey do nothing;
end $$;

-- Count the ends of claims: they are never held up. Returns how many were more than a namespace's bucket had.
create or replace function ipam.rate_meter(defaults jsonb, uids uuid[]) returns table (namespace text, over bigint)
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    return query
    with ended as materialized (
        select c.namespace, count(*) n, l.per_hour, l.burst from (
            select distinct q.claim_uid, q.namespace from ipam.lease q
            where q.claim_uid = any(uids) and q.released_at is null) c
        cross join lateral ipam.rate_limit(defaults, c.namespace, 'release') l
        where l.per_hour is not null group by c.namespace, l.per_hour, l.burst),
    metered as (
        insert into ipam.rate_bucket as b (namespace, operation, tokens, at)
        select e.namespace, 'release', e.burst - e.n, now() from ended e order by e.namespace
        on conflict on constraint rate_bucket_pkey do update set at = greatest(b.at, now()), tokens = (
            select ipam.rate_stock(greatest(b.tokens, 0), b.at, e.per_hour, e.burst) - e.n
            from ended e where e.namespace = b.namespace)
        returning b.namespace, b.tokens)
    select f.namespace, ceil(-f.tokens)::bigint from metered f where f.tokens < 0;
end $$;

-- Whose turn has come (`seconds` 0), and for each line when the turn of the next one comes.
create or replace function ipam.rate_turns(defaults jsonb, lim int)
    returns table (uid uuid, namespace text, name text, operation text, seconds float8)
    language sql stable as $$
    select t.uid, t.namespace, t.name, t.operation, t.seconds from (
        select q.*, case when h.per_hour is null or q.place <= floor(h.stock + 1e-6) then 0
            else (q.place - h.stock) * 3600 / h.per_hour end seconds
        from (select distinct l.namespace, l.operation from ipam.rate_line l) d
        cross join lateral (
            select r.per_hour, coalesce(ipam.rate_stock(b.tokens, b.at, r.per_hour, r.burst), r.burst) stock
            from ipam.rate_limit(defaults, d.namespace, d.operation) r
            left join ipam.rate_bucket b on b.namespace = d.namespace and b.operation = d.operation) h
        cross join lateral (
            select l.*, row_number() over (order by l.seq) place from ipam.rate_line l
            where l.namespace = d.namespace and l.operation = d.operation
            order by l.seq limit least(lim, coalesce(floor(h.stock + 1e-6) + 1, lim))) q) t
    order by t.seconds, t.seq limit lim
$$;

create or replace function ipam.rate_leave(uids uuid[]) returns void language sql as $$
    delete from ipam.rate_line q where q.uid = any(uids)
$$;

-- What namespaces say of their limits, {"limits", "fault"}; null: nothing (any more). `whole`: these are all that say
-- something; then buckets go that are full again, which is what a bucket without a row is.
create or replace function ipam.put_rates(defaults jsonb, changes jsonb, whole boolean) returns void
    language plpgsql as $$
begin
    delete from ipam.rate_override o where changes -> o.namespace = 'null' or whole and not changes ? o.namespace;
    insert into ipam.rate_override as o (namespace, limits, fault)
    select c.key, c.value -> 'limits', c.value ->> 'fault' from jsonb_each(changes) c where c.value <> 'null'
    order by c.key
    on conflict (namespace) do update set limits = excluded.limits, fault = excluded.fault
    where (o.limits, o.fault) is distinct from (excluded.limits, excluded.fault);
    if whole then
        delete from ipam.rate_bucket b using ipam.rate_bucket r
            cross join lateral ipam.rate_limit(defaults, r.namespace, r.operation) l
        where b.ctid = r.ctid
            and (l.per_hour is null or ipam.rate_stock(b.tokens, b.at, l.per_hour, l.burst) >= l.burst);
    end if;
end $$;
