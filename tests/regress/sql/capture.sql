-- Every statement of plain SQL makes revisions, whatever the app does.
create table p (id int primary key, name text, n int not null default 0, twice int generated always as (n * 2) stored);
select godwit.track('p');
insert into p values (1, 'one'), (2, 'two'), (3, 'three');
copy p (id, name) from stdin;
4	four
5	five
\.
-- An UPDATE that changes nothing makes no revision.
update p set name = name;
update p set n = 1 where id = 1;
update p set _rev = '7-forged' where id = 2;
-- ON CONFLICT, both ways.
insert into p (id, name) values (1, 'uno'), (6, 'six') on conflict (id) do nothing;
insert into p (id, name) values (1, 'uno'), (7, 'seven') on conflict (id) do update set name = excluded.name, n = p.n + 1;
-- MERGE inserts, updates and deletes in one statement.
merge into p using (values (2, 'zwei'), (3, null), (8, 'eight')) as v (id, name) on p.id = v.id
 when matched and v.name is null then delete
 when matched then update set name = v.name
 when not matched then insert (id, name) values (v.id, v.name);
-- A record that was deleted continues from its tombstone.
insert into p (id, name) values (3, 'again');
delete from p where id in (4, 5);
-- A changed key is a delete and an insert.
update p set id = id + 10 where id in (6, 7, 8);
select _id, godwit.generation(_rev) as generation, _prev is not null as has_parent, _deleted, name, n
  from p_history order by _id::int, _rev;
select * from p order by id;
select * from differences('p');
select body_differences('p');
-- Each revision's parent is there and a generation lower; each but the first has one.
select count(*) from p_history h left join p_history o on o._id = h._id and o._rev = h._prev
 where godwit.generation(h._rev) <> coalesce(godwit.generation(o._rev), 0) + 1;
-- Optimistic locking in plain SQL.
select _rev as rev from p where id = 1 \gset
update p set name = 'first' where id = 1 and _rev = :'rev';
update p set name = 'second' where id = 1 and _rev = :'rev';
-- TRUNCATE ends every record, and rolled-back work leaves nothing.
begin;
insert into p (id) values (100);
savepoint s;
update p set name = 'gone' where id = 100;
rollback to s;
update p set name = 'stays' where id = 100;
commit;
begin; delete from p; rollback;
select name, godwit.generation(_rev) from p_history where _id = '100' order by _rev;
truncate p;
select count(*) filter (where leaf and not deleted) as living from
    (select distinct _id from p_history) i, godwit.history('p', i._id);
select * from differences('p');
-- Large statements take the other plan.
insert into p select g, 'n' || g, g from generate_series(1, 1000) g;
update p set n = n + 1;
delete from p where id % 2 = 0;
insert into p select g, 'back' from generate_series(2, 100, 2) g;
select count(*), max(godwit.generation(_rev)) from p_history where _seq > 0;
select * from differences('p');
select body_differences('p');
-- Keys that move along a row: each id is edited by whoever comes to it.
create table q (id int primary key deferrable initially immediate, name text);
select godwit.track('q');
insert into q values (1, 'a'), (2, 'b'), (3, 'c');
update q set id = id % 3 + 1;
update q set id = id + 1;
select _id, godwit.generation(_rev) as generation, _deleted, name from q_history order by _id, _rev;
select * from q order by id;
select * from differences('q');
-- Columns that are named like anything.
create table r (n int, o int, h int, t int, k int, p int, c int, id text, s int, w int, l int, record int, revision int, line int, primary key (n, h));
select godwit.track('r');
insert into r (n, h, o) values (1, 2, 3), (4, 5, 6);
update r set o = 7, t = 8 where n = 1;
delete from r where n = 4;
insert into r (n, h) values (4, 5);
select id, revision, status from godwit.put_revisions('r', jsonb_build_array(
    '{"id": "[\"9\",\"9\"]", "revision": "1-a", "attributes": {"o": {"int": "1"}, "more": {"int": "1"}}}'::jsonb));
update r set o = 2 where n = 9;
select n, h, o, t, godwit.generation(_rev) from r order by n;
select table_name, id, winner, record -> 'attributes' -> 'o' as o, record -> 'attributes' -> 'more' as more
  from godwit.changes(tables => '{r}', include => 'records') where id like '%9%' order by seq;
select godwit.get('r', '["1","2"]') -> 'attributes' -> 't' as t;
select count(*) from godwit.records('r');
select count(*) from godwit.history('r', '["4","5"]');
select * from differences('r');
\set SHOW_CONTEXT never
-- Functions that take a whole row take no other.
select godwit._parent('r'::regclass, 5);
select godwit._parent('r'::regclass, row(1, 2));
select godwit._record('r'::regclass, 'text'::text, false);
select godwit._carried('r'::regclass, '{}', 1, 2);
