-- Who may take from a pool, how much, and who waits for it.

-- A label selector as Kubernetes has it (metav1.LabelSelector).
create or replace function ipam.selects(selector jsonb, labels jsonb) returns boolean language sql immutable as $$
    select labels @> coalesce(selector -> 'matchLabels', '{}') and not exists (
        select from jsonb_array_elements(coalesce(selector -> 'matchExpressions', '[]')) e
        where not case e ->> 'operator'
            when 'In' then coalesce(e -> 'values' ? (labels ->> (e ->> 'key')), false)
            when 'NotIn' then not coalesce(e -> 'values' ? (labels ->> (e ->> 'key')), false)
            when 'Exists' then labels ? (e ->> 'key')
            else not labels ? (e ->> 'key') end)
$$;

-- Whether claims of this namespace may take from the pool. Its own always may.
create or replace function ipam.lends(p ipam.pool, to_namespace text) returns boolean
    language plpgsql stable as $$
begin
    return (
        select p.namespace = to_namespace or p.allowed_from = 'All' or p.allowed_from = 'Selector' and exists (
            select from ipam.tenant t where t.namespace = to_namespace and ipam.selects(p.allowed_selector, t.labels)));
end $$;

-- How many addresses more the namespace may hold; null: as many as there are.
create or replace function ipam.room(p ipam.pool, its_namespace text) returns bigint
    language plpgsql stable as $$
begin
    return (
        select p.quota - coalesce((
            select h.held from ipam.held_by h where h.pool_id = p.id and h.namespace = its_namespace), 0));
end $$;

-- Addresses by namespace anew from the ledger: the repair for any drift, and the start of a quota.
create or replace function ipam.recount_held_by(p ipam.pool) returns void language sql as $$
    delete from ipam.held_by h where h.pool_id = p.id;
    insert into ipam.held_by (pool_id, namespace, held)
    select l.pool_id, l.namespace, count(*) from ipam.lease l
    where l.pool_id = p.id and l.released_at is null and (p.quota is not null or l.namespace <> p.namespace)
    group by l.pool_id, l.namespace
$$;

-- The names under which claims wait for this pool.
create or replace function ipam.queues(p ipam.pool) returns text[] language sql immutable as $$
    select array_append(p.selectors, p.name)
$$;

create or replace function ipam.anyone_waits(p ipam.pool) returns boolean
    language plpgsql stable as $$
begin
    return (
        select exists (select from ipam.waiting w where w.pool_namespace = p.namespace and w.pool_name = p.name)
            or p.selectors <> '{}' and exists (
                select from ipam.waiting w where w.pool_namespace = p.namespace and w.pool_name = any(p.selectors)));
end $$;

-- Namespaces that may hold no address more.
create or replace function ipam.full_up(p ipam.pool) returns text[]
    language plpgsql stable as $$
begin
    return case when p.quota is null then '{}' else array(
        select h.namespace from ipam.held_by h where h.pool_id = p.id and h.held >= p.quota) end;
end $$;

-- What is asked for in a queue, by namespace and number: at most `lim` such pairs, each found by one probe.
create or replace function ipam.sizes_asked(its_namespace text, its_name text, lim int)
    returns table (namespace text, count int)
    language plpgsql stable rows 10 set plan_cache_mode = force_generic_plan as $$
begin
    return query
    with recursive pair as (
        (select w.namespace, w.count from ipam.waiting w
        where w.pool_namespace = its_namespace and w.pool_name = its_name and w.wanted is null
        order by w.namespace, w.count limit 1)
        union all
        select n.* from pair cross join lateral (
            select w.namespace, w.count from ipam.waiting w
            where w.pool_namespace = its_namespace and w.pool_name = its_name and w.wanted is null
                and (w.namespace, w.count) > (pair.namespace, pair.count)
            order by w.namespace, w.count limit 1) n)
    select pair.* from pair limit lim;
end $$;

-- The first `lim` of those who wait for any address of this pool, for at most `fits` addresses each, and may ever get them:
-- for others there is no place in front, however many they are.
create or replace function ipam.head_of_queue(p ipam.pool, full_up text[], fits bigint, lim int)
    returns setof ipam.waiting
    language plpgsql stable rows 100 set plan_cache_mode = force_generic_plan as $$
declare
    most int := least(p.size, fits, 2147483647);
    spaces text[];
    sizes int[];
begin
    if p.quota is not null then
        -- Most who wait beyond a quota ask for the same few numbers: those that do not fit are not even looked at.
        select array_agg(s.namespace), array_agg(s.count) into spaces, sizes
        from unnest(ipam.queues(p)) q(name) cross join lateral ipam.sizes_asked(p.namespace, q.name, 65) s;
        if spaces is null then
            return;
        end if;
    end if;
    if cardinality(spaces) <= 64 then
        return query
        select h.* from unnest(ipam.queues(p)) q(name)
        cross join (
            select distinct s.namespace, s.count from unnest(spaces, sizes) s(namespace, count)
            where s.count <= most and s.namespace <> all(full_up) and s.count <= ipam.room(p, s.namespace)) s
        cross join lateral (
            select w.* from ipam.waiting w
            where w.pool_namespace = p.namespace and w.pool_name = q.name and w.wanted is null
                -- Not `=`: the planner would take the queue's index for the same order.
                and w.namespace between s.namespace and s.namespace and w.count between s.count and s.count
            order by w.namespace, w.count, w.priority desc, w.seq limit lim) h
        order by h.priority desc, h.seq limit lim;
    else
        return query
        select h.* from unnest(ipam.queues(p)) q(name) cross join lateral (
            select w.* from ipam.waiting w
            where w.pool_namespace = p.namespace and w.pool_name = q.name and w.wanted is null and w.count <= most
                and w.namespace <> all(full_up)
                and (p.quota is null or w.count = 1 or w.count <= p.quota - coalesce((
                    select h.held from ipam.held_by h where h.pool_id = p.id and h.namespace = w.namespace), 0))
            order by w.priority desc, w.seq limit lim) h
        order by h.priority desc, h.seq limit lim;
    end if;
end $$;

-- Where those wait whom the pool does not lend to: beside its queue, so that nobody looks there until consent is given.
create or replace function ipam.strangers_queue(pool_name text) returns text language sql immutable as $$
    select pool_name || '!'
$$;

-- Where those wait whose MAC address another claim has.
create or replace function ipam.twins_queue(pool_name text) returns text language sql immutable as $$
    select rtrim(pool_name, '#') || '#'
$$;

-- Where those wait who ask for what the pool does not hand out: a prefix of another length, or any of a pool of addresses.
create or replace function ipam.misfits_queue(pool_name text) returns text language sql immutable as $$
    select pool_name || '%'
$$;

-- The queue that such a place is beside of.
create or replace function ipam.queue_beside(place text) returns text language sql immutable as $$
    select rtrim(place, '#!%')
$$;

create or replace function ipam.forbidden(uids uuid[]) returns setof ipam.answer language sql stable as $$
    select w.claim_uid, 'Forbidden', null::inet[], null::bigint, null::timestamptz, w.namespace, w.name, w.generation,
        null::int, null::int, null::inet, null::inet[], null::jsonb
    from ipam.waiting w where w.claim_uid = any(uids)
$$;

-- Into the queue whom the pool lends to now, beside it whom it does not lend to any more, also of those who wait for a MAC
-- address; says who has moved.
create or replace function ipam.heed_consent(p ipam.pool) returns uuid[] language sql as $$
    with moved as (
        update ipam.waiting w set pool_name = case when l.lends then p.name else ipam.strangers_queue(p.name) end
        from (
            select q.claim_uid, ipam.lends(p, q.namespace) lends from ipam.waiting q
            where q.pool_namespace = p.namespace
                and q.pool_name in (
                    p.name, ipam.strangers_queue(p.name), ipam.twins_queue(p.name), ipam.misfits_queue(p.name))
                and q.namespace <> p.namespace) l
        where w.claim_uid = l.claim_uid and (w.pool_name <> ipam.strangers_queue(p.name)) <> l.lends
        returning w.claim_uid)
    select coalesce(array_agg(claim_uid), '{}') from moved
$$;

create or replace function ipam.quota_facts(p ipam.pool, its_namespace text) returns jsonb
    language plpgsql stable as $$
begin
    return (
        select case when p.quota is null then '{}'::jsonb
            else jsonb_build_object('quota', p.quota, 'holds', p.quota - ipam.room(p, its_namespace)) end);
end $$;
