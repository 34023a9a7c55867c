-- Claims whose spec was changed under a lease. A rule of the CRD refuses that; where it is off, or the CRD is an old one, a
-- claim never holds other than it asks for, and never twice.

-- End what those among `uids` hold whose spec was edited (`edits`) and asks for something else now; of those that only ask
-- for fewer addresses, what is too much. What it asks for by
-- labels is left alone: pools change theirs. Returns Due rows. Callers have the selector's row, if any, and no pool's.
create or replace function ipam.end_misheld(
    its_namespace text, its_name text, uids uuid[], counts int[], wishes inet[], lengths int[], edits boolean[],
    actors text[]
) returns setof ipam.answer language plpgsql set plan_cache_mode = force_generic_plan as $$
declare
    s ipam.selector;
    ended record;
begin
    perform from ipam.pool q
    where q.namespace = its_namespace and (q.name = its_name or its_name = any(q.selectors))
        or q.id in (select l.pool_id from ipam.lease l where l.claim_uid = any(uids) and l.released_at is null)
    order by q.id for no key update;
    select * into s from ipam.selector q where q.namespace = its_namespace and q.name = its_name;
    with judged as (
        select u.uid, u.actor, u.count, surplus, h.elsewhere or h.addr <> wishes[u.k] or surplus and wishes[u.k] is not null
            or case when s.dual then h.four <> u.count or h.addresses <> 2 * u.count
                else h.addresses < u.count or h.four not in (0, h.addresses) or h.family <> s.family end
            or not h.prefixes and lengths[u.k] is not null or h.prefixes and h.length <> lengths[u.k]
            or h.prefixes and s.name is not null and s.length is null misheld
        from unnest(uids, counts, edits, actors) with ordinality u(uid, count, edit, actor, k)
        cross join lateral (
            select count(*) addresses, count(*) filter (where family(l.addr) = 4) four, bool_or(l.of_prefix) prefixes,
                min(ipam.low(l.addr)) addr, min(masklen(l.addr)) length, min(family(l.addr)) family,
                bool_or(q.namespace <> its_namespace or case when s.name is null then q.name <> its_name
                    else n.name <> s.network end) elsewhere
            from ipam.lease l join ipam.pool q on q.id = l.pool_id join ipam.network n on n.id = q.network_id
            where l.claim_uid = u.uid and l.released_at is null) h
        cross join lateral (select not coalesce(s.dual, false) and h.addresses > u.count) too_many(surplus)
        where u.edit and h.addresses > 0)
    select array_agg(j.uid) filter (where j.misheld) uids, array_agg(j.actor) filter (where j.misheld) actors,
        array_agg(j.uid) filter (where j.misheld is not true and j.surplus) wide,
        array_agg(j.actor) filter (where j.misheld is not true and j.surplus) wide_actors,
        array_agg(j.count) filter (where j.misheld is not true and j.surplus) counts into ended from judged j;
    if ended.wide is not null then
        return query select * from ipam.release(
            '{}', '{}', ended.wide, null, ended.wide_actors, false, its_reason => 'Edited', spared => ended.counts);
    end if;
    if ended.uids is not null then
        return query select * from ipam.release('{}', '{}', ended.uids, null, ended.actors, false, its_reason => 'Replaced');
        return query select n.* from unnest(ended.uids) uid cross join lateral ipam.noted(uid, '{"ended": true}') n;
    end if;
end $$;
