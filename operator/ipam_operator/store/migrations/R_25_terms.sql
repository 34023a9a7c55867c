-- How long claims hold. Callers hold the pool's row; `expire` takes it.

-- How long a claim of this pool holds that asks for `asked`; null: until it is deleted.
create or replace function ipam.term_of(p ipam.pool, asked interval) returns interval language sql immutable as $$
    select case when coalesce(asked, p.default_lease) is not null
        then least(coalesce(asked, p.default_lease), p.max_lease) end
$$;

-- The same of a claim that holds addresses of several pools.
create or replace function ipam.least_term(its_uid uuid, asked interval) returns interval language plpgsql stable as $$
begin
    return (
        select min(ipam.term_of(p, asked)) from ipam.lease l join ipam.pool p on p.id = l.pool_id
        where l.claim_uid = its_uid and l.released_at is null);
end $$;

create or replace function ipam.noted(uid uuid, info jsonb) returns ipam.answer language sql immutable as $$
    select uid, 'Note', null::inet[], null::bigint, null::timestamptz, null::text, null::text, null::bigint, null::int,
        null::int, null::inet, null::inet[], info
$$;

-- What claims ask for. Another `renewed_at` in a newer spec is a renewal, and makes an expired claim a new one: its value
-- is compared with no clock. So is a reservation that is one no more, or is one now. Says whose term is another one now, and who of
-- those has renewed it.
create or replace function ipam.ask_terms(
    uids uuid[], spec_generations bigint[], leases interval[], renewals timestamptz[], reserves boolean[],
    out changed uuid[], out renewed uuid[]
) language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    asked record;
begin
    with wanted as (
        select u.uid, u.spec_generation, make_interval(secs => extract(epoch from u.lease)::float8) lease, u.renewed_at,
            coalesce(u.reserved, false) reserved
        from unnest(uids, spec_generations, leases, renewals, reserves)
            u(uid, spec_generation, lease, renewed_at, reserved)
        where not exists (select from ipam.tombstone x where x.claim_uid = u.uid)),
    news as (
        select w.*, t.claim_uid is not null and (
            w.renewed_at is distinct from t.renewed_at and w.renewed_at is not null or t.reserved <> w.reserved)
            renewal
        from wanted w left join ipam.term t on t.claim_uid = w.uid
        where case when t.claim_uid is null then w.lease is not null or w.renewed_at is not null
            else t.spec_generation <= w.spec_generation end  -- equal: one that was adopted, or began by the pool's default
            and (t.claim_uid is null or w.lease is distinct from t.lease or w.renewed_at is distinct from t.renewed_at
                or w.reserved <> t.reserved))
    select array_agg(uid) uids, array_agg(spec_generation) spec_generations, array_agg(lease) leases,
        array_agg(renewed_at) renewals, array_agg(reserved) reserves, array_agg(uid) filter (where renewal) renewed
    into asked from news;
    -- The newest spec, also of those that ask for nothing new.
    update ipam.term t set spec_generation = u.spec_generation
    from unnest(uids, spec_generations) u(uid, spec_generation)
    where t.claim_uid = u.uid and t.spec_generation < u.spec_generation;
    changed := coalesce(asked.uids, '{}');
    renewed := coalesce(asked.renewed, '{}');
    if asked.uids is null then
        return;
    end if;
    insert into ipam.term as t (claim_uid, spec_generation, lease, renewed_at, reserved)
    select * from unnest(asked.uids, asked.spec_generations, asked.leases, asked.renewals, asked.reserves)
    on conflict (claim_uid) do update set
        lease = excluded.lease, renewed_at = excluded.renewed_at, reserved = excluded.reserved,
        taken_by = case when t.claim_uid = any(asked.renewed) then null else t.taken_by end,
        since = case when t.since is not null and t.claim_uid = any(asked.renewed) then now() else t.since end,
        expired_at = case when t.claim_uid = any(asked.renewed) then null else t.expired_at end;
    -- Of those that hold already, the end moves; a term that is new to them begins now.
    update ipam.term t set since = coalesce(t.since, now()),
        expires_at = coalesce(t.since, now()) + ipam.least_term(l.claim_uid, t.lease),
        namespace = case when t.reserved then l.namespace else '' end, name = case when t.reserved then l.name else '' end
    from ipam.lease l
    where t.claim_uid = any(asked.uids) and l.claim_uid = any(asked.uids)
        and l.claim_uid = t.claim_uid and l.released_at is null and l.ordinal = 0;
end $$;

-- What claims show they keep: no term ends before the end in its claim's status, and one that is gone comes back, also of
-- a claim whose lease is gone and that is yet to be adopted. For a store that was restored. A status speaks of the spec of
-- `spec_generations`; a term that knows a newer one was changed since. `acted`: `leases` and `renewals` are what the status
-- answers, so they ask for nothing new.
create or replace function ipam.keep_terms(
    uids uuid[], spec_generations bigint[], ends timestamptz[], acted boolean[], leases interval[],
    renewals timestamptz[], reserves boolean[]
) returns void language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    -- As everybody: first the pools' rows.
    perform from ipam.pool q where q.id in (
        select l.pool_id from ipam.lease l where l.claim_uid = any(uids) and l.released_at is null)
    order by q.id for no key update;
    update ipam.term t set
        spec_generation = case when u.acted then u.spec_generation else t.spec_generation end,
        lease = case when u.acted then make_interval(secs => extract(epoch from u.lease)::float8) else t.lease end,
        renewed_at = case when u.acted then u.renewed_at else t.renewed_at end,
        reserved = case when u.acted then u.reserved else t.reserved end,
        -- A lease that is edited later counts from when this one began.
        since = greatest(t.since, least(now(), u.until - ipam.term_of(p, u.lease))), expires_at = u.until,
        expired_at = null
    from unnest(uids, spec_generations, ends, acted, leases, renewals, reserves)
        u(uid, spec_generation, until, acted, lease, renewed_at, reserved)
    left join ipam.lease l
        on l.claim_uid = any(uids) and l.claim_uid = u.uid and l.ordinal = 0 and l.released_at is null
    left join ipam.pool p on p.id = l.pool_id
    where t.claim_uid = u.uid and t.spec_generation <= u.spec_generation and t.taken_by is null
        and coalesce(t.expires_at, t.expired_at, '-infinity') < u.until;
    insert into ipam.term (claim_uid, spec_generation, lease, renewed_at, reserved, since, expires_at)
    select u.uid, u.spec_generation, make_interval(secs => extract(epoch from u.lease)::float8), u.renewed_at, u.reserved,
        least(now(), u.until - ipam.term_of(p, u.lease)), u.until
    from unnest(uids, spec_generations, ends, leases, renewals, reserves)
        u(uid, spec_generation, until, lease, renewed_at, reserved)
    left join ipam.lease l
        on l.claim_uid = any(uids) and l.claim_uid = u.uid and l.ordinal = 0 and l.released_at is null
    left join ipam.pool p on p.id = l.pool_id
    where not exists (select from ipam.tombstone x where x.claim_uid = u.uid)
    on conflict (claim_uid) do nothing;
    update ipam.term t set namespace = l.namespace, name = l.name from ipam.lease l
    where t.claim_uid = any(uids) and t.reserved
        and l.claim_uid = any(uids) and l.claim_uid = t.claim_uid and l.released_at is null and l.ordinal = 0;
end $$;

-- The term of claims that have just been granted something begins, unless it has an end that they show; says when it ends.
create or replace function ipam.start_terms(p ipam.pool, uids uuid[], spec_generations bigint[])
    returns setof ipam.answer language sql as $$
    with begun as (
        insert into ipam.term as t (claim_uid, spec_generation, since, expires_at)
        select u.uid, u.spec_generation, now(), now() + ipam.term_of(p, t.lease)
        from unnest(uids, spec_generations) u(uid, spec_generation) left join ipam.term t on t.claim_uid = u.uid
        where t.claim_uid is not null or p.default_lease is not null
        on conflict (claim_uid) do update set
            since = coalesce(t.since, excluded.since),
            expires_at = case when t.since = now() then least(t.expires_at, excluded.expires_at)  -- of its second pool
                else coalesce(t.expires_at, excluded.expires_at) end
        returning claim_uid, expires_at, reserved)
    select n.* from begun
    cross join lateral ipam.noted(claim_uid, jsonb_build_object('expiresAt', expires_at, 'reserved', reserved)) n
    where expires_at is not null
$$;

-- Claims that hold nothing because their term is over; each keeps its address in mind for when it is renewed.
create or replace function ipam.expired(uids uuid[]) returns setof ipam.answer language sql stable as $$
    select t.claim_uid, 'Expired', null::inet[], null::bigint, null::timestamptz, null::text, null::text, null::bigint,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object('expiredAt', t.expired_at, 'takenBy', t.taken_by)
    from ipam.term t where t.claim_uid = any(uids) and t.expired_at is not null
$$;

-- End at most `lim` terms that are over, the longest due first: their claims are told, their addresses cool. `run`: of the
-- store when it was compared with the cluster; in any other it knows less than claims show, perhaps, and ends nothing.
create or replace function ipam.expire(lim int, actor text, run text) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    due uuid[] := array(
        select t.claim_uid from ipam.term t where t.expires_at <= now() order by t.expires_at limit lim);
begin
    if run is distinct from ipam.store_run() then
        return next row(
            null, 'Uncompared', null, null, null, null, null, null, null, null, null, null, null)::ipam.answer;
        return;
    end if;
    if cardinality(due) = 0 then
        return;
    end if;
    -- As everybody: first the pools' rows. Whoever renewed before us is spared.
    perform from ipam.pool q where q.id in (
        select l.pool_id from ipam.lease l where l.claim_uid = any(due) and l.released_at is null)
    order by q.id for no key update;
    with over as (
        update ipam.term t set expired_at = t.expires_at, since = null, expires_at = null
        where t.claim_uid = any(due) and t.expires_at <= now() returning t.claim_uid)
    select coalesce(array_agg(claim_uid), '{}') into due from over;
    return query
    select t.claim_uid, 'Expired', null::inet[], null::bigint, null::timestamptz, l.namespace, l.name, t.spec_generation,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object('expiredAt', t.expired_at)
    from ipam.term t join ipam.lease l on l.claim_uid = t.claim_uid and l.ordinal = 0 and l.released_at is null
    where t.claim_uid = any(due) and l.claim_uid = any(due);
    return query select * from ipam.release(
        '{}', '{}', due, null, array_fill(actor, array[cardinality(due)]), false, its_reason => 'Expired');
end $$;
