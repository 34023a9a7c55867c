-- The end of claims, and what is kept of them.

-- Those whose addresses are kept when they go. In a pool with a quota a namespace keeps no more than that.
create or replace function ipam.keepers(uids uuid[], retains boolean[]) returns uuid[] language sql stable as $$
    with k as (
        select l.claim_uid, p.quota, sum(count(*)) over (partition by p.id, l.namespace order by l.claim_uid) + (
            select count(*) from ipam.lease r
            where r.pool_id = p.id and r.namespace = l.namespace and r.retained is not null and r.reusable_at > now()) total
        from unnest(uids, retains) u(uid, retain) left join ipam.claim_detail d on d.claim_uid = u.uid
        join ipam.lease l on l.claim_uid = any(uids) and l.claim_uid = u.uid and l.released_at is null
        join ipam.pool p on p.id = l.pool_id
        where coalesce(u.retain, d.retain)
        group by l.claim_uid, l.namespace, p.id)
    select array(select k.claim_uid from k group by k.claim_uid having bool_and(k.quota is null or k.total <= k.quota))
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

-- Somebody asks to delete a claim, which is there and not being deleted yet. Whoever asked longer ago than a request may take
-- (a minute, the API server's default) was refused, then.
create or replace function ipam.note_deletion(its_uid uuid, its_actor text) returns void language sql as $$
    -- In one order: of two who find one another's old request, neither waits for the other.
    select from ipam.deletion d where d.claim_uid = its_uid order by d.actor for update;
    delete from ipam.deletion d
    where d.claim_uid = its_uid and d.actor <> its_actor and d.at < now() - interval '1 minute';
    insert into ipam.deletion (claim_uid, actor) values (its_uid, its_actor)
    on conflict on constraint deletion_pkey do update set at = excluded.at;
$$;

-- Who has deleted claims that are gone: `actors[k]`, unless that is unknown: then the only one who asked for it lately, if
-- there is one alone. Lately, because of those who ask while the API server cannot tell us we do not know.
create or replace function ipam.deleters(uids uuid[], actors text[]) returns text[] language sql as $$
    with asked as (delete from ipam.deletion d where d.claim_uid = any(uids) returning d.*)
    select array_agg(case u.actor when 'unknown' then coalesce(o.actor, u.actor) else u.actor end order by u.k)
    from unnest(uids, actors) with ordinality u(uid, actor, k) left join (
        select a.claim_uid, min(a.actor) actor from asked a where a.at > now() - interval '5 minutes'
        group by a.claim_uid having count(*) = 1) o on o.claim_uid = u.uid
$$;

-- End claims: their addresses start to cool, their places in queues are free. `lease_generations[k]` null: whatever
-- claim k holds. Returns Due rows: for each pool that gets addresses back and that somebody waits for, and for each
-- whose queue can go on, because who left it stood in front. `retention`: how long addresses are kept of claims that want
-- it; null: not at all. `retains[k]`: whether claim k wants it; null: as it last said. `spared[k]`: how many of its
-- addresses claim k goes on holding; null: none of any claim.
create or replace function ipam.release(
    pool_namespaces text[], pool_names text[], uids uuid[], lease_generations bigint[], actors text[], gone boolean,
    retention interval default null, retains boolean[] default null, its_reason text default 'Deleted',
    spared int[] default null
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
    -- A restore brings tombstones and leases of its own still, and no trigger would write down what ends.
    if not ipam.is_whole() then
        raise exception 'the store is being restored: nothing is released before that is done' using errcode = 'IPAM1';
    end if;
    -- The selectors' and pools' rows, so that an allocation for one of these claims is either before us or sees the
    -- tombstone.
    if exists (select from unnest(pool_names) u(name) where u.name like '? %') then
        -- A selector that we do not see yet is made by a claim that we are about to meet.
        perform pg_advisory_xact_lock(hashtextextended('ipam.selectors/' || new.namespace, 0)) from (
            select distinct u.namespace from unnest(pool_namespaces, pool_names) u(namespace, name)
            where u.name like '? %' and not exists (
                select from ipam.selector s where s.namespace = u.namespace and s.name = u.name)
            order by u.namespace) new;
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
        if exists (select from ipam.deletion d where d.claim_uid = any(uids)) then
            actors := ipam.deleters(uids, actors);
        end if;
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
        from unnest(uids, lease_generations, actors, spared) u(uid, generation, actor, spared), ipam.pool q
        -- any(), here and elsewhere: who made its plan while the ledger was empty would go through all leases for each claim.
        where l.claim_uid = any(uids) and l.claim_uid = u.uid and l.released_at is null and q.id = l.pool_id
            and (u.generation is null or u.generation = l.generation) and (u.spared is null or l.ordinal >= u.spared)
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
    select array_agg(distinct pool_id), array_agg(claim_uid) filter (where spared is null), (select array_agg(pool_id) from counted),
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
