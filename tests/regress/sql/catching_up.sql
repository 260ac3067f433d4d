-- A reader who wants each record once: by changes where few are left, by records where many are (table a), from the key alone
-- where a record is a line. Whatever came in whatever order, it is told what a search of the history says.
\set VERBOSITY terse
set client_min_messages = warning;
create table a (id text primary key, v text);
select godwit.track('a');
create table b (id text primary key, v text);
select godwit.track('b');
-- Trees, of which each branch goes on from any revision; and in what order they come, with how much of their ancestry.
select setseed(0.42);
create table tree as
  with recursive grown as (
       select r, 1 as n, array['1-' || md5(r || ' 1')] as line, array[1] as generations, array['1-' || md5(r || ' 1')] as revisions,
              jsonb_build_array(jsonb_build_array('1-' || md5(r || ' 1'))) as lines
         from generate_series(1, 120) r
        union all
       select g.r, g.n + 1, null, null, null, g.lines || jsonb_build_array(jsonb_build_array(
              case when p.parent is null then 1 else jsonb_array_length(p.parent) + 1 end || '-' || md5(g.r || ' ' || g.n + 1)) || coalesce(p.parent, '[]'))
         from grown g cross join lateral (
              -- Mostly the last one, now and then any, seldom none.
              select case when g.r % 3 > 0 and x < 0.05 then null when g.r % 3 > 0 and x < 0.15 then g.lines -> (y * g.n)::int
                          else g.lines -> g.n - 1 end as parent from (select random() as x, random() as y, g.n) c(x, y, n)) p
        where g.n < 12)
  select 'r' || r as id, l.line, l.line ->> 0 as revision, random() as at, random() as cut, random() as ends
    from grown, jsonb_array_elements(lines) l(line) where n = 12;
-- Some never come.
delete from tree where cut > 0.93;
create function send(relation regclass, step int) returns bigint language sql as $$
    select count(*) from godwit.put_revisions(relation, (select jsonb_agg(jsonb_build_object('id', t.id, 'revision', t.revision,
        'revisions', case when substr(t.id, 2)::int % 4 = 1 and t.cut < 0.2 then (select jsonb_agg(c.name order by c.n) from jsonb_array_elements(t.line)
            with ordinality c(name, n) where c.n <= 1 + t.cut * 10) else t.line end,
        'deleted', t.ends < 0.1, 'attributes', case when t.ends < 0.1 then '{}'::jsonb else jsonb_build_object(
        'id', jsonb_build_object('string', t.id), 'v', jsonb_build_object('string', t.revision)) end))
      from tree t where case substr(t.id, 2)::int % 4 when 3 then jsonb_array_length(t.line) else t.at * 12 end between step - 1 and step)) $$;
-- What plain SQL makes comes in between.
insert into a select 'p' || g, '0' from generate_series(1, 150) g;
insert into b select 'p' || g, '0' from generate_series(1, 20) g;
do $$
begin
    for step in 1 .. 12 loop
        perform send('a', step);
        perform send('b', step) where step % 4 = 0;
        for times in 1 .. 4 loop
            update a set v = step || '.' || times where id like 'p%' and (substr(id, 2)::int + step) % 50 > 0;
        end loop;
        update b set v = step::text;
        delete from a where id like 'p%' and substr(id, 2)::int % 12 = step;
        update a set v = v || 'x' where id like 'r%' and substr(id, 2)::int % 7 = step % 7;
        insert into a select 'p' || g, 'again' from generate_series(1, 150) g where g % 24 = step - 1 on conflict do nothing;
    end loop;
end $$;
call godwit.compact('b', revisions => 2);
vacuum analyze a;
vacuum analyze b;
select count(*) > 7000 as enough, count(*) filter (where _stub) > 0 as stubs from a_history;
select count(*) between 20 and 110 as listed from godwit.unordered where relation = 'a'::regclass;
select * from differences('a') union all select * from differences('b');
create function searched(since bigint, relations regclass[], max int) returns table (seq bigint, id text, revision text, leaves text)
language plpgsql as $$
declare
    parts text;
begin
    select string_agg(format('(select l._seq, l._id, l._rev::text, (
            select string_agg(h._rev::text, '' '' order by h._deleted, h._rev desc) from %1$s h where h._id = l._id and not h._stub
               and not exists (select from %1$s c where c._id = h._id and c._prev = h._rev))
        from (select distinct on (h._id) h.* from %1$s h where not h._stub order by h._id, h._seq desc) l where l._seq > %2$s)',
        relation || '_history', since), ' union all ') into parts from unnest(relations) relation;
    return query execute parts || format(' order by 1 limit %s', max);
end $$;
create function told(since bigint, relations regclass[], max int, include text) returns table (seq bigint, id text, revision text, leaves text)
language sql as $$
    select c.seq, c.id, c.revision, (select string_agg(l.leaf ->> 'revision', ' ' order by n)
              from jsonb_array_elements(c.leaves) with ordinality l(leaf, n))
      from godwit.changes(since, relations::text[], max, include, 'leaves') c where c.seq is not null $$;
create view compared as
  with ends as (select min(_seq) - 1 as first, max(_seq) as last from (select _seq from a_history union all select _seq from b_history) h)
  select s.place, max, include, t.tables, c.otherwise, c.shown
    from ends, (values (0), (0.1), (0.3), (0.5), (0.8), (0.95), (0.99), (1)) s(place), (values (1), (7), (60), (10000)) m(max),
         (values ('none'), ('records')) i(include), (values ('{a}'::regclass[]), ('{b}'), ('{a,b}')) t(tables)
   cross join lateral (
        select count(*) filter (where told is distinct from searched) as otherwise, count(told.seq) as shown
          from told(first + ((last - first) * s.place)::bigint, t.tables, max, include) told
          full join searched(first + ((last - first) * s.place)::bigint, t.tables, max) searched using (seq)) c;
select count(*) as asked, sum(shown) > 10000 as shown, sum(otherwise) as otherwise from compared;
-- The same where a compaction has given rows more than one version, and where nobody has counted the records.
call godwit.compact('a', revisions => 5);
select count(*) as asked, sum(otherwise) as otherwise from compared;
update pg_class set reltuples = -1 where oid in ('a'::regclass, 'b'::regclass);
select count(*) as asked, sum(otherwise) as otherwise from compared;
-- A page tells where to go on.
create function drained(relations text[], page int) returns bigint language plpgsql as $$
declare
    since bigint := 0;
    ids text[] := '{}';
    got record;
begin
    loop
        select array_agg(c.id) filter (where c.seq is not null) as ids, max(c.next) as next into got
          from godwit.changes(since, relations, page, 'none', 'leaves') c;
        ids := ids || got.ids;
        exit when coalesce(cardinality(got.ids), 0) < page;
        since := got.next;
    end loop;
    return cardinality(ids);
end $$;
vacuum analyze a;
select drained('{a}', 10) = (select count(distinct _id) from a_history where not _stub) as by_ten,
       drained('{a,b}', 33) = (select count(*) from (select _id from a_history where not _stub group by _id union all select _id from b_history where not _stub group by _id) i) as both;
-- Who leaves takes the list along.
drop view compared;
select godwit.untrack('a', true);
drop table b cascade;
drop table b_history;
select count(*) as left_over from godwit.unordered;
drop table a, tree cascade;
drop function send, searched, told, drained;
