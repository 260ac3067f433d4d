-- A table is tracked while its app goes on; what is edited before its turn gets its revision then.
\set SHOW_CONTEXT never
create table members (id int primary key, name text, changed timestamptz default '2026-01-01');
create function touch_member() returns trigger language plpgsql as $$ begin new.changed := now(); return new; end $$;
create trigger touch before update on members for each row execute function touch_member();
insert into members (id, name) select n, 'member ' || n from generate_series(1, 5000) n;
call godwit.track_online('members', batch => 1000);
select count(*) as tracked, count(*) filter (where changed = '2026-01-01') as untouched from members where _rev is not null;
select count(*), count(distinct _seq) from members_history;
select * from godwit.verify('members');
select attnotnull from pg_attribute where attrelid = 'members'::regclass and attname = '_rev';
select * from godwit.progress;
call godwit.track_online('members');
call godwit.track_online('members', batch => 0);
-- The same revisions as track makes.
create table twins as select id, name, changed from members;
alter table twins add primary key (id);
select godwit.track('twins');
select count(*) from members m join twins t using (id, _rev);
-- Interrupted in the middle, and everything happens meanwhile.
create table half (id int primary key, name text);
insert into half select n, repeat('x', 200) from generate_series(1, 9000) n;
select godwit._begin_online('half', '{}');
select next < (select blocks from godwit._blocks('half')) as in_the_middle, stamped > 0 as some from godwit._backfill('half'::regclass, 0, 100);
select count(*) filter (where _rev is null) > 0 as waiting from half;
update half set name = 'edited' where id in (1, 8000);
update half set name = name where id = 8001;
delete from half where id in (2, 8002);
update half set id = 10000 where id = 8003;
insert into half values (8004, 'again') on conflict (id) do update set name = excluded.name;
select godwit.put('half', '{"id": "8005", "attributes": {"name": {"string": "put"}}}');
select status from godwit.put_revisions('half', '[{"id": "8006", "revision": "1-zz", "attributes": {"id": {"int": "8006"}, "name": {"string": "synced"}}},
    {"id": "8007", "revision": "1-00", "attributes": {"id": {"int": "8007"}, "name": {"string": "synced, lost"}}}]');
select id, left(name, 12) as name, godwit.generation(_rev) from half where id in (1, 8000, 8001, 10000, 8004, 8005, 8006, 8007) order by id;
select count(*) as history_of_deleted from half_history where _id in ('8002', '8003');
select count(*) from godwit.conflicts where relation = 'half'::regclass;
call godwit.track_online('half');
select count(*) filter (where _rev is null) as waiting, count(*) from half;
select * from godwit.verify('half');
select * from differences('half');
create role passer; grant all on half to passer; set role passer;
call godwit.track_online('half');
select godwit._backfill('half'::regclass, 0, 1);
reset role;
drop table members, twins, half; drop table members_history, twins_history, half_history;
drop function touch_member; drop role passer;
-- Who is no superuser can't keep the app's triggers still, and isn't made to seem one.
create role keeper; grant create on schema public to keeper; set role keeper;
create table watched (id int primary key, name text);
create function watch() returns trigger language plpgsql as $$ begin raise notice '% under %', tg_op, current_setting('session_replication_role'); return new; end $$;
create trigger watch before update on watched for each row execute function watch();
insert into watched values (1, 'a'), (2, 'b');
call godwit.track_online('watched');
update watched set name = 'c' where id = 2;
drop trigger watch on watched;
call godwit.track_online('watched');
select id, name, godwit.generation(_rev) from watched order by id;
select * from godwit.verify('watched');
drop table watched; drop table watched_history; drop function watch();
reset role;
drop owned by keeper; drop role keeper;
