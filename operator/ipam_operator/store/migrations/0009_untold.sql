-- Edits of the MAC address wait apart from claims that want addresses; who has to be told of a change is remembered.

create table mac_edit (
    claim_uid uuid primary key,
    pool_id int not null references pool on delete cascade,
    generation bigint not null,
    seq bigint not null generated always as identity
);
create index mac_edit_pool on mac_edit (pool_id, seq);
comment on table mac_edit is
    'Claims that hold addresses of the pool and ask for a MAC address (claim_detail.mac) that another claim has.';

alter table selector
    add meaning text[],
    add untold boolean not null default true;  -- of those that are there it is not known what they were told
alter table selector alter column untold set default false;
comment on column selector.meaning is 'The pools that it means, best first, those that are tied marked so; null: not yet looked up.';
comment on column selector.untold is 'Its meaning has changed, and claims that wait by it have yet to be told.';

alter table pool add untold boolean not null default false;
comment on column pool.untold is 'Namespaces'' labels have let somebody in or out, and those have yet to be told.';

-- Until now such edits waited beside the queue.
with moved as (
    delete from waiting w using lease l
    where w.pool_name like '%#' and l.claim_uid = w.claim_uid and l.ordinal = 0 and l.released_at is null
    returning w.claim_uid, l.pool_id, w.generation, w.seq)
insert into mac_edit (claim_uid, pool_id, generation) select claim_uid, pool_id, generation from moved order by seq;

-- Their successors take or return something else.
drop function if exists head_of_queue(pool, text[], int);
drop function if exists mac_answers(pool, uuid[]);
drop function if exists change_macs(uuid[], bigint[]);
drop function if exists free_macs(macaddr[]);
drop function if exists heed_edits(text, text, uuid[], bigint[], boolean, interval[], timestamptz[]);
drop function if exists dismiss_holders(uuid[]);
drop function if exists assign_selectors(text);
drop function if exists release_orphans(bigint, uuid[], bigint[], text);
