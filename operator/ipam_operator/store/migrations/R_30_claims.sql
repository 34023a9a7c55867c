-- Claims: what they hold, and how they get it. Each call (`allocate`; `serve` of R_31, `release` of R_34) is one statement for
-- a batch, and locks its pool's row first, so that per pool one thing happens at a time.

-- Give `addrs`, already taken, to claims in their order: counts[k] addresses to claim k. `beside`: they hold addresses of
-- another family, and these are of the same grant.
create or replace function ipam.grant_leases(
    p ipam.pool, uids uuid[], spec_generations bigint[], namespaces text[], names text[], counts int[], actors text[],
    addrs inet[], beside boolean default false, its_reason text default null
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    macs boolean := ipam.any_macs();
    prefixes jsonb := case when p.of_prefixes then '{"prefixes": true}' end;
begin
    perform ipam.heed_comparison(its_reason);
    if p.quota is not null or exists (select from unnest(namespaces) n where n <> p.namespace) then
        insert into ipam.held_by as h (pool_id, namespace, held)
        select p.id, u.namespace, sum(u.count) from unnest(namespaces, counts) u(namespace, count)
        where p.quota is not null or u.namespace <> p.namespace
        group by u.namespace
        on conflict (pool_id, namespace) do update set held = h.held + excluded.held;
    end if;
    if p.default_lease is not null or exists (select from ipam.term t where t.claim_uid = any(uids)) then
        return query select * from ipam.start_terms(p, uids, spec_generations);
        update ipam.term t set namespace = u.namespace, name = u.name from unnest(uids, namespaces, names) u(uid, namespace, name)
        where t.claim_uid = u.uid and t.reserved;
    end if;
    if macs then
        return query select n.* from ipam.claim_detail d
        cross join lateral ipam.noted(d.claim_uid, jsonb_build_object('mac', d.mac)) n
        where d.claim_uid = any(uids) and d.mac is not null;
    end if;
    if cardinality(addrs) = cardinality(uids) and not beside then
        return query
        with granted as (
            insert into ipam.lease
                (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor, network_id, mac, of_prefix, reason)
            select p.id, u.addr, u.uid, 0, nextval('ipam.lease_generation'), u.namespace, u.name, u.actor,
                case when m.mac is not null then p.network_id end, m.mac, p.of_prefixes, its_reason
            from unnest(addrs, uids, namespaces, names, actors) u(addr, uid, namespace, name, actor)
            cross join lateral (select case when macs then ipam.mac_of(u.uid) end mac) m
            returning claim_uid, addr, generation, allocated_at, namespace, name)
        select g.claim_uid, 'New', array[g.addr], g.generation, g.allocated_at, g.namespace, g.name, u.spec_generation,
            null::int, p.prefix_length, p.gateway, p.dns_servers, prefixes
        from granted g join unnest(uids, spec_generations) u(uid, spec_generation) on u.uid = g.claim_uid;
        return;
    end if;
    return query
    with claim as materialized (
        select u.*, held.n, coalesce(held.generation, nextval('ipam.lease_generation')) generation
        from unnest(uids, spec_generations, namespaces, names, counts, actors)
            with ordinality u(uid, spec_generation, namespace, name, count, actor, k)
        cross join lateral (
            select count(*)::int n, min(l.generation) generation from ipam.lease l
            where beside and l.claim_uid = u.uid and l.released_at is null) held),
    place as (
        select c.uid, c.namespace, c.name, c.actor, c.generation, c.n + o - 1 ordinal, row_number() over (order by c.k, o) i
        from claim c, generate_series(1, c.count) o),
    granted as (
        insert into ipam.lease (
            pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor, network_id, mac, of_prefix, reason)
        select p.id, a.addr, s.uid, s.ordinal, s.generation, s.namespace, s.name, s.actor,
            case when m.mac is not null then p.network_id end, m.mac, p.of_prefixes, its_reason
        from place s join unnest(addrs) with ordinality a(addr, i) using (i)
        cross join lateral (select case when macs then ipam.mac_of(s.uid) end mac) m
        returning claim_uid, addr, ordinal, allocated_at)
    select c.uid, 'New', array_agg(g.addr order by g.ordinal), c.generation, min(g.allocated_at), c.namespace, c.name,
        c.spec_generation, null::int, p.prefix_length, p.gateway, p.dns_servers, prefixes
    from granted g join claim c on c.uid = g.claim_uid
    group by c.uid, c.generation, c.namespace, c.name, c.spec_generation;
end $$;

-- What claims hold already, as answers.
create or replace function ipam.held(uids uuid[]) returns setof ipam.answer language sql stable as $$
    select l.claim_uid, 'Held', array_agg(l.addr order by l.ordinal), min(l.generation), min(l.allocated_at),
        min(l.namespace), min(l.name), null::bigint, null::int, p.prefix_length, p.gateway, p.dns_servers,
        jsonb_build_object(
            'pool', p.name, 'poolNamespace', p.namespace, 'mac', min(l.mac::text),
            'expiresAt', min(t.expires_at), 'reserved', coalesce(bool_or(t.reserved), false), 'prefixes', p.of_prefixes)
    from (select distinct a from unnest(uids) a) u(uid)
    -- Each by itself: to a session that planned while there were no leases, going through all of them looks cheaper.
    cross join lateral (
        select q.* from ipam.lease q where q.claim_uid = u.uid and q.released_at is null offset 0) l
    join ipam.pool p on p.id = l.pool_id
    left join lateral (select q.expires_at, q.reserved from ipam.term q where q.claim_uid = u.uid offset 0) t on true
    group by l.claim_uid, p.id
$$;

-- Who needs no addresses: who holds them, is deleted, or has had its term.
create or replace function ipam.answered(uids uuid[]) returns setof ipam.answer
    language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
    refused uuid[] := array(select e.claim_uid from ipam.mac_edit e where e.claim_uid = any(uids));
begin
    if refused <> '{}' then
        return query select * from ipam.mac_edit_answers(refused);
    end if;
    return query select h.* from ipam.held(uids) h where h.claim_uid <> all(refused);
    return query
    select t.claim_uid, 'Vanished', null::inet[], null::bigint, null::timestamptz, null::text, null::text, null::bigint,
        null::int, null::int, null::inet, null::inet[], null::jsonb
    from ipam.tombstone t where t.claim_uid = any(uids)
        and not exists (select from ipam.lease q where q.claim_uid = t.claim_uid and q.released_at is null);
    return query select * from ipam.expired(uids);
end $$;

-- Which of them do need some, by their places in `uids`.
create or replace function ipam.unanswered(uids uuid[]) returns int[] language plpgsql stable as $$
begin
    return array(
        select u.k from unnest(uids) with ordinality u(uid, k)
        where u.uid not in (select a.claim_uid from ipam.answered(uids) a) order by u.k);
end $$;

-- What claims that ask here now ask otherwise than before: where they wait, their MAC addresses, how long they want to hold.
-- `details`: whose details have changed; null: nobody has any. A claim waits in one queue: its places in others go first, so
-- that whoever serves those has done it or will not. Returns Due rows.
create or replace function ipam.heed_edits(
    its_namespace text, its_name text, uids uuid[], spec_generations bigint[], actors text[], details uuid[],
    leases interval[], renewals timestamptz[], reserves boolean[]
) returns setof ipam.answer language plpgsql as $$
declare
    changed uuid[] := coalesce(details, '{}');
    termed uuid[];
    renewed uuid[] := '{}';
begin
    delete from ipam.waiting w
    where w.claim_uid = any(uids)
        and (w.pool_namespace <> its_namespace or ipam.queue_beside(w.pool_name) <> its_name);
    if leases is not null then
        select t.changed, t.renewed into termed, renewed
        from ipam.ask_terms(uids, spec_generations, leases, renewals, reserves) t;
        changed := changed || termed;
    end if;
    -- One row of history for each change of a claim that holds; a first spec changes nothing.
    if changed <> '{}' and 1 < any(spec_generations) then
        update ipam.lease l set act = 'C', actor = u.actor,
            reason = case when u.uid = any(renewed) then 'Renewed' else 'Edited' end
        from unnest(uids, spec_generations, actors) u(uid, spec_generation, actor)
        where u.uid = any(changed) and u.spec_generation > 1
            and l.claim_uid = any(changed) and l.claim_uid = u.uid and l.released_at is null and l.ordinal = 0;
    end if;
    if details is not null then
        return query select * from ipam.change_macs(uids, spec_generations);
    end if;
end $$;

-- Says whose are other ones than before, or new.
create or replace function ipam.remember_details(
    uids uuid[], namespaces text[], hostnames text[], assigned text[], descriptions text[], sticky_keys text[],
    priorities int[], macs macaddr[], retains boolean[], resources text[], renews boolean[]
) returns uuid[] language plpgsql as $$
declare
    changed uuid[];
begin
    with put as (
        insert into ipam.claim_detail as c (
            claim_uid, namespace, hostname, assigned_to, description, sticky_key, priority, mac, retain, resource, auto_renew)
        select u.uid, u.namespace, u.hostname, u.assigned, u.description, coalesce(u.sticky_key, ''),
            coalesce(u.priority, 0), u.mac, coalesce(u.retain, false), coalesce(resources[u.k], ''),
            coalesce(renews[u.k], false)
        from unnest(uids, namespaces, hostnames, assigned, descriptions, sticky_keys, priorities, macs, retains)
            with ordinality u(uid, namespace, hostname, assigned, description, sticky_key, priority, mac, retain, k)
        where u.hostname is not null
        on conflict (claim_uid) do update set
            hostname = excluded.hostname, assigned_to = excluded.assigned_to, description = excluded.description,
            sticky_key = excluded.sticky_key, priority = excluded.priority, mac = excluded.mac, retain = excluded.retain,
            resource = excluded.resource, auto_renew = excluded.auto_renew
        where (c.hostname, c.assigned_to, c.description, c.sticky_key, c.priority, c.mac, c.retain, c.resource, c.auto_renew)
            is distinct from (
                excluded.hostname, excluded.assigned_to, excluded.description, excluded.sticky_key, excluded.priority,
                excluded.mac, excluded.retain, excluded.resource, excluded.auto_renew)
        returning claim_uid)
    select array_agg(claim_uid) into changed from put;
    return coalesce(changed, '{}');
end $$;

-- Claims whose sticky key a living claim of their namespace has already, or one that stands before them here.
create or replace function ipam.shared_keys(uids uuid[], namespaces text[], names text[], sticky_keys text[])
    returns setof ipam.answer language sql stable as $$
    with asked as materialized (
        select u.* from unnest(uids, namespaces, names, sticky_keys)
            with ordinality u(uid, namespace, name, key, k) where u.key <> '')
    select n.* from asked a cross join lateral (
        select coalesce((
            select l.name from ipam.claim_detail d cross join lateral (
                select q.name, q.generation from ipam.lease q
                where q.claim_uid = d.claim_uid and q.released_at is null offset 0) l
            where d.namespace = a.namespace and d.sticky_key = a.key and d.sticky_key <> '' and d.claim_uid <> a.uid
            order by l.generation limit 1), (
            select b.name from asked b where b.key = a.key and b.namespace = a.namespace and b.k < a.k
            order by b.k limit 1)) name) other
    cross join lateral ipam.noted(a.uid, jsonb_build_object('sharedKey', other.name)) n
    where other.name is not null
$$;

-- The same of claims whose details are known already.
create or replace function ipam.keys_shared(uids uuid[], namespaces text[], names text[]) returns setof ipam.answer
    language sql stable as $$
    select n.* from (
        select array_agg(d.claim_uid) uids, array_agg(q.namespace) namespaces, array_agg(q.name) names,
            array_agg(d.sticky_key) keys
        from unnest(uids, namespaces, names) q(uid, namespace, name)
        join ipam.claim_detail d on d.claim_uid = q.uid and d.sticky_key <> ''
    ) known cross join lateral ipam.shared_keys(known.uids, known.namespaces, known.names, known.keys) n
$$;

-- What tells that a later claim of the namespace is this one come again: its key, its MAC address or its name.
create or replace function ipam.identity_key(sticky_key text, mac macaddr, its_name text) returns text
    language sql immutable as $$ select coalesce(nullif(sticky_key, ''), mac::text, its_name) $$;

create or replace function ipam.key_of(uid uuid, its_name text) returns text
    language plpgsql stable as $$
begin
    return (
        select coalesce(
            (select ipam.identity_key(d.sticky_key, d.mac, its_name) from ipam.claim_detail d where d.claim_uid = uid),
            its_name));
end $$;

-- Take an address that cools, if it cools from this very identity or is kept for it.
create or replace function ipam.carve_own(p ipam.pool, uid uuid, its_namespace text, its_name text, wish inet)
    returns boolean language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    delete from ipam.lease l
    where l.pool_id = p.id and l.addr = wish and l.released_at is not null and (
        l.namespace = its_namespace and l.retained = ipam.key_of(uid, its_name)
        or exists (
            select from ipam.memory m
            where m.namespace = its_namespace and m.pool_namespace = p.namespace and m.pool_name = p.name
                and m.key = ipam.key_of(uid, its_name) and m.addr = wish and m.generation = l.generation));
    return found;
end $$;

-- Take an address that cools and is kept for nobody.
create or replace function ipam.carve_cooling(its_pool int, wish inet) returns boolean
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    delete from ipam.lease l
    where l.pool_id = its_pool and l.addr = wish and l.released_at is not null and l.retained is null;
    return found;
end $$;

-- Addresses for claims in their order, counts[k] for claim k (of all, or of the `chosen` only), or prefixes of lengths[k]:
-- first what its identity had last, where that is free or cools from this very identity, then as the pool chooses. Null,
-- and nothing taken, when there are too few.
create or replace function ipam.take_for(
    p ipam.pool, uids uuid[], namespaces text[], names text[], counts int[], chosen int[] default null,
    lengths int[] default null
) returns inet[] language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    total bigint;
    wish record;
    owners bigint[] := '{}';
    again inet[] := '{}';
    fresh inet[] := '{}';
    blocks inet[];
begin
    if chosen is not null then
        select array_agg(uids[i]), array_agg(namespaces[i]), array_agg(names[i]), array_agg(counts[i])
        into uids, namespaces, names, counts from unnest(chosen) i;
    end if;
    select sum(c) into total from unnest(counts) c;
    begin
        for wish in
            select u.k, u.count, c.addr, c.generation
            from unnest(uids, namespaces, names, counts) with ordinality u(uid, namespace, name, count, k)
            -- Once for each, and apart: as part of an index condition it is dear enough for the planner to take another index.
            cross join lateral (select ipam.key_of(u.uid, u.name) key offset 0) i
            cross join lateral (
                select l.addr, l.generation, 0 way, -l.generation turn, l.ordinal from ipam.lease l
                where l.pool_id = p.id and l.namespace = u.namespace and l.retained = i.key and l.reusable_at > now()
                union all
                select m.addr, m.generation, 1, 0, m.ordinal from ipam.memory m
                where m.namespace = u.namespace and m.key = i.key
                    and m.pool_namespace = p.namespace and m.pool_name = p.name and m.ordinal < 2 * u.count) c
            where not p.of_prefixes or masklen(c.addr) = lengths[u.k]
            order by u.k, c.way, c.turn, c.ordinal
        loop
            continue when cardinality(array_positions(owners, wish.k)) >= wish.count;
            if not ipam.carve(p.id, wish.addr) then
                delete from ipam.lease l where l.pool_id = p.id and l.addr = wish.addr
                    and l.generation = wish.generation and l.released_at is not null;
                continue when not found;
            end if;
            owners := owners || wish.k;
            again := again || wish.addr;
        end loop;
        if cardinality(again) < total and p.of_prefixes then
            for i in 1..cardinality(uids) loop
                blocks := ipam.take_blocks(p, lengths[i], counts[i] - cardinality(array_positions(owners, i)));
                if blocks is null then
                    raise exception using errcode = 'P0001';  -- undoes what was carved
                end if;
                fresh := fresh || blocks;
            end loop;
        elsif cardinality(again) < total then
            fresh := ipam.take(p, total - cardinality(again));
            if fresh is null then
                raise exception using errcode = 'P0001';
            end if;
        end if;
    exception when raise_exception then
        return null;
    end;
    if cardinality(again) = 0 then
        return fresh;
    end if;
    return (
        with kept as (
            select k, addr, i from unnest(owners, again) with ordinality o(k, addr, i)),
        lacking as (
            select c.k, row_number() over (order by c.k) i
            from unnest(counts) with ordinality c(count, k),
                generate_series(1, c.count - (select count(*) from kept where kept.k = c.k)) o)
        select array_agg(a.addr order by a.k, a.late, a.i) from (
            select k, addr, false late, i from kept
            union all
            select l.k, f.addr, true, l.i from lacking l join unnest(fresh) with ordinality f(addr, i) using (i)) a);
end $$;

-- Answer a batch of claims of one pool. Idempotent by claim: who holds is told what. `wishes` null: no claim names an
-- address; `hostnames` null: no claim has details, a null element: that one has none; `leases` null: no claim has a term
-- of its own.
create or replace function ipam.allocate(
    pool_namespace text, pool_name text, uids uuid[], spec_generations bigint[], namespaces text[], names text[],
    counts int[], wishes inet[], actors text[], hostnames text[], assigned text[], descriptions text[],
    sticky_keys text[] default null, leases interval[] default null, renewals timestamptz[] default null,
    priorities int[] default null, macs macaddr[] default null, retains boolean[] default null, reserves boolean[] default null,
    reservations text[] default null, lengths int[] default null, edits boolean[] default null,
    resources text[] default null, renews boolean[] default null
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    p ipam.pool;
    l inet;
    h inet;
    n bigint;
    keep int[];
    strangers int[];
    misfits int[];
    refused uuid[];
    twins uuid[];
    late int[] := '{}';
    lucky int[] := '{}';
    addrs inet[] := '{}';
    taken inet[];
    total bigint;
    queued boolean := false;
    changed uuid[];
    k int;
begin
    if edits is not null then
        return query select * from ipam.end_misheld(
            pool_namespace, pool_name, uids, counts, wishes, lengths, edits, actors);
    end if;
    select * into p from ipam.pool q where q.namespace = pool_namespace and q.name = pool_name for no key update;
    if hostnames is not null then
        changed := ipam.remember_details(
            uids, namespaces, hostnames, assigned, descriptions, sticky_keys, priorities, macs, retains, resources,
            renews);
        return query select * from ipam.shared_keys(uids, namespaces, names, sticky_keys);
    end if;
    -- The common case: one new claim for one address, nobody in front, nothing to sweep.
    if cardinality(uids) = 1 and counts[1] = 1 and wishes is null and p.strategy = 'FirstFree'
        and not p.paused and not p.retiring and macs is null and leases is null and reservations is null
        and lengths is null and p.default_lease is null
        and p.quota is null and namespaces[1] = p.namespace then
        if not exists (select from ipam.lease q where q.claim_uid = uids[1] and q.released_at is null)
            and not exists (select from ipam.tombstone q where q.claim_uid = uids[1])
            and not exists (select from ipam.waiting q where q.claim_uid = uids[1])
            and not exists (
                select from ipam.waiting q where q.pool_namespace = p.namespace and q.pool_name = p.name)
            and (p.selectors = '{}' or not ipam.anyone_waits(p))
            and not exists (
                select from ipam.lease q
                where q.pool_id = p.id and q.released_at is not null and q.reusable_at <= now())
            and not exists (
                select from ipam.memory m
                where m.namespace = namespaces[1] and m.key = coalesce(nullif(sticky_keys[1], ''), names[1])
                    and m.pool_namespace = p.namespace and m.pool_name = p.name)
        then
            select f.lo, f.hi into l, h from ipam.free_range f
            where f.pool_id = p.id and f.hi >= coalesce(p.low_hi, '0.0.0.0') order by f.hi limit 1;
            if found then
                perform ipam.heed_comparison(null);
                if l = h then
                    delete from ipam.free_range f where f.pool_id = p.id and f.hi = h;
                    if random() < 0.02 then
                        update ipam.pool q set low_hi = h where q.id = p.id;
                    end if;
                else
                    update ipam.free_range f set lo = l + 1 where f.pool_id = p.id and f.hi = h;
                end if;
                insert into ipam.lease (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor)
                values (p.id, l, uids[1], 0, nextval('ipam.lease_generation'), namespaces[1], names[1], actors[1]);
                return next row(
                    uids[1], 'New', array[l], currval('ipam.lease_generation'), now(), namespaces[1], names[1],
                    spec_generations[1], null, p.prefix_length, p.gateway, p.dns_servers, null)::ipam.answer;
                return;
            end if;
        end if;
    end if;
    if reservations is not null then
        if leases is not null then  -- who is renewed may take over
            perform ipam.ask_terms(uids, spec_generations, leases, renewals, reserves);
        end if;
        return query select * from ipam.take_over(
            array[p.id], uids, spec_generations, namespaces, names, counts, actors, reservations, lengths);
    end if;
    return query select * from ipam.heed_edits(
        pool_namespace, pool_name, uids, spec_generations, actors, changed, leases, renewals, reserves);
    return query select * from ipam.answered(uids);
    get diagnostics n = row_count;
    if n > 0 then
        keep := ipam.unanswered(uids);
    end if;
    if reservations is not null then
        refused := ipam.to_refuse(array[p.id], uids, namespaces, names, reservations);
        return query select * from ipam.leave_queues(refused);
        return query select * from ipam.without_reservation(
            array[p.id], refused, uids, spec_generations, namespaces, names, reservations, lengths);
        keep := array(
            select i from unnest(coalesce(keep, array(select generate_subscripts(uids, 1)))) i
            where uids[i] <> all(refused));
    end if;
    if exists (select from unnest(namespaces) s where s <> pool_namespace) then
        keep := coalesce(keep, array(select generate_subscripts(uids, 1)));
        strangers := array(select i from unnest(keep) i where not coalesce(ipam.lends(p, namespaces[i]), false));
        if cardinality(strangers) > 0 then
            perform ipam.enqueue(
                pool_namespace, ipam.strangers_queue(pool_name), uids, spec_generations, namespaces, names, counts, wishes,
                actors, lengths, strangers);
            return query select * from ipam.forbidden(array(select uids[i] from unnest(strangers) i));
            keep := array(select i from unnest(keep) i where i <> all(strangers));
        end if;
    end if;
    if not p.retiring and (lengths is not null or p.of_prefixes) then
        keep := coalesce(keep, array(select generate_subscripts(uids, 1)));
        misfits := array(select i from unnest(keep) i where not ipam.hands_out(p, lengths[i], wishes[i]));
        if misfits <> '{}' then
            perform ipam.enqueue(
                pool_namespace, ipam.misfits_queue(pool_name), uids, spec_generations, namespaces, names, counts, wishes,
                actors, lengths, misfits);
            return query select * from ipam.misfit_answers(p, array(select uids[i] from unnest(misfits) i));
            keep := array(select i from unnest(keep) i where i <> all(misfits));
        end if;
    end if;
    if keep = '{}' then
        return;
    elsif keep is not null then
        select array_agg(uids[i]), array_agg(spec_generations[i]), array_agg(namespaces[i]), array_agg(names[i]),
            array_agg(counts[i]), array_agg(wishes[i]), array_agg(actors[i]), array_agg(lengths[i])
        into uids, spec_generations, namespaces, names, counts, wishes, actors, lengths from unnest(keep) i;
    end if;
    if p.id is null or p.retiring then
        return query select * from ipam.park(
            pool_namespace, pool_name, uids, spec_generations, namespaces, names, counts, wishes, actors, lengths);
        return;
    end if;
    twins := case when macs is not null then ipam.mac_twins(p, uids) else '{}' end;
    select sum(c) into total from unnest(counts) c;
    if p.strategy <> 'LeastRecentlyUsed' then
        perform ipam.sweep(p.id, (64 + 2 * total)::int);
    end if;
    -- A queue is never overtaken: join it, then serve it from its head.
    if p.paused or p.quota is not null or p.of_prefixes or twins <> '{}' or ipam.anyone_waits(p) then
        perform ipam.enqueue(
            pool_namespace, pool_name, uids, spec_generations, namespaces, names, counts, wishes, actors, lengths);
        if not p.paused then
            return query select * from ipam.serve_waiting(p, 1000 + cardinality(uids));
        end if;
        return query select * from ipam.waiting_answers(p, uids);
        return query select * from ipam.next_due(p);
        return query select * from ipam.due_for_pairs(p);
        return;
    end if;
    -- Nobody waits. Named addresses first.
    if wishes is not null and exists (select from unnest(wishes) w where w is not null) then
        for k in select i from generate_subscripts(uids, 1) i where wishes[i] is not null order by i loop
            if ipam.carve(p.id, wishes[k]) or ipam.carve_own(p, uids[k], namespaces[k], names[k], wishes[k]) then
                lucky := lucky || k;
                addrs := addrs || wishes[k];
            else
                late := late || k;
            end if;
        end loop;
        if cardinality(lucky) > 0 then
            return query select g.* from (
                select array_agg(uids[i]) a, array_agg(spec_generations[i]) b, array_agg(namespaces[i]) c,
                    array_agg(names[i]) d, array_agg(counts[i]) e, array_agg(actors[i]) f from unnest(lucky) i
                ) v, ipam.grant_leases(p, v.a, v.b, v.c, v.d, v.e, v.f, addrs) g;
        end if;
        select array_agg(i) into lucky from generate_subscripts(uids, 1) i where wishes[i] is null;
        lucky := coalesce(lucky, '{}');
        select coalesce(sum(counts[i]), 0) into total from unnest(lucky) i;
    else
        lucky := null;
    end if;
    -- Then free choice: all of it; with too few addresses all join the queue, which decides.
    if total > 0 then
        taken := ipam.take_for(p, uids, namespaces, names, counts, lucky);
        if taken is null then
            late := late || coalesce(lucky, array(select generate_subscripts(uids, 1)));
            queued := true;
        end if;
        if taken is not null and lucky is null then
            return query select * from ipam.grant_leases(
                p, uids, spec_generations, namespaces, names, counts, actors, taken);
        elsif taken is not null then
            return query select g.* from (
                select array_agg(uids[i]) a, array_agg(spec_generations[i]) b, array_agg(namespaces[i]) c,
                    array_agg(names[i]) d, array_agg(counts[i]) e, array_agg(actors[i]) f from unnest(lucky) i
                ) v, ipam.grant_leases(p, v.a, v.b, v.c, v.d, v.e, v.f, taken) g;
        end if;
    end if;
    if cardinality(late) > 0 then
        select array_agg(uids[i]), array_agg(spec_generations[i]), array_agg(namespaces[i]), array_agg(names[i]),
            array_agg(counts[i]), array_agg(wishes[i]), array_agg(actors[i])
        into uids, spec_generations, namespaces, names, counts, wishes, actors from unnest(late) i;
        perform ipam.enqueue(
            pool_namespace, pool_name, uids, spec_generations, namespaces, names, counts, wishes, actors, null);
        if queued then
            return query select * from ipam.serve_waiting(p, cardinality(uids));
        end if;
        return query select * from ipam.waiting_answers(p, uids);
        return query select * from ipam.next_due(p);
    end if;
end $$;

-- Give claims the very addresses that they show, if each is free in their pool (all of a claim's, or none): for a
-- store that lost what the cluster remembers. `claim_addrs` are of claim `claim_of` (1-based), in order. What cools is free
-- for who shows it, and what claims hold that are `gone` is handed over.
create or replace function ipam.adopt(
    pool_namespace text, pool_name text, uids uuid[], spec_generations bigint[], namespaces text[], names text[],
    actors text[], claim_of int[], claim_addrs inet[], gone uuid[]
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    p ipam.pool;
    wanted inet[];
    heirless uuid[];
    carved int;
    k int;
begin
    select * into p from ipam.pool q where q.namespace = pool_namespace and q.name = pool_name for no key update;
    if p.id is null or p.retiring then
        -- Not into the queue, which would give them others: they are adopted when the pool is there (resync).
        return query
        select u.uid, 'NotFound', null::inet[], null::bigint, null::timestamptz, u.namespace, u.name, u.generation,
            null::int, null::int, null::inet, null::inet[], ipam.out_of_service(pool_namespace, pool_name)
        from unnest(uids, spec_generations, namespaces, names) u(uid, generation, namespace, name)
        where not exists (select from ipam.lease l where l.claim_uid = u.uid and l.released_at is null)
            and not exists (select from ipam.tombstone t where t.claim_uid = u.uid)
            and not exists (select from ipam.term t where t.claim_uid = u.uid and t.expired_at is not null);
        return;
    end if;
    for k, wanted in
        select a.claim, array_agg(a.addr order by a.i)
        from unnest(claim_of, claim_addrs) with ordinality a(claim, addr, i) group by a.claim order by a.claim
    loop
        continue when exists (
                select from ipam.lease l
                where l.claim_uid = uids[k] and l.released_at is null and family(l.addr) = family(wanted[1]))
            or exists (select from ipam.tombstone t where t.claim_uid = uids[k])
            or exists (select from ipam.term t where t.claim_uid = uids[k] and t.expired_at is not null);
        if not ipam.lends(p, namespaces[k]) then
            return next row(
                uids[k], 'Forbidden', null, null, null, namespaces[k], names[k], spec_generations[k], null,
                null, null, null, null)::ipam.answer;
            continue;
        end if;
        -- It keeps its addresses whoever has its MAC address by now; it is asked of that next, and waits.
        if ipam.mac_twins(p, array[uids[k]]) <> '{}' then
            update ipam.claim_detail d set mac = null where d.claim_uid = uids[k];
        end if;
        begin
            if gone <> '{}' then
                heirless := array(
                    select distinct l.claim_uid from ipam.lease l
                    where l.pool_id = p.id and l.addr = any(wanted) and l.released_at is null and l.claim_uid = any(gone));
                perform from ipam.release(
                    '{}', '{}', heirless, null, array_fill(actors[k], array[cardinality(heirless)]), false,
                    its_reason => 'Orphaned');
            end if;
            select count(*) filter (
                where ipam.of_its_kind(p, a) and (ipam.carve(p.id, a)
                    or ipam.carve_own(p, uids[k], namespaces[k], names[k], a) or ipam.carve_cooling(p.id, a))) into carved
            from unnest(wanted) a;
            if carved < cardinality(wanted) then
                raise exception using errcode = 'P0001';  -- undoes what was carved
            end if;
            delete from ipam.waiting w where w.claim_uid = uids[k];
            return query select * from ipam.grant_leases(
                p, array[uids[k]], array[spec_generations[k]], array[namespaces[k]], array[names[k]],
                array[carved], array[actors[k]], wanted, exists (
                    select from ipam.lease l where l.claim_uid = uids[k] and l.released_at is null), 'Restored');
        exception when raise_exception then
            return next row(
                uids[k], 'Conflict', null, null, null, namespaces[k], names[k], spec_generations[k], null,
                null, null, null, jsonb_build_object('lost', true, 'wanted', (
                    select string_agg(ipam.shown(a, not ipam.full_length(a)), ', ')
                    from unnest(wanted[1:3]) a)))::ipam.answer;
        end;
    end loop;
end $$;
