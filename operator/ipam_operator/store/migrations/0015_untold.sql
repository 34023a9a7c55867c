-- What is to be told has the number of the change that it is about, so that it is forgotten only when that very one was told.

create sequence change;

alter table selector alter untold drop default, alter untold drop not null,
    alter untold type bigint using case when untold then nextval('ipam.change') end;
comment on column selector.untold is 'The change of its meaning that claims which wait by it have yet to be told; null: none.';

alter table pool alter untold drop default, alter untold drop not null,
    alter untold type bigint using case when untold then nextval('ipam.change') end;
comment on column pool.untold is
    'The change of the pool, or of whom it lends to, that claims which wait for it have yet to be told; null: none.';
