-- Claims whose spec was changed under a lease. A rule of the CRD refuses that; where it is off, or the CRD is an old one, a
-- claim never holds other than it asks for, and never twice.

-- End what those among `uids` hold whose spec was edited (`edits`) and asks for something else now. What it asks for by
-- labels is left alone: pools change theirs. Returns Due rows. Callers have the selector's row, if any, and no pool's.
create or replace function ipam.end_misheld(
    its_namespace text, its_name text, uids uuid[], counts int[], wishes inet[], lengths int[], edits boolean[],
    actors text[]
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    p ipam.pool;
    s ipam.selector;
    ended record;
begin
    perform from ipam.pool q
    where q.namespace = its_namespace and (q.name = its_name or its_name = any(q.selectors))
        or q.id in (select l.pool_id from ipam.lease l where l.claim_uid = any(uids) and l.released_at is null)
    order by q.id for no key update;
    select * into p from ipam.pool q where q.namespace = its_namespace and q.name = its_name and not q.retiring;
    select * into s from ipam.selector q where q.namespace = its_namespace and q.name = its_name;
    select array_agg(u.uid) uids, array_agg(u.actor) actors into ended
    from unnest(uids, counts, edits, actors) with ordinality u(uid, count, edit, actor, k)
    cross join lateral (
        select count(*) addresses, bool_or(l.pool_id <> p.id) elsewhere, bool_or(l.of_prefix) prefixes,
            min(ipam.low(l.addr)) addr, min(masklen(l.addr)) length, min(family(l.addr)) family
        from ipam.lease l where l.claim_uid = u.uid and l.released_at is null) h
    where u.edit and h.addresses > 0 and (
        h.elsewhere or h.addresses <> u.count * case when s.dual then 2 else 1 end or h.addr <> wishes[u.k]
        or not h.prefixes and lengths[u.k] is not null or h.prefixes and h.length <> lengths[u.k]
        or h.prefixes and s.name is not null and s.length is null or h.family <> s.family);
    if ended.uids is not null then
        return query select * from ipam.release('{}', '{}', ended.uids, null, ended.actors, false, its_reason => 'Replaced');
    end if;
end $$;
