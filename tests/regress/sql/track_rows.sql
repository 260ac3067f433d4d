-- Rows that are there when their table is tracked keep what they are, whatever the table has gone through.
create function small(int) returns int immutable language sql as 'select $1 % 3';
create domain counted as int check (value > 0);
create table much (gone text, id int primary key, long text, n counted, twice int generated always as (n * 2) stored,
                   kind int, also_gone int) with (fillfactor = 70);
alter table much alter long set storage external;
create unique index much_kind on much (small(kind), id) where kind is not null;
create index on much (n);
alter table much replica identity using index much_pkey;
cluster much using much_n_idx;
insert into much (gone, id, long, n, kind, also_gone) select 'x', g, repeat(g::text, 4000), g, g, 1 from generate_series(1, 300) g;
-- Dropped columns, one with a value that was only in the catalog, and rows that are shorter than the table.
alter table much add column late text not null default 'later';
alter table much add column even_later int default 7;
insert into much (id, n, even_later) values (301, 1, null);
alter table much drop column gone, drop column also_gone, drop column even_later;
update much set kind = null where id % 10 = 0;
delete from much where id = 300;
create temp table before as select * from much;
create temp table place as select oid, reloptions, reltoastrelid, relfilenode from pg_class where relname = 'much';
set client_min_messages = warning;
select godwit.track('much');
reset client_min_messages;
select count(*), count(*) filter (where (b.id, b.long, b.n, b.twice, b.kind, b.late) is not distinct from
                                        (m.id, m.long, m.n, m.twice, m.kind, m.late)) as same
  from before b full join much m using (id);
select count(*), count(*) filter (where (h.id, h.long, h.n, h.kind, h.late) is not distinct from
                                        (m.id, m.long, m.n, m.kind, m.late)) as same,
       count(distinct h._seq) as numbers, min(h._prev) as parent
  from much m full join much_history h on h._id = m.id::text and h._rev = m._rev;
select * from differences('much');
select body_differences('much');
select * from godwit.verify('much');
-- Its indexes find them, and nothing else of the table has changed.
set enable_seqscan = off;
select id, length(long), twice, late from much where n = 44;
select count(*) from much where small(kind) = 1 and kind is not null and id < 20;
reset enable_seqscan;
insert into much (id, n) values (44, 1);
\d much
select c.reloptions = p.reloptions as options, c.relreplident, i.indisclustered, i.indisreplident is not null as ident,
       c.reltoastrelid <> 0 as toast, c.relrewrite = 0 as done
  from pg_class c join place p using (oid) join pg_index i on i.indexrelid = 'much_n_idx'::regclass;
select count(*) as left_behind from pg_class where relname ~ '^pg_temp_[0-9]+$' or relrewrite <> 0;
select attname from pg_attribute where attrelid = 'much'::regclass and atthasmissing;
update much set n = 45 where id = 44;
select godwit.get('much', '44') -> 'attributes' -> 'n' as n, length(long), _rev::text like '2-%' as second from much where id = 44;

-- Taken back, it is as it was; and tracked at another time its revisions are the same.
create table hamlets (code text primary key, name text not null);
insert into hamlets values ('GOM', 'Goma'), ('BKV', 'Bukavu');
begin;
select godwit.track('hamlets');
select code, _rev from hamlets order by code;
rollback;
\d hamlets
begin;
savepoint a;
select godwit.track('hamlets');
rollback to a;
insert into hamlets values ('UVI', 'Uvira');
savepoint b;
select godwit.track('hamlets');
release b;
update hamlets set name = 'Uvira!' where code = 'UVI';
commit;
select code, name, _rev from hamlets order by code;
select code, _rev from hamlets_history order by _id, _rev;
select * from differences('hamlets');

-- An error in the middle leaves nothing.
create table ids (id text primary key, n int);
insert into ids select lpad(g::text, 5, '0'), g from generate_series(1, 3000) g;
insert into ids values (repeat('x', 1025), 0);
\set SHOW_CONTEXT never
select godwit.track('ids');
\d ids
select to_regclass('ids_history') as twin, count(*) from ids;
delete from ids where n = 0;
select godwit.track('ids');
select count(*), count(distinct _rev) from ids_history;
select * from differences('ids');

-- Nobody may be reading the table, nor its triggers wait to fire.
create table used (id int primary key deferrable initially deferred, n int);
insert into used values (1, 1), (2, 2);
begin;
declare reading cursor for select * from used;
fetch reading;
select godwit.track('used');
rollback;
begin;
update used set id = id + 1;
select godwit.track('used');
rollback;
select godwit.track('used');

-- Who watches over rewrites is asked.
create table watched (id int primary key, n int);
insert into watched values (1, 1);
create function no_rewrite() returns event_trigger language plpgsql as
    $$ begin raise exception 'no rewrite of % now', pg_event_trigger_table_rewrite_oid()::regclass; end $$;
create event trigger no_rewrite on table_rewrite execute function no_rewrite();
select godwit.track('watched');
alter event trigger no_rewrite disable;
select godwit.track('watched');
select * from differences('watched');
drop event trigger no_rewrite;

-- A table of another access method is tracked by ALTER TABLE, with the same revisions.
create access method heap_too type table handler heap_tableam_handler;
create table other (gone int, id int primary key, n int, name text default 'x') using heap_too;
create table same (id int primary key, n int, name text default 'x');
insert into other select 0, g, nullif(g, 7) from generate_series(1, 20) g;
alter table other drop column gone, add column late int default 5;
insert into same (id, n) select g, nullif(g, 7) from generate_series(1, 20) g;
alter table same add column late int default 5;
select godwit.track('other'), godwit.track('same');
select count(*) from other join same using (id, _rev);
select * from differences('other');
select a.amname, attnotnull, atthasdef from pg_class c join pg_am a on a.oid = c.relam
  join pg_attribute t on t.attrelid = c.oid and t.attname = '_rev' where c.relname in ('other', 'same') order by 1;

-- An owner whom the policies hold, too, tracks the rows that they hide, whichever way it is done.
create role keeper;
grant create on schema public to keeper;
create function looks_on() returns event_trigger language plpgsql as $$ begin end $$;
set role keeper;
create table kept (id int primary key, n int);
create table kept_watched (id int primary key, n int);
create table kept_parts (id int primary key, n int) partition by range (id);
create table kept_part partition of kept_parts default;
do $$
declare t text;
begin
    foreach t in array array['kept', 'kept_watched', 'kept_parts'] loop
        execute format('insert into %s select g, g %% 2 from generate_series(1, 10) g', t);
        execute format('alter table %s enable row level security, force row level security', t);
        execute format('create policy odd on %s using (n = 1)', t);
    end loop;
end $$;
select godwit.track('kept'), godwit.track('kept_parts');
reset role;
create event trigger looks_on on table_rewrite execute function looks_on();
set role keeper;
select godwit.track('kept_watched');
select count(*) from kept_watched;
reset role;
drop event trigger looks_on;
select count(*) from differences('kept') union all select count(*) from differences('kept_watched')
union all select count(*) from differences('kept_parts');
select relname, relforcerowsecurity from pg_class where relname in ('kept', 'kept_watched', 'kept_parts') order by 1;
drop table kept, kept_watched, kept_parts cascade;
drop table kept_history, kept_watched_history, kept_parts_history;
drop function looks_on();
revoke create on schema public from keeper;
drop role keeper;

-- The function behind it is for who owns a table, while it is being tracked.
create role rewriter;
set role rewriter;
select godwit._rewrite('same'::regclass);
reset role;
select godwit._rewrite('same'::regclass);
select godwit._rewrite('before'::regclass);
drop role rewriter;
drop table before, place;
set client_min_messages = warning;
drop table much, hamlets, ids, used, watched, other, same cascade;
drop table much_history, hamlets_history, ids_history, used_history, watched_history, other_history, same_history;
drop access method heap_too;
drop function small(int), no_rewrite();
drop domain counted;
reset client_min_messages;
