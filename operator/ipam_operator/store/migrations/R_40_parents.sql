-- Networks and pools. Few and seldom: clear statements rather than fast ones. Parents are locked before children.

create or replace function ipam.address_space_id(space_namespace text, space_vrf text) returns int
    language plpgsql as $$
declare
    found_id int;
begin
    select id into found_id from ipam.address_space where namespace = space_namespace and vrf = space_vrf;
    if found_id is null then
        insert into ipam.address_space (namespace, vrf) values (space_namespace, space_vrf)
        on conflict (namespace, vrf) do update set vrf = excluded.vrf returning id into found_id;
    end if;
    return found_id;
end $$;

-- In service, and locked: nobody else changes them meanwhile.
create or replace function ipam.network_by_name(its_namespace text, its_name text) returns setof ipam.network
    language sql rows 1 as $$
    select n.* from ipam.network n where n.namespace = its_namespace and n.name = its_name for update
$$;

create or replace function ipam.pool_by_name(its_namespace text, its_name text) returns setof ipam.pool
    language sql rows 1 as $$
    select p.* from ipam.pool p where p.namespace = its_namespace and p.name = its_name for update
$$;

create or replace function ipam.pools_of_network(its_network int) returns setof ipam.pool language sql rows 10 as $$
    select p.* from ipam.pool p where p.network_id = its_network order by p.id for update
$$;

create or replace function ipam.put_network(
    new_uid uuid, new_namespace text, new_name text, new_generation bigint, new_vrf text, new_cidr cidr, new_type text,
    new_gateway inet, new_dns inet[], new_reserved_lo inet[], new_reserved_hi inet[]
) returns int language plpgsql as $$
declare
    space int := ipam.address_space_id(new_namespace, new_vrf);
    it int;
    created boolean;
begin
    insert into ipam.network as n (uid, namespace, name, generation, space_id, cidr, type, gateway, dns_servers,
        reserved_lo, reserved_hi)
    values (new_uid, new_namespace, new_name, new_generation, space, new_cidr, new_type, new_gateway, new_dns,
        new_reserved_lo, new_reserved_hi)
    on conflict (uid) do update set generation = excluded.generation, type = excluded.type, gateway = excluded.gateway,
        dns_servers = excluded.dns_servers, reserved_lo = excluded.reserved_lo, reserved_hi = excluded.reserved_hi
    returning n.id, xmax = 0 into it, created;
    if created then
        insert into ipam.part (space_id, parent_id, rng, network_id)
        values (space, 0, ipam.inetrange(
            set_masklen(network(new_cidr)::inet, case family(new_cidr) when 4 then 32 else 128 end),
            set_masklen(broadcast(new_cidr)::inet, case family(new_cidr) when 4 then 32 else 128 end), '[]'), it);
    end if;
    delete from ipam.refusal where kind = 'network' and namespace = new_namespace and name = new_name;
    return it;
end $$;

-- Replaces the pool's settings, parts and effective ranges; the free ranges follow from the ledger. The caller has
-- made sure that no live lease is outside. Cooling addresses that are outside now are forgotten: nobody holds them.
create or replace function ipam.put_pool(
    new_uid uuid, new_namespace text, new_name text, new_generation bigint, its_network int, new_type text,
    new_strategy text, new_cool_down interval, new_default_lease interval,
    new_max_lease interval, new_paused boolean, new_asked_lo inet[], new_asked_hi inet[],
    new_exclude_lo inet[], new_exclude_hi inet[], part_lo inet[], part_hi inet[], new_lo inet[], new_hi inet[],
    new_labels jsonb, new_priority int, new_allowed_from text, new_allowed_selector jsonb, new_quota bigint,
    new_prefix_lengths int[], new_default_length int
) returns int language plpgsql as $$
declare
    n ipam.network;
    written ipam.pool;
    was_unlimited boolean := (select p.quota is null from ipam.pool p where p.uid = new_uid);
    it int;
begin
    perform ipam.lock_namespaces(array[new_namespace]);
    perform ipam.lock_pool_name(new_namespace, new_name);
    select * into strict n from ipam.network where id = its_network;
    insert into ipam.pool as p (uid, namespace, name, generation, network_id, type, strategy, cool_down, default_lease,
        max_lease, paused, asked_lo, asked_hi, exclude_lo, exclude_hi, size, prefix_length, gateway, dns_servers, labels,
        priority, allowed_from, allowed_selector, quota, prefix_lengths, default_length, untold)
    values (new_uid, new_namespace, new_name, new_generation, n.id, new_type, new_strategy,
        make_interval(secs => extract(epoch from new_cool_down)::float8),
        make_interval(secs => extract(epoch from new_default_lease)::float8),
        make_interval(secs => extract(epoch from new_max_lease)::float8), new_paused, new_asked_lo, new_asked_hi,
        new_exclude_lo, new_exclude_hi, 0, masklen(n.cidr), n.gateway, n.dns_servers, new_labels, new_priority,
        new_allowed_from, new_allowed_selector, new_quota, new_prefix_lengths, new_default_length,
        nextval('ipam.change'))
    on conflict (uid) do update set generation = excluded.generation, type = excluded.type,
        strategy = excluded.strategy, cool_down = excluded.cool_down,
        default_lease = excluded.default_lease, max_lease = excluded.max_lease, paused = excluded.paused,
        asked_lo = excluded.asked_lo, asked_hi = excluded.asked_hi, exclude_lo = excluded.exclude_lo,
        exclude_hi = excluded.exclude_hi, prefix_length = excluded.prefix_length, gateway = excluded.gateway,
        dns_servers = excluded.dns_servers, labels = excluded.labels, priority = excluded.priority,
        allowed_from = excluded.allowed_from, allowed_selector = excluded.allowed_selector, quota = excluded.quota,
        prefix_lengths = excluded.prefix_lengths, default_length = excluded.default_length,
        untold = excluded.untold
    returning p.id into it;
    delete from ipam.refusal where kind = 'pool' and namespace = new_namespace and name = new_name;
    if (select array_agg(row(lower(rng), upper(rng)) order by rng) from ipam.part where pool_id = it)
        is distinct from (select array_agg(row(lo, hi) order by lo) from unnest(part_lo, part_hi) u(lo, hi)) then
        delete from ipam.part where pool_id = it;
        insert into ipam.part (space_id, parent_id, rng, pool_id)
        select n.space_id, n.id, ipam.inetrange(lo, hi, '[]'), it from unnest(part_lo, part_hi) u(lo, hi);
    end if;
    if (select array_agg(row(lo, hi) order by hi) from ipam.pool_range where pool_id = it)
        is distinct from (select array_agg(row(lo, hi) order by hi) from unnest(new_lo, new_hi) u(lo, hi)) then
        delete from ipam.pool_range where pool_id = it;
        insert into ipam.pool_range (pool_id, lo, hi) select it, lo, hi from unnest(new_lo, new_hi) u(lo, hi);
        delete from ipam.lease l where l.pool_id = it and l.released_at is not null and not exists (
            select from ipam.pool_range r
            where r.pool_id = it and ipam.low(l.addr) >= r.lo and ipam.high(l.addr) <= r.hi);
        update ipam.pool set size = (
            select coalesce(sum(ipam.range_size(lo, hi)), 0) from ipam.pool_range where pool_id = it) where id = it;
        perform ipam.rebuild_free_ranges(it);
        perform ipam.keep_retained(it, new_namespace, new_name);
    end if;
    select * into written from ipam.pool q where q.id = it;
    if was_unlimited is distinct from (new_quota is null) then  -- then others are counted than before
        perform ipam.recount_held_by(written);
    end if;
    perform ipam.heed_consent(written);
    perform ipam.heed_kind(written);
    perform ipam.assign_selectors(new_namespace);
    return it;
end $$;

-- What an earlier pool of the name kept, this one keeps, as far as it has those addresses.
create or replace function ipam.keep_retained(it int, its_namespace text, its_name text) returns void
    language sql as $$
    with kept as (
        select r.* from ipam.retention r
        where r.pool_namespace = its_namespace and r.pool_name = its_name and r.reusable_at > now()
            and ipam.of_its_kind((select q from ipam.pool q where q.id = it), r.addr) and ipam.carve(it, r.addr)),
    gone as (
        delete from ipam.retention r using kept k
        where (r.pool_namespace, r.pool_name, r.addr) = (k.pool_namespace, k.pool_name, k.addr))
    insert into ipam.lease (
        pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor, allocated_at, released_at, reusable_at,
        retained, act, of_prefix, reason)
    select it, k.addr, k.claim_uid, k.ordinal, k.generation, k.namespace, k.name, k.actor, k.allocated_at, k.released_at,
        k.reusable_at, k.key, 'K', q.of_prefixes, 'Kept'
    from kept k, ipam.pool q where q.id = it
$$;

-- Addresses that are held and would fall outside of these ranges: at most `lim`, and how many in all.
create or replace function ipam.held_outside(p int, new_lo inet[], new_hi inet[], lim int)
    returns table (total bigint, addr inet, namespace text, name text) language sql stable as $$
    select count(*) over (), l.addr, l.namespace, case when l.retained is null then l.name else l.name || ', retained' end
    from ipam.lease l
    where l.pool_id = p and (l.released_at is null or l.retained is not null and l.reusable_at > now()) and not exists (
        select from unnest(new_lo, new_hi) r(lo, hi) where ipam.low(l.addr) >= r.lo and ipam.high(l.addr) <= r.hi)
    order by l.addr limit lim
$$;

-- What takes space that somebody asks for, in the same space and below the same parent.
create or replace function ipam.overlapping(space int, parent int, asked_lo inet[], asked_hi inet[], own uuid)
    returns table (kind text, namespace text, name text, lo inet, hi inet) language sql stable as $$
    select case when n.id is null then 'pool' else 'network' end, coalesce(n.namespace, p.namespace),
        coalesce(n.name, p.name), lower(part.rng), upper(part.rng)
    from unnest(asked_lo, asked_hi) a(lo, hi)
    join ipam.part on part.space_id = space and part.parent_id = parent
        and part.rng && ipam.inetrange(a.lo, a.hi, '[]')
    left join ipam.network n on n.id = part.network_id
    left join ipam.pool p on p.id = part.pool_id
    where coalesce(n.uid, p.uid) <> own
    order by 4 limit 5
$$;

create or replace function ipam.remember_refusal(
    its_kind text, its_namespace text, its_name text, its_uid uuid, its_reason text, its_message text
) returns void language sql as $$
    insert into ipam.refusal (kind, namespace, name, uid, reason, message)
    values (its_kind, its_namespace, its_name, its_uid, its_reason, its_message)
    on conflict (kind, namespace, name) do update set uid = excluded.uid, reason = excluded.reason,
        message = excluded.message
$$;

-- Take a pool out of service. Rows: who still holds it (bounded), total in each; none: it is gone.
create or replace function ipam.retire_pool(its_uid uuid, its_namespace text, its_name text, lim int)
    returns table (total bigint, namespace text, name text) language plpgsql as $$
declare
    it int;
begin
    perform ipam.lock_namespaces(array[its_namespace]);
    delete from ipam.refusal r
    where r.kind = 'pool' and r.namespace = its_namespace and r.name = its_name and r.uid = its_uid;
    select id into it from ipam.pool p where p.uid = its_uid for update;
    if it is null then
        return;
    end if;
    update ipam.pool p set retiring = true where p.id = it and not p.retiring;
    perform ipam.assign_selectors(its_namespace);
    return query
    select count(*) over (), h.namespace, h.name from (
        select distinct l.namespace, l.name from ipam.lease l where l.pool_id = it and l.released_at is null) h
    order by h.namespace, h.name limit lim;
    if not found then
        insert into ipam.retention
        select its_namespace, its_name, l.addr, l.claim_uid, l.ordinal, l.generation, l.namespace, l.name, l.retained,
            l.allocated_at, l.released_at, l.reusable_at, l.actor
        from ipam.lease l where l.pool_id = it and l.retained is not null and l.reusable_at > now()
        on conflict on constraint retention_pkey do update set
            claim_uid = excluded.claim_uid, ordinal = excluded.ordinal, generation = excluded.generation,
            namespace = excluded.namespace, name = excluded.name, key = excluded.key,
            allocated_at = excluded.allocated_at, released_at = excluded.released_at,
            reusable_at = excluded.reusable_at, actor = excluded.actor;
        delete from ipam.lease l where l.pool_id = it;
        delete from ipam.pool p where p.id = it;
    end if;
end $$;

create or replace function ipam.retire_network(its_uid uuid, its_namespace text, its_name text, lim int)
    returns table (total bigint, namespace text, name text) language plpgsql as $$
declare
    it int;
begin
    delete from ipam.refusal r
    where r.kind = 'network' and r.namespace = its_namespace and r.name = its_name and r.uid = its_uid;
    select id into it from ipam.network n where n.uid = its_uid for update;
    if it is null then
        return;
    end if;
    return query
    select count(*) over (), p.namespace, p.name from ipam.pool p where p.network_id = it
    order by p.namespace, p.name limit lim;
    if not found then
        delete from ipam.network n where n.id = it;
    end if;
end $$;

-- Counters of pools, in one statement. allocated = size - free - cooling, by the tiling invariant. What has cooled in
-- an LRU pool is free, though its row stays. A pool of prefixes is counted in those of its longest length. `largest`: the
-- 64 largest free ranges, for the largest aligned block.
create or replace function ipam.pool_counters(uids uuid[])
    returns table (
        uid uuid, namespace text, name text, network text, paused boolean, size numeric, free numeric,
        cooling numeric, retained numeric, waiting bigint, largest_lo inet[], largest_hi inet[], ranges text[], unlent jsonb)
    language sql stable as $$
    select p.uid, p.namespace, p.name, n.name, p.paused,
        case when p.of_prefixes then ipam.blocks_in(p.id, unit.length) else p.size end,
        trunc(coalesce(f.total, 0)) + c.cooled, trunc(c.total) - c.cooled, trunc(c.retained), w.total,
        (f.lo)[1:64], (f.hi)[1:64],
        array(select case when r.lo = r.hi then ipam.spelled(r.lo) else ipam.spelled(r.lo) || '-' || ipam.spelled(r.hi) end
            from ipam.pool_range r where r.pool_id = p.id order by r.hi limit 64),
        (select jsonb_object_agg(h.namespace, h.held) from (
            select h.namespace, h.held from ipam.held_by h
            where h.pool_id = p.id and h.held > 0 and h.namespace <> p.namespace and not ipam.lends(p, h.namespace)
            order by h.held desc, h.namespace limit 16) h)
    from ipam.pool p join ipam.network n on n.id = p.network_id
    cross join lateral (select max(l) length from unnest(p.prefix_lengths) l) unit
    cross join lateral (
        select case when p.of_prefixes then sum(2::numeric ^ (unit.length - s.mlen)) filter (where s.mlen <= unit.length)
                else sum(s.size) end total, array_agg(s.lo order by s.size desc, s.hi) lo, array_agg(s.hi order by s.size desc, s.hi) hi
        from (
            select f.lo, f.hi, f.mlen, ipam.range_size(f.lo, f.hi) size from ipam.free_range f where f.pool_id = p.id) s
    ) f
    cross join lateral (
        select coalesce(sum(ipam.lease_size(l, unit.length)), 0) total,
            count(*) filter (where p.strategy = 'LeastRecentlyUsed' and l.reusable_at <= now()) cooled,
            coalesce(sum(ipam.lease_size(l, unit.length)) filter (where l.retained is not null and l.reusable_at > now()), 0) retained
        from ipam.lease l where l.pool_id = p.id and l.released_at is not null) c
    cross join lateral (
        select count(*) total from ipam.waiting w
        where w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p))) w
    where p.uid = any(uids)
$$;

-- Let PostgreSQL look again at tables that are four times as large as when it last did: sessions keep the plans that they
-- made of smaller ones, of an empty one that go through all of it, and autovacuum comes once in a minute.
create or replace function ipam.heed_growth() returns void language plpgsql as $$
declare
    grown text;
begin
    select string_agg(c.oid::regclass::text, ', ') into grown from pg_class c
    where c.relnamespace = 'ipam'::regnamespace and c.relkind = 'r' and not c.relispartition
        and pg_relation_size(c.oid) / current_setting('block_size')::int > 16 + 4 * greatest(c.relpages, 0);
    if grown is not null then
        execute 'analyze (skip_locked) ' || grown;
    end if;
end $$;

-- Sweep pools whose addresses have cooled, in id order; returns how many became free. LRU pools keep them in the
-- ledger on purpose: their age is the order in which they are used again.
create or replace function ipam.sweep_pools(uids uuid[], lim int) returns bigint language plpgsql as $$
declare
    p ipam.pool;
    total bigint := 0;
begin
    perform ipam.heed_growth();
    for p in
        select q.* from ipam.pool q where q.uid = any(uids) and q.strategy <> 'LeastRecentlyUsed' and exists (
            select from ipam.lease l
            where l.pool_id = q.id and l.released_at is not null and l.reusable_at <= now())
        order by q.id for no key update
    loop
        total := total + ipam.sweep(p.id, lim);
    end loop;
    return total;
end $$;

create or replace function ipam.network_counters(uids uuid[])
    returns table (
        uid uuid, cidr cidr, namespace text, vrf text, gateway inet, reserved_lo inet[], reserved_hi inet[], pools bigint,
        pool_size numeric, free numeric, cooling numeric)
    language sql stable as $$
    select n.uid, n.cidr, s.namespace, s.vrf, n.gateway, n.reserved_lo, n.reserved_hi, count(p.id), coalesce(sum(p.size), 0),
        coalesce(sum(f.total), 0) + coalesce(sum(c.cooled), 0), coalesce(sum(c.total - c.cooled), 0)
    from ipam.network n join ipam.address_space s on s.id = n.space_id
    left join ipam.pool p on p.network_id = n.id
    left join lateral (
        select sum(ipam.range_size(f.lo, f.hi)) total from ipam.free_range f where f.pool_id = p.id) f on true
    left join lateral (
        select trunc(coalesce(sum(ipam.lease_size(l, case family(l.addr) when 4 then 32 else 128 end)), 0)) total,
            count(*) filter (where p.strategy = 'LeastRecentlyUsed' and l.reusable_at <= now()) cooled
        from ipam.lease l where l.pool_id = p.id and l.released_at is not null) c on true
    where n.uid = any(uids)
    group by n.id, s.id
$$;

-- What is in service under an id, and all that hangs on it, is another object's from now on: of the same name.
create or replace function ipam.inherit_network(heir uuid, its_id int) returns void language sql as $$
    update ipam.network set uid = heir, generation = 0 where id = its_id
$$;

create or replace function ipam.inherit_pool(heir uuid, its_id int) returns void language sql as $$
    update ipam.pool set uid = heir, generation = 0, retiring = false where id = its_id
$$;
