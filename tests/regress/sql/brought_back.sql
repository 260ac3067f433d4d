-- Rows that are back, under the key that they had, before it is the history's turn to hear that they have gone.
create function bring_back() returns trigger language plpgsql as $$
begin
    execute format('insert into %I.%I (id, part, v) values ($1, $2, $3)', tg_table_schema, tg_argv[0])
        using old.id, old.part, old.v || ' back';
    return null;
end $$;
create table graves (id int, part int, v text, primary key (part, id));
select godwit.track('graves');
insert into graves select n, 0, 'v' || n from generate_series(1, 4) n;
-- One record has a conflict, and the list of conflicts is read for every record of such a table.
create trigger bring_back after delete on graves for each row when (old.id < 3) execute function bring_back('graves');
delete from graves where id in (1, 3);
select id, v, godwit.generation(_rev) from graves order by id;
select _id, _rev, _prev, _deleted, v from graves_history where _id = '["0","1"]' order by _seq;
select * from differences('graves');
select status from godwit.put_revisions('graves', '[{"id": "[\"0\",\"2\"]", "revision": "1-ff",
    "attributes": {"id": {"int": "2"}, "part": {"int": "0"}, "v": {"string": "theirs"}}}]');
delete from graves where id in (2, 4);
delete from graves;
select id, v, godwit.generation(_rev) from graves order by id;
select * from differences('graves');
select * from godwit.verify('graves');
-- A peer deletes it.
select p.status from graves, godwit.put_revisions('graves', format('[{"id": "[\"0\",\"1\"]", "revision": "4-ff", "revisions": ["4-ff", "%s"],
    "deleted": true, "attributes": {}}]', _rev)::jsonb) p where graves.id = 1;
select id, v, godwit.generation(_rev) from graves order by id;
select * from differences('graves');
-- Its key changes, and a row takes the key that it had.
create trigger leave after update on graves for each row when (old.id <> new.id) execute function bring_back('graves');
update graves set id = id + 10 where id = 1;
select id, v, godwit.generation(_rev) from graves order by id;
select * from differences('graves');
select * from godwit.verify('graves');
-- A twin with a trigger of its own is written by SQL.
create function nothing() returns trigger language plpgsql as 'begin return null; end';
create trigger nothing after insert on graves_history for each row execute function nothing();
delete from graves where id in (1, 11);
select id, v, godwit.generation(_rev) from graves order by id;
select * from differences('graves');
-- The key is looked at when the statement ends: the new row is there before the old one has gone.
create table later (id int primary key deferrable, v text);
select godwit.track('later');
insert into later values (1, 'x'), (2, 'y');
with gone as (delete from later) insert into later values (1, 'new');
select id, v, godwit.generation(_rev) from later order by id;
select * from differences('later');
-- Partitions: a row goes to another, and one comes from a third under the key that it had. What that showed lies below
-- the tombstone of an earlier life.
create table wandered (id int, part int, v text, primary key (id, part)) partition by list (part);
create table wandered_1 partition of wandered for values in (1);
create table wandered_2 partition of wandered for values in (2);
create table wandered_3 partition of wandered for values in (3);
select godwit.track('wandered');
insert into wandered values (7, 2, 'x');
update wandered set v = 'y';
update wandered set v = 'z';
delete from wandered;
select status from godwit.put_revisions('wandered', '[{"id": "[\"7\",\"2\"]", "revision": "1-ff",
    "attributes": {"id": {"int": "7"}, "part": {"int": "2"}, "v": {"string": "theirs"}}}]');
insert into wandered values (7, 3, 'three');
update wandered set part = part - 1;
select id, part, v, godwit.generation(_rev) from wandered order by part;
select _prev from wandered_history where _id = '["7","2"]' order by _seq desc limit 1;
select * from differences('wandered');
select * from godwit.verify('wandered');
create trigger bring_back after delete on wandered for each row execute function bring_back('wandered');
delete from wandered where part = 1;
delete from wandered_2;
select id, part, v, godwit.generation(_rev) from wandered order by part;
select * from differences('wandered');
-- A key that no partition takes, in a savepoint that is rolled back.
do $$ begin
    begin update wandered set part = null; exception when others then null; end;
    update wandered set v = 'still there';
end $$;
select id, part, v, godwit.generation(_rev) from wandered order by part;
select * from differences('wandered');
-- A conflict whose row went while nothing listened: its winner can be edited.
create table unheard (id int primary key, v text);
select godwit.track('unheard');
insert into unheard values (1, 'x');
select status from godwit.put_revisions('unheard', '[{"id": "1", "revision": "1-00",
    "attributes": {"id": {"int": "1"}, "v": {"string": "theirs"}}}]');
alter table unheard disable trigger user;
delete from unheard;
alter table unheard enable trigger user;
select godwit.put('unheard', jsonb_build_object('id', '1', 'revision', l.revision, 'attributes', '{"v": {"string": "edited"}}'::jsonb))
    ->> 'id' as put from godwit.leaves('unheard', '1') l where l.winner;
select id, v, godwit.generation(_rev) from unheard;
select * from differences('unheard');
-- Who writes is a text.
begin;
set local request.jwt.claims = '{"sub": "n\u0000x"}';
insert into unheard values (2, 'x');
rollback;
set client_min_messages = warning;
drop table unheard, graves, later, wandered, graves_history;
drop function bring_back, nothing;
