-- One claim for each MAC address in a network. The ledger's key forbids a second one; these functions keep batches from
-- running into it, and let whoever came second wait until the first lets go: for addresses beside its queue, an edit of
-- one that holds in `mac_edit`.

create or replace function ipam.any_macs() returns boolean
    language plpgsql stable as $$
begin
    return exists (select from ipam.claim_detail d where d.mac is not null);
end $$;

create or replace function ipam.mac_of(uid uuid) returns macaddr
    language plpgsql stable as $$
begin
    return (
        select d.mac from ipam.claim_detail d where d.claim_uid = uid);
end $$;

-- Pools of one network are served side by side; who takes a MAC address and who lets it go wait for each other, so that
-- nobody waits for what has just come free. In order, whoever asks.
create or replace function ipam.lock_macs(networks int[], macs macaddr[]) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(one.key) from (
        select distinct hashtextextended('ipam.mac/' || u.network || '/' || u.mac, 0) key
        from unnest(networks, macs) u(network, mac) where u.network is not null and u.mac is not null order by 1) one;
end $$;

-- Those of `uids`, in their order, whose MAC address another live claim of the network has, or one before them here.
create or replace function ipam.mac_twins(p ipam.pool, uids uuid[]) returns uuid[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    if not ipam.any_macs() then
        return '{}';
    end if;
    perform ipam.lock_macs(array_agg(p.network_id), array_agg(d.mac)) from ipam.claim_detail d
    where d.claim_uid = any(uids) and d.mac is not null;
    return array(
        select a.uid from (
            select u.uid, d.mac, u.k, row_number() over (partition by d.mac order by u.k) nth
            from unnest(uids) with ordinality u(uid, k) join ipam.claim_detail d on d.claim_uid = u.uid
            where d.mac is not null) a
        where a.nth > 1 or exists (
            select from ipam.lease l
            where l.network_id = p.network_id and l.mac = a.mac and l.released_at is null and l.claim_uid <> a.uid)
        order by a.k);
end $$;

-- Beside the queues of `p` with everybody who waits there for the MAC address of one of `twins`, less those of `served`:
-- one by one there would be as many rounds as there are claims. Returns those who have moved.
create or replace function ipam.set_aside(p ipam.pool, twins uuid[], served uuid[]) returns uuid[] language sql as $$
    with moved as (
        update ipam.waiting w set pool_name = ipam.twins_queue(w.pool_name)
        where w.claim_uid in (
                select d.claim_uid from ipam.claim_detail t join ipam.claim_detail d on d.mac = t.mac
                where t.claim_uid = any(twins))
            and w.claim_uid <> all(served) and w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p))
            and (w.wanted is null or w.claim_uid = any(twins))
        returning w.claim_uid, w.priority, w.seq)
    select coalesce(array_agg(claim_uid order by priority desc, seq), '{}') from moved
$$;

-- The answer to a claim whose MAC address another one of the network has, whose name is told in its own namespace only.
create or replace function ipam.mac_taken(
    network int, uid uuid, its_namespace text, its_name text, spec_generation bigint, its_mac macaddr
) returns ipam.answer language sql stable as $$
    select uid, 'MacConflict', null::inet[], null::bigint, null::timestamptz, its_namespace, its_name, spec_generation,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object('mac', its_mac, 'holder', (
            select l.name from ipam.lease l
            where l.network_id = network and l.mac = its_mac and l.released_at is null and l.namespace = its_namespace))
$$;

-- Those of `uids` whose MAC address is in the way in this pool's network only: another pool of their selector, in another
-- network, may serve them.
create or replace function ipam.mac_elsewhere(p ipam.pool, uids uuid[]) returns uuid[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    others uuid[];
begin
    if p.selectors = '{}' then
        return '{}';
    end if;
    perform ipam.lock_macs(array_agg(o.network_id), array_agg(o.mac)) from ipam.mac_others(p, uids) o;
    select array_agg(distinct o.claim_uid) into others from ipam.mac_others(p, uids) o
    where not exists (
        select from ipam.lease l where l.network_id = o.network_id and l.mac = o.mac and l.released_at is null);
    return coalesce(others, '{}');
end $$;

-- The other networks of those of `uids` that wait by selector.
create or replace function ipam.mac_others(p ipam.pool, uids uuid[])
    returns table (claim_uid uuid, mac macaddr, network_id int) language sql stable as $$
    select distinct w.claim_uid, d.mac, q.network_id from ipam.waiting w
    join ipam.claim_detail d on d.claim_uid = w.claim_uid
    join ipam.pool q on q.namespace = w.pool_namespace and ipam.queue_beside(w.pool_name) = any(q.selectors)
        and q.network_id <> p.network_id and not q.paused
    where w.claim_uid = any(uids) and not w.dual and (w.wanted is null or exists (
        select from ipam.pool_range r where r.pool_id = q.id and w.wanted between r.lo and r.hi))
$$;

-- Of a claim's `pools` (jsonb, with their networks): the most that one has whose network has nobody with its MAC address,
-- and what it is told of the others; no row when there are none.
create or replace function ipam.mac_bars(uid uuid, pools jsonb) returns table (within_reach bigint, told jsonb)
    language sql stable strict as $$
    select coalesce(max((q.pool ->> 'most')::bigint) filter (where not q.taken), -1),
        jsonb_build_object('mac', min(q.mac::text), 'barred', jsonb_agg(q.pool -> 'name') filter (where q.taken))
    from (
        select o.pool, d.mac, exists (
            select from ipam.lease l
            where l.network_id = (o.pool ->> 'network')::int and l.mac = d.mac and l.released_at is null) taken
        from ipam.claim_detail d cross join jsonb_array_elements(pools) o(pool)
        where d.claim_uid = uid and d.mac is not null) q
    having bool_or(q.taken)
$$;

-- The answers to those who wait aside. `p`: the pool that could not serve them. Whom another one may serve goes back to its
-- queue, now that this one is through with it.
create or replace function ipam.twins_answers(p ipam.pool, uids uuid[]) returns setof ipam.answer language plpgsql as $$
declare
    others uuid[];
begin
    if uids = '{}' then
        return;
    end if;
    others := ipam.mac_elsewhere(p, uids);
    update ipam.waiting w set pool_name = ipam.queue_beside(w.pool_name) where w.claim_uid = any(others);
    return query
    select a.* from ipam.waiting w join ipam.claim_detail d on d.claim_uid = w.claim_uid
    cross join lateral ipam.mac_taken(p.network_id, w.claim_uid, w.namespace, w.name, w.generation, d.mac) a
    where w.claim_uid = any(uids) and w.claim_uid <> all(others);
end $$;

-- The answers to edits of claims that hold.
create or replace function ipam.mac_edit_answers(uids uuid[]) returns setof ipam.answer language sql stable as $$
    select a.* from ipam.mac_edit e join ipam.pool p on p.id = e.pool_id
    join ipam.lease l on l.claim_uid = e.claim_uid and l.ordinal = 0 and l.released_at is null
    join ipam.claim_detail d on d.claim_uid = e.claim_uid
    cross join lateral ipam.mac_taken(p.network_id, e.claim_uid, l.namespace, l.name, e.generation, d.mac) a
    where e.claim_uid = any(uids)
$$;

-- Bring the MAC addresses of claims that hold to what they say now, where nobody else has them. Who cannot have it keeps
-- what it had, and waits. Returns Due rows of pools where others have waited for what comes free.
create or replace function ipam.change_macs(uids uuid[], spec_generations bigint[]) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    changed record;
    networks int[] := '{}';
    its_networks int[];
    freed macaddr[] := '{}';
begin
    if not ipam.any_macs() and not exists (
        select from ipam.lease l where l.mac is not null and l.released_at is null)
        and not exists (select from ipam.mac_edit e where e.claim_uid = any(uids)) then
        return;
    end if;
    perform ipam.lock_macs(array_agg(p.network_id), array_agg(m.mac))
    from ipam.lease l join ipam.claim_detail d on d.claim_uid = l.claim_uid join ipam.pool p on p.id = l.pool_id
    cross join lateral (values (l.mac), (d.mac)) m(mac)
    where l.claim_uid = any(uids) and l.released_at is null and l.ordinal = 0 and l.mac is distinct from d.mac;
    delete from ipam.mac_edit e using ipam.lease l, ipam.claim_detail d
    where e.claim_uid = any(uids) and l.claim_uid = any(uids) and l.claim_uid = e.claim_uid and l.released_at is null
        and l.ordinal = 0 and d.claim_uid = e.claim_uid and l.mac is not distinct from d.mac;
    for changed in
        select l.claim_uid, l.mac old, p pool, d.mac, spec_generations[array_position(uids, l.claim_uid)] generation
        from ipam.lease l join ipam.claim_detail d on d.claim_uid = l.claim_uid join ipam.pool p on p.id = l.pool_id
        left join ipam.mac_edit e on e.claim_uid = l.claim_uid
        where l.claim_uid = any(uids) and l.released_at is null and l.ordinal = 0 and l.mac is distinct from d.mac
        order by e.seq, l.claim_uid
    loop
        its_networks := array(
            select q.network_id from ipam.lease l join ipam.pool q on q.id = l.pool_id
            where l.claim_uid = changed.claim_uid and l.released_at is null group by q.network_id);
        if not exists (
            select from ipam.pool q where q.id in (
                select l.pool_id from ipam.lease l where l.claim_uid = changed.claim_uid and l.released_at is null)
                and ipam.mac_twins(q, array[changed.claim_uid]) <> '{}') then
            update ipam.lease l set mac = changed.mac, network_id = q.network_id, act = 'C', reason = 'MacChanged'
            from ipam.pool q
            where l.claim_uid = changed.claim_uid and l.released_at is null and q.id = l.pool_id;
            delete from ipam.mac_edit e where e.claim_uid = changed.claim_uid;
            networks := networks || its_networks;
            freed := freed || array_fill(changed.old, array[cardinality(its_networks)]);
        else
            insert into ipam.mac_edit (claim_uid, pool_id, generation)
            values (changed.claim_uid, (changed.pool).id, changed.generation)
            on conflict (claim_uid) do update set generation = excluded.generation;
        end if;
    end loop;
    return query select * from ipam.free_macs(networks, freed);
end $$;

-- Who waited for these MAC addresses goes back to its queue, where those are already whom another network's pool may serve.
-- Returns Due rows of the pools that may serve them.
create or replace function ipam.free_macs(networks int[], freed macaddr[]) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    perform ipam.lock_macs(networks, freed);
    return query
    with back as (
        update ipam.waiting w set pool_name = ipam.queue_beside(w.pool_name) from ipam.claim_detail d
        where d.mac = any(freed) and w.claim_uid = d.claim_uid and (w.pool_name like '%#' or w.pool_name like '? %')
        returning w.pool_namespace namespace, w.pool_name name),
    concerned as (
        select p.id from back b join ipam.pool p on p.namespace = b.namespace and (p.name = b.name or b.name = any(p.selectors))
        where not p.paused
        union
        select e.pool_id from ipam.claim_detail d join ipam.mac_edit e on e.claim_uid = d.claim_uid where d.mac = any(freed))
    select d.* from ipam.pool p cross join lateral ipam.due_now(p) d
    where p.id in (select c.id from concerned c) and not p.retiring;
end $$;

-- Change what edits of this pool's holders have waited for and is free by now, and answer those.
create or replace function ipam.serve_mac_edits(p ipam.pool) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    edit record;
begin
    if not exists (select from ipam.mac_edit e where e.pool_id = p.id) then
        return;
    end if;
    select array_agg(e.claim_uid) uids, array_agg(e.generation) generations into edit
    from ipam.mac_edit e join ipam.claim_detail d on d.claim_uid = e.claim_uid
    where e.pool_id = p.id and not exists (
        select from ipam.lease l where l.network_id = p.network_id and l.mac = d.mac and l.released_at is null);
    return query select * from ipam.change_macs(edit.uids, edit.generations);
    return query
    select h.claim_uid, h.outcome, h.addrs, h.generation, h.allocated_at, h.namespace, h.name, u.generation,
        h.queue_position, h.prefix_length, h.gateway, h.dns_servers, h.info
    from ipam.held(edit.uids) h join unnest(edit.uids, edit.generations) u(uid, generation) on u.uid = h.claim_uid
    where not exists (select from ipam.mac_edit e where e.claim_uid = h.claim_uid);
end $$;
