-- One claim for each MAC address in a network. The ledger's key forbids a second one; these functions keep batches from
-- running into it, and let whoever came second wait beside its queue until the first lets go.

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

-- Where those wait whose MAC address another claim has.
create or replace function ipam.twins_queue(pool_name text) returns text language sql immutable as $$
    select pool_name || '#'
$$;

-- Those of `uids`, in their order, whose MAC address another live claim of the network has, or one before them here.
create or replace function ipam.mac_twins(p ipam.pool, uids uuid[]) returns uuid[]
    language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
    if not ipam.any_macs() then
        return '{}';
    end if;
    -- Pools of one network are served side by side.
    perform pg_advisory_xact_lock(one.key) from (
        select distinct hashtextextended('ipam.mac/' || p.network_id || '/' || d.mac, 0) key from ipam.claim_detail d
        where d.claim_uid = any(uids) and d.mac is not null order by 1) one;
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

-- The answers to such claims, which wait aside. `p`: the pool that could not serve them.
create or replace function ipam.mac_answers(p ipam.pool, uids uuid[]) returns setof ipam.answer language sql stable as $$
    select w.claim_uid, 'MacConflict', null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation,
        null::int, null::int, null::inet, null::inet[], jsonb_build_object('mac', d.mac, 'holder', (
            select l.name from ipam.lease l
            where l.network_id = p.network_id and l.mac = d.mac and l.released_at is null and l.namespace = w.namespace))
    from ipam.waiting w join ipam.claim_detail d on d.claim_uid = w.claim_uid where w.claim_uid = any(uids)
$$;

-- Bring the MAC addresses of claims that hold to what they say now, where nobody else has them. Who cannot have it keeps
-- what it had, and waits aside.
create or replace function ipam.change_macs(uids uuid[], spec_generations bigint[]) returns void
    language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    changed record;
    freed macaddr[] := '{}';
begin
    if not ipam.any_macs() and not exists (
        select from ipam.lease l where l.mac is not null and l.released_at is null) then
        return;
    end if;
    for changed in
        select l.claim_uid, l.mac old, d.mac, p pool, d.namespace, l.name, l.actor,
            spec_generations[array_position(uids, l.claim_uid)] generation
        from ipam.lease l join ipam.claim_detail d on d.claim_uid = l.claim_uid join ipam.pool p on p.id = l.pool_id
        where l.claim_uid = any(uids) and l.released_at is null and l.ordinal = 0 and l.mac is distinct from d.mac
        order by l.claim_uid
    loop
        if ipam.mac_twins(changed.pool, array[changed.claim_uid]) = '{}' then
            update ipam.lease l set mac = changed.mac, network_id = (changed.pool).network_id, act = 'C'
            where l.claim_uid = changed.claim_uid and l.released_at is null;
            delete from ipam.waiting w where w.claim_uid = changed.claim_uid;
            freed := freed || changed.old;
        else
            insert into ipam.waiting (claim_uid, pool_namespace, pool_name, namespace, name, generation, count, actor)
            values (changed.claim_uid, (changed.pool).namespace, ipam.twins_queue((changed.pool).name), changed.namespace,
                changed.name, changed.generation, 1, changed.actor)
            on conflict (claim_uid) do nothing;
        end if;
    end loop;
    perform ipam.free_macs(freed);
end $$;

-- Who waited for these MAC addresses goes back to its queue. Returns the pools that may serve them.
create or replace function ipam.free_macs(freed macaddr[]) returns int[] language sql as $$
    with back as (
        update ipam.waiting w set pool_name = left(w.pool_name, -1) from ipam.claim_detail d
        where d.mac = any(freed) and w.claim_uid = d.claim_uid and w.pool_name like '%#'
        returning w.pool_namespace namespace, w.pool_name name)
    select array_agg(distinct p.id) from back b
    join ipam.pool p on p.namespace = b.namespace and (p.name = b.name or b.name = any(p.selectors))
$$;
