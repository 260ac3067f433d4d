-- An existing table becomes syncable with its data, and plain again.
create table towns (code text primary key, name text not null, people bigint,
                    area numeric(8,2), dense numeric generated always as (people / nullif(area, 0)) stored);
create function keep_out() returns trigger language plpgsql as
    $$ begin raise exception 'the app''s trigger ran'; end $$;
insert into towns values ('GOM', 'Goma', 670000, 75.72), ('BKV', 'Bukavu', null, 60.00);
create trigger app before update on towns for each row execute function keep_out();
select godwit.track('towns', '{"from": "census"}');
drop trigger app on towns;
select code, name, people, area, _rev from towns order by code;
select _id, _rev, _prev, _deleted, code, name, people, area from towns_history order by _id;
select * from differences('towns');
select body_differences('towns');
-- The same rows in another table make the same first revisions: its name is not hashed.
create table places (like towns including generated);
alter table places drop column _rev;
insert into places (code, name, people, area) select code, name, people, area from towns;
alter table places add primary key (code);
select godwit.track('places');
select count(*) from towns t join places p using (code) where t._rev = p._rev;
select godwit.get('towns', 'GOM');

-- Keys of several columns, and keys that are not text.
create table stock (depot int, item text, counted date, n int, primary key (item, depot));
insert into stock values (7, 'salt, "fine"', '2024-01-31', 3), (8, 'öl', null, 4);
select godwit.track('stock');
select _id, depot, item, counted from stock_history order by _id;
update stock set n = 5 where depot = 7;
select godwit.get('stock', '["salt, \"fine\"","7"]', revisions => true);
select godwit.put('stock', '{"id": "[\"rice\",\"9\"]", "attributes": {"n": {"int": "1"}}}') ->> 'id' as put;
select * from stock where item = 'rice';
create table moments (at timestamptz primary key, what text);
set timezone = 'Asia/Tokyo';
insert into moments values ('2024-01-01 00:00+00', 'new year');
select godwit.track('moments');
set timezone = 'America/Lima';
insert into moments values ('2025-01-01 00:00+00', 'new year');
reset timezone;
select _id, what from moments_history order by _id;
select * from differences('stock');
select * from differences('moments');

-- And plain again; the history stays unless it is to go.
select godwit.untrack('places');
\d places
select count(*) from places_history;
insert into places (code, name) values ('UVI', 'Uvira');
select godwit.untrack('moments', drop_history => true);
select to_regclass('moments_history') as gone;
\set SHOW_CONTEXT never
select godwit.untrack('moments');
select godwit.track('moments');
select godwit.track('moments');
select godwit.track('places');

-- Refused, with the reason.
create table no_key (a int);
create view a_view as select 1 as a;
create temp table in_memory (a int primary key);
create unlogged table unsafe (a int primary key);
create table parent (a int primary key);
create table child (primary key (a)) inherits (parent);
create table parted (a int primary key) partition by range (a);
create table ours (a int primary key, _prev text, _by text);
create table id_not_key (a int primary key, _id text);
select godwit.track('no_key');
select godwit.track('a_view');
select godwit.track('in_memory');
select godwit.track('unsafe');
select godwit.track('parent');
select godwit.track('child');
select godwit.track('ours');
select godwit.track('id_not_key');
select godwit.track('towns_history');
select godwit.track('pg_class');
select godwit.track('godwit.tracked');
select godwit.track('no_such_table');
select godwit.track('towns', '[]');
create table long_id (a text primary key);
insert into long_id values (repeat('x', 1025));
select godwit.track('long_id');
select godwit.find_table('no_key');
-- By its name on the wire, in which schema and table may have dots; a name that is another's by now is not remembered.
create schema "a.b";
create table "a.b"."c.d" (id int primary key);
create table "a.b.c" (id int primary key);
create table "a.b".not_tracked (id int primary key);
select godwit.track('"a.b"."c.d"'), godwit.track('"a.b.c"');
select godwit.find_table('a.b.c.d'), godwit.find_table('a.b.c'), godwit.find_table('a.b.c.d') as again;
select godwit.find_table('a.b.not_tracked');
select godwit.find_table('public.a.b.c');
select godwit.find_table('..');
select godwit.find_table(null);
alter table "a.b.c" rename to moved;
select godwit.find_table('moved');
select godwit.find_table('a.b.c');
select godwit.untrack('moved', true);
select godwit.find_table('moved');
drop schema "a.b" cascade;
drop table moved;
