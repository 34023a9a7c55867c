-- name: network_by_name
select id, uid, generation, namespace, name, cidr, type, gateway, dns_servers, reserved_lo, reserved_hi, space_id
from ipam.network_by_name($1::text, $2::text);

-- name: address_space_id
select ipam.address_space_id($1::text, $2::text);

-- name: put_network
select ipam.put_network(
    $1::uuid, $2::text, $3::text, $4::bigint, $5::text, $6::cidr, $7::text, $8::inet, $9::inet[], $10::inet[],
    $11::inet[]);

-- name: lock_namespace
select ipam.lock_namespaces(array[$1::text]);

-- name: pools_of_network
select id, uid, generation, namespace, name, type, strategy, cool_down, default_lease, max_lease, paused, asked_lo,
    asked_hi, exclude_lo, exclude_hi, labels, priority, allowed_from, allowed_selector, quota, prefix_lengths, default_length
from ipam.pools_of_network($1::int);

-- name: pool_by_name
select id, uid, retiring, network_id, of_prefixes from ipam.pool_by_name($1::text, $2::text);

-- name: put_pool
select ipam.put_pool(
    $1::uuid, $2::text, $3::text, $4::bigint, $5::int, $6::text, $7::text, $8::interval, $9::interval, $10::interval,
    $11::boolean, $12::inet[], $13::inet[], $14::inet[], $15::inet[], $16::inet[], $17::inet[], $18::inet[], $19::inet[],
    $20::text::jsonb, $21::int, $22::text, $23::text::jsonb, $24::bigint, $25::int[], $26::int);

-- name: held_outside
select * from ipam.held_outside($1::int, $2::inet[], $3::inet[], $4::int);

-- name: overlapping
select * from ipam.overlapping($1::int, $2::int, $3::inet[], $4::inet[], $5::uuid);

-- name: remember_refusal
select ipam.remember_refusal($1::text, $2::text, $3::text, $4::uuid, $5::text, $6::text);

-- name: retire_pool
select * from ipam.retire_pool($1::uuid, $2::text, $3::text, $4::int);

-- name: retire_network
select * from ipam.retire_network($1::uuid, $2::text, $3::text, $4::int);

-- name: inherit_network
select ipam.inherit_network($1::uuid, $2::int);

-- name: inherit_pool
select ipam.inherit_pool($1::uuid, $2::int);

-- name: parents_in_store
select 'ipnetworks' kind, uid, namespace, name, generation, '{}'::jsonb labels from ipam.network
union all select 'ippools', uid, namespace, name, generation, labels from ipam.pool;

-- name: put_tenants
select * from ipam.put_tenants($1::text::jsonb, $2::boolean);

-- name: refusal
select reason, message from ipam.refusal where kind = $1::text and namespace = $2::text and name = $3::text;
