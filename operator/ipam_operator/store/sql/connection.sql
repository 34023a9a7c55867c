-- The driver asks the catalog for an array type when it first meets one, and turns JIT off meanwhile, which is session
-- state. Read once in a transaction when a connection is opened: all of it in one session, and none of it later.
-- name: array_types
select null::int[], null::bigint[], null::text[], null::uuid[], null::inet[], null::interval[], null::timestamptz[],
    null::boolean[];

-- A frozen process must not keep its locks: whoever leads after it would wait for them as long as it is frozen.
-- name: idle_limit
select set_config('idle_in_transaction_session_timeout', '5s', true);
