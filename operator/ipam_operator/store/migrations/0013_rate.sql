-- How often a namespace may ask for something new: token buckets, and the line of those that have to wait for a token.

create table rate_bucket (
    namespace text not null,
    operation text not null,
    tokens float8 not null,
    at timestamptz not null,
    primary key (namespace, operation)
) with (fillfactor = 50);
comment on table rate_bucket is 'Tokens that were left at that time; a bucket without a row is full.';

create table rate_line (
    uid uuid primary key,
    namespace text not null,
    operation text not null,
    name text not null,
    seq bigint not null generated always as identity
);
create index rate_line_order on rate_line (namespace, operation, seq);
comment on table rate_line is 'Objects that wait for a token, in order of arrival. They are in no other queue, and have nothing.';

create table rate_override (
    namespace text primary key,
    limits jsonb not null,
    fault text
);
comment on column rate_override.limits is
    'Operation -> {"perHour", "burst"}, {} where it is not limited; what is not named is as the settings say.';
comment on column rate_override.fault is 'Why the namespace''s annotation cannot be read; the settings hold then.';
