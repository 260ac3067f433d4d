-- A partitioned table is tracked by its root: its rows' histories are in one twin, whichever way it is written.
create table stays (
    region text, id integer, note text, n integer default 1, primary key (region, id)
) partition by list (region);
create table stays_north partition of stays for values in ('north');
-- Columns in another order, one of them dropped.
create table stays_south (
    gone text, n integer default 1, id integer not null, note text, region text not null);
alter table stays_south drop column gone;
alter table stays attach partition stays_south for values in ('south');
create table stays_rest partition of stays default partition by range (id);
create table stays_rest_low partition of stays_rest for values from (0) to (100);
create table stays_rest_high partition of stays_rest for values from (100) to (1000);
insert into stays values ('north', 1, 'one'), ('south', 2, 'two'), ('west', 3, 'three'), ('west', 300, 'far');

select godwit.track('stays');
select * from godwit.verify('stays');
select * from differences('stays');

-- By the root, by partitions at each level, and rows that move.
insert into stays values ('north', 10, 'a'), ('south', 20, 'b'), ('east', 30, 'c');
insert into stays_south (region, id, note) values ('south', 21, 'straight into it');
insert into stays_rest values ('east', 31, 'in the middle');
insert into stays_rest_low (id, region, note) values (32, 'east', 'at the bottom');
update stays set note = note || '!' where id in (1, 2, 3);
update stays_south set note = 'again', n = 5 where id = 2;
update stays_rest set n = 9;
update stays set region = 'south' where id = 1;
update stays set id = 301 where id = 3;
delete from stays where id = 10;
delete from stays_rest_low where id = 32;
insert into stays values ('south', 20, 'upserted') on conflict (region, id) do update set note = excluded.note;
merge into stays v using (values ('north', 11), ('south', 20)) s(region, id)
    on v.region = s.region and v.id = s.id
    when matched then update set n = 77
    when not matched then insert (region, id, note) values (s.region, s.id, 'merged');
copy stays (region, id, note) from stdin;
north	12	copied
south	22	copied
\.
select tableoid::regclass as part, region, id, note, n, godwit.generation(_rev) from stays order by region, id;
select _id, godwit.generation(_rev), _deleted, note, n from stays_history order by _seq, _id, _rev;
select * from differences('stays');
select body_differences('stays');
select * from godwit.verify('stays');

-- Sync writes the root, and the row finds its partition.
select godwit.put('stays', '{"id": "[\"east\",\"40\"]", "attributes": {"region": {"string": "east"}, "id": {"int": "40"}, "note": {"string": "put"}}}')
    ->> 'id' as id;
select status from godwit.put_revisions('stays', jsonb_build_array(
    jsonb_build_object('id', '["south","2"]', 'revision', '9-ff', 'revisions', jsonb_build_array('9-ff', '8-ee'),
        'attributes', jsonb_build_object('region', jsonb_build_object('string', 'south'),
            'id', jsonb_build_object('int', '2'), 'note', jsonb_build_object('string', 'from afar'))),
    jsonb_build_object('id', '["north","99"]', 'revision', '1-aa',
        'attributes', jsonb_build_object('region', jsonb_build_object('string', 'north'),
            'id', jsonb_build_object('int', '99'), 'note', jsonb_build_object('string', 'new')))));
select tableoid::regclass as part, * from stays where id in (40, 2, 99) order by id;
select * from godwit.verify('stays');

-- Only the root is the tracked table.
select godwit.get('stays_north', '["north","12"]');
select godwit.track('stays_north');
call godwit.track_online('stays');

-- Partitions that come: empty ones.
create table stays_south2 partition of stays for values in ('southwest');
insert into stays_south2 (region, id, note) values ('southwest', 50, 'new partition');
create table stays_full (like stays including defaults);
alter table stays_full alter column _rev drop not null;
insert into stays_full (region, id, note) values ('full', 60, 'unknown');
alter table stays attach partition stays_full for values in ('full');
update stays_full set _rev = '1-aa';
alter table stays_full alter column _rev set not null;
alter table stays attach partition stays_full for values in ('full');
truncate stays_full;
alter table stays attach partition stays_full for values in ('full');
insert into stays_full (region, id, note) values ('full', 60, 'known');
create unlogged table stays_loose partition of stays for values in ('loose');
select * from differences('stays');

-- Partitions that go: their records end.
truncate stays_full;
select _id, _deleted from stays_history where _id like '%full%' order by _rev;
alter table stays detach partition stays_south2;
select tgname from pg_trigger where tgrelid = 'stays_south2'::regclass order by 1;
update stays_south2 set note = 'on its own';
select * from differences('stays');
insert into stays values ('north', 13, 'stays');
drop table stays_north;
select _id, _deleted from stays_history where _id like '%north%' and _deleted order by 1;
select * from differences('stays');
drop table stays_rest, stays_south2, stays_full;
select * from differences('stays');
select * from godwit.verify('stays');

-- Columns follow in all of them; our triggers stay.
alter table stays add column extra text default 'e';
update stays set extra = 'f';
drop trigger "!godwit_insert" on stays_south;
alter table stays_south set unlogged;
select * from differences('stays');
select body_differences('stays');

-- Replayed changes of another server come by the row.
set session_replication_role = replica;
insert into stays_south (region, id, note) values ('south', 70, 'replayed');
update stays set note = 'replayed too' where id = 22;
delete from stays_south where id = 20;
reset session_replication_role;
select * from differences('stays');

truncate stays;
select count(*) filter (where _deleted) > 0 as ended, count(*) > 10 as kept from stays_history;
select * from differences('stays');
select godwit.untrack('stays', drop_history => true);
select tgname from pg_trigger where tgrelid in ('stays'::regclass, 'stays_south'::regclass);
drop table stays;

-- By hash, on one column, and a partition that is detached while others write.
create table parcels (id integer primary key, note text) partition by hash (id);
create table parcels_0 partition of parcels for values with (modulus 2, remainder 0);
create table parcels_1 partition of parcels for values with (modulus 2, remainder 1);
call godwit.track_online('parcels');
select godwit.track('parcels');
insert into parcels select g, 'p' || g from generate_series(1, 100) g;
update parcels set note = upper(note) where id % 3 = 0;
delete from parcels_1 where id % 5 = 0;
alter table parcels detach partition parcels_0 concurrently;
select count(*) > 10 as ended from parcels_history where _deleted;
select * from differences('parcels');
select * from godwit.verify('parcels');
drop table parcels, parcels_history, parcels_0;

-- Inheritance is refused.
create table person (id integer primary key);
create table worker (wage integer) inherits (person);
select godwit.track('person');
select godwit.track('worker');
drop table person, worker;
