-- name: sweep_pools
select ipam.sweep_pools($1::uuid[], $2::int);

-- name: pool_counters
select * from ipam.pool_counters($1::uuid[]);

-- name: network_counters
select * from ipam.network_counters($1::uuid[]);
