-- name: history
select h.at, h.action::text, h.addr, p.namespace pool_namespace, p.name pool_name, h.namespace, h.name, h.actor, h.reason
from (select $1::inet addr, $2::text namespace, $3::text name, $4::text actor, coalesce($5::timestamptz, 'infinity') until) a
cross join ipam.history h left join ipam.pool p on p.id = h.pool_id
where (a.addr is null or h.addr = any(array(
        -- What it is a part of may have been granted as a whole.
        select network(set_masklen(a.addr, bits))::inet from generate_series(0, masklen(a.addr)) bits)))
    and (a.namespace is null or h.namespace = a.namespace) and (a.name is null or h.name = a.name)
    and (a.actor is null or h.actor = a.actor) and h.at <= a.until
order by h.at desc, h.generation desc, array_position('{A,C,R,F,K}', h.action::text) desc, h.addr
limit $6::int;
