-- Conflicts and refused revisions: what waits for somebody to decide.

create view godwit.conflicts with (security_barrier) as
    select godwit._wire_name(c.relation) as table_name, c.relation, c.record_id as id,
           l.winner, l.conflict, l.ancestor, l.grade, l.attributes, l.at, l.by
      from godwit.conflicted c
      join godwit.tracked t on t.relation = c.relation
     cross join lateral godwit._conflict(c.relation, c.record_id) l
     where pg_catalog.has_table_privilege(t.twin, 'select');
comment on view godwit.conflicts is
    'Living leaves that are not the winner, with the common ancestor: soft if the branches changed different attributes, hard if the same.';
grant select on godwit.conflicts to public;

create function godwit.resolve(
    relation regclass,
    id text,
    keep text default null,
    attributes jsonb default null,
    leaves text[] default null
) returns jsonb
    language sql
    volatile
    security invoker
    as $$ select godwit._resolve(relation, id, keep, attributes, leaves) $$;
comment on function godwit.resolve is
    'Ends the other branches of a record: keeps one leaf, or edits it to these attributes.';

create function godwit.set_policy(
    relation regclass,
    policy jsonb
) returns void
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._set_policy(relation, policy) $$;
comment on function godwit.set_policy is
    'What is done about a table''s conflicts: {"conflicts": "keep" | "fields", "attributes": {"stock": "counter", …}}.';

create function godwit.merge_conflicts(
    relation regclass,
    max integer default 1000
) returns bigint
    language sql
    volatile
    security invoker
    as $$ select godwit._merge_conflicts(relation, max) $$;
comment on function godwit.merge_conflicts is
    'Merges conflicts that are there already by the table''s policy; returns how many records.';

create function godwit.retry_rejected(
    relation regclass,
    max integer default 1000
) returns table (number bigint, id text, revision text, status text, reason text)
    language sql
    volatile
    security invoker
    as $$ select * from godwit._retry_rejected(relation, max) $$;
comment on function godwit.retry_rejected is
    'Tries refused revisions of a table again, those first that have waited longest.';

create function godwit.discard_rejected(
    relation regclass,
    numbers bigint[]
) returns bigint
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._discard_rejected(relation, numbers) $$;
comment on function godwit.discard_rejected is
    'Gives up refused revisions for good; returns how many there were.';
