-- One interface has one address in a network: claims may say its MAC address.

alter table claim_detail add mac macaddr;
create index claim_detail_mac on claim_detail (mac) where mac is not null;

alter table lease
    add network_id int,
    add mac macaddr,
    drop constraint lease_act_check,
    add constraint lease_act_check check (act in ('A', 'C', 'R')),
    add check (mac is null or network_id is not null);
create unique index lease_mac on lease (network_id, mac) where mac is not null and released_at is null;
comment on column lease.network_id is 'Of the pool; only beside a mac, for the sake of the key.';
comment on column lease.act is 'What history is told: A granted, C changed while held, R released.';

-- Their successors take one argument more.
drop function if exists allocate(
    text, text, uuid[], bigint[], text[], text[], int[], inet[], text[], text[], text[], text[], text[], interval[],
    timestamptz[], int[]);
drop function if exists remember_details(uuid[], text[], text[], text[], text[], text[], int[]);
