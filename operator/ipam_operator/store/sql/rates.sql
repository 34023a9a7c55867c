-- name: rate_admit
select * from ipam.rate_admit($1::text::jsonb, $2::uuid[], $3::text[], $4::text[]);

-- name: rate_settle
select ipam.rate_settle(
    $1::text::jsonb, $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[]);

-- name: rate_meter
select * from ipam.rate_meter($1::text::jsonb, $2::uuid[]);

-- name: rate_leave
select ipam.rate_leave($1::uuid[]);

-- name: rate_turns
select * from ipam.rate_turns($1::text::jsonb, $2::int);

-- name: put_rates
select ipam.put_rates($1::text::jsonb, $2::text::jsonb, $3::boolean);
