-- godwit.put: a local edit of one record.
create table people (id int primary key, name text not null, age int check (age >= 0),
                     email text unique, joined date not null default '2024-01-01', shout text generated always as (upper(name)) stored);
select godwit.track('people');
select godwit.put('people', '{"id": "1", "attributes": {"name": {"string": "Amina"}}}') ->> 'revision' as r1 \gset
select * from people;
-- The same as plain SQL makes, and as the revision crate makes elsewhere.
insert into people (id, name) values (2, 'Amina');
select (select _rev from people where id = 2) = godwit._first_revision('2', '["age","email","id","joined","name"]', row(null::int, null::text, 2, '2024-01-01'::date, 'Amina'::text)) as same;
-- An edit names its revision; what it leaves out stays, what it names as null goes.
select godwit.put('people', jsonb_build_object('id', '1', 'revision', :'r1', 'attributes', '{"age": {"int": "30"}, "joined": {"date": "2024-05-01"}}'::jsonb)) ->> 'revision' as r2 \gset
select id, name, age, joined, shout from people where id = 1;
-- Sent twice it is done once.
select godwit.put('people', jsonb_build_object('id', '1', 'revision', :'r1', 'attributes', '{"age": {"int": "30"}, "joined": {"date": "2024-05-01"}}'::jsonb)) ->> 'revision' = :'r2' as same;
select count(*) from people_history where _id = '1';
-- One that changes nothing makes no revision.
select godwit.put('people', jsonb_build_object('id', '1', 'revision', :'r2', 'attributes', '{"age": {"int": "30"}}'::jsonb)) ->> 'revision' = :'r2' as same;
-- A stale one names the winner, or becomes a branch.
\set SHOW_CONTEXT never
select godwit.put('people', jsonb_build_object('id', '1', 'revision', :'r1', 'attributes', '{"age": {"int": "31"}}'::jsonb));
select godwit.put('people', '{"id": "1", "attributes": {"name": {"string": "another"}}}');
select godwit.put('people', jsonb_build_object('id', '1', 'revision', :'r1', 'attributes', '{"age": {"int": "31"}}'::jsonb), on_conflict => 'branch') ->> 'revision' as branch \gset
select revision = :'branch' as is_branch, winner, leaf, record -> 'attributes' -> 'age' as age from godwit.leaves('people', '1');
select jsonb_array_length(godwit.get('people', '1', conflicts => true) -> 'conflicts') as conflicts;
select * from differences('people');
-- Deleting; a leaf beside it comes to the fore, and the table follows.
select _rev as winner from people where id = 1 \gset
select godwit.put('people', jsonb_build_object('id', '1', 'revision', :'winner', 'deleted', true)) - 'revision';
select count(*) as living, min(name) from people where id = 1;
select * from differences('people');
delete from people where id = 1;
select count(*) filter (where not deleted) as living_leaves from godwit.leaves('people', '1');
select godwit.get('people', '1') ->> 'deleted' as deleted;
-- A put without a revision continues from the tombstone.
select godwit.put('people', '{"id": "1", "attributes": {"name": {"string": "back"}}}') - 'revision';
select godwit.generation(_rev), name from people where id = 1;
-- Faults. Each leaves nothing behind.
create temp table before as select (select count(*) from people_history) h, (select count(*) from people) t;
select godwit.put('people', '{"id": "1", "revision": "7-nobody", "attributes": {"name": {"string": "x"}}}');
select godwit.put('people', '{"id": "1", "revision": "7-nobody", "attributes": {"name": {"string": "x"}}}', 'branch');
select godwit.put('people', '{"id": "99", "revision": "1-a", "attributes": {"name": {"string": "x"}}}');
select godwit.put('people', '{"id": "99", "revision": "1", "attributes": {}}');
select godwit.put('people', '{"id": "99", "deleted": true}');
select godwit.put('people', '{"id": "99", "attributes": {"age": {"int": "3"}}}');
select godwit.put('people', '{"id": "99", "attributes": {"name": {"string": "x"}, "age": {"int": "-3"}}}');
select godwit.put('people', '{"id": "99", "attributes": {"name": {"string": "x"}, "age": {"string": "young"}}}');
select godwit.put('people', '{"id": "99", "attributes": {"name": {"string": "x"}, "age": {"int": "007"}}}');
select godwit.put('people', '{"id": "99", "attributes": {"name": {"string": "x"}, "age": 7}}');
select godwit.put('people', '{"id": "99", "attributes": {"name": {"text": "x"}}}');
select godwit.put('people', '{"id": "99", "attributes": {"name": {"string": "x"}, "id": {"int": "98"}}}');
select godwit.put('people', '{"id": "099", "attributes": {"name": {"string": "x"}}}');
select godwit.put('people', '{"id": "x", "attributes": {"name": {"string": "x"}}}');
select godwit.put('people', '{"id": "", "attributes": {}}');
select godwit.put('people', '{"attributes": {}}');
select godwit.put('people', jsonb_build_object('id', repeat('9', 10000), 'attributes', '{}'::jsonb));
select godwit.put('people', '{"id": "99", "attributes": {"name": {"string": "\u0000"}}}');
select godwit.put('people', '{"id": "99", "table": "other", "attributes": {}}');
select godwit.put('people', '{"id": "99", "atributes": {}}');
select godwit.put('people', '[]');
select godwit.put('people', '{"id": "99"}', on_conflict => 'maybe');
select godwit.put('pg_class', '{"id": "99"}');
select (select count(*) from people_history) = h as no_history, (select count(*) from people) = t as no_row from before;
select godwit.get('people', 'nobody') is null as unknown, godwit.get('people', '1', '7-nobody') is null as unknown_revision;
select godwit.get('people', '1', 'nonsense');
-- A new record whose answer was lost is sent again: it is made once.
select godwit.put('people', '{"id": "77", "attributes": {"name": {"string": "once"}}}') = godwit.put('people', '{"id": "77", "attributes": {"name": {"string": "once"}}}') as once;
select count(*) from godwit.history('people', '77');
-- Defaults and keys are printed as the canonical form has them, whatever the session's settings.
set intervalstyle = 'postgres';
create table spans (k interval primary key, every interval default '1 day 2 hours', note text);
select godwit.track('spans');
select godwit.put('spans', '{"id": "P1D", "attributes": {"note": {"string": "new"}}}') ->> 'id' as id;
select godwit.get('spans', 'P1D') -> 'attributes' as attributes;
alter table spans enable row level security;
create policy visible on spans using (note <> 'hidden');
create role spanner;
grant all on spans to spanner;
set role spanner;
select godwit.put('spans', jsonb_set(godwit.get('spans', 'P1D'), '{attributes,note}', '{"string": "put"}')) ->> 'id' as id;
reset role;
select * from godwit.verify('spans');
drop table spans; drop table spans_history;
drop role spanner;
reset intervalstyle;
