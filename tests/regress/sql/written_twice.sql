-- Statements that write one table, or one row of it, more than once.
create table t (id text primary key, v text);
select godwit.track('t');
insert into t values ('a', '1'), ('b', '1'), ('c', '1');
with gone as (delete from t where id = 'a' returning *) insert into t select id, 'again' from gone;
select * from differences('t');
with new as (insert into t values ('d', '1')), gone as (delete from t where id = 'b' returning *),
     edited as (update t set v = '2' where id = 'c')
insert into t select id, 'again' from gone;
select id, godwit.generation(_rev), v from t order by id;
select * from differences('t');
merge into t using (values ('a', 'edit'), ('b', 'gone'), ('e', 'new')) s(id, v) on t.id = s.id
    when matched and s.v = 'gone' then delete when matched then update set v = s.v when not matched then insert values (s.id, s.v);
insert into t values ('a', 'x'), ('f', 'x') on conflict (id) do update set v = t.v || ' on conflict';
insert into t values ('a', 'y'), ('g', 'y') on conflict do nothing;
select id, godwit.generation(_rev), v from t order by id;
select * from differences('t');
-- Triggers of the app's that edit the same row, another row, and the whole table meanwhile.
create function meddle() returns trigger language plpgsql as $$
begin
    if tg_argv[0] = 'row' and tg_op <> 'DELETE' then
        update t set v = v || ' row' where id = new.id and pg_trigger_depth() < 2;
    elsif tg_argv[0] = 'row' then
        insert into t values ('of ' || old.id, 'left') on conflict (id) do nothing;
    elsif pg_trigger_depth() < 2 then
        update t set v = v || ' all' where id <> 'd';
        begin
            insert into t values ('h', 'h');
            update t set v = v || '!' where id <> 'd';
            raise exception 'taken back';
        exception when raise_exception then null;
        end;
    end if;
    return null;
end $$;
create trigger meddle_row after insert or update or delete on t for each row execute function meddle('row');
create trigger meddle_all after insert or update or delete on t for each statement execute function meddle('all');
insert into t values ('i', 'i'), ('j', 'j');
update t set v = 'u' where id in ('a', 'i');
delete from t where id in ('j', 'c');
select id, v from t order by id;
select * from differences('t');
select * from godwit.verify('t');
-- The same where nothing fits into memory.
set work_mem = '64kB';
insert into t select 'n' || n, repeat('x', 100) from generate_series(1, 3000) n;
update t set v = v || 'y' where id like 'n%';
delete from t where id like 'n%';
reset work_mem;
select * from differences('t');
select count(*) from godwit.verify('t');
drop table t cascade;
drop table t_history;
drop function meddle();
