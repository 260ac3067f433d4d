-- The change stream.

create function godwit._readable(tables text[]) returns oid[]
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if tables is null then
        -- All that the caller may read; a table named by the caller is an error instead.
        return (select coalesce(array_agg(t.relation::oid order by t.relation::oid), '{}')
                  from godwit.tracked t
                 where has_table_privilege(t.twin, 'select'));
    end if;
    return (select coalesce(array_agg(distinct godwit.find_table(name)::oid), '{}')
              from unnest(tables) as name);
end
$$;

-- Not by a function in SQL: it would keep each row twice more, and a reader takes a million of them.
create function godwit.changes(
    since bigint default 0,
    tables text[] default null,
    max integer default 1000,
    include text default 'none',
    style text default 'revisions',
    ids text[] default null,
    filter jsonb default null
) returns table (seq bigint, table_name text, id text, revision text, deleted boolean,
                 winner text, record jsonb, next bigint, leaves jsonb, has_left boolean)
    language c
    volatile
    security invoker
    as 'MODULE_PATHNAME', 'godwit_changes';
comment on function godwit.changes is
    'Changes above a sequence, in order; ask again from "next". Never skips a committed change.';

create function godwit.changes_json(
    since bigint default 0,
    tables text[] default null,
    max integer default 1000,
    include text default 'none',
    style text default 'revisions',
    ids text[] default null,
    filter jsonb default null
) returns table (seq bigint, table_name text, id text, revision text, deleted boolean,
                 winner text, record json, next bigint, leaves json, has_left boolean)
    language c
    volatile
    security invoker
    as 'MODULE_PATHNAME', 'godwit_changes_json';
comment on function godwit.changes_json is
    'What changes says, with records as json: faster for a reader that passes them on as text.';

create function godwit.last_sequence() returns bigint
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._horizon() $$;
comment on function godwit.last_sequence is
    'The highest sequence that a reader may be shown now.';

create function godwit.last_change(relation regclass) returns bigint
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._last_change(relation) $$;
comment on function godwit.last_change is
    'The sequence of a table''s last change, whether the caller sees it or not; null before the first.';

create function godwit.sequence_at(at timestamptz, tables text[] default null) returns bigint
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- What is written but not committed is above: nobody is sent past it.
    found bigint := godwit.last_sequence();
    twin regclass;
    first bigint;
begin
    for twin in
        select t.twin from godwit.tracked t
         where case when tables is null then has_table_privilege(t.twin, 'select')
                    else t.relation in (select godwit.find_table(name) from unnest(tables) name) end
    loop
        execute format('select min(_seq) from %s where _at >= $1', twin) into first using at;
        found := least(found, first - 1);
    end loop;
    return found;
end
$$;
comment on function godwit.sequence_at is
    'Where to read the stream from to see every change that was made at a time or later; looks through the histories.';

create function godwit.current_incarnation() returns text
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._current_incarnation() $$;
comment on function godwit.current_incarnation is
    'Names what this database is now: another name after a restore, a promotion or a copy.';
