-- Leases that are renewed while the object of spec.resourceRef exists, by whoever has seen it.

-- Leases of which less than half is left, the first to end first. A reservation is none: it is to be confirmed.
create or replace function ipam.renewable(lim int)
    returns table (claim_uid uuid, generation bigint, namespace text, name text, resource text, expires_at timestamptz)
    language sql stable as $$
    select d.claim_uid, l.generation, l.namespace, l.name, d.resource, t.expires_at
    from ipam.claim_detail d join ipam.term t on t.claim_uid = d.claim_uid
    join ipam.lease l on l.claim_uid = d.claim_uid and l.released_at is null and l.ordinal = 0
    where d.auto_renew and not t.reserved and t.expires_at - now() < (t.expires_at - t.since) / 2
    order by t.expires_at limit lim
$$;

-- Begin the terms of these leases anew, as far as they are the very ones (`lease_generations`) and are to be renewed still.
-- No row of history: a change is what somebody asks for. Returns what their claims are told.
create or replace function ipam.renew(uids uuid[], lease_generations bigint[]) returns setof ipam.answer
    language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    renewed uuid[];
begin
    -- As everybody: first the pools' rows. Whose lease has ended before us holds nothing.
    perform from ipam.pool q where q.id in (
        select l.pool_id from ipam.lease l where l.claim_uid = any(uids) and l.released_at is null)
    order by q.id for no key update;
    with begun as (
        update ipam.term t set since = now(), expires_at = now() + ipam.least_term(l.claim_uid, t.lease)
        from unnest(uids, lease_generations) u(uid, generation)
        join ipam.claim_detail d on d.claim_uid = u.uid and d.auto_renew
        join ipam.lease l on l.claim_uid = any(uids) and l.claim_uid = u.uid and l.generation = u.generation
            and l.released_at is null and l.ordinal = 0
        where t.claim_uid = u.uid and t.expires_at is not null and not t.reserved
        returning t.claim_uid)
    select array_agg(claim_uid) into renewed from begun;
    return query
    select h.claim_uid, h.outcome, h.addrs, h.generation, h.allocated_at, h.namespace, h.name, t.spec_generation,
        h.queue_position, h.prefix_length, h.gateway, h.dns_servers, h.info
    from ipam.held(renewed) h join ipam.term t on t.claim_uid = h.claim_uid;
end $$;
