-- Whose store this is, who leads, what a person has confirmed.

-- The cluster that the store belongs to afterwards; `mine` becomes it when there was none, or when adopting.
create or replace function ipam.claim_store(mine uuid, adopt boolean) returns uuid language plpgsql as $$
declare
    owner uuid;
begin
    insert into ipam.cluster (uid) values (mine) on conflict (only_one) do nothing;
    if adopt then
        update ipam.cluster set uid = mine, adopted_at = now(), compared = null where uid <> mine;
    end if;
    select uid into strict owner from ipam.cluster;
    return owner;
end $$;

-- One life of this store: another one after a restart or fail-over of the server, and after a restore of the database or
-- of the terms in it (another file; a rewrite by VACUUM FULL changes it as well, and does no harm).
create or replace function ipam.store_run() returns text language plpgsql stable as $$
begin
    return (
        select concat_ws('/', extract(epoch from pg_postmaster_start_time()), d.oid, pg_relation_filenode('ipam.term'))
        from pg_database d where d.datname = current_database());
end $$;

-- Whether no restore is under way: triggers come after all tables have their rows and indexes.
create or replace function ipam.is_whole() returns boolean language plpgsql stable as $$
begin
    return exists (
        select from pg_trigger t where t.tgrelid = 'ipam.lease'::regclass and t.tgname = 'lease_inserted');
end $$;

-- Whether the store has what claims show; no cluster's store has nothing to compare.
create or replace function ipam.is_compared() returns boolean language plpgsql stable as $$
begin
    return ipam.is_whole()
        and not exists (select from ipam.cluster c where c.compared is distinct from ipam.store_run());
end $$;

-- From now on the store may grant, if it is still in the run `its_run`; says whether it is.
create or replace function ipam.compared(its_run text) returns boolean language sql as $$
    update ipam.cluster set compared = its_run where compared is distinct from its_run and ipam.is_whole();
    select ipam.is_compared();
$$;

-- Until `ipam.compared` says otherwise, nothing is granted.
create or replace function ipam.uncompared() returns void language sql as $$
    update ipam.cluster set compared = null;
$$;

-- Generations of leases only rise, also when the store has forgotten those that claims show.
create or replace function ipam.outgrow(generation bigint) returns void language sql as $$
    select setval('ipam.lease_generation', generation) from ipam.lease_generation s where s.last_value < generation
$$;

-- Claims that were deleted once and are there again, as after a restore of the cluster: seen by a list that began
-- `seconds` ago, before which they were gone. Says how many.
create or replace function ipam.revive(uids uuid[], seconds float8) returns bigint language sql as $$
    with revived as (
        delete from ipam.tombstone t where t.claim_uid = any(uids) and t.at < now() - make_interval(secs => seconds)
        returning 1)
    select count(*) from revived
$$;

-- The epoch of `me` when it leads now, else null. The epoch rises with every change of leader.
create or replace function ipam.lead(me text, seconds float8) returns bigint language sql as $$
    insert into ipam.leader as l (holder, epoch, expires_at)
    values (me, 1, now() + make_interval(secs => seconds))
    on conflict (only_one) do update set
        holder = excluded.holder, expires_at = excluded.expires_at,
        epoch = l.epoch + (l.holder <> excluded.holder)::int
    where l.holder = excluded.holder or l.expires_at <= now()
    returning l.epoch
$$;

create or replace function ipam.resign(me text) returns void language sql as $$
    update ipam.leader set expires_at = now() where holder = me
$$;

-- Release what nobody claims any more, if `my_epoch` still leads: a deposed leader's late sweep is void, and null. Returns
-- how many addresses that were, and Due rows.
create or replace function ipam.release_orphans(
    my_epoch bigint, uids uuid[], generations bigint[], actor text, retention interval default null
) returns jsonb language plpgsql as $$
declare
    n bigint;
    due jsonb;
begin
    perform from ipam.leader where epoch = my_epoch for share;
    if not found then
        return null;
    end if;
    select count(*) into n from ipam.lease l join unnest(uids, generations) u(uid, generation)
        on l.claim_uid = any(uids) and l.claim_uid = u.uid and l.generation = u.generation where l.released_at is null;
    select coalesce(jsonb_agg(jsonb_build_array(r.namespace, r.name, r.info -> 'seconds')), '[]') into due
    from ipam.release('{}', '{}', uids, generations, array_fill(actor, array[cardinality(uids)]), false, retention,
        its_reason => 'Orphaned') r;
    return jsonb_build_object('released', n, 'due', due);
end $$;

create or replace function ipam.confirm(its_what text, seconds float8) returns void language sql as $$
    insert into ipam.confirmation (what, until) values (its_what, now() + make_interval(secs => seconds))
    on conflict (what) do update set until = excluded.until
$$;

create or replace function ipam.confirmed(its_what text) returns boolean language sql stable as $$
    select exists (select from ipam.confirmation where what = its_what and until > now())
$$;

-- What nobody asks for any more: tombstones of a day ago, requests to delete what has no lease, and what identities held longer ago than `remember`; and
-- history's next partitions.
create or replace function ipam.tidy(remember interval) returns bigint language plpgsql as $$
declare
    n bigint;
begin
    delete from ipam.tombstone t where t.ctid = any(array(
        select ctid from ipam.tombstone where at < now() - interval '1 day' limit 10000));
    get diagnostics n = row_count;
    delete from ipam.memory m where m.ctid = any(array(
        select o.ctid from ipam.memory o where o.at < now() - remember and not exists (
            select from ipam.pool p join ipam.lease l on l.pool_id = p.id
            where p.namespace = o.pool_namespace and p.name = o.pool_name and l.addr = o.addr and l.retained = o.key
                and l.namespace = o.namespace and l.reusable_at > now()
            union all
            select from ipam.retention r
            where r.pool_namespace = o.pool_namespace and r.pool_name = o.pool_name and r.addr = o.addr)
        limit 10000));
    delete from ipam.retention r where r.reusable_at <= now();
    delete from ipam.deletion d where d.at < now() - interval '1 hour';
    perform ipam.forget_selectors(interval '1 day');
    perform ipam.ensure_history_partitions(3);
    return n;
end $$;

-- Settings that guard every session, whoever opens it; on the database, because poolers refuse start-up parameters. A dump
-- does not have them, so every migration, also one that finds nothing else to do, sees to it that they are there.
create or replace function ipam.set_limits() returns void language plpgsql as $$
declare
    limits jsonb := '{"lock_timeout": "10s", "statement_timeout": "60s", "idle_in_transaction_session_timeout": "15s", "jit": "off"}';
    missing record;
begin
    for missing in
        select l.key, l.value from jsonb_each_text(limits) l where not exists (
            select from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase and s.setrole = 0
            where d.datname = current_database() and l.key || '=' || l.value = any(s.setconfig))
    loop
        execute format('alter database %I set %s = %L', current_database(), missing.key, missing.value);
    end loop;
exception when insufficient_privilege then
    raise notice 'not the owner of the database: set lock_timeout, statement_timeout, idle_in_transaction_session_timeout and jit yourself';
end $$;

select ipam.set_limits();
