-- Tables on which ON CONFLICT can't be used take records from elsewhere all the same.
\set SHOW_CONTEXT never
create table wells (id int primary key, name text unique);
create table told (id int);
create rule tell as on insert to wells do also insert into told values (new.id);
select godwit.track('wells');
insert into wells values (1, 'a');
delete from wells where id = 1;
create function bring(relation regclass) returns table (id text, status text, reason text) language sql as $$
    select id, status, reason from godwit.put_revisions(relation, '[
        {"id": "1", "revision": "3-a", "attributes": {"id": {"int": "1"}, "name": {"string": "a"}}},
        {"id": "2", "revision": "1-a", "attributes": {"id": {"int": "2"}, "name": {"string": "b"}}},
        {"id": "3", "revision": "1-a", "attributes": {"id": {"int": "3"}, "name": {"string": "b"}}},
        {"id": "4", "revision": "1-a", "attributes": {"id": {"int": "4"}, "name": {"string": "c"}}},
        {"id": "4", "revision": "1-b", "attributes": {"id": {"int": "4"}, "name": {"string": "d"}}}]') order by ord
$$;
select * from bring('wells');
select godwit.put('wells', '{"id": "5", "attributes": {"name": {"string": "e"}}}') ->> 'id' as id;
select godwit.put('wells', '{"id": "6", "attributes": {"name": {"string": "e"}}}') ->> 'id' as id;
select id, status, reason from godwit.put_many('wells', '[{"id": "6", "attributes": {"name": {"string": "e"}}}, {"id": "7", "attributes": {"name": {"string": "f"}}}]');
select array_agg(id || ' ' || name order by id) from wells;
select array_agg(distinct id order by id) from told;
select * from differences('wells');
-- What a rule keeps out is refused by itself.
create rule tell_not as on insert to wells where new.id > 7 do instead nothing;
select id, status, reason from godwit.put_revisions('wells', '[
    {"id": "8", "revision": "1-a", "attributes": {"id": {"int": "8"}, "name": {"string": "g"}}},
    {"id": "0", "revision": "1-a", "attributes": {"id": {"int": "0"}, "name": {"string": "h"}}}]');
select * from differences('wells');
-- A key, or another unique constraint, that can be deferred.
create table ponds (id int primary key deferrable, name text unique);
select godwit.track('ponds');
insert into ponds values (1, 'a');
delete from ponds where id = 1;
select * from bring('ponds');
select * from differences('ponds');
create table lakes (id int primary key, name text unique deferrable initially deferred);
select godwit.track('lakes');
insert into lakes values (1, 'a');
delete from lakes where id = 1;
-- What is only checked at the end of the transaction fails all of it.
select * from bring('lakes');
begin;
set constraints all immediate;
select * from bring('lakes');
commit;
select * from differences('lakes');
-- So it is in a partition.
create table seas (id int, name text, primary key (id)) partition by range (id);
create table seas_1 partition of seas (unique (name) deferrable) for values from (0) to (100);
select godwit.track('seas');
select * from bring('seas');
select * from differences('seas');
drop table wells, wells_history, told, ponds, ponds_history, lakes, lakes_history, seas, seas_history;
drop function bring;
