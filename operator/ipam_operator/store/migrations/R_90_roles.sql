-- Who may do what here. `ipam_operator`, for the operator's login: reads all, changes nothing but by the functions that its
-- named statements call (`entrances`): these run as the owner, and with a search path that nobody else chooses.
-- `ipam_tenant`, for whatever shows tenants their own: reads the rows of one namespace, and changes nothing.

-- The namespaces whose rows this session may read as ipam_tenant. Who may read all anyway says which one, by the setting
-- `ipam.namespace`; whoever else logs in is bound to those that the owner has given the login, whatever is set.
create or replace function ipam.tenant_namespaces() returns text[]
    language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when exists (
            select from pg_roles r where r.rolname = 'ipam_operator' and pg_has_role(session_user, r.oid, 'member'))
        then array_remove(array[nullif(current_setting('ipam.namespace', true), '')], null)
        else array(select t.namespace from ipam.tenant_login t where t.login = session_user) end
$$;

-- What tenants may read, by the condition on its rows; tables that are not here are closed to them, new ones, too. Of a
-- pool not `selectors`: those are other namespaces' words.
create or replace function ipam.shown_to_tenants() returns table (name text, rows text, hidden text[])
    language sql immutable as $$
    select s.name, coalesce(s.rows, 'namespace = any ((select ipam.tenant_namespaces())::text[])'), s.hidden
    from (values
        ('network', null, '{}'::text[]),
        ('pool', null, '{selectors,untold}'),
        ('pool_range', 'pool_id in (select p.id from ipam.pool p)', '{}'),
        ('free_range', 'pool_id in (select p.id from ipam.pool p)', '{}'),
        ('refusal', null, '{}'),
        ('lease', null, '{}'),
        ('history', null, '{}'),
        ('claim_detail', null, '{}'),
        ('term', 'exists (select from ipam.lease l where l.claim_uid = term.claim_uid and l.released_at is null)', '{}'),
        ('waiting', null, '{}'),
        ('memory', null, '{}'),
        ('retention', null, '{}'),
        ('held_by', null, '{}'),
        ('rate_bucket', null, '{}'),
        ('rate_line', null, '{}'),
        ('rate_override', null, '{}')) s(name, rows, hidden)
$$;

-- Bring roles, privileges and policies to what is said above, whatever has been added meanwhile. Every migration ends with
-- it and says which functions the program calls; it changes only what is not so already.
create or replace function ipam.guard(entrances text[]) returns void language plpgsql as $$
declare
    its_role text;
    present text[];
    it record;
begin
    foreach its_role in array '{ipam_operator,ipam_tenant}'::text[] loop
        if not exists (select from pg_roles r where r.rolname = its_role) then
            begin
                execute format('create role %I nologin', its_role);
            exception
                when duplicate_object or unique_violation then null;  -- another database's migration was faster
                when insufficient_privilege then
                    raise notice 'no role % yet: whoever may create it does, and then runs the migration again', its_role;
            end;
        end if;
    end loop;
    present := array(select r.rolname::text from pg_roles r where r.rolname in ('ipam_operator', 'ipam_tenant'));

    for it in select p.oid::regprocedure f, p.proname = any (entrances) entrance, p.prosecdef definer, p.proacl acl,
            p.proname = 'tenant_namespaces' for_tenants, p.oid
        from pg_proc p where p.pronamespace = 'ipam'::regnamespace loop
        if it.entrance and not it.definer then
            execute format('alter function %s security definer set search_path = ipam, pg_temp', it.f);
        elsif it.definer and not it.entrance and not it.for_tenants then  -- called no more
            execute format('alter function %s security invoker reset search_path', it.f);
            if 'ipam_operator' = any (present) then
                execute format('revoke all on function %s from ipam_operator', it.f);
            end if;
        end if;
        if it.acl is null or exists (select from aclexplode(it.acl) a where a.grantee = 0) then
            execute format('revoke all on function %s from public', it.f);
        end if;
        if it.entrance and 'ipam_operator' = any (present)
            and not has_function_privilege('ipam_operator', it.oid, 'execute') then
            execute format('grant execute on function %s to ipam_operator', it.f);
        end if;
        if it.for_tenants and 'ipam_tenant' = any (present)
            and not has_function_privilege('ipam_tenant', it.oid, 'execute') then
            execute format('grant execute on function %s to ipam_tenant', it.f);
        end if;
    end loop;

    foreach its_role in array present loop
        if not has_schema_privilege(its_role, 'ipam', 'usage') then
            execute format('grant usage on schema ipam to %I', its_role);
        end if;
    end loop;

    for it in select c.oid, c.relname::text "table", c.relrowsecurity secured from pg_class c
        where c.relnamespace = 'ipam'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition loop
        if not it.secured then
            execute format('alter table ipam.%I enable row level security', it."table");
        end if;
        if 'ipam_operator' = any (present) then
            if not has_table_privilege('ipam_operator', it.oid, 'select') then
                execute format('grant select on ipam.%I to ipam_operator', it."table");
            end if;
            if not exists (select from pg_policy y where y.polrelid = it.oid and y.polname = 'operator') then
                execute format('create policy operator on ipam.%I for select to ipam_operator using (true)', it."table");
            end if;
        end if;
    end loop;

    for it in select s.name, s.rows, c.oid, (
            select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname <> all (s.hidden)
                and not has_column_privilege('ipam_tenant', c.oid, a.attnum, 'select')) columns
        from ipam.shown_to_tenants() s join pg_class c on c.relnamespace = 'ipam'::regnamespace and c.relname = s.name
        where 'ipam_tenant' = any (present) loop
        if it.columns is not null then
            execute format('grant select (%s) on ipam.%I to ipam_tenant', it.columns, it.name);
        end if;
        if not exists (select from pg_policy y where y.polrelid = it.oid and y.polname = 'tenant') then
            execute format('create policy tenant on ipam.%I for select to ipam_tenant using (%s)', it.name, it.rows);
        end if;
    end loop;
end $$;

-- Conditions may have changed: made anew by `guard`.
do $$
declare
    it record;
begin
    for it in select y.polname, y.polrelid::regclass its_table from pg_policy y join pg_class c on c.oid = y.polrelid
        where c.relnamespace = 'ipam'::regnamespace and y.polname in ('operator', 'tenant') loop
        execute format('drop policy %I on %s', it.polname, it.its_table);
    end loop;
end $$;
