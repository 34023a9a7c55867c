-- Who asks to delete a claim, where the API server tells: docs/operations/security.md.

create table deletion (
    claim_uid uuid not null,
    actor text not null,
    at timestamptz not null default now(),
    primary key (claim_uid, actor)
);
comment on table deletion is
    'Requests to delete claims that are being decided upon, or were a moment ago. Not every one is granted.';
