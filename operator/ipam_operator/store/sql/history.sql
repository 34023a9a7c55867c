-- name: history
select h.at, h.action::text, h.addr, p.namespace pool_namespace, p.name pool_name, h.namespace, h.name, h.actor, h.reason
from ipam.history h left join ipam.pool p on p.id = h.pool_id
where ($1::inet is null or h.addr = any(array(
        -- What it is a part of may have been granted as a whole.
        select network(set_masklen($1::inet, bits))::inet from generate_series(0, masklen($1::inet)) bits)))
    and ($2::text is null or h.namespace = $2) and ($3::text is null or h.name = $3)
    and ($4::text is null or h.actor = $4) and h.at <= coalesce($5::timestamptz, 'infinity')
order by h.at desc, h.generation desc, array_position('{A,C,R,F,K}', h.action::text) desc, h.addr
limit $6::int;
