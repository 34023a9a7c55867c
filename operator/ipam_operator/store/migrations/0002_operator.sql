-- Which cluster this store belongs to, and which replica leads.

create table cluster (
    only_one boolean primary key default true check (only_one),
    uid uuid not null,
    adopted_at timestamptz not null default now()
);

create table leader (
    only_one boolean primary key default true check (only_one),
    holder text not null,
    epoch bigint not null,
    expires_at timestamptz not null
);

create table confirmation (
    what text primary key,
    until timestamptz not null
);
comment on table confirmation is 'A person has said yes to what a brake stopped (design rule 12).';
