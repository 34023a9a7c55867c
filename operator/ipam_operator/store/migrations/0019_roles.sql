-- Whose rows a login may read that is not the operator's: see R_90_roles.sql and docs/operations/security.md.

create table tenant_login (
    login name primary key,
    namespace text not null
);
comment on table tenant_login is
    'Logins of the role ipam_tenant that are bound to one namespace. Written by the owner of the schema only.';
