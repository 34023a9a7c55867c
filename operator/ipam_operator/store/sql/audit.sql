-- name: untiled
select * from ipam.untiled($1::uuid[]);

-- name: compare
select * from ipam.compare($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[]);

-- name: live_claims
select count(distinct claim_uid) from ipam.lease where released_at is null;
