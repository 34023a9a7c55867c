-- A store that may have forgotten what claims show grants nothing before it is compared with them.

alter table cluster add compared text;
comment on column cluster.compared is
    'The life of the store (store_run) in which it was last compared with the cluster, and has what claims show.';

-- Their successors take more arguments.
drop function if exists adopt(text, text, uuid[], bigint[], text[], text[], text[], int[], inet[]);
