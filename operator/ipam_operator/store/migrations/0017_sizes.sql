-- Very long queues: what cannot be served is not looked at.

alter table waiting add key text;
update waiting w set key = coalesce((
    select coalesce(nullif(d.sticky_key, ''), d.mac::text) from claim_detail d where d.claim_uid = w.claim_uid), w.name);
alter table waiting alter key set not null;
comment on column waiting.key is 'What its memory and what is kept for it are known by (ipam.key_of).';

create index waiting_sizes on waiting (pool_namespace, pool_name, namespace, count, priority desc, seq)
where wanted is null;
create index waiting_keys on waiting (pool_namespace, pool_name, namespace, key) where wanted is null;
drop index waiting_wishes;
create index waiting_wishes on waiting (pool_namespace, pool_name, wanted) where wanted is not null;
