-- How long claims hold. Callers hold the pool's row, but `expire`, which takes it.

-- How long a claim of this pool holds that asks for `asked`; null: until it is deleted.
create or replace function ipam.term_of(p ipam.pool, asked interval) returns interval language sql immutable as $$
    select case when coalesce(asked, p.default_lease) is not null
        then least(coalesce(asked, p.default_lease), p.max_lease) end
$$;

create or replace function ipam.noted(uid uuid, info jsonb) returns ipam.answer language sql immutable as $$
    select uid, 'Note', null::inet[], null::bigint, null::timestamptz, null::text, null::text, null::bigint, null::int,
        null::int, null::inet, null::inet[], info
$$;

-- What claims ask for; a later `renewed_at` than the last is a renewal, and makes an expired claim a new one.
create or replace function ipam.ask_terms(
    p ipam.pool, uids uuid[], spec_generations bigint[], leases interval[], renewals timestamptz[]
) returns void language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    insert into ipam.term as t (claim_uid, spec_generation, lease, renewed_at)
    select u.uid, u.spec_generation, make_interval(secs => extract(epoch from u.lease)::float8), u.renewed_at
    from unnest(uids, spec_generations, leases, renewals) u(uid, spec_generation, lease, renewed_at)
    where not exists (select from ipam.tombstone x where x.claim_uid = u.uid) and (
        u.lease is not null or u.renewed_at is not null
        or exists (select from ipam.term x where x.claim_uid = u.uid))
    on conflict (claim_uid) do update set
        spec_generation = excluded.spec_generation, lease = excluded.lease,
        renewed_at = greatest(t.renewed_at, excluded.renewed_at),
        since = case when t.since is not null and excluded.renewed_at > coalesce(t.renewed_at, '-infinity')
            then now() else t.since end,
        expired_at = case when excluded.renewed_at > coalesce(t.renewed_at, '-infinity') then null else t.expired_at end
    where t.spec_generation <= excluded.spec_generation;
    -- Of those that hold already, the end moves; a term that is new to them begins now.
    update ipam.term t set since = coalesce(t.since, now()), expires_at = coalesce(t.since, now()) + ipam.term_of(p, t.lease)
    where t.claim_uid = any(uids)
        and exists (select from ipam.lease l where l.claim_uid = t.claim_uid and l.released_at is null)
        and t.expires_at is distinct from coalesce(t.since, now()) + ipam.term_of(p, t.lease);
end $$;

-- The term of claims that have just been granted something begins; says when it ends.
create or replace function ipam.start_terms(p ipam.pool, uids uuid[], spec_generations bigint[])
    returns setof ipam.answer language sql as $$
    with begun as (
        insert into ipam.term as t (claim_uid, spec_generation, since, expires_at)
        select u.uid, u.spec_generation, now(), now() + ipam.term_of(p, t.lease)
        from unnest(uids, spec_generations) u(uid, spec_generation) left join ipam.term t on t.claim_uid = u.uid
        where t.claim_uid is not null or p.default_lease is not null
        on conflict (claim_uid) do update set since = excluded.since, expires_at = excluded.expires_at
        returning claim_uid, expires_at)
    select n.* from begun cross join lateral ipam.noted(claim_uid, jsonb_build_object('expiresAt', expires_at)) n
    where expires_at is not null
$$;

-- Claims that hold nothing because their term is over; each keeps its address in mind for when it is renewed.
create or replace function ipam.expired(uids uuid[]) returns setof ipam.answer language sql stable as $$
    select t.claim_uid, 'Expired', null::inet[], null::bigint, null::timestamptz, null::text, null::text, null::bigint,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object('expiredAt', t.expired_at)
    from ipam.term t where t.claim_uid = any(uids) and t.expired_at is not null
$$;

-- End at most `lim` terms that are over, the longest due first: their claims are told, their addresses cool.
create or replace function ipam.expire(lim int, actor text) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    due uuid[] := array(
        select t.claim_uid from ipam.term t where t.expires_at <= now() order by t.expires_at limit lim);
begin
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
    where t.claim_uid = any(due);
    return query select * from ipam.release(
        '{}', '{}', due, null, array_fill(actor, array[cardinality(due)]), false);
end $$;
