-- name: ping
select 1;

-- name: claim_store
select ipam.claim_store($1::uuid, $2::boolean);

-- name: store_run
select ipam.store_run();

-- name: is_empty
select not exists (select from ipam.network) and not exists (select from ipam.pool);

-- name: is_compared
select ipam.is_compared();

-- name: compared
select ipam.compared($1::text);

-- name: uncompared
select ipam.uncompared();

-- name: outgrow
select ipam.outgrow($1::bigint);

-- name: revive
select ipam.revive($1::uuid[], $2::float8);

-- name: lead
select ipam.lead($1::text, $2::float8);

-- name: leader
select holder from ipam.leader where expires_at > now();

-- name: resign
select ipam.resign($1::text);

-- name: release_orphans
select ipam.release_orphans($1::bigint, $2::uuid[], $3::bigint[], $4::text, $5::interval);

-- name: confirm
select ipam.confirm($1::text, $2::float8);

-- name: confirmed
select ipam.confirmed($1::text);

-- name: tidy
select ipam.tidy($1::interval);
