-- Rules that every write obeys, whatever code sends it. Statement triggers read one transition table only:
-- one that joins OLD and NEW is quadratic.

-- Whoever grants calls it first, and the trigger once more for who forgets: a restore makes triggers last, and until then
-- others' addresses would seem to be free.
create or replace function ipam.heed_comparison(its_reason text) returns void language plpgsql stable as $$
begin
    if its_reason is not distinct from 'Restored' and ipam.is_whole() or ipam.is_compared() then
        return;
    end if;
    raise exception 'the store was restarted or restored: nothing is granted before it is compared with the cluster'
        using errcode = 'IPAM1';
end $$;

create or replace function ipam.lease_inserted() returns trigger language plpgsql as $$
declare
    stray ipam.lease;
begin
    if exists (select from new_rows n where n.released_at is null and n.reason is distinct from 'Restored') then
        perform ipam.heed_comparison(null);
    end if;
    select n.* into stray from new_rows n where not exists (
        select from (
            select r.lo from ipam.pool_range r
            where r.pool_id = n.pool_id and r.hi >= case when n.of_prefix then ipam.high(n.addr) else n.addr end
            order by r.hi limit 1
        ) home where home.lo <= case when n.of_prefix then ipam.low(n.addr) else n.addr end)
    limit 1;
    if found then
        raise exception 'address % is outside the effective ranges of pool %', stray.addr, stray.pool_id
            using errcode = 'check_violation', constraint = 'lease_in_pool_range';
    end if;
    insert into ipam.history (at, pool_id, addr, claim_uid, ordinal, generation, action, namespace, name, actor, reason)
        select greatest(now(), allocated_at), pool_id, addr, claim_uid, ordinal, generation, act, namespace, name, actor,
            reason
        from new_rows;
    return null;
end $$;

-- Not before what it follows: another transaction may have granted it after ours began (ADR 7).
create or replace function ipam.lease_updated() returns trigger language plpgsql as $$
begin
    insert into ipam.history (at, pool_id, addr, claim_uid, ordinal, generation, action, namespace, name, actor, reason)
        select greatest(now(), allocated_at, released_at), pool_id, addr, claim_uid, ordinal, generation, act, namespace,
            name, actor, reason
        from new_rows;
    return null;
end $$;

create or replace function ipam.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'history is append-only' using errcode = 'insufficient_privilege';
end $$;

create or replace trigger lease_inserted after insert on ipam.lease
    referencing new table as new_rows for each statement execute function ipam.lease_inserted();
create or replace trigger lease_updated after update on ipam.lease
    referencing new table as new_rows for each statement execute function ipam.lease_updated();
create or replace trigger history_append_only before update or delete or truncate on ipam.history
    for each statement execute function ipam.refuse_change();

-- Partitions for this month and `ahead` more; called by migrations and by every resync.
create or replace function ipam.ensure_history_partitions(ahead int) returns void language plpgsql as $$
declare
    first date;
begin
    for i in 0..ahead loop
        first := (date_trunc('month', now() at time zone 'utc') + make_interval(months => i))::date;
        execute format(
            'create table if not exists ipam.%I partition of ipam.history for values from (%L) to (%L)',
            'history_' || to_char(first, 'YYYYMM'), first::timestamp at time zone 'utc',
            (first + interval '1 month') at time zone 'utc');
    end loop;
end $$;

select ipam.ensure_history_partitions(3);
