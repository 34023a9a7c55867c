-- Claims: allocate, serve the waiting, release. Each is one statement for a batch, and locks its pool's row first,
-- so that per pool one thing happens at a time.

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
    if p.quota is not null or exists (select from unnest(namespaces) n where n <> p.namespace) then
        insert into ipam.held_by as h (pool_id, namespace, held)
        select p.id, u.namespace, sum(u.count) from unnest(namespaces, counts) u(namespace, count)
        where p.quota is not null or u.namespace <> p.namespace
        group by u.namespace
        on conflict (pool_id, namespace) do update set held = h.held + excluded.held;
    end if;
    if p.default_lease is not null or exists (select from ipam.term t where t.claim_uid = any(uids)) then
        return query select * from ipam.start_terms(p, uids, spec_generations);
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
    from ipam.lease l join ipam.pool p on p.id = l.pool_id left join ipam.term t on t.claim_uid = l.claim_uid
    where l.claim_uid = any(uids) and l.released_at is null
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
            and l.claim_uid = u.uid and l.released_at is null and l.ordinal = 0;
    end if;
    if details is not null then
        return query select * from ipam.change_macs(uids, spec_generations);
    end if;
end $$;

create or replace function ipam.enqueue(
    pool_namespace text, pool_name text, uids uuid[], spec_generations bigint[], namespaces text[], names text[],
    counts int[], wishes inet[], actors text[], lengths int[]
) returns void
    language plpgsql as $$
declare
    pairs boolean := pool_name like '? %' and coalesce((
        select s.dual from ipam.selector s where s.namespace = $1 and s.name = $2), false);
begin
    insert into ipam.waiting as w
        (claim_uid, pool_namespace, pool_name, namespace, name, generation, count, wanted, actor, priority, length, dual)
    select u.uid, $1, $2, u.namespace, u.name, u.generation, u.count, wishes[u.k], u.actor, coalesce(d.priority, 0),
        lengths[u.k], pairs
    from unnest(uids, spec_generations, namespaces, names, counts, actors)
        with ordinality u(uid, generation, namespace, name, count, actor, k)
    left join ipam.claim_detail d on d.claim_uid = u.uid
    where not exists (select from ipam.tombstone t where t.claim_uid = u.uid)
    order by u.k
    on conflict (claim_uid) do update set
        pool_namespace = excluded.pool_namespace, pool_name = excluded.pool_name, generation = excluded.generation,
        count = excluded.count, wanted = excluded.wanted, actor = excluded.actor,
        priority = excluded.priority, length = excluded.length, dual = excluded.dual,
        seq = case
            when w.pool_namespace = excluded.pool_namespace
                and ipam.queue_beside(w.pool_name) = ipam.queue_beside(excluded.pool_name)
            then w.seq else excluded.seq end;
end $$;

-- Whom `stock` addresses are for, of those who wait for any address. In order of the queue; whoever does not fit is
-- passed by smaller ones until those have got as many addresses as it asks for, then stands for ten minutes in which
-- nobody behind it is served, then is passed again. Who can never fit stands in nobody's way, nor does who would exceed
-- the quota of its namespace, or finds no address of the other family. Only the first hundred that do not fit are waited
-- for: others wait for them. Who asks for both families is chosen alone.
create or replace function ipam.served_next(p ipam.pool, stock bigint, full_up text[], lim int) returns uuid[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    line refcursor;
    w ipam.waiting;
    fits int := least(p.size, 2147483647);
    again boolean := false;
    looked int;
    rooms jsonb := '{}';
    room bigint;
    chosen uuid[] := '{}';
    given bigint := 0;
    skipped uuid[] := '{}';
    before bigint[] := '{}';
    most bigint;  -- that those who are passed let through; null: all of it
    refused bigint;
    stands boolean := false;
    alone boolean := false;
    barren jsonb := '{}';
    keeps boolean := exists (select from ipam.lease l where l.retained is not null);
    short text[] := '{}';  -- namespaces with claims that their quota cannot take any more
begin
    loop
        looked := 0;
        -- Read and locked one by one: most calls serve one.
        if p.selectors = '{}' then
            open line for
            select q.* from ipam.waiting q
            where q.pool_namespace = p.namespace and q.pool_name = p.name and q.wanted is null and q.count <= fits
                and q.namespace <> all(full_up)
                and (p.quota is null or q.count = 1 or q.count <= ipam.room(p, q.namespace))
            order by q.priority desc, q.seq limit lim + cardinality(chosen) for update;
        else
            open line for
            select q.* from ipam.waiting q
            where q.claim_uid = any(array(
                    select h.claim_uid from ipam.head_of_queue(p, full_up, fits, lim + cardinality(chosen)) h))
                and q.pool_name = any(ipam.queues(p)) and q.wanted is null and q.count <= fits
            order by q.priority desc, q.seq for update;
        end if;
        loop
            fetch line into w;
            exit when not found or given = stock or cardinality(chosen) = lim or not again and cardinality(skipped) = 100;
            looked := looked + 1;
            continue when again and w.claim_uid = any(chosen);
            if p.quota is not null then
                room := coalesce((rooms ->> w.namespace)::bigint, ipam.room(p, w.namespace));
                if w.count > room then
                    short := array_remove(short, w.namespace) || w.namespace;  -- once: each row is compared with all
                    continue;
                end if;
            end if;
            if w.dual then
                -- Where the other family lacks so many for one claim of a queue it does for the next.
                continue when w.count >= (barren ->> w.pool_name)::int;
                if ipam.beside(p, w) is null then
                    barren := case when keeps then barren else barren || jsonb_build_object(w.pool_name, w.count) end;
                    continue;
                end if;
            end if;
            if w.count > stock - given then
                continue when again;
                stands := w.stands_until > now();
                exit when stands;
                skipped := skipped || w.claim_uid;
                before := before || given;
                most := least(most, given + w.count - w.passed);
            elsif given + w.count > most then
                refused := w.count;
                exit;
            else
                alone := w.dual;
                exit when alone and given > 0;
                chosen := chosen || w.claim_uid;
                given := given + w.count;
                rooms := rooms || jsonb_build_object(w.namespace, room - w.count);
                exit when alone;
            end if;
        end loop;
        close line;
        -- Those that fit behind so many that do not.
        exit when again or stands or alone or refused is not null or given = stock or cardinality(chosen) = lim
            or looked < lim and cardinality(skipped) < 100;
        again := true;
        fits := least(fits, stock - given);
        full_up := full_up || short || array(select r.key from jsonb_each_text(rooms) r where r.value = '0');
    end loop;
    if given > 0 or refused is not null then
        update ipam.waiting q set
            passed = case when q.passed + given - u.before + refused > q.count then 0
                else q.passed + given - u.before end,
            stands_until = case when q.passed + given - u.before + refused > q.count then now() + interval '10 minutes' end
        from unnest(skipped, before) u(uid, before) where q.claim_uid = u.uid;
    end if;
    return chosen;
end $$;

-- Bind who waits for any prefix, as `served_next` chooses, whose sizes are in prefixes of the pool's smallest kind. Who
-- fits shows when its turn comes: what is free is in pieces.
create or replace function ipam.serve_blocks(p ipam.pool, lim int) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    unit int := (select max(l) from unnest(p.prefix_lengths) l);
    full_up text[] := ipam.full_up(p);
    macs boolean := ipam.any_macs();
    head uuid[];
    w ipam.waiting;
    served ipam.waiting[] := '{}';
    uids uuid[] := '{}';
    twins uuid[] := '{}';
    addrs inet[] := '{}';
    rooms jsonb := '{}';
    room bigint;
    its_length int;
    its_size bigint;
    given bigint := 0;
    skipped uuid[] := '{}';
    sizes bigint[] := '{}';
    before bigint[] := '{}';
    most bigint;
    refused bigint;
    stands boolean := false;
    largest int;
begin
    -- Twice, when so many do not fit that nobody looks behind them: then at those only who may fit.
    for again in 0..1 loop
        select min(f.mlen) into largest from ipam.free_range f where f.pool_id = p.id and f.mlen is not null;
        exit when largest is null or stands or refused is not null or cardinality(uids) = lim
            or again = 1 and cardinality(skipped) < 100;
        if again = 0 then
            head := array(select h.claim_uid from ipam.head_of_queue(p, full_up, null, lim) h);
        else
            head := array(
                select q.claim_uid from ipam.waiting q
                where q.pool_namespace = p.namespace and q.pool_name = any(ipam.queues(p)) and q.wanted is null
                    and coalesce(q.length, p.default_length) >= largest and q.namespace <> all(full_up)
                    and q.claim_uid <> all(skipped)
                order by q.priority desc, q.seq limit lim);
        end if;
        for w in
            select q.* from ipam.waiting q
            where q.claim_uid = any(head) and q.pool_namespace = p.namespace and q.pool_name = any(ipam.queues(p))
                and q.wanted is null
            order by q.priority desc, q.seq for update
        loop
            exit when cardinality(uids) = lim or again = 0 and cardinality(skipped) = 100;
            continue when not ipam.hands_out(p, w.length, null) or ipam.dismiss_holders(array[w.claim_uid]);
            if p.quota is not null then
                room := coalesce((rooms ->> w.namespace)::bigint, ipam.room(p, w.namespace));
                continue when w.count > room;
            end if;
            its_length := coalesce(w.length, p.default_length);
            its_size := w.count::bigint << (unit - its_length);
            if ipam.blocks_free(p.id, its_length, w.count) < w.count then
                continue when again = 1 or w.count > ipam.blocks_in(p.id, its_length);
                stands := w.stands_until > now();
                exit when stands;
                skipped := skipped || w.claim_uid;
                sizes := sizes || its_size;
                before := before || given;
                most := least(most, given + its_size - w.passed);
            elsif given + its_size > most then
                refused := its_size;
                exit;
            elsif macs and w.claim_uid = any(ipam.mac_twins(p, uids || w.claim_uid)) then
                twins := twins || w.claim_uid;
            else
                addrs := addrs || ipam.take_for(
                    p, array[w.claim_uid], array[w.namespace], array[w.name], array[w.count], null, array[its_length]);
                uids := uids || w.claim_uid;
                served := served || w;
                given := given + its_size;
                rooms := rooms || jsonb_build_object(w.namespace, room - w.count);
            end if;
        end loop;
    end loop;
    if given > 0 or refused is not null then
        update ipam.waiting q set
            passed = case when q.passed + given - u.before + refused > u.size then 0 else q.passed + given - u.before end,
            stands_until = case when q.passed + given - u.before + refused > u.size
                then now() + interval '10 minutes' end
        from unnest(skipped, sizes, before) u(uid, size, before) where q.claim_uid = u.uid;
    end if;
    if uids <> '{}' then
        delete from ipam.waiting q where q.claim_uid = any(uids);
        return query select n.* from (
            select array_agg(s.claim_uid) a, array_agg(s.generation) b, array_agg(s.namespace) c, array_agg(s.name) d,
                array_agg(s.count) e, array_agg(s.actor) f from unnest(served) s
        ) v cross join lateral (
            select * from ipam.keys_shared(v.a, v.c, v.d)
            union all
            select * from ipam.grant_leases(p, v.a, v.b, v.c, v.d, v.e, v.f, addrs)) n;
    end if;
    if twins <> '{}' then
        return query select * from ipam.twins_answers(p, ipam.set_aside(p, twins, uids));
    end if;
end $$;

-- Who holds does not wait: its place has lost a race with another pool.
create or replace function ipam.dismiss_holders(uids uuid[]) returns boolean
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    delete from ipam.waiting q where q.claim_uid = any(array(
        select l.claim_uid from ipam.lease l where l.claim_uid = any(uids) and l.released_at is null));
    return found;
end $$;

-- Bind those of whom the pool keeps as many addresses as they ask for: they take nothing from anybody, so they pass the
-- queue. Of several that are known by one key, the first.
create or replace function ipam.serve_returning(p ipam.pool, lim int) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    comers uuid[];
    sizes int[];
    lengths int[];
    twins uuid[];
    back record;
begin
    if not exists (
        select from ipam.lease l where l.pool_id = p.id and l.retained is not null and l.reusable_at > now()) then
        return;
    end if;
    select array_agg(g.claim_uid order by g.priority desc, g.seq), array_agg(g.count order by g.priority desc, g.seq),
        array_agg(g.length order by g.priority desc, g.seq)
    into comers, sizes, lengths from (
        select f.* from (
            select w.claim_uid, w.namespace, w.count, w.priority, w.seq, s.length,
                row_number() over (partition by w.namespace, k.key order by w.priority desc, w.seq) nth,
                (select count(*) from ipam.lease l
                    where l.pool_id = p.id and l.namespace = w.namespace and l.retained = k.key and l.reusable_at > now()
                        and (s.length is null or masklen(l.addr) = s.length)
                ) kept
            from ipam.waiting w cross join lateral (select ipam.key_of(w.claim_uid, w.name) key) k
            cross join lateral (select coalesce(w.length, p.default_length) length) s
            where w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p)) and w.wanted is null and not w.dual
                and w.namespace in (
                    select l.namespace from ipam.lease l where l.pool_id = p.id and l.retained is not null)) f
        where f.nth = 1 and f.count <= f.kept and (p.quota is null or f.count <= ipam.room(p, f.namespace))
        order by f.priority desc, f.seq limit lim) g;
    perform from ipam.waiting w where w.claim_uid = any(comers) order by w.claim_uid for update;
    if comers is null then
        return;
    end if;
    perform ipam.dismiss_holders(comers);
    if p.quota is not null then
        comers := comers[1:1];  -- its room is for one at a time
    end if;
    twins := ipam.mac_twins(p, comers);
    -- As they were seen: they may have turned elsewhere before they were locked.
    with gone as (
        delete from ipam.waiting w using unnest(comers, sizes, lengths) c(uid, size, length)
        where w.claim_uid = c.uid and w.count = c.size and coalesce(w.length, p.default_length) is not distinct from c.length
            and w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p)) and w.wanted is null
            and w.claim_uid <> all(twins)
        returning w.*)
    select array_agg(claim_uid) uids, array_agg(generation) generations, array_agg(namespace) namespaces,
        array_agg(name) names, array_agg(count) counts, array_agg(actor) actors,
        array_agg(coalesce(length, p.default_length)) lengths into back from gone;
    if back.uids is not null then
        return query select * from ipam.grant_leases(
            p, back.uids, back.generations, back.namespaces, back.names, back.counts, back.actors,
            ipam.take_for(p, back.uids, back.namespaces, back.names, back.counts, null, back.lengths));
    end if;
end $$;

-- Bind whoever waits, as far as addresses are there. Named wishes go before free choice. The caller holds the pool's
-- row.
create or replace function ipam.serve_waiting(p ipam.pool, lim int) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    w ipam.waiting;
    queue record;
    wishes record;
    wish inet;
    addrs inet[] := '{}';
    taken uuid[] := '{}';
    rooms jsonb := '{}';
    room bigint;
    full_up text[];
    twins uuid[] := '{}';
    stock bigint;
    left_over int := lim;
    refilled boolean;
    pairs boolean := p.selectors <> '{}' and exists (
        select from ipam.waiting q
        where q.dual and q.pool_namespace = p.namespace and q.pool_name = any(p.selectors));
    other ipam.pool;
begin
    full_up := ipam.full_up(p);
    -- Locked, because a release that names another pool or a claim that turns to one may take a place away meanwhile.
    for w in
        select q.* from ipam.waiting q
        where q.pool_namespace = p.namespace and q.pool_name = any(ipam.queues(p)) and q.wanted is not null and (
            exists (
                select from (
                    select f.lo from ipam.free_range f where f.pool_id = p.id and f.hi >= q.wanted order by f.hi limit 1
                ) f where f.lo <= q.wanted)
            or exists (
                select from ipam.lease l
                where l.pool_id = p.id and l.addr = ipam.named(p, q.length, q.wanted) and l.released_at is not null and (
                    l.reusable_at <= now() or l.namespace = q.namespace and (
                        l.retained = ipam.key_of(q.claim_uid, q.name) or exists (
                            select from ipam.memory m
                            where m.namespace = q.namespace and m.key = ipam.key_of(q.claim_uid, q.name)
                                and m.pool_namespace = p.namespace and m.pool_name = p.name
                                and m.addr = l.addr and m.generation = l.generation)))))
            and q.namespace <> all(full_up)
        order by q.priority desc, q.seq limit lim for update of q
    loop
        continue when ipam.dismiss_holders(array[w.claim_uid]);
        if p.quota is not null then
            room := coalesce((rooms ->> w.namespace)::bigint, ipam.room(p, w.namespace));
            continue when room < 1;
        end if;
        if w.claim_uid = any(ipam.mac_twins(p, taken || w.claim_uid)) then
            twins := twins || w.claim_uid;
            continue;
        end if;
        wish := ipam.named(p, w.length, w.wanted);
        if ipam.carve(p.id, wish) or ipam.carve_own(p, w.claim_uid, w.namespace, w.name, wish) then
            taken := taken || w.claim_uid;
            addrs := addrs || wish;
            rooms := rooms || jsonb_build_object(w.namespace, room - 1);
        end if;
    end loop;
    if cardinality(taken) > 0 then
        with gone as (
            delete from ipam.waiting q where q.claim_uid = any(taken)
            returning q.claim_uid, q.generation, q.namespace, q.name, q.actor)
        select array_agg(g.claim_uid order by t.k) uids, array_agg(g.generation order by t.k) generations,
            array_agg(g.namespace order by t.k) namespaces, array_agg(g.name order by t.k) names,
            array_agg(1 order by t.k) counts, array_agg(g.actor order by t.k) actors
        into wishes from gone g join unnest(taken) with ordinality t(uid, k) on t.uid = g.claim_uid;
        return query select * from ipam.grant_leases(
            p, wishes.uids, wishes.generations, wishes.namespaces, wishes.names, wishes.counts, wishes.actors, addrs);
    end if;
    if twins <> '{}' then
        return query select * from ipam.twins_answers(p, ipam.set_aside(p, twins, taken));
    end if;
    return query select * from ipam.serve_returning(p, lim);
    if pairs then
        return query select * from ipam.serve_returning_pairs(p);
    end if;
    if p.of_prefixes then
        return query select * from ipam.serve_blocks(p, lim);
        return;
    end if;
    full_up := ipam.full_up(p);
    stock := ipam.available(p, 1024);
    if stock = 0 or not exists (select from ipam.head_of_queue(p, full_up, null, 1)) then
        return;
    elsif stock = 1024 then
        stock := ipam.available(p, (
            select coalesce(sum(h.count), 0) from ipam.head_of_queue(p, full_up, null, lim) h));
    end if;
    -- Again when somebody in front could not have what was meant for it: it is left for others.
    loop
        taken := ipam.served_next(p, stock, full_up, left_over);
        continue when ipam.dismiss_holders(taken);
        twins := ipam.mac_twins(p, taken);
        if pairs then
            select b.* into other from ipam.waiting q cross join lateral ipam.beside(p, q) b
            where q.claim_uid = any(taken) and q.dual;
            if other.id is not null and twins = '{}' then
                twins := ipam.mac_twins(other, taken);
            end if;
            if other.id is not null and twins = '{}' then
                return query select * from ipam.serve_pair(p, other, taken[1]);
                exit when not found;  -- which should not be, and would be for ever
                stock := ipam.available(p, stock);
                left_over := left_over - 1;
                exit when stock = 0 or left_over <= 0;
                full_up := ipam.full_up(p);
                continue;
            end if;
        end if;
        if twins <> '{}' then
            taken := array(select t from unnest(taken) t where t <> all(twins));
            return query select * from ipam.twins_answers(p, ipam.set_aside(p, twins, taken));
        end if;
        with gone as (
            delete from ipam.waiting q where q.claim_uid = any(taken) returning q.*)
        select array_agg(claim_uid order by priority desc, seq) uids,
            array_agg(generation order by priority desc, seq) generations,
            array_agg(namespace order by priority desc, seq) namespaces, array_agg(name order by priority desc, seq) names,
            array_agg(count order by priority desc, seq) counts, array_agg(actor order by priority desc, seq) actors,
            sum(count) total
        into queue from gone;
        if queue.uids is not null then
            return query select * from ipam.keys_shared(queue.uids, queue.namespaces, queue.names);
            return query select * from ipam.grant_leases(
                p, queue.uids, queue.generations, queue.namespaces, queue.names, queue.counts, queue.actors,
                ipam.take_for(p, queue.uids, queue.namespaces, queue.names, queue.counts));
            stock := stock - queue.total;
            left_over := left_over - cardinality(queue.uids);
        end if;
        -- What cooled from its new holder was none of the stock.
        refilled := stock = 0 and queue.uids is not null and ipam.available(p, 1) > 0;
        if refilled then
            stock := ipam.available(p, queue.total);
        end if;
        exit when twins = '{}' and not refilled and not (pairs and queue.uids is not null) or stock = 0 or left_over <= 0;
        full_up := ipam.full_up(p);
    end loop;
end $$;

-- A pool's Due row, for at once.
create or replace function ipam.due_now(p ipam.pool) returns setof ipam.answer language sql immutable as $$
    select null::uuid, 'Due', null::inet[], null::bigint, null::timestamptz, p.namespace, p.name, null::bigint,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object('seconds', 0)
$$;

-- When (seconds, negative: now) the next address that somebody waits for has cooled, or who stands in the way lets
-- others pass again; no row when nobody waits.
create or replace function ipam.next_due(p ipam.pool) returns setof ipam.answer language sql stable as $$
    select null::uuid, 'Due', null::inet[], null::bigint, null::timestamptz, p.namespace, p.name, null::bigint, null::int,
        null::int, null::inet, null::inet[], jsonb_build_object('seconds', extract(epoch from due.at - now()))
    from (
        -- What has cooled in an LRU pool stays in the ledger, and is no news.
        select least(min(l.reusable_at), (
            select min(w.stands_until) from ipam.waiting w
            where w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p)) and w.stands_until > now())) at
        from ipam.lease l where l.pool_id = p.id and l.released_at is not null
            and (p.strategy <> 'LeastRecentlyUsed' or l.reusable_at >= now())
    ) due
    where due.at is not null and not p.paused and ipam.anyone_waits(p)
$$;

-- Those of `uids` that wait for any address under this name, with their places in its queue. One pass over the queue,
-- whatever the planner believes of its length: `asked` is a hash, no join.
create or replace function ipam.standing(its_namespace text, its_name text, uids uuid[])
    returns table (claim_uid uuid, namespace text, name text, generation bigint, count int, place bigint, length int)
    language sql stable as $$
    select w.claim_uid, w.namespace, w.name, w.generation, w.count, w.place, w.length from (
        select q.*, row_number() over (order by q.priority desc, q.seq) place,
            q.claim_uid in (select u.uid from unnest(uids) u(uid)) asked
        from ipam.waiting q
        where q.pool_namespace = its_namespace and q.pool_name = its_name and q.wanted is null) w
    where w.asked
$$;

-- How the claims among `uids` that wait for this pool stand.
create or replace function ipam.waiting_answers(p ipam.pool, uids uuid[]) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    stock bigint;
    facts jsonb;
begin
    if not exists (select from ipam.waiting w where w.claim_uid = any(uids)) then
        return;
    elsif p.of_prefixes then
        return query select * from ipam.waiting_for_blocks(p, uids);
        return;
    end if;
    stock := ipam.available(p, 1024);
    select jsonb_build_object('size', p.size::text, 'free', stock,
        'lo', coalesce(jsonb_agg(ipam.spelled(f.lo)), '[]'), 'hi', coalesce(jsonb_agg(ipam.spelled(f.hi)), '[]')) into facts
    from (
        select few.lo, few.hi from (
            select f.lo, f.hi from ipam.free_range f where f.pool_id = p.id order by f.hi limit 1024) few
        order by ipam.clamped_size(few.lo, few.hi) desc, few.hi limit 16) f;
    return query
    select w.claim_uid,
        case when p.paused then 'Paused' when w.count > ipam.room(p, w.namespace) then 'OverQuota'
            when w.count > stock then 'Exhausted' else 'Queued' end,
        null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation, w.place::int,
        null::int, null::inet, null::inet[],
        facts || ipam.quota_facts(p, w.namespace) || jsonb_build_object('count', w.count)
    from ipam.standing(p.namespace, p.name, uids) w;
    return query
    select w.claim_uid,
        case when p.paused then 'Paused' when home.lo is null then 'Outside'
            when ipam.room(p, w.namespace) < 1 then 'OverQuota' else 'Conflict' end,
        null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation, null::int,
        null::int, null::inet, null::inet[],
        jsonb_build_object(
            'wanted', ipam.spelled(w.wanted), 'below', ipam.spelled(below.hi), 'above', ipam.spelled(above.lo),
            'cooling', extract(epoch from l.reusable_at - now()), 'retained', l.retained is not null,
            'holder', case when l.released_at is null and l.namespace = w.namespace then l.name end)
            || ipam.quota_facts(p, w.namespace)
    from ipam.waiting w
    left join lateral (
        select r.lo from (
            select r.lo from ipam.pool_range r where r.pool_id = p.id and r.hi >= w.wanted order by r.hi limit 1) r
        where r.lo <= w.wanted) home on true
    left join lateral (
        select f.hi from ipam.free_range f where f.pool_id = p.id and f.hi < w.wanted order by f.hi desc limit 1) below
        on true
    left join lateral (
        select f.lo from ipam.free_range f where f.pool_id = p.id and f.hi > w.wanted order by f.hi limit 1) above on true
    left join ipam.lease l on l.pool_id = p.id and l.addr = w.wanted
    where w.claim_uid = any(uids) and w.wanted is not null and w.pool_name not like '%#';
end $$;

-- Claims of a pool that is not in service queue by its name. `p` null: there is no such pool.
create or replace function ipam.park(
    pool_namespace text, pool_name text, uids uuid[], spec_generations bigint[], namespaces text[], names text[],
    counts int[], wishes inet[], actors text[], lengths int[]
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    -- Against a pool that comes into service between our look and our commit: it takes the same lock.
    perform ipam.lock_pool_name(pool_namespace, pool_name);
    if exists (
        select from ipam.pool q where q.namespace = pool_namespace and q.name = pool_name and not q.retiring) then
        raise exception 'pool %/% has just come into service', pool_namespace, pool_name
            using errcode = 'serialization_failure';
    end if;
    perform ipam.enqueue(
        pool_namespace, pool_name, uids, spec_generations, namespaces, names, counts, wishes, actors, lengths);
    return query select * from ipam.not_found(pool_namespace, pool_name, uids);
end $$;

-- Why a pool is not in service; null: there is none, and nobody asked for one.
create or replace function ipam.out_of_service(its_namespace text, its_name text) returns jsonb language sql stable as $$
    select jsonb_build_object('retiring', true) from ipam.pool q where q.namespace = its_namespace and q.name = its_name
    union all
    select jsonb_build_object('reason', r.reason, 'message', r.message) from ipam.refusal r
    where r.kind = 'pool' and r.namespace = its_namespace and r.name = its_name
    limit 1
$$;

-- Why the pool that these claims wait for is not in service.
create or replace function ipam.not_found(its_namespace text, its_name text, uids uuid[])
    returns setof ipam.answer language sql stable as $$
    select w.claim_uid, 'NotFound', null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation,
        null::int, null::int, null::inet, null::inet[],
        ipam.out_of_service(its_namespace, its_name)
    from ipam.waiting w where w.claim_uid = any(uids)
$$;

create or replace function ipam.lock_pool_name(pool_namespace text, pool_name text) returns void language sql as $$
    select pg_advisory_xact_lock(hashtextextended('ipam.pool/' || pool_namespace || '/' || pool_name, 0))
$$;

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
            select l.name from ipam.claim_detail d join ipam.lease l on l.claim_uid = d.claim_uid and l.released_at is null
            where d.namespace = a.namespace and d.sticky_key = a.key and d.claim_uid <> a.uid
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

-- What tells that a later claim of the namespace is this one come again.
create or replace function ipam.key_of(uid uuid, its_name text) returns text
    language plpgsql stable as $$
begin
    return (
        select coalesce(
            (select coalesce(nullif(d.sticky_key, ''), d.mac::text) from ipam.claim_detail d where d.claim_uid = uid),
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
            cross join lateral (select ipam.key_of(u.uid, u.name) key) i
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
        return query select * from ipam.without_reservation(
            array[p.id], uids, spec_generations, namespaces, names, counts, reservations, lengths);
        keep := array(
            select i from unnest(coalesce(keep, array(select generate_subscripts(uids, 1)))) i where reservations[i] is null);
    end if;
    if exists (select from unnest(namespaces) s where s <> pool_namespace) then
        keep := coalesce(keep, array(select generate_subscripts(uids, 1)));
        strangers := array(select i from unnest(keep) i where not coalesce(ipam.lends(p, namespaces[i]), false));
        if cardinality(strangers) > 0 then
            perform e.* from (
                select array_agg(uids[i]) a, array_agg(spec_generations[i]) b, array_agg(namespaces[i]) c,
                    array_agg(names[i]) d, array_agg(counts[i]) e, array_agg(wishes[i]) f, array_agg(actors[i]) g,
                    array_agg(lengths[i]) h
                from unnest(strangers) i
            ) v cross join lateral ipam.enqueue(
                pool_namespace, ipam.strangers_queue(pool_name), v.a, v.b, v.c, v.d, v.e, v.f, v.g, v.h) e;
            return query select * from ipam.forbidden(array(select uids[i] from unnest(strangers) i));
            keep := array(select i from unnest(keep) i where i <> all(strangers));
        end if;
    end if;
    if not p.retiring and (lengths is not null or p.of_prefixes) then
        keep := coalesce(keep, array(select generate_subscripts(uids, 1)));
        misfits := array(select i from unnest(keep) i where not ipam.hands_out(p, lengths[i], wishes[i]));
        if misfits <> '{}' then
            perform e.* from (
                select array_agg(uids[i]) a, array_agg(spec_generations[i]) b, array_agg(namespaces[i]) c,
                    array_agg(names[i]) d, array_agg(counts[i]) e, array_agg(wishes[i]) f, array_agg(actors[i]) g,
                    array_agg(lengths[i]) h
                from unnest(misfits) i
            ) v cross join lateral ipam.enqueue(
                pool_namespace, ipam.misfits_queue(pool_name), v.a, v.b, v.c, v.d, v.e, v.f, v.g, v.h) e;
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

-- Serve the waiting of one pool; also tells when to come again. `tell`: the pool has come into service, gone out of it
-- or changed, so those that still wait are answered anew.
create or replace function ipam.serve(pool_namespace text, pool_name text, lim int, tell boolean)
    returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    p ipam.pool;
    other ipam.pool;
    uids uuid[];
    told text[] := '{}';
    in_service boolean;
begin
    if tell then
        -- Selectors before pools, as everybody; whoever asks by one of them meanwhile is seen afterwards.
        perform from ipam.selector s
        where s.namespace = $1 and (s.untold or s.name = any(array(
            select unnest(q.selectors) from ipam.pool q where q.namespace = $1 and q.name = $2)))
        order by s.name for no key update;
        told := array(
            select s.name from ipam.selector s
            where s.namespace = $1 and (s.untold or s.name = any(array(
                select unnest(q.selectors) from ipam.pool q where q.namespace = $1 and q.name = $2))));
        update ipam.selector s set untold = false where s.namespace = $1 and s.untold;
        perform from ipam.pool q where q.namespace = $1 and (q.name = $2 or q.selectors && told)
        order by q.id for no key update;
        update ipam.pool q set untold = false where q.namespace = $1 and q.name = $2 and q.untold;
    end if;
    if exists (
        select from ipam.pool q join ipam.waiting w on w.pool_namespace = q.namespace and w.pool_name = any(q.selectors)
        where q.namespace = $1 and q.name = $2 and w.dual) then
        -- Whoever is served from two pools: both, in order.
        perform from ipam.pool q where q.namespace = $1 and (q.name = $2 or q.selectors && array(
            select s.name from ipam.selector s join ipam.pool o on s.name = any(o.selectors)
            where s.dual and s.namespace = $1 and o.namespace = $1 and o.name = $2))
        order by q.id for no key update;
    end if;
    select * into p from ipam.pool q where q.namespace = pool_namespace and q.name = pool_name for no key update;
    in_service := p.id is not null and not p.retiring;
    if tell then
        if in_service then
            perform ipam.heed_consent(p);
            perform ipam.heed_kind(p);
        end if;
        -- Who waits aside for a pool that is not what it was asks anew.
        update ipam.waiting w set pool_name = ipam.queue_beside(w.pool_name)
        where w.pool_namespace = $1 and (
            w.pool_name = any(array(select ipam.twins_queue(t) from unnest(told) t))
            or not in_service and w.pool_name in (ipam.twins_queue($2), ipam.misfits_queue($2)));
    end if;
    if p.id is not null then
        return query select * from ipam.serve_mac_edits(p);
    end if;
    if in_service and not p.paused then
        if p.strategy <> 'LeastRecentlyUsed' then
            perform ipam.sweep(p.id, 4 * lim);
        end if;
        return query select * from ipam.serve_waiting(p, lim);
        return query select * from ipam.next_due(p);
    end if;
    if tell then
        uids := array(
            select w.claim_uid from ipam.waiting w
            where w.pool_namespace = $1 and w.pool_name = $2
                and not exists (select from ipam.lease l where l.claim_uid = w.claim_uid and l.released_at is null)
            order by w.priority desc, w.seq limit lim);
        if in_service then
            return query select * from ipam.waiting_answers(p, uids);
        else
            return query select * from ipam.not_found(pool_namespace, pool_name, uids);
        end if;
        return query select * from ipam.forbidden(array(
            select w.claim_uid from ipam.waiting w
            where w.pool_namespace = $1 and w.pool_name = ipam.strangers_queue($2) limit lim));
        if in_service then
            return query select * from ipam.misfit_answers(p, array(
                select w.claim_uid from ipam.waiting w
                where w.pool_namespace = $1 and w.pool_name = ipam.misfits_queue($2) limit lim));
        end if;
        for other in
            select q.* from ipam.pool q
            where q.namespace = $1 and q.name <> $2 and q.selectors && told and not q.paused
            order by q.priority desc, q.id
        loop
            if exists (select from ipam.waiting w where w.pool_namespace = $1 and w.pool_name = any(other.selectors)) then
                return query select * from ipam.serve_selected(other, lim);
                return query select * from ipam.next_due(other);
            end if;
        end loop;
        return query
        select a.* from ipam.selector s cross join lateral ipam.selected_answers(s, array(
            select w.claim_uid from ipam.waiting w
            where w.pool_namespace = s.namespace and w.pool_name = s.name
                and not exists (select from ipam.lease l where l.claim_uid = w.claim_uid and l.released_at is null)
            order by w.priority desc, w.seq limit lim)) a
        where s.namespace = $1 and s.name = any(told);
    end if;
end $$;

-- Those whose addresses are kept when they go. In a pool with a quota a namespace keeps no more than that.
create or replace function ipam.keepers(uids uuid[], retains boolean[]) returns uuid[] language sql stable as $$
    select coalesce(array_agg(k.claim_uid), '{}') from (
        select l.claim_uid, p.quota, sum(count(*)) over (partition by p.id, l.namespace order by l.claim_uid) + (
            select count(*) from ipam.lease r
            where r.pool_id = p.id and r.namespace = l.namespace and r.retained is not null and r.reusable_at > now()) total
        from unnest(uids, retains) u(uid, retain) left join ipam.claim_detail d on d.claim_uid = u.uid
        join ipam.lease l on l.claim_uid = u.uid and l.released_at is null join ipam.pool p on p.id = l.pool_id
        where coalesce(u.retain, d.retain)
        group by l.claim_uid, l.namespace, p.id) k
    where k.quota is null or k.total <= k.quota
$$;

-- Addresses that are kept, of one namespace's claims or (null) of all.
create or replace function ipam.retained(its_namespace text, lim int)
    returns table (namespace text, key text, name text, pool_namespace text, pool text, addr inet, until timestamptz)
    language sql stable as $$
    select k.* from (
        select l.namespace, l.retained key, l.name, p.namespace pool_namespace, p.name pool, l.addr, l.reusable_at
        from ipam.lease l join ipam.pool p on p.id = l.pool_id where l.retained is not null
        union all
        select r.namespace, r.key, r.name, r.pool_namespace, r.pool_name, r.addr, r.reusable_at from ipam.retention r) k
    where k.reusable_at > now() and k.namespace = coalesce(its_namespace, k.namespace)
    order by k.namespace, k.key, k.pool_namespace, k.pool, k.addr limit lim
$$;

-- Let an address go that is kept: it cools as any other. Whose it was; no row: it is not kept.
create or replace function ipam.end_retention(pool_namespace text, pool_name text, its_addr inet, its_actor text)
    returns table (namespace text, key text) language plpgsql as $$
declare
    p ipam.pool;
begin
    select * into p from ipam.pool q where q.namespace = pool_namespace and q.name = pool_name for no key update;
    return query
    with ended as (
        select l.namespace, l.retained from ipam.lease l
        where l.pool_id = p.id and l.addr = its_addr and l.retained is not null and l.reusable_at > now()),
    freed as (
        update ipam.lease l set retained = null, reusable_at = greatest(now(), l.released_at) + p.cool_down, act = 'F',
            actor = its_actor, reason = 'RetentionEnded'
        from ended e where l.pool_id = p.id and l.addr = its_addr),
    forgotten as (
        delete from ipam.retention r
        where r.pool_namespace = $1 and r.pool_name = $2 and r.addr = its_addr returning r.namespace, r.key)
    select e.namespace, e.retained from ended e union all select f.namespace, f.key from forgotten f;
end $$;

-- End claims: their addresses start to cool, their places in queues are free. `lease_generations[k]` null: whatever
-- claim k holds. Returns Due rows: for each pool that gets addresses back and that somebody waits for, and for each
-- whose queue can go on, because who left it stood in front. `retention`: how long addresses are kept of claims that want
-- it; null: not at all. `retains[k]`: whether claim k wants it; null: as it last said.
create or replace function ipam.release(
    pool_namespaces text[], pool_names text[], uids uuid[], lease_generations bigint[], actors text[], gone boolean,
    retention interval default null, retains boolean[] default null, its_reason text default 'Deleted'
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    pools int[];
    queues int[];
    rationed int[];
    networks int[];
    freed macaddr[];
    enders uuid[];
    keepers uuid[] := '{}';
begin
    -- The selectors' and pools' rows, so that an allocation for one of these claims is either before us or sees the
    -- tombstone.
    if exists (select from unnest(pool_names) u(name) where u.name like '? %') then
        perform from ipam.selector s join unnest(pool_namespaces, pool_names) u(namespace, name) using (namespace, name)
        order by s.namespace, s.name for no key update of s;
    end if;
    perform from ipam.pool q where q.id in (
        select q.id from ipam.pool q join unnest(pool_namespaces, pool_names) u(namespace, name)
            on q.namespace = u.namespace and (q.name = u.name or u.name = any(q.selectors))
        union
        select l.pool_id from ipam.lease l where l.claim_uid = any(uids) and l.released_at is null)
    order by q.id for no key update;
    if gone then
        insert into ipam.tombstone (claim_uid) select distinct u from unnest(uids) u on conflict do nothing;
    end if;
    if retention is not null and (true = any(retains) or exists (select from ipam.claim_detail d where d.retain)) then
        keepers := ipam.keepers(uids, retains);
    end if;
    with quit as (
        delete from ipam.waiting w where w.claim_uid = any(uids)
        returning w.pool_namespace namespace, w.pool_name name)
    select array_agg(distinct q.id) into queues from quit join ipam.pool q
        on q.namespace = quit.namespace and (q.name = quit.name or quit.name = any(q.selectors));
    with ended as (
        update ipam.lease l set released_at = greatest(now(), l.allocated_at), act = 'R', actor = u.actor, reason = its_reason,
            reusable_at = greatest(now(), l.allocated_at) + case when l.claim_uid = any(keepers) then greatest(
                q.cool_down, make_interval(secs => extract(epoch from retention)::float8)) else q.cool_down end,
            retained = case when l.claim_uid = any(keepers) then ipam.key_of(l.claim_uid, l.name) end
        from unnest(uids, lease_generations, actors) u(uid, generation, actor), ipam.pool q
        where l.claim_uid = u.uid and l.released_at is null and q.id = l.pool_id
            and (u.generation is null or u.generation = l.generation)
        returning l.*, q.namespace pool_namespace, q.name pool_name),
    remembered as (
        insert into ipam.memory as m (namespace, key, pool_namespace, pool_name, ordinal, addr, generation)
        select distinct on (e.namespace, k.key, e.pool_namespace, e.pool_name, e.ordinal)
            e.namespace, k.key, e.pool_namespace, e.pool_name, e.ordinal, e.addr, e.generation
        from ended e cross join lateral (select ipam.key_of(e.claim_uid, e.name) key) k
        order by 1, 2, 3, 4, 5, e.generation desc
        on conflict (namespace, key, pool_namespace, pool_name, ordinal) do update set
            addr = excluded.addr, generation = excluded.generation, at = excluded.at
        where m.generation < excluded.generation),
    counted as (
        update ipam.held_by h set held = h.held - e.n
        from (select d.pool_id, d.namespace, count(*) n from ended d group by d.pool_id, d.namespace) e
        where h.pool_id = e.pool_id and h.namespace = e.namespace
        returning h.pool_id)
    select array_agg(distinct pool_id), array_agg(claim_uid), (select array_agg(pool_id) from counted),
        array_agg(network_id) filter (where mac is not null), array_agg(mac) filter (where mac is not null)
    into pools, enders, rationed, networks, freed from ended;
    delete from ipam.mac_edit e where e.claim_uid = any(enders);
    if freed is not null then
        return query select * from ipam.free_macs(networks, freed);
    end if;
    update ipam.term t set since = null, expires_at = null where t.claim_uid = any(enders) and t.since is not null;
    if gone then
        delete from ipam.term t where t.claim_uid = any(uids);
        update ipam.claim_detail d set sticky_key = '' where d.claim_uid = any(uids) and d.sticky_key <> '';
    end if;
    return query
    select d.* from ipam.pool q cross join lateral ipam.next_due(q) d where q.id = any(pools);
    if queues is not null then
        return query
        select d.* from ipam.pool q cross join lateral (
            select min(head.count) count from ipam.head_of_queue(q, ipam.full_up(q), null, 100) head
            having min(head.count) is not null) small
        cross join lateral ipam.due_now(q) d
        where q.id = any(queues) and not q.paused and not q.retiring and small.count <= ipam.available(q, small.count);
    end if;
    if rationed is not null then
        return query
        select d.* from ipam.pool q cross join lateral ipam.due_now(q) d
        where q.id = any(rationed) and q.quota is not null and not q.paused and not q.retiring and ipam.anyone_waits(q);
    end if;
end $$;

-- Give claims the very addresses that they show, if each is free in their pool (all of a claim's, or none): for a
-- store that lost what the cluster remembers. `claim_addrs` are of claim `claim_of` (1-based), in order.
create or replace function ipam.adopt(
    pool_namespace text, pool_name text, uids uuid[], spec_generations bigint[], namespaces text[], names text[],
    actors text[], claim_of int[], claim_addrs inet[]
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    p ipam.pool;
    wanted inet[];
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
    for k in select generate_subscripts(uids, 1) loop
        select array_agg(a.addr order by a.i) into wanted
        from unnest(claim_of, claim_addrs) with ordinality a(claim, addr, i) where a.claim = k;
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
            select count(*) filter (
                where ipam.of_its_kind(p, a)
                    and (ipam.carve(p.id, a) or ipam.carve_own(p, uids[k], namespaces[k], names[k], a))) into carved
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
