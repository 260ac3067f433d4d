-- Edits of a record before its history has heard of the edit before: triggers of the app's within one statement, keys
-- that move, what sync writes itself.
set godwit.author = 'edited_within';
create table chained (id int primary key, n int, kind int default 7, total int);
select godwit.track('chained');
-- Every edit is edited by a trigger, and that again, by nothing.
create function settle() returns trigger language plpgsql as $$
begin
    if pg_trigger_depth() < 3 then
        update chained set total = n * 2 where id = new.id;
    end if;
    return null;
end $$;
create trigger settle after insert or update on chained for each row execute function settle();
insert into chained (id, n) values (1, 1);
update chained set n = 2;
select id, n, total, godwit.generation(_rev) from chained;
select godwit.generation(_rev), godwit.generation(_prev) as of, n, total from chained_history order by _seq;
select * from differences('chained');
-- What a peer's record doesn't say is a default in its row: an edit leaves it unsaid, or says it.
select status from godwit.put_revisions('chained', '[{"id": "2", "revision": "1-ff",
    "attributes": {"id": {"int": "2"}, "n": {"int": "1"}, "x": {"string": "more"}}}]');
update chained set n = 3 where id = 2;
select godwit.get('chained', '2') -> 'attributes' as attributes;
update chained set kind = null where id = 2;
select godwit.get('chained', '2') -> 'attributes' as attributes;
update chained set kind = 8, n = 4 where id = 2;
select godwit.get('chained', '2') -> 'attributes' as attributes;
select * from differences('chained');
select * from godwit.verify('chained');
-- An INSERT that comes to nothing, before the statement begins.
create function try() returns trigger language plpgsql as
    'begin insert into chained (id) values (1) on conflict do nothing; return null; end';
create trigger try before update on chained for each statement execute function try();
update chained set n = 4;
select id, n, total from chained order by id;
select * from differences('chained');
drop trigger try on chained;
-- What a trigger had kept of an edit goes with its savepoint.
create or replace function settle() returns trigger language plpgsql as $$
begin
    if pg_trigger_depth() < 2 then
        begin
            update chained set total = -1 where id = new.id;
            raise exception 'taken back';
        exception when raise_exception then null;
        end;
        update chained set total = n * 3 where id = new.id;
    end if;
    return null;
end $$;
update chained set n = 5;
select id, n, total from chained order by id;
select * from differences('chained');
select * from godwit.verify('chained');
-- A statement of sync's fires a trigger that deletes what it has just written, beside a branch that it cut off.
create table swept (id int primary key, v text);
select godwit.track('swept');
create function sweep() returns trigger language plpgsql as 'begin delete from swept; return null; end';
create trigger sweep after update on swept for each statement execute function sweep();
insert into swept values (1, 'x');
select status from godwit.put_revisions('swept', '[{"id": "1", "revision": "3-ff", "revisions": ["3-ff", "2-ff"],
    "attributes": {"id": {"int": "1"}, "v": {"string": "theirs"}}}]');
select * from swept;
select * from differences('swept');
-- And a trigger puts a branch of what is about to be deleted.
create table branched (id int primary key, v text);
select godwit.track('branched');
create function branch() returns trigger language plpgsql as $$
begin
    perform godwit.put('branched', format('{"id": "%s", "attributes": {"id": {"int": "%1$s"}, "v": {"string": "put"}}}', old.id)::jsonb,
        on_conflict => 'branch');
    return null;
end $$;
create trigger branch after delete on branched for each row execute function branch();
insert into branched select n, 'v' || n from generate_series(1, 8) n;
delete from branched;
select * from differences('branched');
select * from godwit.verify('branched');
-- Keys that move on to one another's records, of which a peer has said more than there are columns.
create table moved (id int primary key deferrable, v text);
select godwit.track('moved');
insert into moved values (1, 'one');
select status from godwit.put_revisions('moved', '[{"id": "2", "revision": "1-ff",
    "attributes": {"id": {"int": "2"}, "v": {"string": "two"}, "x": {"string": "more"}}}]');
update moved set id = id + 1;
update moved set id = 5 - id, v = v || '!' where id in (2, 3);
select id, v, godwit.generation(_rev) from moved order by id;
select * from differences('moved');
select * from godwit.verify('moved');
-- By a trigger, before it has been told that they have moved once.
create function rotate() returns trigger language plpgsql as $$
begin
    if pg_trigger_depth() < 2 then
        update moved set id = id + 1;
    end if;
    return null;
end $$;
create trigger "!a" after update on moved for each statement execute function rotate();
update moved set id = id + 1;
drop trigger "!a" on moved;
select id, v, godwit.generation(_rev) from moved order by id;
select * from differences('moved');
-- One record twice, for a while, where the twin is written by SQL.
create function nothing() returns trigger language plpgsql as 'begin return null; end';
create trigger nothing after insert on moved_history for each row execute function nothing();
begin;
set constraints all deferred;
insert into moved values (7, 'same'), (7, 'same');
delete from moved where ctid = (select max(ctid) from moved where id = 7);
commit;
select * from differences('moved');
-- MERGE moves a row to another partition.
create table merged (id int, part int, v text, primary key (id, part)) partition by list (part);
create table merged_1 partition of merged for values in (1);
create table merged_2 partition of merged for values in (2);
select godwit.track('merged');
insert into merged values (1, 1, 'x'), (2, 1, 'y'), (3, 1, 'z');
merge into merged t using (values (1), (2), (4)) s (id) on t.id = s.id
    when matched and t.id = 1 then update set part = 2
    when matched then update set v = t.v || '!'
    when not matched then insert values (s.id, 2, 'new');
merge into merged t using (values (3), (4)) s (id) on t.id = s.id
    when matched and t.id = 4 then delete
    when matched then update set part = 2, v = 'moved';
-- A move that fails is none.
do $$ begin update merged set part = null where id = 2; exception when check_violation then null; end $$;
update merged set v = v || '?' where id = 2;
select id, part, v, godwit.generation(_rev) from merged order by id;
select _id, godwit.generation(_rev), _deleted from merged_history order by _id, _rev;
select * from differences('merged');
select * from godwit.verify('merged');
set client_min_messages = warning;
drop table chained, swept, branched, moved, merged, moved_history;
drop function settle, try, sweep, branch, rotate, nothing;
