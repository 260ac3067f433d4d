-- Who wants each record once, and has many changes of each to catch up with, is answered from the twin's key, whose
-- pages are read as they stand. That says what plain SQL says, whatever has become of them.
\set VERBOSITY terse
set client_min_messages = warning;
create table logs (id text primary key, n int) with (autovacuum_enabled = off);
select from godwit.track('logs');
alter table logs_history set (autovacuum_enabled = off);
-- Ids whose entries have short heads, long ones, and ones that are compressed.
insert into logs select 'r' || lpad(g::text, 3, '0'), 0 from generate_series(1, 60) g;
insert into logs values ('s' || (select string_agg(md5(g::text), '') from generate_series(1, 5) g), 0), (repeat('a', 200), 0), (repeat('é', 500), 0);
do $$ begin
    for round in 1 .. 240 loop
        update logs set n = n + 1 where id < 'r050' or round < 90;
    end loop;
end $$;
-- Tombstones, new lines on top of them, branches, ancestry that is cut short.
delete from logs where id in ('r010', 'r011');
insert into logs values ('r011', 1);
update logs set n = n + 1 where id in ('r011', 'r012');
select count(*) from godwit.put_revisions('logs', (select jsonb_agg(jsonb_build_object('id', id, 'revision', revision, 'revisions', revisions,
        'attributes', jsonb_build_object('id', jsonb_build_object('string', id), 'n', '{"int": "-1"}'::jsonb)))
    from (values ('r020', '2-branch', '["2-branch"]'::jsonb), ('r021', '300-cut', '["300-cut", "299-cut"]'), ('r022', '1-other', '["1-other"]'),
                 ('r023', '2-late', '["2-late", "1-late"]'), ('r023', '1-late', '["1-late"]'), ('new', '1-new', '["1-new"]')) v(id, revision, revisions)));
create function wanted() returns table (asked text, shown text) language sql as $$
    select since || ' ' || page || ' ' || include, (select coalesce(string_agg(md5(c::text), ' ' order by c.seq), 'none') from godwit.changes(since, '{logs}', page, include, 'leaves') c)
      from (values (0), (500), ((select max(_seq)::int - 700 from logs_history))) s(since), (values (7), (1000)) p(page), (values ('none'), ('records')) i(include) $$;
create function blocks() returns bigint language plpgsql as $$
declare plan json;
begin
    execute $q$ explain (analyze, buffers, timing off, format json) select * from godwit.changes(0, '{logs}', 1000, 'none', 'leaves') $q$ into plan;
    return (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::bigint + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::bigint;
end $$;
create role by_column;
do $$ begin
    execute format('grant select (%s) on logs_history to by_column', (select string_agg(quote_ident(attname), ', ') from pg_attribute
        where attrelid = 'logs_history'::regclass and attnum > 0 and not attisdropped));
end $$;
create temporary table by_index (state text, asked text, shown text);
create temporary table by_sql (like by_index);
grant select, insert on by_index, by_sql to by_column;
-- Only this tells that it went by records: a change that is passed takes a look at a page.
vacuum analyze logs, logs_history;
select count(*) > 12000 as many, blocks() < count(*) / 2 as by_record from logs_history;
\set compare 'insert into by_index select :\'state\', * from wanted(); set role by_column; insert into by_sql select :\'state\', * from wanted(); reset role;'
\set state made
:compare
-- Entries of rows that nobody sees: of transactions that were rolled back, before and after a scan has marked them.
begin;
update logs set n = n + 1;
insert into logs select 'q' || g, g from generate_series(1, 500) g;
rollback;
\set state rolled_back
:compare
\set state marked
:compare
-- Several of one revision, as a row's versions leave them.
do $$ begin
    for round in 1 .. 6 loop
        update logs_history set _at = _at + interval '1 s';
    end loop;
end $$;
\set state versions
:compare
-- Pages that are given up, beside some that stay.
delete from logs_history where _id between 'r030' and 'r045';
vacuum logs_history;
\set state deleted
:compare
delete from logs_history where _id > 'r002';
vacuum logs_history;
\set state nearly_empty
:compare
insert into logs_history (_id, _rev, _prev, n, id) select 'x' || g, '1-x', null, g, 'x' || g from generate_series(1, 300) g;
reindex index logs_history_pkey;
\set state reindexed
:compare
select state, count(*) as asked, count(*) filter (where i is distinct from s) as otherwise, count(distinct i.shown) as different
  from by_index i full join by_sql s using (state, asked) group by state order by state;
drop table logs, logs_history, by_index, by_sql;
drop function wanted, blocks;
drop role by_column;
