-- Claims for addresses of both families, out of one pool for each.

-- The pool of the other family that serves this claim beside `p`: of those that can, the one that it had, then the one of
-- the highest priority; and `p` has to be that of its own family. Null: there is none now, or others are at it: whoever
-- has looked for all pools in order finds it (`serve`).
create or replace function ipam.beside(p ipam.pool, w ipam.waiting) returns ipam.pool
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    own int := (select family(n.cidr) from ipam.network n where n.id = p.network_id);
    q record;
    mine boolean := false;
    chosen ipam.pool;
begin
    for q in
        select o pool, family(n.cidr) family from ipam.pool o join ipam.network n on n.id = o.network_id
        where o.namespace = w.pool_namespace and w.pool_name = any(o.selectors) and not o.paused and not o.retiring
        order by ipam.may_return(o, w.namespace, w.key) desc, o.priority desc
    loop
        continue when w.count > coalesce(ipam.room(q.pool, w.namespace), w.count)
            or case when q.family = own then mine else chosen.id is not null end;
        if (q.pool).id <> p.id then
            perform from ipam.pool o where o.id = (q.pool).id for no key update skip locked;
            continue when not found;
            if (q.pool).strategy <> 'LeastRecentlyUsed' then
                perform ipam.sweep((q.pool).id, 64 + 2 * w.count);
            end if;
            continue when w.count > ipam.available(q.pool, w.count) + ipam.kept(q.pool, w);
        end if;
        if q.family <> own then
            chosen := q.pool;
        elsif (q.pool).id <> p.id then
            return null;
        else
            mine := true;
        end if;
    end loop;
    return chosen;
end $$;

-- Of a claim that gets addresses of two pools those of this one.
create or replace function ipam.grant_part(p ipam.pool, w ipam.waiting, addrs inet[], beside boolean)
    returns setof ipam.answer language plpgsql as $$
begin
    return query
    select n.* from ipam.grant_leases(
        p, array[w.claim_uid], array[w.generation], array[w.namespace], array[w.name], array[w.count], array[w.actor],
        addrs, beside) a
    cross join lateral ipam.of_pool(a, p.name) n;
end $$;

-- Bind a claim for both families, out of `p` and the pool beside it; no row, and nothing taken, when they have too few.
create or replace function ipam.serve_pair(p ipam.pool, other ipam.pool, uid uuid) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    w ipam.waiting;
    pools ipam.pool[] := array(
        select q from ipam.pool q join ipam.network n on n.id = q.network_id
        where q.id in (p.id, other.id) order by family(n.cidr));
    addrs inet[];
    others inet[];
begin
    select * into w from ipam.waiting q where q.claim_uid = uid;
    begin
        addrs := ipam.take_for(pools[1], array[uid], array[w.namespace], array[w.name], array[w.count]);
        others := ipam.take_for(pools[2], array[uid], array[w.namespace], array[w.name], array[w.count]);
        if addrs is null or others is null then
            raise exception using errcode = 'P0001';  -- undoes what one of them has given
        end if;
    exception when raise_exception then
        return;
    end;
    delete from ipam.waiting q where q.claim_uid = uid;
    return query
    select * from ipam.keys_shared(array[uid], array[w.namespace], array[w.name])
    union all
    select * from ipam.grant_part(pools[1], w, addrs, false)
    union all
    select * from ipam.grant_part(pools[2], w, others, true);
end $$;

-- `serve_returning` for those who ask for both families.
create or replace function ipam.serve_returning_pairs(p ipam.pool) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    w ipam.waiting;
    other ipam.pool;
begin
    for w in
        select q.* from ipam.waiting q
        where q.claim_uid = any(array(select c.claim_uid from ipam.comers(p) c where c.dual))
            and q.dual and q.pool_namespace = p.namespace and q.pool_name = any(p.selectors)
        order by q.priority desc, q.seq for update
    loop
        continue when ipam.kept(p, w) < w.count or w.count > ipam.room(p, w.namespace)
            or ipam.dismiss_holders(array[w.claim_uid]) or ipam.mac_twins(p, array[w.claim_uid]) <> '{}';
        other := ipam.beside(p, w);
        continue when other.id is null or ipam.mac_twins(other, array[w.claim_uid]) <> '{}';
        return query select * from ipam.serve_pair(p, other, w.claim_uid);
    end loop;
end $$;

-- Who waits for both families is served by `serve`, which has the rows of all pools in order.
create or replace function ipam.due_for_pairs(p ipam.pool) returns setof ipam.answer language sql stable as $$
    select d.* from ipam.due_now(p) d
    where p.selectors <> '{}' and not p.paused and exists (
        select from ipam.waiting q where q.dual and q.pool_namespace = p.namespace and q.pool_name = any(p.selectors))
        and ipam.available(p, 1) > 0
$$;
