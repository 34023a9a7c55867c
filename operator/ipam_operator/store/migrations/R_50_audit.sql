-- Comparisons. They read; what is done about a finding is decided elsewhere, after a second look.

-- Leases and free ranges must tile the effective ranges exactly: finds overlaps, leaks and strays in one pass.
create or replace function ipam.untiled(network_uids uuid[])
    returns table (network_uid uuid, pool_namespace text, pool text, finding text, lo inet, hi inet, claim_uid uuid)
    language sql stable set plan_cache_mode = force_custom_plan as $$
    with audited as (
        select p.id, p.namespace, p.name, n.uid network_uid from ipam.pool p join ipam.network n on n.id = p.network_id
        where n.uid = any(network_uids)),
    piece (pool_id, lo, hi, claim_uid) as (
        select l.pool_id, ipam.low(l.addr), ipam.high(l.addr), l.claim_uid from ipam.lease l join audited a on a.id = l.pool_id
        union all
        select f.pool_id, f.lo, f.hi, null from ipam.free_range f join audited a on a.id = f.pool_id
        union all
        -- One beyond each range closes it, so that a leak at its end is seen; nothing is beyond the last address.
        select r.pool_id, null, r.hi, null from ipam.pool_range r join audited a on a.id = r.pool_id),
    housed as (
        select x.*, home.lo home_lo, home.hi home_hi from piece x left join lateral (
            select r.lo, r.hi from ipam.pool_range r where r.pool_id = x.pool_id and r.hi >= x.hi order by r.hi limit 1
        ) home on home.lo <= coalesce(x.lo, x.hi)),
    walk as (
        select h.*, max(h.hi) filter (where h.lo is not null) over (
            partition by h.pool_id, h.home_hi order by h.lo nulls last, h.hi desc, h.claim_uid nulls first
            rows between unbounded preceding and 1 preceding) before
        from housed h)
    select a.network_uid, a.namespace, a.name, f.finding, f.lo, f.hi, f.claim_uid from (
        select pool_id, 'OutsideRange' finding, lo, hi, claim_uid from walk where home_hi is null and lo is not null
        union all
        select pool_id, 'FreeAndHeld', lo, hi, claim_uid from walk where home_hi is not null and lo <= before
        union all
        select pool_id, 'Leaked', coalesce(before + 1, home_lo), lo - 1, null from walk
        where home_hi is not null and lo is not null
            and case when before is null then lo > home_lo when lo > before then lo - 1 > before else false end
        union all
        select pool_id, 'Leaked', coalesce(before + 1, home_lo), home_hi, null from walk
        where lo is null and (before is null or before < home_hi)
    ) f join audited a on a.id = f.pool_id
    order by f.pool_id, f.lo limit 1000
$$;

-- The cluster's claims against the store. `shown[k]`: the addresses in claim k's status, joined by commas; '' for none.
-- `ends[k]`: when the lease of claim `ending[k]` ends, as its status says; in whole seconds, which are cut off.
create or replace function ipam.compare(uids uuid[], shown text[], ending uuid[], ends timestamptz[])
    returns table (
        finding text, claim_uid uuid, pool_uid uuid, pool_namespace text, pool_name text, network_uid uuid,
        namespace text, name text, generation bigint, addrs text, age_seconds float8)
    language sql stable set plan_cache_mode = force_custom_plan as $$
    with claim as materialized (
        select u.uid, u.shown from unnest(uids, shown) u(uid, shown)),
    held as materialized (
        select l.claim_uid, (array_agg(l.pool_id order by l.ordinal))[1] pool_id, min(l.namespace) namespace, min(l.name) name, min(l.generation) generation,
            string_agg(ipam.shown(l.addr, l.of_prefix), ',' order by family(l.addr), l.ordinal) addrs,
            min(l.allocated_at) allocated_at
        from ipam.lease l where l.released_at is null group by l.claim_uid),
    found as (
        select case
                when c.uid is null then 'Orphan'
                when h.claim_uid is null and c.shown <> '' then 'Unbacked'
                when h.claim_uid is null then 'Unknown'
                when c.shown = '' then 'Unanswered'
                else 'Drift' end finding,
            coalesce(c.uid, h.claim_uid) claim_uid, h.pool_id, h.namespace, h.name, h.generation,
            coalesce(h.addrs, c.shown) addrs, extract(epoch from now() - h.allocated_at)::float8 age_seconds
        from claim c full join held h on h.claim_uid = c.uid
        where c.uid is null or h.claim_uid is null or c.shown <> h.addrs)
    select f.finding, f.claim_uid, p.uid, p.namespace, p.name, n.uid, f.namespace, f.name, f.generation, f.addrs,
        f.age_seconds
    from found f left join ipam.pool p on p.id = f.pool_id left join ipam.network n on n.id = p.network_id
    where f.finding <> 'Unknown' or not exists (
        select from ipam.waiting w where w.claim_uid = f.claim_uid
        union all
        select from ipam.term t where t.claim_uid = f.claim_uid and t.expired_at is not null)
    union all
    select 'Ghost', w.claim_uid, null, w.pool_namespace, w.pool_name, null, w.namespace, w.name, null, null, null
    from ipam.waiting w where not exists (select from claim c where c.uid = w.claim_uid)
    union all
    select 'Renewed', e.uid, null, null, null, null, null, null, null, null, null
    from unnest(ending, ends) e(uid, until) left join ipam.term t on t.claim_uid = e.uid
    where coalesce(t.expires_at, t.expired_at, '-infinity') < e.until and t.taken_by is null
$$;
