-- Claims that say what pools are like instead of naming one.

-- Against others that change what selectors mean, and against claims that ask by one meanwhile. Before pools' rows.
create or replace function ipam.lock_selectors(its_namespace text) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('ipam.selectors/' || its_namespace, 0));
    perform from ipam.selector s where s.namespace = its_namespace order by s.name for no key update;
end $$;

-- All that a change of what selectors mean in these namespaces may write: selectors, then pools, in order.
create or replace function ipam.lock_namespaces(its_namespaces text[]) returns void language plpgsql as $$
begin
    perform ipam.lock_selectors(one.name) from (select distinct unnest(its_namespaces) name order by 1) one;
    perform from ipam.pool p where p.namespace = any(its_namespaces) order by p.id for no key update;
end $$;

-- Pools that a selector means, best first. One that is tied with another of its priority, or stands behind such two,
-- is never reached: nobody chooses among equals. Each family is for itself.
create or replace function ipam.meant(s ipam.selector)
    returns table (id int, name text, family int, priority int, tied boolean) language sql stable as $$
    select m.id, m.name, m.family, m.priority, bool_or(m.twins > 1) over (partition by m.family order by m.priority desc) from (
        select p.id, p.name, family(n.cidr), p.priority, count(*) over (partition by family(n.cidr), p.priority) twins
        from ipam.pool p join ipam.network n on n.id = p.network_id
        where p.namespace = s.namespace and not p.retiring and p.labels @> s.labels and p.type = coalesce(s.type, p.type)
            and n.name = coalesce(s.network, n.name) and family(n.cidr) = coalesce(s.family, family(n.cidr))
            and case when s.length is null then not p.of_prefixes else s.length = any(p.prefix_lengths) end
            and ipam.lends(p, s.tenant)) m
    order by m.priority desc, m.name
$$;

-- Which pools of a namespace serve which selectors. To be called whenever either changes, below `lock_selectors`. Whose
-- meaning is another one now is to be told.
create or replace function ipam.assign_selectors(its_namespace text) returns void language plpgsql as $$
begin
    with known as (
        update ipam.selector s set meaning = m.pools,
            untold = case when s.untold is not null or s.meaning is not null then nextval('ipam.change') end from (
            select q.name, array(
                select case when m.tied then '= ' else '' end || m.name from ipam.meant(q) m
                order by m.priority desc, m.name) pools
            from ipam.selector q where q.namespace = its_namespace) m
        where s.namespace = its_namespace and s.name = m.name and s.meaning is distinct from m.pools)
    update ipam.pool p set selectors = f.names from (
        select q.id,
            coalesce(array_agg(m.selector order by m.selector) filter (where m.selector is not null), '{}') names
        from ipam.pool q left join (
            select m.id, s.name selector from ipam.selector s cross join lateral ipam.meant(s) m
            where s.namespace = its_namespace and not m.tied) m on m.id = q.id
        where q.namespace = its_namespace group by q.id) f
    where p.id = f.id and p.selectors <> f.names;
end $$;

create or replace function ipam.forget_selectors(unused interval) returns void language plpgsql as $$
declare
    old text[] := array(
        select distinct s.namespace from ipam.selector s where s.used_at < now() - unused order by 1);
    its_namespace text;
begin
    perform ipam.lock_namespaces(old);
    foreach its_namespace in array old loop
        delete from ipam.selector s where s.namespace = its_namespace and s.used_at < now() - unused and not exists (
            select from ipam.waiting w
            where w.pool_namespace = s.namespace and w.pool_name in (s.name, ipam.twins_queue(s.name)));
        perform ipam.assign_selectors(its_namespace);
    end loop;
end $$;

-- Namespaces and their labels; null: it is gone; `whole`: all there are. Returns the pools that have to be served and told,
-- because somebody is let in or out; again and again, until they are: namespaces come and go all the time.
create or replace function ipam.put_tenants(changes jsonb, whole boolean)
    returns table (namespace text, name text) language plpgsql as $$
declare
    changed bigint;
    lenders text[];
    its_namespace text;
    p ipam.pool;
begin
    with gone as (
        delete from ipam.tenant t where changes -> t.namespace = 'null' or whole and not changes ? t.namespace
        returning 1),
    put as (
        insert into ipam.tenant as t (namespace, labels)
        select c.key, c.value from jsonb_each(changes) c where c.value <> 'null'
        on conflict on constraint tenant_pkey do update set labels = excluded.labels where t.labels <> excluded.labels
        returning 1)
    select (select count(*) from gone) + (select count(*) from put) into changed;
    if changed > 0 then
        lenders := array(
            select distinct q.namespace from ipam.pool q where q.allowed_from = 'Selector' order by 1);
        perform ipam.lock_namespaces(lenders);
        foreach its_namespace in array lenders loop
            perform ipam.assign_selectors(its_namespace);
        end loop;
        for p in
            select q.* from ipam.pool q where q.allowed_from = 'Selector' and not q.retiring order by q.id for no key update
        loop
            if ipam.heed_consent(p) <> '{}' then
                update ipam.pool q set untold = nextval('ipam.change') where q.id = p.id;
            end if;
        end loop;
    end if;
    return query
    select q.namespace, q.name from ipam.pool q where q.untold is not null
    union
    select distinct on (s.namespace) s.namespace, q.name from ipam.selector s join ipam.pool q on q.namespace = s.namespace
    where s.untold is not null;
end $$;

-- What the claims that wait for this pool and by these selectors have yet to be told. To be read before their answers are made.
create or replace function ipam.untold(its_namespace text, its_name text, selectors text[]) returns setof ipam.answer
    language sql stable as $$
    select null::uuid, 'Untold', null::inet[], null::bigint, null::timestamptz, its_namespace, u.name, null::bigint,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object('change', u.untold)
    from (
        select s.name, s.untold from ipam.selector s where s.namespace = its_namespace and s.name = any(selectors)
        union all
        select p.name, p.untold from ipam.pool p where p.namespace = its_namespace and p.name = its_name) u
    where u.untold is not null
$$;

-- These changes have been told. One that has come since stays.
create or replace function ipam.told(namespaces text[], names text[], changes bigint[]) returns void language plpgsql as $$
begin
    perform from ipam.selector s join unnest(namespaces, names) u(namespace, name) using (namespace, name)
    order by s.namespace, s.name for no key update of s;
    update ipam.selector s set untold = null from unnest(namespaces, names, changes) u(namespace, name, change)
    where s.namespace = u.namespace and s.name = u.name and s.untold = u.change;
    update ipam.pool p set untold = null from unnest(namespaces, names, changes) u(namespace, name, change)
    where p.namespace = u.namespace and p.name = u.name and p.untold = u.change;
end $$;

-- How the claims among `uids` that wait by this selector stand.
create or replace function ipam.selected_answers(s ipam.selector, uids uuid[]) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    p record;
    pools jsonb := '[]';
    tied text[];
    most_room bigint;  -- below 0 after a quota was lowered
    most bigint := -1;  -- that a pool has and its quota lets go
    rationed jsonb := '{}';
    paused boolean := true;
    networks jsonb := case when ipam.any_macs() then '[]'::jsonb end;
    facts jsonb;
    wish record;
    home ipam.pool;
    other ipam.selector;
begin
    if uids = '{}' then
        return;
    elsif s.dual then
        s.dual := false;
        s.family := 4;
        other := s;
        other.family := 6;
        -- Of the family that it is waiting for.
        return query
        select distinct on (a.claim_uid) (a.answer).* from (
            select f.claim_uid, f answer, f.outcome from ipam.selected_answers(s, uids) f
            union all
            select f.claim_uid, f, f.outcome from ipam.selected_answers(other, uids) f) a
        order by a.claim_uid, a.outcome = 'Queued';
        return;
    end if;
    for p in
        select q pool, q.paused, case when s.length is null then ipam.available(q, 1024)
                else ipam.blocks_free(q.id, s.length, 1024) end stock,
            case when s.length is null then q.size else ipam.blocks_in(q.id, s.length) end size,
            coalesce(ipam.room(q, s.tenant), 1024) room
        from ipam.pool q join ipam.network n on n.id = q.network_id
        where q.namespace = s.namespace and s.name = any(q.selectors) and family(n.cidr) = coalesce(s.family, family(n.cidr))
        order by q.priority desc, q.name
    loop
        pools := pools || jsonb_build_object(
            'name', (p.pool).name, 'size', p.size::text, 'free', p.stock, 'paused', p.paused);
        continue when p.paused;
        paused := false;
        most := greatest(most, least(p.stock, p.room));
        networks := networks || jsonb_build_object(
            'name', (p.pool).name, 'network', (p.pool).network_id, 'most', least(p.stock, p.room));
        if most_room is null or p.room > most_room then
            most_room := p.room;
            rationed := ipam.quota_facts(p.pool, s.tenant) || jsonb_build_object('pool', (p.pool).name);
        end if;
    end loop;
    select array_agg(m.name order by m.priority desc, m.name) into tied from (
        select m.name, m.priority, max(m.priority) over () highest from ipam.meant(s) m where m.tied) m
    where m.priority = m.highest;
    facts := rationed || jsonb_build_object(
        'labels', s.labels, 'type', s.type, 'network', s.network, 'family', s.family, 'length', s.length, 'pools', pools, 'tied', (tied)[1:8]);
    return query
    select w.claim_uid, case when tied is not null then 'Ambiguous' when pools = '[]' then 'Unmatched'
            when paused then 'Paused' when w.count > most_room then 'OverQuota'
            when w.count > coalesce(m.within_reach, most) then 'Exhausted' else 'Queued' end,
        null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation, w.place::int,
        null::int, null::inet, null::inet[], facts || coalesce(m.told, '{}') || jsonb_build_object('count', w.count)
    from ipam.standing(s.namespace, s.name, uids) w left join lateral ipam.mac_bars(w.claim_uid, networks) m on true;
    for wish in
        select w.claim_uid uid, w.* from ipam.waiting w
        where w.claim_uid = any(uids) and w.pool_name = s.name and w.wanted is not null
    loop
        select q.* into home from ipam.pool q where q.namespace = s.namespace and s.name = any(q.selectors) and exists (
            select from ipam.pool_range r where r.pool_id = q.id and wish.wanted between r.lo and r.hi) limit 1;
        if found then
            return query select * from ipam.waiting_answers(home, array[wish.uid]);
        else
            return next row(
                wish.uid, case when tied is not null then 'Ambiguous' when pools = '[]' then 'Unmatched' else 'Outside' end,
                null, null, null, wish.namespace, wish.name, wish.generation, null, null, null, null,
                facts || jsonb_build_object('wanted', ipam.spelled(wish.wanted)))::ipam.answer;
        end if;
    end loop;
end $$;

-- How the first `lim` of each queue stand that the pool serves.
create or replace function ipam.first_in_line(pool_namespace text, pool_name text, lim int) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    p ipam.pool;
    s ipam.selector;
begin
    select * into p from ipam.pool q where q.namespace = pool_namespace and q.name = pool_name and not q.retiring;
    if not found then
        return;
    end if;
    return query select * from ipam.waiting_answers(p, array(
        select w.claim_uid from ipam.waiting w
        where w.pool_namespace = p.namespace and w.pool_name = p.name and w.wanted is null
        order by w.priority desc, w.seq limit lim));
    for s in select q.* from ipam.selector q where q.namespace = p.namespace and q.name = any(p.selectors) loop
        return query select * from ipam.selected_answers(s, array(
            select w.claim_uid from ipam.waiting w
            where w.pool_namespace = s.namespace and w.pool_name = s.name and w.wanted is null
            order by w.priority desc, w.seq limit lim));
    end loop;
end $$;

-- Whether the first address that an identity had last in this pool is to be had again.
create or replace function ipam.may_return(p ipam.pool, its_namespace text, its_key text) returns boolean
    language plpgsql stable as $$
begin
    return (
        select exists (
            select from (
                select m.addr, m.generation from ipam.memory m
                where m.namespace = its_namespace and m.key = its_key and m.pool_namespace = p.namespace
                    and m.pool_name = p.name
                order by m.ordinal limit 1) m
            where exists (
                    select from (
                        select f.lo from ipam.free_range f where f.pool_id = p.id and f.hi >= m.addr order by f.hi limit 1
                    ) f where f.lo <= ipam.low(m.addr))
                or exists (
                    select from ipam.lease l where l.pool_id = p.id and l.addr = m.addr and l.released_at is not null
                        and (l.generation = m.generation or l.reusable_at <= now())))
        or exists (
            select from ipam.lease l
            where l.pool_id = p.id and l.namespace = its_namespace and l.retained = its_key and l.reusable_at > now()));
end $$;

-- An answer with the name of the pool that it is of, for a claim that asked for none by name.
create or replace function ipam.of_pool(a ipam.answer, its_name text) returns ipam.answer language plpgsql immutable as $$
begin
    a.info := jsonb_build_object('pool', its_name) || coalesce(a.info, '{}');
    return a;
end $$;

-- What the pool's waiting are granted, with its name: they asked for none.
create or replace function ipam.serve_selected(p ipam.pool, lim int) returns setof ipam.answer
    language plpgsql as $$
begin
    return query
    select n.* from ipam.serve_waiting(p, lim) a cross join lateral ipam.of_pool(a, p.name) n;
end $$;

-- Answer a batch of claims of one selector; else as `allocate`. They join the queue, which their pools serve by priority,
-- each as far as it can.
create or replace function ipam.allocate_selected(
    its_namespace text, its_name text, its_tenant text, its_labels jsonb, its_type text, its_network text,
    its_family int, its_length int, its_dual boolean, uids uuid[], spec_generations bigint[], namespaces text[],
    names text[], counts int[], wishes inet[], actors text[], hostnames text[], assigned text[], descriptions text[], sticky_keys text[], leases interval[],
    renewals timestamptz[], priorities int[], macs macaddr[], retains boolean[] default null,
    reserves boolean[] default null, reservations text[] default null, lengths int[] default null,
    edits boolean[] default null, resources text[] default null, renews boolean[] default null
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    s ipam.selector;
    p ipam.pool;
    keep int[];
    meant int[];
    home uuid[];
    refused uuid[];
    changed uuid[];
begin
    update ipam.selector q set used_at = now() where q.namespace = its_namespace and q.name = its_name returning * into s;
    if not found then
        perform ipam.lock_namespaces(array[its_namespace]);
        if its_tenant <> its_namespace and (
            select count(*) from ipam.selector q where q.namespace = its_namespace and q.tenant = its_tenant) >= 100 then
            -- Not queued either: the resync asks again.
            if hostnames is not null then
                changed := ipam.remember_details(
                    uids, namespaces, hostnames, assigned, descriptions, sticky_keys, priorities, macs, retains, resources,
            renews);
            end if;
            return query select * from ipam.heed_edits(
                its_namespace, its_name, uids, spec_generations, actors, changed, leases, renewals, reserves);
            return query select * from ipam.answered(uids);
            return query
            select uids[i], 'Unmatched', null::inet[], null::bigint, null::timestamptz, namespaces[i], names[i],
                spec_generations[i], null::int, null::int, null::inet, null::inet[], '{"crowded": 100}'::jsonb
            from unnest(ipam.unanswered(uids)) i;
            return;
        end if;
        insert into ipam.selector as q (namespace, name, tenant, labels, type, network, family, length, dual)
        values (
            its_namespace, its_name, its_tenant, its_labels, its_type, its_network, its_family, its_length, its_dual)
        on conflict (namespace, name) do update set used_at = excluded.used_at returning * into s;
        perform ipam.assign_selectors(its_namespace);
    end if;
    if edits is not null then
        return query select * from ipam.end_misheld(
            its_namespace, its_name, uids, counts, wishes, lengths, edits, actors);
    end if;
    perform from ipam.pool q where q.namespace = its_namespace and its_name = any(q.selectors)
    order by q.id for no key update;
    if hostnames is not null then
        changed := ipam.remember_details(
            uids, namespaces, hostnames, assigned, descriptions, sticky_keys, priorities, macs, retains, resources,
            renews);
        return query select * from ipam.shared_keys(uids, namespaces, names, sticky_keys);
    end if;
    meant := array(select q.id from ipam.pool q where q.namespace = its_namespace and its_name = any(q.selectors));
    if reservations is not null then
        if leases is not null then
            perform ipam.ask_terms(uids, spec_generations, leases, renewals, reserves);
        end if;
        return query select * from ipam.take_over(
            meant, uids, spec_generations, namespaces, names, counts, actors, reservations, lengths);
    end if;
    return query select * from ipam.heed_edits(
        its_namespace, its_name, uids, spec_generations, actors, changed, leases, renewals, reserves);
    return query select * from ipam.answered(uids);
    keep := ipam.unanswered(uids);
    if reservations is not null then
        refused := ipam.to_refuse(meant, uids, namespaces, names, reservations);
        return query select * from ipam.leave_queues(refused);
        return query select * from ipam.without_reservation(
            meant, refused, uids, spec_generations, namespaces, names, reservations, lengths);
        keep := array(select i from unnest(keep) i where uids[i] <> all(refused));
    end if;
    if keep = '{}' then
        return;
    end if;
    select array_agg(uids[i]), array_agg(spec_generations[i]), array_agg(namespaces[i]), array_agg(names[i]),
        array_agg(counts[i]), array_agg(wishes[i]), array_agg(actors[i]), array_agg(lengths[i])
    into uids, spec_generations, namespaces, names, counts, wishes, actors, lengths from unnest(keep) i;
    perform ipam.enqueue(
        its_namespace, its_name, uids, spec_generations, namespaces, names, counts, wishes, actors, lengths);
    -- Who comes again goes to the pool that it had, others where the priority is highest.
    for p in
        select q.* from ipam.pool q where q.namespace = its_namespace and its_name = any(q.selectors) and not q.paused
        order by q.priority desc
    loop
        if p.strategy <> 'LeastRecentlyUsed' then
            perform ipam.sweep(p.id, 64 + 2 * cardinality(uids));
        end if;
        return query
        select n.* from ipam.serve_returning(p, 1000) a cross join lateral ipam.of_pool(a, p.name) n;
        continue when exists (
            select from ipam.waiting w
            where w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p)) and w.claim_uid <> all(uids));
        home := array(
            select w.claim_uid from ipam.waiting w
            where w.claim_uid = any(uids) and w.wanted is null and w.pool_name = its_name and not w.dual
                and ipam.may_return(p, w.namespace, w.key));
        home := array(select h from unnest(home) h where h <> all(array(select unnest(ipam.mac_twins(p, home)))));
        if home <> '{}' then
            update ipam.waiting w set pool_name = p.name where w.claim_uid = any(home);
            p.selectors := '{}';  -- for them alone
            return query select * from ipam.serve_selected(p, 1000 + cardinality(home));
            update ipam.waiting w set pool_name = case w.pool_name when p.name then its_name else ipam.twins_queue(its_name) end
            where w.claim_uid = any(home) and w.pool_name in (p.name, ipam.twins_queue(p.name));
        end if;
    end loop;
    for p in
        select q.* from ipam.pool q where q.namespace = its_namespace and its_name = any(q.selectors) and not q.paused
        order by q.priority desc
    loop
        exit when not exists (select from ipam.waiting w where w.claim_uid = any(uids));
        return query select * from ipam.serve_selected(p, 1000 + cardinality(uids));
    end loop;
    return query select * from ipam.selected_answers(s, array(
        select w.claim_uid from ipam.waiting w where w.claim_uid = any(uids) and w.pool_name = its_name));
    return query
    select d.* from ipam.pool q cross join lateral ipam.next_due(q) d
    where q.namespace = its_namespace and its_name = any(q.selectors);
end $$;
