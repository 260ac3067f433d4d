-- Records and revisions: what apps and gateways read and put.

create function godwit.put(
    relation regclass,
    record jsonb,
    on_conflict text default 'fail'
) returns jsonb
    language sql
    volatile
    security invoker
    as $$ select godwit._put(relation, record, on_conflict) $$;
comment on function godwit.put is
    'A local edit: the record names the revision that it edits. SQLSTATE 40001 when that is no leaf.';

create function godwit.put_many(
    relation regclass,
    records jsonb,
    on_conflict text default 'fail'
) returns table (ord integer, id text, revision text, status text, reason text, winner text)
    language sql
    volatile
    security invoker
    as $$ select * from godwit._put_many(relation, records, on_conflict) $$;
comment on function godwit.put_many is
    'Local edits in bulk, each for itself: accepted, known, conflict, rejected or forbidden. Safe to repeat.';

create function godwit.put_revisions(
    relation regclass,
    records jsonb
) returns table (ord integer, id text, revision text, status text, reason text)
    language c
    volatile
    strict
    security invoker
    as 'MODULE_PATHNAME', 'put_revisions_wrapper';
comment on function godwit.put_revisions is
    'Replication: revisions with their ancestry, in any order, once or often; one result for each.';

create function godwit.get(
    relation regclass,
    id text,
    revision text default null,
    revisions boolean default false,
    conflicts boolean default false
) returns jsonb
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._get(relation, id, revision, revisions, conflicts) $$;
comment on function godwit.get is
    'A record''s winner, or a given revision, as it goes on the wire; null where it is not known.';

create function godwit.records(
    relation regclass,
    after text default null,
    max integer default 100,
    filter jsonb default null
) returns setof jsonb
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select r.record::jsonb from godwit._records(relation, after, max, filter) r $$;
comment on function godwit.records is 'A page of winners, by the bytes of their record ids.';

create function godwit.history(
    relation regclass,
    id text
) returns table (revision text, previous text, deleted boolean, stub boolean, winner boolean,
                 leaf boolean, seq bigint, at timestamptz, by text, record jsonb)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select * from godwit._history(relation, id, false) $$;
comment on function godwit.history is 'Every revision of a record, highest first.';

create function godwit.leaves(
    relation regclass,
    id text
) returns table (revision text, previous text, deleted boolean, stub boolean, winner boolean,
                 leaf boolean, seq bigint, at timestamptz, by text, record jsonb)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select * from godwit._history(relation, id, true) $$;
comment on function godwit.leaves is 'The revisions of a record that have no child, highest first.';

create function godwit.revs_diff(
    relation regclass,
    revisions jsonb
) returns jsonb
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._revs_diff(relation, revisions::text)::jsonb $$;
comment on function godwit.revs_diff is
    'Of {"record id": ["revision", …]} what is not here, with possible ancestors.';
