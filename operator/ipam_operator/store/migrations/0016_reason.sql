-- Why an address was granted, changed or released, beside who did it.

alter table lease add reason text check (reason ~ '^[A-Z][A-Za-z]+$');
alter table history add reason text;
comment on column lease.reason is 'Why `act`, in one CamelCase word; null: because the claim asked for it.';
comment on column history.reason is
    'Null: the claim asked for it. Edited, Renewed, MacChanged; Deleted, Expired, Orphaned, Replaced; Restored, TakenOver, Kept, RetentionEnded.';

-- Looked for by the names of their claims, and by whom addresses are kept for, among very many.
drop index term_reserved;
alter table term add namespace text not null default '', add name text not null default '';
update term t set namespace = l.namespace, name = l.name from lease l
where t.reserved and l.claim_uid = t.claim_uid and l.released_at is null and l.ordinal = 0;
create index term_reserved on term (namespace, name) where reserved;
comment on column term.name is 'Of a reservation''s claim.';
drop index lease_retained;
create index lease_retained on lease (pool_id, namespace, retained) where retained is not null;

-- Their successors take or return more.
drop function if exists grant_leases(pool, uuid[], bigint[], text[], text[], int[], text[], inet[], boolean);
drop function if exists heed_edits(text, text, uuid[], bigint[], boolean, interval[], timestamptz[], boolean[]);
drop function if exists ask_terms(uuid[], bigint[], interval[], timestamptz[], boolean[]);
drop function if exists remember_details(uuid[], text[], text[], text[], text[], text[], int[], macaddr[], boolean[]);
drop function if exists release(text[], text[], uuid[], bigint[], text[], boolean, interval, boolean[]);
