-- Why an address was granted, changed or released, beside who did it.

alter table lease add reason text check (reason ~ '^[A-Z][A-Za-z]+$');
alter table history add reason text;
comment on column lease.reason is 'Why `act`, in one CamelCase word; null: because the claim asked for it.';
comment on column history.reason is
    'Null: the claim asked for it. Edited, Renewed, MacChanged; Deleted, Expired, Orphaned, Replaced; Restored, TakenOver, Kept, RetentionEnded.';

-- Their successors take or return more.
drop function if exists grant_leases(pool, uuid[], bigint[], text[], text[], int[], text[], inet[], boolean);
drop function if exists heed_edits(text, text, uuid[], bigint[], boolean, interval[], timestamptz[], boolean[]);
drop function if exists ask_terms(uuid[], bigint[], interval[], timestamptz[], boolean[]);
drop function if exists remember_details(uuid[], text[], text[], text[], text[], text[], int[], macaddr[], boolean[]);
drop function if exists release(text[], text[], uuid[], bigint[], text[], boolean, interval, boolean[]);
