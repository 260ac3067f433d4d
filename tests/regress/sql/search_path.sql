-- What sync writes to a table is written under the caller's own search path, as its triggers expect. Nothing of that path comes
-- into Godwit's part of it: not operators, types and collations that bear the names of Postgres's own.
\set VERBOSITY terse
create table rated (id numeric primary key, note text);
create table named (id text primary key, note text, made date default current_date + length('') + abs(0));
create table paired (day date, id text, note text, primary key (day, id));
select godwit.track(t) from unnest('{rated,named,paired}'::regclass[]) t;
insert into rated values (1, 'one'), (2, 'two');
insert into named values ('a', 'one'), ('b', 'two');
insert into paired values ('2026-01-01', 'a', 'one'), ('2026-01-01', 'b', 'two');
create table late (id int primary key);
insert into late values (1);
create schema hostile;
create function hostile.caught(text, text) returns boolean language plpgsql as $$ begin raise 'hostile was called'; end $$;
create operator hostile.= (leftarg = text, rightarg = text, function = hostile.caught);
create operator hostile.= (leftarg = numeric, rightarg = numeric, function = pg_catalog.numeric_ne);
create function hostile.abs(int) returns int language plpgsql as $$ begin raise 'abs was called'; end $$;
create domain hostile.text as pg_catalog.text check (value is null);
create domain hostile.jsonb as pg_catalog.jsonb check (value is null);
create domain hostile.int8 as pg_catalog.int8 check (value is null);
create domain hostile."bigint" as pg_catalog.int8 check (value is null);
create domain hostile.timestamptz as pg_catalog.timestamptz check (value is null);
create domain hostile.regtype as pg_catalog.regtype check (value is null);
create domain hostile.date as pg_catalog.date check (value is null);
create collation hostile."C" (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table sent as select t.name, jsonb_agg(jsonb_build_object('id', c.id, 'revision', '2-ff', 'revisions',
        jsonb_build_array('2-ff', c.revision), 'deleted', true, 'attributes', '{}'::jsonb)) as records
    from unnest('{rated,named,paired}'::text[]) t(name), godwit.changes(tables => array[t.name]) c
   where c.id is not null and c.id in ('2', 'b', '["2026-01-01","b"]') group by t.name;
set quote_all_identifiers = on;
set search_path to hostile, pg_catalog, public;
show search_path;
select godwit.erase('rated', '1') operator(pg_catalog.->) 'deleted', godwit.erase('named', 'a') operator(pg_catalog.->) 'deleted',
       godwit.erase('paired', '["2026-01-01","a"]') operator(pg_catalog.->) 'deleted';
call godwit.compact('rated', revisions => 1);
call godwit.track_online('late');
select godwit.create_table('public.made_one', 'title pg_catalog.text'), godwit.create_table('{"name": "public.made_two", "columns": [{"name": "n", "type": "integer"}]}');
select s.name, r.status from sent s, lateral godwit.put_revisions(s.name::regclass, s.records) r order by s.name;
select godwit.put('named', '{"id": "c", "attributes": {"id": {"string": "c"}}}') operator(pg_catalog.->) 'id';
select set_config('search_path', 'Hostile, PG_CATALOG, public', false);
select godwit.put('named', '{"id": "d", "attributes": {"id": {"string": "d"}}}') operator(pg_catalog.->) 'id';
reset search_path;
reset quote_all_identifiers;
select (select count(*) from rated) as rated, (select count(*) from named) as named, (select count(*) from paired) as paired;
select * from godwit.verify('rated') union all select * from godwit.verify('named') union all select * from godwit.verify('paired');
drop schema hostile cascade;
drop table sent, rated, named, paired, late, made_one; drop table late_history, made_one_history;
drop table rated_history, named_history, paired_history;
