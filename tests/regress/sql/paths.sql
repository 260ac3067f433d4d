-- Changes are read in two ways: from the twin's indexes by who may read all of it, by SQL for everybody else. They
-- say the same, of conflicts, stubs, tombstones that lose, renamed columns and what no column holds.
\set VERBOSITY terse
set client_min_messages = warning;
create table docs (id text primary key, owner text, n int, note text, at timestamptz, tags text[], w numeric, j jsonb, born date, f float8);
select from godwit.track('docs');
create table things (id int primary key, kind text);
select from godwit.track('things');
insert into docs select 'd' || g, 'o' || g % 7, g, E'line \\ "q" \n' || g, timestamptz '2026-01-01Z' + g * interval '1h',
    array['a', null, 'b' || g], g / 3.0, jsonb_build_object('k', g), date '2020-01-01' + g, g / 7.0 from generate_series(1, 900) g;
insert into things select g, 'k' || g % 5 from generate_series(1, 100) g;
update docs set n = n + 1, owner = 'o' || (n + 1) % 7 where n % 3 = 0;
update docs set note = null where n % 5 = 0;
delete from docs where n % 11 = 0;
delete from things where id % 4 = 0;
insert into docs (id, owner) select 'd' || g, 'o1' from generate_series(1, 900, 17) g on conflict do nothing;
create function sent(step int, revision text, revisions jsonb, owner text, deleted boolean default false) returns bigint language sql as $$
    select count(*) from godwit.put_revisions('docs', (select jsonb_agg(jsonb_build_object('id', 'd' || g, 'revision', revision,
        'revisions', revisions, 'deleted', deleted, 'attributes', case when deleted then '{}' else jsonb_build_object(
        'id', jsonb_build_object('string', 'd' || g), 'owner', jsonb_build_object('string', owner), 'odd', '{"int": "7"}'::jsonb) end))
      from generate_series(1, 900, step) g)) where status = 'accepted' $$;
select sent(13, '1-x\y', '["1-x\\y"]', 'o2'), sent(29, '9-z', '["9-z", "8-y", "7-x"]', 'o3'), sent(58, '8-y', '["8-y", "7-x"]', 'o4'),
       sent(37, '3-t', '["3-t", "2-s"]', null, true);
-- No lines: ancestry that is cut short, a body that comes after its child's, parents that nobody has, tombstones beside, and edits on top.
select sent(41, '3-cut', '["3-cut"]', 'o5'), sent(82, '4-on', '["4-on", "3-cut"]', 'o3'), sent(47, '2-ended', '["2-ended"]', null, true),
       sent(43, '6-solo', '["6-solo", "5-late", "4-gone"]', 'o3'), sent(86, '5-late', '["5-late", "4-gone"]', 'o6');
select sent(53, '3-c', '["3-c", "2-p"]', 'o1'), sent(53, '3-b', '["3-b", "2-q"]', 'o2'), sent(53, '3-a', '["3-a", "2-p"]', 'o3'),
       sent(53, '2-p', '["2-p"]', 'o3'), sent(106, '2-q', '["2-q"]', 'o3');
delete from docs_history where _rev = '4-gone' or _rev = '5-late' and _stub and right(_id, 1) in ('4', '8');
update docs set n = n + 1 where right(id, 1) in ('2', '4', '7');
update docs set n = n + 1 where right(id, 1) = '2';
alter table docs rename column note to remark;
alter table docs add column extra int default 5;
update docs set extra = 6 where n % 4 = 1;
-- A line that comes last, and among others: on the last page the rest of its record has been read before.
select sent(19, '2-!low', '["2-!low"]', 'o3'), sent(19, '3-!low', '["3-!low", "2-!low"]', 'o4');
-- Who has each column and not the table asks in SQL. Not by a grant on the tables, which would reach the twins.
create role by_column;
do $$ declare twin text; begin
    foreach twin in array '{docs_history,things_history}'::text[] loop
        execute format('grant select (%s) on %I to by_column', (select string_agg(quote_ident(attname), ', ') from pg_attribute
            where attrelid = twin::regclass and attnum > 0 and not attisdropped), twin);
    end loop;
end $$;
select has_table_privilege('by_column', 'docs_history', 'select') as has_docs, has_table_privilege('by_column', 'things_history', 'select') as has_things;
create function drained(since bigint, tables text[], page int, include text, style text, ids text[], filter jsonb)
    returns table (shown bigint, digest text) language plpgsql as $$
declare
    change record;
    got int;
begin
    shown := 0;
    digest := '';
    for round in 1 .. 40 loop
        got := 0;
        for change in select * from godwit.changes(since, tables, page, include, style, ids, filter) loop
            got := got + 1;
            digest := md5(digest || change::text);
        end loop;
        shown := shown + got;
        exit when got < page;
        since := change.next;
    end loop;
    return next;
end $$;
create table asked as select row_number() over () as n, *
  from (values ('{docs}'::text[]), ('{docs,things}')) t(tables), (values (100000), (230)) p(page),
       (values ('none'), ('revision'), ('record'), ('records')) i(include), (values ('revisions'), ('leaves')) s(style),
       (values (null::text[]), ('{d1,d13,d26,d29,d37,d58,nope,5}')) d(ids),
       (values (null::jsonb), ('[{"column": "owner", "op": "eq", "value": "o3"}]')) f(filter)
 where filter is null or tables = '{docs}';
create table by_index as select a.n, d.* from asked a, drained(0, tables, page, include, style, ids, filter) d;
grant select on asked, by_index to by_column;
-- As json it says the same.
prepare as_json as select count(*) as asked, bool_and(shown > 0) as shown, count(*) filter (where not same) as otherwise from asked a, lateral (
    select count(*) as shown, bool_and((b.table_name, b.id, b.revision, b.deleted, b.winner, b.record, b.next, b.leaves, b.has_left)
               is not distinct from (j.table_name, j.id, j.revision, j.deleted, j.winner, j.record::jsonb, j.next, j.leaves::jsonb, j.has_left)) as same
      from godwit.changes(0, tables, page, include, style, ids, filter) b
      full join godwit.changes_json(0, tables, page, include, style, ids, filter) j using (seq)) both_ways;
execute as_json;
set role by_column;
execute as_json;
create temporary table by_sql as select a.n, d.* from asked a, drained(0, tables, page, include, style, ids, filter) d;
select count(*) as asked, min(i.shown) > 0 as shown, count(*) filter (where i is distinct from s) as otherwise from by_index i join by_sql s using (n);
reset role;
-- The same goes for revisions by name and for winners.
create table named as select array_agg(id) as ids, array_agg(revision) as revisions from (
    select _id, _rev::text from docs_history union all select distinct _id, null from docs_history
    union all values ('nope', null), ('d13', '9-nope')) n(id, revision);
create table named_by_index as select m.* from named, godwit.get_many('docs', ids, revisions) m;
grant select on named, named_by_index to by_column;
set role by_column;
select count(*) > 2000 as asked, count(*) filter (where i is distinct from s) as otherwise, count(*) filter (where not i.leaf) > 0 as parents,
       count(*) filter (where i.record is null) > 1 as stubs
  from named_by_index i join (select m.* from named, godwit.get_many('docs', ids, revisions) m) s using (ord);
reset role;
-- What is written as jsonb is what Postgres reads from the same text.
select count(*) > 0 as compared, bool_and((c.record, c.leaves) is not distinct from (w.change -> 'record', w.change -> 'leaves')
       and pg_column_size(c.record) is not distinct from pg_column_size(w.change -> 'record')) as same
  from (values ('revisions'), ('leaves')) s(style),
       godwit.changes(0, '{docs}', 100000, 'revision', style) c
  join lateral (select seq, change::jsonb from godwit._changes_on_wire(0, '{docs}', 100000, 'revision', style, null, null)
                 where change is not null) w on w.seq = c.seq;
-- Under row-level security: put to the policies a thousand at once, or one by one by the twin's own policy.
create role o3;
grant select on docs, docs_history to o3;
alter table docs enable row level security;
create policy own on docs for select using (owner = current_user);
update docs set owner = 'o3' where n % 9 = 0;
update docs set owner = 'o4' where n % 8 = 0;
delete from docs where n % 13 = 0;
delete from asked where style = 'leaves' or tables <> '{docs}' or page <> 100000 and include <> 'record' or filter is not null;
select max(_seq) - 1500 as middle, max(_seq) - 300 as late from docs_history \gset
grant select on asked to o3;
set role o3;
create temporary table at_once as select a.n, s.since, d.* from asked a, (values (0), (:middle), (:late)) s(since), drained(s.since, tables, page, include, style, ids, filter) d;
reset role;
create index on docs_history (_seq) where _deleted;
set role o3;
create temporary table of_few as select a.n, s.since, d.* from asked a, (values (0), (:middle), (:late)) s(since), drained(s.since, tables, page, include, style, ids, filter) d;
reset role;
create policy another on docs_history for select using (false);
set role o3;
create temporary table one_by_one as select a.n, s.since, d.* from asked a, (values (0), (:middle), (:late)) s(since), drained(s.since, tables, page, include, style, ids, filter) d;
select count(*) as asked, max(a.shown) > 0 as shown, count(*) filter (where a is distinct from o) as otherwise, count(*) filter (where f is distinct from o) as of_few
  from at_once a join one_by_one o using (n, since) join of_few f using (n, since);
reset role;
drop table docs, docs_history, things, things_history, named, named_by_index, asked, by_index, by_sql, at_once, of_few, one_by_one;
drop function drained, sent;
drop role by_column, o3;
