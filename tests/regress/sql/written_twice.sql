-- Statements that write one table, or one row of it, more than once.
create table twice (id text primary key, v text);
select godwit.track('twice');
insert into twice values ('a', '1'), ('b', '1'), ('c', '1');
with gone as (delete from twice where id = 'a' returning *) insert into twice select id, 'again' from gone;
select * from differences('twice');
with new as (insert into twice values ('d', '1')), gone as (delete from twice where id = 'b' returning *),
     edited as (update twice set v = '2' where id = 'c')
insert into twice select id, 'again' from gone;
select id, godwit.generation(_rev), v from twice order by id;
select * from differences('twice');
merge into twice as t using (values ('a', 'edit'), ('b', 'gone'), ('e', 'new')) s(id, v) on t.id = s.id
    when matched and s.v = 'gone' then delete when matched then update set v = s.v when not matched then insert values (s.id, s.v);
insert into twice values ('a', 'x'), ('f', 'x') on conflict (id) do update set v = twice.v || ' on conflict';
insert into twice values ('a', 'y'), ('g', 'y') on conflict do nothing;
select id, godwit.generation(_rev), v from twice order by id;
select * from differences('twice');
-- Triggers of the app's that edit the same row, another row, and the whole table meanwhile.
create function meddle() returns trigger language plpgsql as $$
begin
    if tg_argv[0] = 'row' and tg_op <> 'DELETE' then
        update twice set v = v || ' row' where id = new.id and pg_trigger_depth() < 2;
    elsif tg_argv[0] = 'row' then
        insert into twice values ('of ' || old.id, 'left') on conflict (id) do nothing;
    elsif pg_trigger_depth() < 2 then
        update twice set v = v || ' all' where id <> 'd';
        begin
            insert into twice values ('h', 'h');
            update twice set v = v || '!' where id <> 'd';
            raise exception 'taken back';
        exception when raise_exception then null;
        end;
    end if;
    return null;
end $$;
create trigger meddle_row after insert or update or delete on twice for each row execute function meddle('row');
create trigger meddle_all after insert or update or delete on twice for each statement execute function meddle('all');
insert into twice values ('i', 'i'), ('j', 'j');
update twice set v = 'u' where id in ('a', 'i');
delete from twice where id in ('j', 'c');
select id, v from twice order by id;
select * from differences('twice');
select * from godwit.verify('twice');
-- The same where nothing fits into memory.
set work_mem = '64kB';
insert into twice select 'n' || n, repeat('x', 100) from generate_series(1, 3000) n;
update twice set v = v || 'y' where id like 'n%';
delete from twice where id like 'n%';
reset work_mem;
select * from differences('twice');
select count(*) from godwit.verify('twice');
drop table twice cascade;
drop table twice_history;
drop function meddle();
-- A foreign key to the table itself cascades to a row of the same statement, which a trigger of the app's has edited meanwhile.
create table codes (id text primary key, code text unique, of text references codes (code) on update cascade deferrable initially deferred, v text);
select godwit.track('codes');
insert into codes values ('p', 'old', null, ''), ('again', 'a', 'old', '');
delete from codes where id = 'again';
create function exclaim() returns trigger language plpgsql as $$
begin
    update codes set v = v || '!' where id = new.id and id <> 'p';
    return null;
end $$;
create trigger exclaim after insert on codes for each row execute function exclaim();
insert into codes values ('again', 'a', 'old', 'v'), ('new', 'n', 'old', 'v'), ('p', 'old', null, '') on conflict (id) do update set code = 'new';
select id, code, of, v, godwit.generation(_rev) from codes order by id;
select * from differences('codes');
select * from godwit.verify('codes');
drop table codes cascade;
drop table codes_history;
drop function exclaim();
