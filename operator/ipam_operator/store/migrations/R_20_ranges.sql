-- Arithmetic on free ranges. Callers hold the pool's row.

-- As RFC 5952 and Python write it: host() writes most of ::/96 with an IPv4 tail.
create or replace function ipam.spelled(a inet) returns text
    language sql immutable parallel safe strict as
$$
    select case when a between '::1:0' and '::ffff:ffff'
        then '::' || to_hex((a - '::'::inet) >> 16) || ':' || to_hex((a - '::'::inet) & 65535) else host(a) end
$$;

create or replace function ipam.half(a inet, first_byte int) returns numeric
    language sql immutable parallel safe strict as
$$
    -- A 64-bit half of an IPv6 address, unsigned: bytes 5 and on of inet_send are the address.
    select case when b < 0 then b::numeric + 18446744073709551616 else b::numeric end
    from (select ('x' || encode(substring(inet_send(a) from first_byte for 8), 'hex'))::bit(64)::bigint b) h
$$;

create or replace function ipam.range_size(lo inet, hi inet) returns numeric
    language sql immutable parallel safe strict as
$$
    -- inet - inet overflows beyond 2^63: the upper halves of IPv6 are subtracted apart.
    select case when family(lo) = 4 then (hi - lo)::numeric + 1
        else ipam.half(hi, 5) * 18446744073709551616 + ipam.half(hi, 13)
            - ipam.half(lo, 5) * 18446744073709551616 - ipam.half(lo, 13) + 1 end
$$;

-- At most 2^62: enough to decide whether a batch fits, and cheap.
create or replace function ipam.clamped_size(lo inet, hi inet) returns bigint
    language sql immutable parallel safe strict as
$$
    select case when family(lo) = 4 or lo >= 'ffff:ffff:ffff:ffff:c000::' then hi - lo + 1  -- whose sum would wrap
        when hi <= lo + 4611686018427387903 then hi - lo + 1 else 4611686018427387904 end
$$;

-- Addresses whose cooling is over become free, merged with their neighbours. Returns how many.
create or replace function ipam.sweep(p int, lim int) returns int
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    swept inet[];
    los inet[];
    his inet[];
    more_los inet[];
    more_his inet[];
    lowest inet;
    prefixes boolean;
begin
    -- Mostly nothing is. By its order that is one look into an index, whatever PostgreSQL believes of the table.
    if coalesce((
            select l.reusable_at from ipam.lease l where l.pool_id = p and l.released_at is not null
            order by l.reusable_at limit 1) > now(), true) then
        return 0;
    end if;
    with due as (
        select l.pool_id, l.addr from ipam.lease l
        where l.pool_id = p and l.released_at is not null and l.reusable_at <= now()
        order by l.reusable_at, l.addr limit lim),
    gone as (
        delete from ipam.lease l using due where l.pool_id = due.pool_id and l.addr = due.addr returning l.addr, l.of_prefix)
    select array_agg(addr order by addr), bool_or(of_prefix) into swept, prefixes from gone;
    if swept is null then
        return 0;
    elsif prefixes then
        perform ipam.put_block(p, a) from unnest(swept) a;
        return cardinality(swept);
    end if;
    select array_agg(lo), array_agg(hi) into los, his from (
        select min(a) lo, max(a) hi from (
            select a, sum(gap) over (order by a) island from (
                select a, case when a = lag(a) over (order by a) + 1 then 0 else 1 end gap from unnest(swept) a) marked
        ) numbered group by island) islands;
    with touching as (
        select distinct f.hi from unnest(los, his) i(lo, hi), lateral (
            select f.hi from ipam.free_range f
            where f.pool_id = p and f.hi = case when i.lo not in ('0.0.0.0', '::') then i.lo - 1 end
            union all
            (select f.hi from (
                select f.hi, f.lo from ipam.free_range f where f.pool_id = p and f.hi > i.hi order by f.hi limit 1) f
             where f.lo = i.hi + 1)) f),
    taken as (
        delete from ipam.free_range f using touching t where f.pool_id = p and f.hi = t.hi returning f.lo, f.hi)
    select array_agg(lo), array_agg(hi) into more_los, more_his from taken;
    insert into ipam.free_range (pool_id, lo, hi)
    select p, min(lo), max(hi) from (
        select lo, hi, sum(gap) over (order by lo) island from (
            select lo, hi, case when lo = lag(hi) over (order by lo) + 1 then 0 else 1 end gap
            from unnest(los || more_los, his || more_his) u(lo, hi)) marked
    ) numbered group by island;
    select min(hi) into lowest from unnest(his || more_his) hi;
    update ipam.pool set low_hi = lowest where id = p and low_hi > lowest;
    return cardinality(swept);
end $$;

-- Take exactly this address, or prefix, free or cooled; false when it is neither.
create or replace function ipam.carve(p int, wish inet) returns boolean
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    l inet;
    h inet;
    m int;
begin
    select f.lo, f.hi, f.mlen into l, h, m from ipam.free_range f
    where f.pool_id = p and f.hi >= wish order by f.hi limit 1;
    if m is not null and ipam.carve_block(p, wish, l, h, m) then
        return true;
    elsif l is null or l > wish or m is not null or not ipam.full_length(wish) then
        delete from ipam.lease l
        where l.pool_id = p and l.addr = wish and l.released_at is not null and l.reusable_at <= now();
        return found;
    end if;
    if l = h then
        delete from ipam.free_range f where f.pool_id = p and f.hi = h;
    elsif wish = h then
        update ipam.free_range f set hi = h - 1 where f.pool_id = p and f.hi = h;
    else
        update ipam.free_range f set lo = wish + 1 where f.pool_id = p and f.hi = h;
        if wish > l then
            insert into ipam.free_range (pool_id, lo, hi) values (p, l, wish - 1);
        end if;
    end if;
    if wish > l then
        update ipam.pool set low_hi = wish - 1 where id = p and low_hi > wish - 1;
    end if;
    return true;
end $$;

-- Take `n` addresses from the low end; null, and nothing taken, when there are fewer.
create or replace function ipam.take_first(p int, n bigint) returns inet[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    hint inet;
    total numeric;
    taken inet[];
begin
    select low_hi into hint from ipam.pool where id = p;
    with candidate as materialized (
        select f.hi, f.lo, ipam.clamped_size(f.lo, f.hi) size from ipam.free_range f
        where f.pool_id = p and f.hi >= coalesce(hint, '0.0.0.0'::inet) order by f.hi limit n),
    summed as materialized (
        select c.hi, c.lo, c.size, sum(c.size::numeric) over (order by c.hi) - c.size before from candidate c),
    used as materialized (
        select s.hi, s.lo, s.before, least(s.size, n - s.before)::bigint take, s.size <= n - s.before whole
        from summed s where s.before < n and (select sum(size::numeric) from candidate) >= n),
    emptied as (
        delete from ipam.free_range f using used u where f.pool_id = p and f.hi = u.hi and u.whole),
    shortened as (
        update ipam.free_range f set lo = u.lo + u.take from used u where f.pool_id = p and f.hi = u.hi and not u.whole)
    select (select sum(take) from used), array_agg(u.lo + j order by u.before + j) into total, taken
    from used u, generate_series(0::bigint, u.take - 1) j;
    if total is distinct from n then
        return null;
    end if;
    -- The hint moves seldom, or every call would write the pool's row.
    if random() < 0.02 * n then
        update ipam.pool set low_hi = (
            select f.hi from ipam.free_range f where f.pool_id = p and f.hi >= coalesce(hint, '0.0.0.0'::inet)
            order by f.hi limit 1)
        where id = p;
    end if;
    return taken;
end $$;

-- Take `n` addresses at random places; null, and nothing taken, when there are fewer.
create or replace function ipam.take_random(p int, n bigint) returns inet[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    bounds record;
    guess inet;
    l inet;
    h inet;
    taken inet[] := '{}';
begin
    if (select coalesce(sum(size::numeric), 0) from (
            select ipam.clamped_size(f.lo, f.hi) size from ipam.free_range f where f.pool_id = p order by f.hi limit n
        ) enough) < n then
        return null;
    end if;
    select min(r.lo) lo, max(r.hi) hi into bounds from ipam.pool_range r where r.pool_id = p;
    for i in 1..n loop
        guess := bounds.lo + floor(random() * ipam.clamped_size(bounds.lo, bounds.hi))::bigint;
        select f.lo, f.hi into l, h from ipam.free_range f where f.pool_id = p and f.hi >= guess order by f.hi limit 1;
        if not found then
            select f.lo, f.hi into l, h from ipam.free_range f where f.pool_id = p order by f.hi limit 1;
        end if;
        if guess < l or guess > h then
            guess := l + floor(random() * ipam.clamped_size(l, h))::bigint;
        end if;
        perform ipam.carve(p, guess);
        taken := taken || guess;
    end loop;
    return taken;
end $$;

-- Never-used space first, then what was released longest ago and has cooled.
create or replace function ipam.take_oldest(p int, n bigint) returns inet[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    fresh bigint;
    taken inet[] := '{}';
    reused inet[];
begin
    select least(coalesce(sum(size::numeric), 0), n)::bigint into fresh from (
        select ipam.clamped_size(f.lo, f.hi) size from ipam.free_range f where f.pool_id = p order by f.hi limit n) few;
    if fresh < n and (select count(*) from (
            select from ipam.lease l where l.pool_id = p and l.released_at is not null and l.reusable_at <= now()
            limit n - fresh) cooled) < n - fresh then
        return null;
    end if;
    if fresh > 0 then
        taken := ipam.take_first(p, fresh);
    end if;
    if fresh < n then
        with oldest as (
            select l.addr, l.reusable_at from ipam.lease l
            where l.pool_id = p and l.released_at is not null and l.reusable_at <= now()
            order by l.reusable_at, l.addr limit n - fresh),
        gone as (delete from ipam.lease l using oldest o where l.pool_id = p and l.addr = o.addr)
        select array_agg(o.addr order by o.reusable_at, o.addr) into reused from oldest o;
        taken := taken || reused;
    end if;
    return taken;
end $$;

create or replace function ipam.take(p ipam.pool, n bigint) returns inet[] language plpgsql as $$
begin
    return case p.strategy
        when 'FirstFree' then ipam.take_first(p.id, n)
        when 'Random' then ipam.take_random(p.id, n)
        else ipam.take_oldest(p.id, n) end;
end $$;

-- How many addresses, or prefixes, could be handed out now, at most `enough`.
create or replace function ipam.available(p ipam.pool, enough bigint) returns bigint
    language plpgsql as $$
begin
    if p.of_prefixes then  -- of the smallest ones
        return ipam.blocks_free(p.id, (select max(l) from unnest(p.prefix_lengths) l), enough);
    end if;
    return (
        select least(enough, (
            select coalesce(sum(size::numeric), 0) from (
                select ipam.clamped_size(f.lo, f.hi) size from ipam.free_range f where f.pool_id = p.id order by f.hi
                limit enough) few
            ) + case when p.strategy = 'LeastRecentlyUsed' then (
                select count(*) from (
                    select from ipam.lease l where l.pool_id = p.id and l.released_at is not null and l.reusable_at <= now()
                    limit enough) cooled) else 0 end)::bigint);
end $$;

-- Free ranges anew from what is effective and what is held: the repair for any drift between them.
create or replace function ipam.rebuild_free_ranges(p int) returns void language plpgsql as $$
begin
    delete from ipam.free_range where pool_id = p;
    if (select q.of_prefixes from ipam.pool q where q.id = p) then
        perform ipam.rebuild_blocks(p);
        return;
    end if;
    insert into ipam.free_range (pool_id, lo, hi)
    select p, lo, case when next is null then hi else next - 1 end from (
        -- From each range's start and from behind each lease to the next lease; nothing is behind a range's end.
        select r.hi, case when l.addr is null then r.lo when l.addr < r.hi then l.addr + 1 end lo,
            lead(l.addr) over (partition by r.hi order by l.addr nulls first) next
        from ipam.pool_range r
        cross join lateral (
            select null::inet addr union all
            select l.addr from ipam.lease l where l.pool_id = p and l.addr between r.lo and r.hi) l
        where r.pool_id = p) gap
    where lo is not null and (next is null or next > lo);
    update ipam.pool set low_hi = null where id = p;
end $$;
