-- The order of the queue: who is more important, then who came first; and how large claims get their turn.

alter table claim_detail add priority int not null default 0;
alter table waiting
    add priority int not null default 0,
    add passed bigint not null default 0,
    add stands_until timestamptz;
comment on column waiting.passed is
    'Addresses that claims behind this one got because it did not fit; when they would exceed its own count, it stands.';
comment on column waiting.stands_until is 'So long nobody behind it is served (docs/dev/adr/0005).';
drop index waiting_queue;
create index waiting_queue on waiting (pool_namespace, pool_name, priority desc, seq);

-- Their successors take one argument more.
drop function if exists allocate(
    text, text, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[], text[], text[], interval[],
    timestamptz[]);
drop function if exists remember_details(uuid[], text[], text[], text[], text[]);
