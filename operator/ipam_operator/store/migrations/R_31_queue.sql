-- Who waits, and who is served when. Callers hold the pool's row.

-- Into the queue of this name all of these claims, or the `chosen` ones by their places in `uids`.
create or replace function ipam.enqueue(
    pool_namespace text, pool_name text, uids uuid[], spec_generations bigint[], namespaces text[], names text[],
    counts int[], wishes inet[], actors text[], lengths int[], chosen int[] default null
) returns void
    language plpgsql as $$
declare
    pairs boolean := pool_name like '? %' and coalesce((
        select s.dual from ipam.selector s where s.namespace = $1 and s.name = $2), false);
begin
    insert into ipam.waiting as w
        (claim_uid, pool_namespace, pool_name, namespace, name, generation, count, wanted, actor, priority, length, dual, key)
    select u.uid, $1, $2, u.namespace, u.name, u.generation, u.count, wishes[u.k], u.actor, coalesce(d.priority, 0),
        lengths[u.k], pairs, ipam.identity_key(d.sticky_key, d.mac, u.name)
    from unnest(uids, spec_generations, namespaces, names, counts, actors)
        with ordinality u(uid, generation, namespace, name, count, actor, k)
    left join ipam.claim_detail d on d.claim_uid = u.uid
    where (chosen is null or u.k = any(chosen)) and not exists (select from ipam.tombstone t where t.claim_uid = u.uid)
    order by u.k
    on conflict (claim_uid) do update set
        pool_namespace = excluded.pool_namespace, pool_name = excluded.pool_name, generation = excluded.generation,
        count = excluded.count, wanted = excluded.wanted, actor = excluded.actor,
        priority = excluded.priority, length = excluded.length, dual = excluded.dual, key = excluded.key,
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
    keeps boolean;  -- whether anything is kept for anybody: then one claim may find what another one lacks
    short text[] := '{}';  -- namespaces with claims that their quota cannot take any more
    barred text;
    lacking uuid[] := '{}';
begin
    -- Where the smallest of those who ask for both families lacks the other one, none of its queue is looked at. What its
    -- first asks for is left free for ten minutes whenever others have got more than that.
    for barred in
        select distinct q.pool_name from ipam.waiting q
        where q.dual and q.pool_namespace = p.namespace and q.pool_name = any(p.selectors)
    loop
        select q.* into w from ipam.waiting q
        where q.dual and q.pool_namespace = p.namespace and q.pool_name = barred order by q.count, q.seq limit 1;
        if ipam.beside(p, w) is null then
            p.selectors := array_remove(p.selectors, barred);
            select q.* into w from ipam.waiting q
            where q.dual and q.pool_namespace = p.namespace and q.pool_name = barred
            order by q.priority desc, q.seq limit 1 for update;
            if w.stands_until > now() then
                stock := greatest(stock - w.count, 0);
            else
                lacking := lacking || w.claim_uid;
            end if;
        end if;
    end loop;
    loop
        looked := 0;
        -- Read and locked one by one: most calls serve one.
        if p.selectors = '{}' and p.quota is null then
            open line for
            select q.* from ipam.waiting q
            where q.pool_namespace = p.namespace and q.pool_name = p.name and q.wanted is null and q.count <= fits
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
                    keeps := coalesce(keeps, exists (select from ipam.lease l where l.retained is not null));
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
    if given > 0 and lacking <> '{}' then
        update ipam.waiting q set
            passed = case when q.passed + given > q.count then 0 else q.passed + given end,
            stands_until = case when q.passed + given > q.count then now() + interval '10 minutes' end
        where q.claim_uid = any(lacking);
    end if;
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
    -- Twice, when so many do not fit that nobody looks behind them: then at those only who fit.
    for again in 0..1 loop
        select min(f.mlen) into largest from ipam.free_range f where f.pool_id = p.id and f.mlen is not null;
        exit when largest is null or stands or refused is not null or cardinality(uids) = lim
            or again = 1 and cardinality(skipped) < 100 and cardinality(head) < lim;
        if again = 0 then
            head := array(select h.claim_uid from ipam.head_of_queue(p, full_up, null, lim) h);
        else
            head := array(
                with queue as materialized (
                    select q.claim_uid, q.priority, q.seq, q.count, coalesce(q.length, p.default_length) length
                    from ipam.waiting q
                    where q.pool_namespace = p.namespace and q.pool_name = any(ipam.queues(p)) and q.wanted is null
                        and q.namespace <> all(full_up) and q.claim_uid <> all(skipped)),
                fits as materialized (
                    select f.* from (select distinct q.length, q.count from queue q where q.length >= largest) f
                    where f.count <= ipam.blocks_free(p.id, f.length, f.count))
                select q.claim_uid from queue q join fits f on f.length = q.length and f.count = q.count
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

-- Those who wait for any address and of whom the pool keeps some. Whichever are fewer are looked through: what is kept,
-- or who waits.
create or replace function ipam.comers(p ipam.pool) returns setof ipam.waiting
    language plpgsql stable rows 10 set plan_cache_mode = force_generic_plan as $$
declare
    spaces text[];
    keys text[];
begin
    select array_agg(k.namespace), array_agg(k.retained) into spaces, keys from (
        select l.namespace, l.retained from ipam.lease l where l.pool_id = p.id and l.retained is not null limit 1001) k;
    if cardinality(keys) <= 1000 then
        return query
        select w.* from (select distinct k.* from unnest(spaces, keys) k(namespace, key)) k
        cross join unnest(ipam.queues(p)) q(name)
        join lateral (
            select w.* from ipam.waiting w
            where w.pool_namespace = p.namespace and w.pool_name = q.name and w.wanted is null
                and w.namespace = k.namespace and w.key = k.key
            offset 0) w on true;
    else
        return query
        select w.* from ipam.waiting w
        where w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p)) and w.wanted is null and exists (
            select from ipam.lease l where l.pool_id = p.id and l.namespace = w.namespace and l.retained = w.key);
    end if;
end $$;

-- How many addresses, or prefixes of the length that it asks for, the pool keeps for this claim.
create or replace function ipam.kept(p ipam.pool, w ipam.waiting) returns bigint
    language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
    length int := coalesce(w.length, p.default_length);
begin
    return (
        select count(*) from ipam.lease l
        where l.pool_id = p.id and l.namespace = w.namespace and l.retained = w.key and l.reusable_at > now()
            and (length is null or masklen(l.addr) = length));
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
            select w.claim_uid, w.namespace, w.count, w.priority, w.seq, coalesce(w.length, p.default_length) length,
                row_number() over (partition by w.namespace, w.key order by w.priority desc, w.seq) nth,
                ipam.kept(p, w) kept
            from ipam.comers(p) w where not w.dual) f
        where f.nth = 1 and f.count <= f.kept and (p.quota is null or f.count <= ipam.room(p, f.namespace))
        order by f.priority desc, f.seq limit lim) g;
    perform from ipam.waiting w where w.claim_uid = any(comers) order by w.claim_uid for update;
    if comers is null then
        return;
    end if;
    perform ipam.dismiss_holders(comers);
    if p.quota is not null and cardinality(comers) > 1 then
        comers := comers[1:1];  -- its room is for one at a time
        return query select * from ipam.due_now(p);
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

-- Whether an address that is released may go to who names it: it has cooled, or cools from it or is kept for it.
create or replace function ipam.cools_for(p ipam.pool, l ipam.lease, w ipam.waiting) returns boolean
    language sql stable as $$
    select l.reusable_at <= now() or l.namespace = w.namespace and (
        l.retained = w.key or exists (
            select from ipam.memory m
            where m.namespace = w.namespace and m.key = w.key and m.pool_namespace = p.namespace and m.pool_name = p.name
                and m.addr = l.addr and m.generation = l.generation))
$$;

-- Those whose named address is free, or cools from them or is kept for them. Whichever are fewer are looked through: who
-- names one, or what is free or cools.
create or replace function ipam.wishes_due(p ipam.pool, full_up text[]) returns uuid[]
    language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
    most constant int := 1000;
    wishes int := (
        select count(*) from (
            select from ipam.waiting w
            where w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p)) and w.wanted is not null
            limit most) few);
    pieces int := case when wishes < 10 then wishes else (
        select count(*) from (
            (select from ipam.free_range f where f.pool_id = p.id limit wishes)
            union all (select from ipam.lease l where l.pool_id = p.id and l.released_at is not null limit wishes)) few) end;
begin
    if wishes = 0 then
        return '{}';
    elsif pieces < wishes then
        return array(
            select w.claim_uid from unnest(ipam.queues(p)) q(name)
            cross join ipam.free_range f
            join lateral (
                select w.claim_uid, w.namespace from ipam.waiting w
                where w.pool_namespace = p.namespace and w.pool_name = q.name and w.wanted between f.lo and f.hi
                offset 0) w on true
            where f.pool_id = p.id and w.namespace <> all(full_up)
            union
            select w.claim_uid from unnest(ipam.queues(p)) q(name)
            cross join ipam.lease l
            join lateral (
                select w.* from ipam.waiting w
                where w.pool_namespace = p.namespace and w.pool_name = q.name and w.wanted = ipam.low(l.addr)
                offset 0) w on true
            where l.pool_id = p.id and l.released_at is not null and w.namespace <> all(full_up)
                and l.addr = ipam.named(p, w.length, w.wanted) and ipam.cools_for(p, l, w));
    end if;
    return array(
        select w.claim_uid from ipam.waiting w
        where w.pool_namespace = p.namespace and w.pool_name = any(ipam.queues(p)) and w.wanted is not null
            and w.namespace <> all(full_up) and (
                exists (
                    select from (
                        select f.lo from ipam.free_range f where f.pool_id = p.id and f.hi >= w.wanted order by f.hi limit 1
                    ) f where f.lo <= w.wanted)
                or exists (
                    select from ipam.lease l
                    where l.pool_id = p.id and l.addr = ipam.named(p, w.length, w.wanted) and l.released_at is not null
                        and ipam.cools_for(p, l, w))));
end $$;

-- Bind whoever waits, as far as addresses are there. Named wishes go before free choice. The caller holds the pool's
-- row.
create or replace function ipam.serve_waiting(p ipam.pool, lim int) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    w ipam.waiting;
    queue record;
    due uuid[];
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
    pair boolean;
    other ipam.pool;
    taken_in ipam.pool;  -- whose network has the MAC address
    aside uuid[] := '{}';
begin
    full_up := ipam.full_up(p);
    due := ipam.wishes_due(p, full_up);
    -- Locked, because a release that names another pool or a claim that turns to one may take a place away meanwhile.
    for w in
        select q.* from ipam.waiting q
        where q.claim_uid = any(due) and q.pool_namespace = p.namespace
            and q.pool_name = any(ipam.queues(p)) and q.wanted is not null
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
        taken_in := p;
        if pairs then
            select b.* into other from ipam.waiting q cross join lateral ipam.beside(p, q) b
            where q.claim_uid = any(taken) and q.dual;
            pair := found;
            exit when pair and other.id is null;  -- one of its pools has just changed hands: `serve` looks again
            if pair and twins = '{}' then
                twins := ipam.mac_twins(other, taken);
                taken_in := other;
            end if;
            if pair and twins = '{}' then
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
            if taken_in.id = p.id then
                aside := aside || ipam.set_aside(p, twins, taken);
            else
                return query select * from ipam.twins_answers(taken_in, ipam.set_aside(p, twins, taken));
            end if;
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
    return query select * from ipam.twins_answers(p, aside);
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
        where s.namespace = $1 and (s.untold is not null or s.name = any(array(
            select unnest(q.selectors) from ipam.pool q where q.namespace = $1 and q.name = $2)))
        order by s.name for no key update;
        told := array(
            select s.name from ipam.selector s
            where s.namespace = $1 and (s.untold is not null or s.name = any(array(
                select unnest(q.selectors) from ipam.pool q where q.namespace = $1 and q.name = $2))));
        perform from ipam.pool q where q.namespace = $1 and (q.name = $2 or q.selectors && told)
        order by q.id for no key update;
        return query select * from ipam.untold($1, $2, told);
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
