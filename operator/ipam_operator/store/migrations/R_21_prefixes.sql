-- Arithmetic on prefixes, and the free ones of a pool: a buddy list (Knowlton, CACM 8(10), 1965). Each row is the largest
-- free prefix that its addresses are part of. Callers hold the pool's row.

create or replace function ipam.low(a inet) returns inet
    language sql immutable parallel safe as
$$ select a & netmask(a) $$;

create or replace function ipam.high(a inet) returns inet
    language sql immutable parallel safe as
$$ select a | hostmask(a) $$;

-- The prefix of this length that an address, or a longer prefix, is part of.
create or replace function ipam.prefix_of(a inet, length int) returns inet
    language sql immutable parallel safe as
$$ select set_masklen(a & netmask(set_masklen(a, length)), length) $$;

-- The other half of the prefix that is one bit shorter.
create or replace function ipam.buddy(block inet) returns inet
    language sql immutable parallel safe as
$$
    select case when ipam.low(block) = ipam.low(set_masklen(block, masklen(block) - 1))
        then set_masklen(ipam.high(block) + 1, masklen(block)) else ipam.prefix_of(ipam.low(block) - 1, masklen(block)) end
$$;

-- The fewest prefixes that make up a range.
create or replace function ipam.blocks_of(lo inet, hi inet) returns setof inet language plpgsql immutable as $$
declare
    block inet;
begin
    loop
        block := lo;
        while masklen(block) > 0 and ipam.low(set_masklen(block, masklen(block) - 1)) = lo
            and ipam.high(set_masklen(block, masklen(block) - 1)) <= hi
        loop
            block := set_masklen(block, masklen(block) - 1);
        end loop;
        return next block;
        exit when ipam.high(block) >= hi;
        lo := ipam.high(block) + 1;
    end loop;
end $$;

-- A prefix becomes free, and one with its buddy for as long as that is free as well.
create or replace function ipam.put_block(p int, block inet) returns void
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    while masklen(block) > 0 loop
        delete from ipam.free_range f
        where f.pool_id = p and f.hi = ipam.high(ipam.buddy(block)) and f.mlen = masklen(block);
        exit when not found;
        block := ipam.prefix_of(block, masklen(block) - 1);
    end loop;
    insert into ipam.free_range (pool_id, lo, hi, mlen) values (p, ipam.low(block), ipam.high(block), masklen(block));
end $$;

-- What is left becomes free of the prefix of length `m` that `block` was taken out of; with `lower` only what is above it,
-- because all below is taken.
create or replace function ipam.put_rest(p int, block inet, m int, lower boolean) returns void
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    insert into ipam.free_range (pool_id, lo, hi, mlen)
    select p, ipam.low(b.half), ipam.high(b.half), k
    from generate_series(m + 1, masklen(block)) k, lateral (select ipam.buddy(ipam.prefix_of(block, k)) half) b
    where not lower or b.half > block;
end $$;

-- Take exactly this prefix out of the free one from `l` to `h`, whose length is `m`; false when it is not in there.
create or replace function ipam.carve_block(p int, wish inet, l inet, h inet, m int) returns boolean
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    if m > masklen(wish) or ipam.low(wish) < l or wish <> ipam.prefix_of(wish, masklen(wish)) then
        return false;
    end if;
    delete from ipam.free_range f where f.pool_id = p and f.hi = h;
    perform ipam.put_rest(p, wish, m, false);
    return true;
end $$;

-- How many prefixes of this length are free, at most `enough`.
create or replace function ipam.blocks_free(p int, length int, enough bigint) returns bigint
    language plpgsql stable set plan_cache_mode = force_generic_plan as $$
begin
    return (
        select least(enough, coalesce(sum(1::bigint << least(length - f.mlen, 30)), 0)) from (
            select f.mlen from ipam.free_range f where f.pool_id = p and f.mlen <= length
            order by f.mlen limit enough) f);
end $$;

-- How many prefixes of this length the pool has, free or not.
create or replace function ipam.blocks_in(p int, length int) returns numeric
    language sql stable as $$
    select trunc(coalesce(sum(2::numeric ^ (length - masklen(b))), 0))
    from ipam.pool_range r cross join lateral ipam.blocks_of(r.lo, r.hi) b where r.pool_id = p and masklen(b) <= length
$$;

-- Take `n` prefixes of this length; null when there are fewer: the caller undoes what was taken. First fit: out of the
-- free prefix with the lowest address; best fit: out of the smallest.
create or replace function ipam.take_blocks(p ipam.pool, length int, n bigint) returns inet[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    b record;
    block inet;
    taken inet[] := '{}';
begin
    while cardinality(taken) < n loop
        if p.strategy = 'BestFit' then
            select f.lo, f.hi, f.mlen into b from ipam.free_range f
            where f.pool_id = p.id and f.mlen <= length order by f.mlen desc, f.hi limit 1;
        else
            select f.* into b from generate_series(p.prefix_length, length) k cross join lateral (
                select f.lo, f.hi, f.mlen from ipam.free_range f
                where f.pool_id = p.id and f.mlen = k order by f.hi limit 1) f
            order by f.hi limit 1;
        end if;
        if b.hi is null then
            return null;
        end if;
        delete from ipam.free_range f where f.pool_id = p.id and f.hi = b.hi;
        block := set_masklen(b.lo, length);
        taken := taken || block;
        while cardinality(taken) < n and ipam.high(block) < b.hi loop
            block := set_masklen(ipam.high(block) + 1, length);
            taken := taken || block;
        end loop;
        perform ipam.put_rest(p.id, block, b.mlen, true);
    end loop;
    return taken;
end $$;

-- Free prefixes anew from what is effective and what is held.
create or replace function ipam.rebuild_blocks(p int) returns void language sql as $$
    insert into ipam.free_range (pool_id, lo, hi, mlen)
    select p, ipam.low(b), ipam.high(b), masklen(b) from (
        select lo, case when next is null then hi else next - 1 end hi from (
            select r.hi, case when l.lo is null then r.lo when l.hi < r.hi then l.hi + 1 end lo,
                lead(l.lo) over (partition by r.hi order by l.lo nulls first) next
            from ipam.pool_range r
            cross join lateral (
                select null::inet lo, null::inet hi union all
                select ipam.low(l.addr), ipam.high(l.addr) from ipam.lease l
                where l.pool_id = p and l.addr <= r.hi and ipam.low(l.addr) >= r.lo) l
            where r.pool_id = p) bounds
        where lo is not null and (next is null or next > lo)) gap
    cross join lateral ipam.blocks_of(gap.lo, gap.hi) b
$$;

-- Whether the pool may hold such a thing: a prefix, or an address.
create or replace function ipam.of_its_kind(p ipam.pool, a inet) returns boolean language sql immutable as $$
    select case when p.of_prefixes then not ipam.full_length(a) or masklen(a) = any(p.prefix_lengths) else ipam.full_length(a) end
$$;

-- What a claim names, as the ledger has it. One of the other family is outside, whatever its length.
create or replace function ipam.named(p ipam.pool, length int, wanted inet) returns inet language sql immutable as $$
    select case when p.of_prefixes and coalesce(length, p.default_length) <= masklen(wanted)
        then set_masklen(wanted, coalesce(length, p.default_length)) else wanted end
$$;

-- Whether the pool hands out what is asked for: a prefix of `length`, or one where none is said, or an address. What is
-- named of the other family is outside, not crooked.
create or replace function ipam.hands_out(p ipam.pool, length int, wanted inet) returns boolean language sql stable as $$
    select case when not p.of_prefixes then length is null
        when not coalesce(length, p.default_length) = any(p.prefix_lengths) then false
        when wanted is null or ipam.low(ipam.named(p, length, wanted)) = wanted then true
        else family(wanted) <> (select family(n.cidr) from ipam.network n where n.id = p.network_id) end
$$;

-- As users see it.
create or replace function ipam.shown(a inet, of_prefix boolean) returns text language sql immutable as $$
    select case when of_prefix then ipam.spelled(a) || '/' || masklen(a) else ipam.spelled(a) end
$$;

-- In prefixes of this length, one at least; null, or of an address: 1.
create or replace function ipam.lease_size(l ipam.lease, length int) returns numeric language sql immutable as $$
    select case when l.of_prefix and masklen(l.addr) < length then 2::numeric ^ (length - masklen(l.addr)) else 1 end
$$;

-- Beside the queue who asks for what the pool does not hand out, also of those who wait for a MAC address; into it who asks
-- for what it hands out now.
create or replace function ipam.heed_kind(p ipam.pool) returns void language sql as $$
    update ipam.waiting w set pool_name = case when k.fits then p.name else ipam.misfits_queue(p.name) end
    from (
        select q.claim_uid, ipam.hands_out(p, q.length, q.wanted) fits from ipam.waiting q
        where q.pool_namespace = p.namespace
            and q.pool_name in (p.name, ipam.twins_queue(p.name), ipam.misfits_queue(p.name))) k
    where w.claim_uid = k.claim_uid and (w.pool_name <> ipam.misfits_queue(p.name)) <> k.fits
$$;

create or replace function ipam.misfit_answers(p ipam.pool, uids uuid[]) returns setof ipam.answer
    language sql stable as $$
    select w.claim_uid, 'Misfit', null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object(
            'lengths', p.prefix_lengths, 'length', coalesce(w.length, p.default_length), 'wanted', ipam.spelled(w.wanted),
            'aligned', ipam.spelled(ipam.low(ipam.named(p, w.length, w.wanted))))
    from ipam.waiting w where w.claim_uid = any(uids)
$$;

-- How the claims among `uids` that wait for this pool of prefixes stand.
create or replace function ipam.waiting_for_blocks(p ipam.pool, uids uuid[]) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    largest text := (
        select ipam.spelled(f.lo) || '/' || f.mlen from ipam.free_range f
        where f.pool_id = p.id and f.mlen is not null order by f.mlen, f.hi limit 1);
begin
    return query
    select w.claim_uid,
        case when p.paused then 'Paused' when w.count > ipam.room(p, w.namespace) then 'OverQuota'
            when w.count > asked.free then 'Exhausted' else 'Queued' end,
        null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation, w.place::int,
        null::int, null::inet, null::inet[],
        ipam.quota_facts(p, w.namespace) || jsonb_build_object(
            'count', w.count, 'length', asked.length, 'free', asked.free, 'largest', largest,
            'size', ipam.blocks_in(p.id, asked.length)::text)
    from ipam.standing(p.namespace, p.name, uids) w
    cross join lateral (
        select l.length, ipam.blocks_free(p.id, l.length, 1024) free
        from (select coalesce(w.length, p.default_length) length) l) asked;
    return query
    select w.claim_uid,
        case when p.paused then 'Paused' when home.lo is null then 'Outside'
            when ipam.room(p, w.namespace) < 1 then 'OverQuota' else 'Conflict' end,
        null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation, null::int,
        null::int, null::inet, null::inet[],
        jsonb_build_object(
            'length', masklen(wish.addr), 'wanted', ipam.shown(wish.addr, true), 'taken', ipam.shown(l.addr, true),
            'below', ipam.shown(ipam.prefix_of(below.hi, masklen(wish.addr)), true),
            'above', ipam.shown(set_masklen(above.lo, masklen(wish.addr)), true),
            'cooling', extract(epoch from l.reusable_at - now()), 'retained', l.retained is not null,
            'holder', case when l.released_at is null and l.namespace = w.namespace then l.name end)
            || ipam.quota_facts(p, w.namespace)
    from ipam.waiting w
    cross join lateral (select ipam.named(p, w.length, w.wanted) addr) wish
    left join lateral (
        select r.lo from ipam.pool_range r
        where r.pool_id = p.id and r.lo <= w.wanted and r.hi >= ipam.high(wish.addr) limit 1) home on true
    left join lateral (
        select f.hi from ipam.free_range f
        where f.pool_id = p.id and f.mlen <= masklen(wish.addr) and f.hi < w.wanted order by f.hi desc limit 1) below on true
    left join lateral (
        select f.lo from ipam.free_range f
        where f.pool_id = p.id and f.mlen <= masklen(wish.addr) and f.hi > ipam.high(wish.addr) order by f.hi limit 1) above
        on true
    left join lateral (
        select q.* from ipam.lease q where q.pool_id = p.id and q.of_prefix and q.addr && wish.addr
        order by q.released_at nulls first, q.addr limit 1) l on true
    where w.claim_uid = any(uids) and w.wanted is not null and w.pool_name = any(ipam.queues(p));
end $$;
