-- Leases end only in a store that was compared with the cluster: after a restore it knows less than claims show.

comment on column term.since is
    'When the term began, by this database''s clock; null: nothing is held, and no claim shows an end.';

-- Their successors take more arguments.
drop function if exists expire(int, text);
drop function if exists compare(uuid[], text[]);
