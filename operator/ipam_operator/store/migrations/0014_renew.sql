-- Leases that are renewed for as long as another object of the cluster exists.

alter table claim_detail
    add resource text not null default '',
    add auto_renew boolean not null default false,
    add check (not auto_renew or resource <> '');
create index claim_detail_auto_renew on claim_detail (claim_uid) where auto_renew;
comment on column claim_detail.resource is
    'What the addresses are for, of the claim''s namespace: apiVersion/kind/name, such as apps/v1/Deployment/web.';
