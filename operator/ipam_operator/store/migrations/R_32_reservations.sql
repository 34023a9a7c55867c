-- Claims that take over what another one of their namespace has reserved. Callers hold the rows of the pools.

-- Why the pool gives nothing, nor lets anything be taken over: in a word; null: it does.
create or replace function ipam.closed_to(p ipam.pool, its_namespace text) returns text language plpgsql stable as $$
begin
    return case when p.paused then 'paused' when p.retiring then 'retiring'
        when p.id is not null and not coalesce(ipam.lends(p, its_namespace), false) then 'forbidden' end;
end $$;

-- The live reservation of this name in these pools. One of two pools is for its own claim only.
create or replace function ipam.reservation(pools int[], its_namespace text, its_name text)
    returns table (claim_uid uuid, pool_id int, addrs inet[], here boolean) language sql stable as $$
    select l.claim_uid, l.pool_id, array_agg(l.addr order by l.ordinal), coalesce(l.pool_id = any(pools), false)
    from ipam.term t join ipam.lease l on l.claim_uid = t.claim_uid and l.released_at is null
    where t.reserved and t.namespace = its_namespace and t.name = its_name and not exists (
        select from ipam.lease o where o.claim_uid = l.claim_uid and o.released_at is null and o.pool_id <> l.pool_id)
    group by l.claim_uid, l.pool_id
    order by 4 desc limit 1
$$;

-- Move addresses to the claims that name their reservation (null: claim k names none), where nobody sees them free. Without
-- MAC addresses: `heed_edits` comes next, and sees to those of all that hold.
-- Returns what the reserving claims are told, and Due rows.
create or replace function ipam.take_over(
    pools int[], uids uuid[], spec_generations bigint[], namespaces text[], names text[], counts int[], actors text[],
    reservations text[], lengths int[]
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    r record;
    p ipam.pool;
    k int;
    old ipam.lease;
    fence bigint;
begin
    for k in select generate_subscripts(uids, 1) loop
        continue when reservations[k] is null
            or exists (select from ipam.lease l where l.claim_uid = uids[k] and l.released_at is null)
            or exists (select from ipam.tombstone t where t.claim_uid = uids[k])
            or exists (select from ipam.term t where t.claim_uid = uids[k] and t.expired_at is not null);
        select * into r from ipam.reservation(pools, namespaces[k], reservations[k]);
        continue when r.claim_uid is null or not r.here or cardinality(r.addrs) <> counts[k];
        select * into p from ipam.pool q where q.id = r.pool_id;
        continue when ipam.closed_to(p, namespaces[k]) is not null;
        continue when masklen(r.addrs[1]) <> coalesce(lengths[k], p.default_length);
        perform ipam.heed_comparison(null);
        fence := nextval('ipam.lease_generation');
        select * into old from ipam.lease l where l.claim_uid = r.claim_uid and l.released_at is null and l.ordinal = 0;
        update ipam.lease l set released_at = greatest(now(), l.allocated_at), reusable_at = greatest(now(), l.allocated_at),
            act = 'R', actor = actors[k], reason = 'TakenOver'
        where l.claim_uid = r.claim_uid and l.released_at is null;
        delete from ipam.lease l
        where l.pool_id = p.id and l.addr = any(r.addrs) and l.claim_uid = r.claim_uid and l.released_at is not null;
        insert into ipam.lease (
            pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor, allocated_at, of_prefix,
            reason)
        select p.id, a.addr, uids[k], a.i - 1, fence, namespaces[k], names[k], actors[k],
            greatest(now(), old.allocated_at), p.of_prefixes, 'TakenOver'
        from unnest(r.addrs) with ordinality a(addr, i);
        delete from ipam.waiting w where w.claim_uid = uids[k];
        delete from ipam.mac_edit e where e.claim_uid = r.claim_uid;
        update ipam.term t set since = null, expires_at = null, expired_at = now(), taken_by = names[k]
        where t.claim_uid = r.claim_uid;
        perform ipam.start_terms(p, array[uids[k]], array[spec_generations[k]]);
        return query
        select e.claim_uid, e.outcome, e.addrs, e.generation, e.allocated_at, old.namespace, old.name, t.spec_generation,
            e.queue_position, e.prefix_length, e.gateway, e.dns_servers, e.info
        from ipam.expired(array[r.claim_uid]) e join ipam.term t on t.claim_uid = e.claim_uid;
        if old.mac is not null then
            return query select * from ipam.free_macs(array[old.network_id], array[old.mac]);
        end if;
    end loop;
end $$;

-- What those are told that name a reservation which they could not take over.
create or replace function ipam.without_reservation(
    pools int[], refused uuid[], uids uuid[], spec_generations bigint[], namespaces text[], names text[],
    reservations text[], lengths int[]
) returns setof ipam.answer language sql stable as $$
    select u.uid, 'Unreserved', null::inet[], null::bigint, null::timestamptz, u.namespace, u.name, u.generation,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object(
            'reservation', u.reservation, 'found', r.claim_uid is not null, 'here', r.here, 'holds', cardinality(r.addrs),
            'holdsLength', case when p.of_prefixes then masklen(r.addrs[1]) end,
            'length', coalesce(u.length, p.default_length), 'closed', ipam.closed_to(p, u.namespace))
    from unnest(uids, spec_generations, namespaces, names, reservations, lengths)
        u(uid, generation, namespace, name, reservation, length)
    left join lateral ipam.reservation(pools, u.namespace, u.reservation) r on true
    left join ipam.pool p on p.id = r.pool_id
    where u.uid = any(refused)
$$;

-- Those of `uids` that name a reservation and hold nothing, less those that come again to what they had taken over, which
-- they are given like anybody.
create or replace function ipam.to_refuse(
    pools int[], uids uuid[], namespaces text[], names text[], reservations text[]
) returns uuid[] language plpgsql as $$
begin
    return array(
        select u.uid from unnest(uids, namespaces, names, reservations) u(uid, namespace, name, reservation)
        where u.reservation is not null and u.uid not in (select a.claim_uid from ipam.answered(uids) a)
            and not exists (
                select from ipam.pool p
                where p.id = any(pools) and ipam.may_return(p, u.namespace, ipam.key_of(u.uid, u.name))));
end $$;

-- Who names a reservation waits for no address. Returns Due rows: somebody may have stood behind them.
create or replace function ipam.leave_queues(uids uuid[]) returns setof ipam.answer language plpgsql as $$
begin
    return query
    with quit as (
        delete from ipam.waiting w where w.claim_uid = any(uids)
        returning w.pool_namespace namespace, w.pool_name name)
    select d.* from ipam.pool p cross join lateral ipam.due_now(p) d
    where not p.paused and not p.retiring and exists (
        select from quit q where q.namespace = p.namespace and (q.name = p.name or q.name = any(p.selectors)));
end $$;
