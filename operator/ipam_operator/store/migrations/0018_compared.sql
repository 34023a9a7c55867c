-- A store that may have forgotten what claims show grants nothing before it is compared with them.

alter table cluster add compared text;
comment on column cluster.compared is
    'The life of the store (store_run) in which it was last compared with the cluster, and has what claims show.';
-- Under an operator that runs meanwhile: the present one, or it would grant nothing until it is replaced.
update cluster set compared = (
    select concat_ws('/', extract(epoch from pg_postmaster_start_time()), d.oid, pg_relation_filenode('term'))
    from pg_database d where d.datname = current_database())
where exists (select from leader l where l.expires_at > now());

-- Their successors take more arguments.
drop function if exists adopt(text, text, uuid[], bigint[], text[], text[], text[], int[], inet[]);
