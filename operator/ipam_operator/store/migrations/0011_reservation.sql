-- Addresses that are held for a while until the claim, or another one, makes them its own.

alter table term
    add reserved boolean not null default false,
    add taken_by text;
create index term_reserved on term (claim_uid) where reserved;
comment on column term.reserved is 'A reservation: confirmed by the claim itself, or taken over by another one.';
comment on column term.taken_by is 'Name of the claim that took the reservation over.';

-- Their successors take more arguments.
drop function if exists ask_terms(uuid[], bigint[], interval[], timestamptz[]);
drop function if exists keep_terms(uuid[], bigint[], timestamptz[], boolean[], interval[], timestamptz[]);
drop function if exists heed_edits(text, text, uuid[], bigint[], boolean, interval[], timestamptz[]);
drop function if exists allocate(
    text, text, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[], text[], text[], interval[],
    timestamptz[], int[], macaddr[], boolean[]);
drop function if exists allocate_selected(
    text, text, text, jsonb, text, text, int, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[],
    text[], text[], interval[], timestamptz[], int[], macaddr[], boolean[]);
