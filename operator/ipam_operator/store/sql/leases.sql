-- name: allocate
select * from ipam.allocate(
    $1::text, $2::text, $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::int[], $8::inet[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::interval[], $15::timestamptz[],
    $16::int[], $17::text[]::macaddr[], $18::boolean[], $19::boolean[], $20::text[], $21::int[], $22::boolean[],
    $23::text[], $24::boolean[]);

-- name: serve
select * from ipam.serve($1::text, $2::text, $3::int, $4::boolean);

-- name: told
select ipam.told($1::text[], $2::text[], $3::bigint[]);

-- name: first_in_line
select * from ipam.first_in_line($1::text, $2::text, $3::int);

-- name: release
select * from ipam.release(
    $1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::boolean, $7::interval, $8::boolean[]);

-- name: note_deletion
select ipam.note_deletion($1::uuid, $2::text);

-- name: retained
select * from ipam.retained($1::text, $2::int);

-- name: end_retention
select * from ipam.end_retention($1::text, $2::text, $3::inet, $4::text);

-- name: expire
select * from ipam.expire($1::int, $2::text, $3::text);

-- name: keep_terms
select ipam.keep_terms(
    $1::uuid[], $2::bigint[], $3::timestamptz[], $4::boolean[], $5::interval[], $6::timestamptz[], $7::boolean[]);

-- name: adopt
select * from ipam.adopt(
    $1::text, $2::text, $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::int[], $9::inet[], $10::uuid[]);

-- name: allocate_selected
select * from ipam.allocate_selected(
    $1::text, $2::text, $3::text, $4::text::jsonb, $5::text, $6::text, $7::int, $8::int, $9::boolean, $10::uuid[],
    $11::bigint[], $12::text[], $13::text[], $14::int[], $15::inet[], $16::text[], $17::text[], $18::text[], $19::text[],
    $20::text[], $21::interval[], $22::timestamptz[], $23::int[], $24::text[]::macaddr[], $25::boolean[], $26::boolean[],
    $27::text[], $28::int[], $29::boolean[], $30::text[], $31::boolean[]);

-- name: renewable
select * from ipam.renewable($1::int);

-- name: renew
select * from ipam.renew($1::uuid[], $2::bigint[]);
