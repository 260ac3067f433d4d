-- What the random programs stand on: a peer that sends revisions, and one look at a table and its history.

create schema programs;
create function programs.next(id anyelement) returns anyelement language sql immutable as 'select id % 5 + 1';

-- Whether a trigger may go on: a deferred one that edits its own table would be fired by that for ever, and while a
-- transaction commits no timeout ends it.
create function programs.may_go_on() returns boolean language sql volatile as $$
    select set_config('programs.fired', (coalesce(nullif(current_setting('programs.fired', true), ''), '0')::integer + 1)::text, true)::integer < 40
$$;

-- The record id of a key, and the attributes that it says.
create function programs.key_of(relation regclass, record_id text) returns jsonb language sql stable as $$
    select jsonb_object_agg(a.attname, jsonb_build_object(
               case a.atttypid when 'numeric'::regtype then 'decimal' else 'int' end,
               case when x.indnatts = 1 then record_id else record_id::jsonb ->> (k.place::int - 1) end))
      from pg_index x cross join unnest(x.indkey) with ordinality k (number, place)
      join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.number
     where x.indrelid = relation and x.indisprimary
$$;

-- A revision of a record as a peer sends it: next to the highest or to any, a tombstone, a line cut short, a first one.
create function programs.peer(relation regclass, kind text, record_id text, chance integer) returns text
language plpgsql as $$
declare
    twin regclass := relation || '_history';
    base godwit.revision;
    generation bigint;
    line jsonb;
    attributes jsonb := programs.key_of(relation, record_id) || jsonb_build_object('v', jsonb_build_object('string', 'p' || chance % 5));
    answer text;
begin
    if kind <> 'first' then
        execute format('select _rev from %s where _id = $1 order by case when $2 then md5(_rev::text || $3) end, _rev desc limit 1', twin)
           into base using record_id, kind = 'branch', chance;
    end if;
    generation := coalesce(godwit.generation(base), 0);
    if kind = 'extra' then
        attributes := attributes || '{"x": {"string": "more"}}';
    end if;
    line := case
        when kind = 'cut' then jsonb_build_array(generation + 3 || '-' || md5(chance::text), generation + 2 || '-' || md5(chance || 'cut'))
        when base is null then jsonb_build_array('1-' || md5(chance::text))
        else jsonb_build_array(generation + 1 || '-' || md5(chance::text), base::text) end;
    select string_agg(concat_ws(' ', status, reason), ', ') into answer
      from godwit.put_revisions(relation, jsonb_build_array(jsonb_build_object('id', record_id, 'revision', line -> 0, 'revisions', line,
          'deleted', kind = 'tombstone', 'attributes', case when kind = 'tombstone' then '{}' else attributes end)));
    return answer;
end
$$;

create function programs.problems(relation regclass) returns setof text language sql as $$
    select concat_ws(' ', 'differences:', id, shown, elected) from public.differences(relation)
    union all select concat_ws(' ', 'verify:', id, revision, problem) from godwit.verify(relation)
    union all select 'body_differences: ' || n from public.body_differences(relation) n where n > 0
    union all select 'rejected: ' || r.reason from godwit.rejected r where r.relation = problems.relation and sqlstate like 'XX%'
$$;
